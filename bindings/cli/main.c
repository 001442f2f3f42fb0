/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `sgi` command: what libsgi can do, from a shell. Uses the public interface only.
 *
 * Exit status: 0 good, 1 failure with one line on stderr, 2 usage. What the library warns of comes beside.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "warnings.h"

static const struct command *const commands[] = { &command_inspect, &command_load,   &command_pack,    &command_verify,
                                                  &command_unpack,  &command_digest, &command_features };
enum { COMMANDS_COUNT = sizeof commands / sizeof *commands };

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int put_help(struct output *out)
{
    output_text(out, "sgi: look into model files, and bring them into memory as libsgi does\n\n");
    for (size_t i = 0; i < COMMANDS_COUNT; i++)
        output_format(out, "  sgi %-10s %s\n", commands[i]->name, commands[i]->summary);
    output_format(out, "  sgi %-10s %s\n", "help", "all about one command: sgi help COMMAND");
    output_format(out, "  sgi %-10s %s\n", "version", "the version of the library in use");
    output_text(out, "\n"
                     "  --help, -h     this, or after a command the help of that command\n"
                     "  --version, -V  as sgi version\n"
                     "\n"
                     "Exit status: 0 good; 1 failure, with one line on stderr naming file and cause; 2 wrong usage.\n"
                     "Lines on stderr that begin with 'sgi: warning: ' are no failure by themselves.\n");
    return EXIT_GOOD;
}

static int put_version(struct output *out)
{
    uint32_t v = sgi_version(); /* of the library that is running; the headers may be of another one */
    output_format(out, "sgi %" PRIu32 ".%" PRIu32 ".%" PRIu32 "\n", v / 10000, v / 100 % 100, v % 100);
    return EXIT_GOOD;
}

static int help(struct output *out, int argc, char **argv)
{
    if (argc < 2)
        return put_help(out);
    if (argc > 2)
        return usage_error(NULL, "help takes one command");
    const struct command *command = find(argv[1]);
    if (!command && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0 ||
                     strcmp(argv[1], "version") == 0))
        return put_help(out);
    if (!command)
        return usage_error(NULL, "there is no command '%s'", argv[1]);
    output_text(out, command->help);
    return EXIT_GOOD;
}

static int run(struct output *out, int argc, char **argv)
{
    if (argc < 1) /* nothing has to be in argv[0], but something has to be there to skip */
        return usage_error(NULL, "no command");
    argc--;
    argv++;
    if (argc == 0)
        return usage_error(NULL, "a command is missing");
    if (strcmp(argv[0], "help") == 0)
        return help(out, argc, argv);
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
        return argc == 1 ? put_help(out) : usage_error(NULL, "%s takes no arguments here", argv[0]);
    if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0 || strcmp(argv[0], "version") == 0)
        return argc == 1 ? put_version(out) : usage_error(NULL, "%s takes no arguments", argv[0]);
    const struct command *command = find(argv[0]);
    if (!command)
        return usage_error(NULL, argv[0][0] == '-' ? "there is no option %s" : "there is no command '%s'", argv[0]);
    return command->run(out, argc, argv);
}

/* A closed standard descriptor would be given to the next file that is opened, and what we print would go into it.
 * These are open the wrong way round, so that using them is still an error. */
static void occupy_standard_fds(void)
{
    static const int flags[] = { O_WRONLY, O_RDONLY, O_RDONLY };
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", flags[fd]) != fd)
            _exit(EXIT_FAILED);
}

int main(int argc, char **argv)
{
    static struct output out;

    occupy_standard_fds();
    signal(SIGPIPE, SIG_IGN); /* a reader that has seen enough ends the output, it does not kill a load half way */
    output_init(&out, STDOUT_FILENO);
    warnings_begin();
    int code = run(&out, argc, argv);
    warnings_say();
    output_flush(&out);
    /* Some file systems tell only here that there was no room. */
    if (close(STDOUT_FILENO) != 0 && !out.os_errno)
        out.os_errno = errno;
    if (code == EXIT_GOOD && out.os_errno && out.os_errno != EPIPE)
        return failure_sys("standard output", out.os_errno, "write");
    return code;
}
