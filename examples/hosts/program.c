/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

const char *program_argument(const program *p, int argc, char **argv)
{
    const char *argument = NULL;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(p->usage, stdout);
            exit(program_end(p, 0));
        }
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            program_fail(p, "there is no option '%s' (--help says what there is)", argv[i]);
            exit(2);
        }
        if (argument) {
            program_fail(p, "'%s' is one argument too many (--help says what there is)", argv[i]);
            exit(2);
        }
        argument = argv[i];
    }
    return argument;
}

int program_fail(const program *p, const char *format, ...)
{
    va_list args;

    fflush(stdout); /* what was said before comes before */
    fprintf(stderr, "%s: ", p->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

int program_end(const program *p, int rc)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return rc;
    /* What failed earlier has left its mark, and its errno is gone. */
    fprintf(stderr, "%s: standard output could not be written%s%s\n", p->name, errno ? ": " : "",
            errno ? strerror(errno) : "");
    return rc ? rc : 1;
}
