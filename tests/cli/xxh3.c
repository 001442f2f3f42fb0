/* SPDX-License-Identifier: Apache-2.0 */
/* xxh3 FILE, lines of "OFFSET BYTES" on stdin: the XXH3-64 of each range of the file, 16 digits a line. It shares
 * nothing with libsgi but xxhash.h: read by pread, hashed in one go. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int hash(int fd, uint64_t offset, uint64_t bytes)
{
    char *buffer = malloc(bytes + 1);
    if (!buffer)
        return 1;
    for (uint64_t at = 0; at < bytes;) {
        ssize_t n = pread(fd, buffer + at, bytes - at, (off_t)(offset + at));
        if (n <= 0) {
            free(buffer);
            return 1;
        }
        at += (uint64_t)n;
    }
    printf("%016" PRIx64 "\n", (uint64_t)XXH3_64bits(buffer, bytes));
    free(buffer);
    return 0;
}

int main(int argc, char **argv)
{
    int      fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    int      failed = fd < 0;
    uint64_t offset, bytes;
    while (!failed && scanf("%" SCNu64 " %" SCNu64, &offset, &bytes) == 2)
        failed = hash(fd, offset, bytes);
    return failed || fflush(stdout) != 0;
}
