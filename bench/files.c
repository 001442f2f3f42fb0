/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"

enum { PATH_BYTES = 400, BLOCK_BYTES = 4 << 20, RANDOM_STEP = 256 };

/* What has been made: nothing is taken out of the list, so it can be gone through at any time, in a signal too. */
struct made {
    struct made *next;
    char         path[];
};

static char         folder[PATH_BYTES];
static struct made *made;

static void remove_all(void)
{
    for (const struct made *m = made; m; m = m->next)
        unlink(m->path);
    rmdir(folder);
}

static void on_signal(int signal_number)
{
    remove_all();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static const char *new_path(void)
{
    static uint32_t number;
    size_t          bytes = strlen(folder) + 40;
    struct made    *m = malloc(sizeof *m + bytes);
    if (!m)
        die("out of memory");
    snprintf(m->path, bytes, "%s/m%08u.safetensors", folder, number++);
    m->next = made;
    made = m;
    return m->path;
}

static void make_folder(void)
{
    const char *base = getenv("SGI_BENCH_DIR");
    snprintf(folder, sizeof folder, "%s/sgi-bench.XXXXXX", base && base[0] ? base : "/var/tmp");
    if (!mkdtemp(folder))
        die("%s: %s (SGI_BENCH_DIR names another folder)", folder, strerror(errno));
    atexit(remove_all);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
}

static char *header_of(uint64_t each, uint32_t tensors)
{
    json_t *header = json_object();
    char    name[32];
    for (uint32_t n = 0; n < tensors; n++) {
        snprintf(name, sizeof name, "layer.%u.weight", n);
        json_object_set_new(header, name,
                            json_pack("{s:s, s:[I], s:[I,I]}", "dtype", "U8", "shape", (json_int_t)each, "data_offsets",
                                      (json_int_t)n * (json_int_t)each, ((json_int_t)n + 1) * (json_int_t)each));
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (!text)
        die("out of memory for a header");
    return text;
}

static void put(int fd, const void *data, uint64_t bytes)
{
    while (bytes > 0) {
        ssize_t did = write(fd, data, bytes);
        if (did < 0 && errno != EINTR)
            die("%s: %s", folder, strerror(errno));
        data = (const char *)data + (did > 0 ? did : 0);
        bytes -= did > 0 ? (uint64_t)did : 0;
    }
}

/* Another block each time around: a disk that finds equal blocks finds none. */
static void put_random(int fd, uint64_t bytes)
{
    uint64_t *block = malloc(BLOCK_BYTES);
    if (!block)
        die("out of memory");
    for (size_t at = 0; at < BLOCK_BYTES; at += RANDOM_STEP)
        if (getrandom((char *)block + at, RANDOM_STEP, 0) != RANDOM_STEP)
            die("getrandom: %s", strerror(errno));
    for (uint64_t left = bytes, round = 0; left > 0; round++) {
        uint64_t some = left < BLOCK_BYTES ? left : BLOCK_BYTES;
        for (size_t n = 0; n < BLOCK_BYTES / sizeof *block; n++)
            block[n] += round * UINT64_C(0x9e3779b97f4a7c15) + n;
        put(fd, block, some);
        left -= some;
    }
    free(block);
}

const char *model_file(uint64_t bytes, uint32_t tensors)
{
    static const char spaces[8] = "        ";

    if (!folder[0])
        make_folder();
    const char *path = new_path();
    int         fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    uint64_t each = bytes / tensors;
    char    *header = header_of(each, tensors);
    uint64_t header_bytes = strlen(header), padding = (8 - header_bytes % 8) % 8, length = header_bytes + padding;
    put(fd, &length, sizeof length); /* little endian, as every machine this is built for */
    put(fd, header, header_bytes);
    put(fd, spaces, padding);
    put_random(fd, each * tensors);
    if (fsync(fd) != 0 || close(fd) != 0)
        die("%s: %s", path, strerror(errno));
    free(header);
    return path;
}

uint64_t file_bytes(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        die("%s: %s", path, strerror(errno));
    return (uint64_t)st.st_size;
}
