/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "warnings.h"

/* ---------------------------------------------------------------- messages */

/* One write, so that lines of several processes do not mix, and one line, whatever the names in it contain. */
static void say(const char *who, const char *path, const char *cause, const char *after)
{
    struct output line;
    output_init(&line, STDERR_FILENO);
    output_text(&line, who);
    output_text(&line, ": ");
    if (path) {
        output_shown(&line, path);
        output_text(&line, ": ");
    }
    output_shown(&line, cause);
    output_text(&line, after);
    output_text(&line, "\n");
    output_flush(&line);
}

/* Whether a cause says which file it is about, or which one in a folder. A short name could stand there by chance, but
 * not at the beginning, "NAME: ..." or "NAME is ...", nor behind what was done with it: "open NAME: ...". */
static bool names_path(const char *cause, const char *path)
{
    size_t      bytes = strlen(path);
    const char *second = cause + strcspn(cause, " ");
    if (strncmp(cause, path, bytes) == 0 && (cause[bytes] == ':' || strncmp(cause + bytes, " is ", 4) == 0))
        return true;
    if (*second && strncmp(second + 1, path, bytes) == 0 && second[1 + bytes] == ':')
        return true;
    if (!strpbrk(path, "/."))
        return false;
    for (const char *at = strstr(cause, path); at; at = strstr(at + 1, path))
        if ((at == cause || strchr(" '\"(", at[-1])) && strchr(" :;,'\")/", at[bytes]))
            return true;
    return false;
}

/* The library shortens a long path to "..." and its end; behind the whole of it that would be said twice. */
static const char *without_end_of(const char *path, const char *cause)
{
    size_t      dots = strspn(cause, "."), bytes = strlen(path);
    const char *colon = strstr(cause, ": ");
    size_t      end = colon ? (size_t)(colon - cause) - dots : 0;
    return dots == 3 && colon && end <= bytes && strncmp(path + bytes - end, cause + dots, end) == 0 ? colon + 2
                                                                                                     : cause;
}

void say_warning(const char *cause)
{
    say("sgi: warning", NULL, cause, "");
}

int failure(const char *path, const char *cause)
{
    warnings_leave_out(cause);
    say("sgi", names_path(cause, path) ? NULL : path, without_end_of(path, cause), "");
    return EXIT_FAILED;
}

int failure_sys(const char *path, int os_errno, const char *doing)
{
    char cause[160];
    snprintf(cause, sizeof cause, "%s: %s", doing, strerror(os_errno));
    return failure(path, cause);
}

int failure_status(const char *path, sgi_status status, const sgi_error *err)
{
    return failure(path, err && err->message[0] ? err->message : sgi_status_text(status));
}

int usage_error(const struct command *command, const char *format, ...)
{
    char    cause[512], who[32], after[64];
    va_list args;
    va_start(args, format);
    vsnprintf(cause, sizeof cause, format, args);
    va_end(args);
    snprintf(who, sizeof who, command ? "sgi %s" : "sgi", command ? command->name : "");
    snprintf(after, sizeof after, command ? "; see 'sgi help %s'" : "; see 'sgi help'", command ? command->name : "");
    say(who, NULL, cause, after);
    return EXIT_USAGE;
}

/* --------------------------------------------------------------- arguments */

/* getopt_long's own messages name the program as argv[0], which is the command here. */
static int bad_option(const struct command *command, int kind, char **argv)
{
    const char *given = argv[optind - 1]; /* but not for a letter in the middle of others */
    if (kind == ':')
        usage_error(command, "%s needs a value", given);
    else if (optopt == 0)
        usage_error(command, "there is no option %s", given);
    else if (optopt == OPTION_HELP || optopt >= OPTION_FIRST || strchr(given, '='))
        usage_error(command, "%.*s takes no value", (int)strcspn(given, "="), given);
    else
        usage_error(command, "there is no option -%c", optopt);
    return OPTIONS_BAD;
}

/* The letters among the codes of a table, as getopt wants them. */
static void letters_of(const struct option *table, char *letters, size_t room)
{
    size_t used = 0;
    letters[used++] = ':';
    for (; table->name && used + 3 < room; table++)
        if (table->val > 0 && table->val < OPTION_FIRST) {
            letters[used++] = (char)table->val;
            if (table->has_arg == required_argument)
                letters[used++] = ':';
        }
    letters[used] = '\0';
}

int option_next(struct output *out, const struct command *command, int argc, char **argv, const struct option *table)
{
    char letters[16];
    letters_of(table, letters, sizeof letters);
    opterr = 0;
    int kind = getopt_long(argc, argv, letters, table, NULL);
    if (kind == ':' || kind == '?')
        return bad_option(command, kind, argv);
    if (kind != OPTION_HELP)
        return kind < 0 ? OPTIONS_END : kind;
    output_text(out, command->help);
    return OPTIONS_DONE;
}

static bool parse(const char *text, bool units, uint64_t *out)
{
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9') /* strtoull would take blanks and signs */
        return false;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned           shift = 0;
    if (units && *end) {
        static const char letters[] = "kmgt";
        const char       *letter = strchr(letters, *end | 0x20); /* 2m is 2M */
        if (!letter)
            return false;
        shift = 10 * (unsigned)(letter - letters + 1);
        end += strcasecmp(end + 1, "iB") == 0 ? 3 : 1;
    }
    if (errno || *end || value > UINT64_MAX >> shift)
        return false;
    *out = value << shift;
    return true;
}

bool number_parse(const struct command *command, const char *option, const char *text, uint64_t min, uint64_t max,
                  uint64_t *out)
{
    if (parse(text, false, out) && *out >= min && *out <= max)
        return true;
    usage_error(command, "%s takes a whole number from %" PRIu64 " to %" PRIu64 ", not '%s'", option, min, max, text);
    return false;
}

bool bytes_parse(const struct command *command, const char *option, const char *text, uint64_t min, uint64_t max,
                 uint64_t *out)
{
    if (parse(text, true, out) && *out >= min && *out <= max && *out % min == 0)
        return true;
    if (min == 1)
        usage_error(command, "%s takes bytes (2M is 2 MiB), from 1 up to %s, not '%s'", option, size_text(max).text,
                    text);
    else
        usage_error(command, "%s takes bytes (2M is 2 MiB), a multiple of %" PRIu64 " up to %s, not '%s'", option, min,
                    size_text(max).text, text);
    return false;
}

bool folder_add(const struct command *command, struct folders *folders, const char *path)
{
    if (path[0] && folders->count < FOLDERS_MAX) {
        folders->list[folders->count++] = path;
        return true;
    }
    if (path[0])
        usage_error(command, "--folder may be given %d times, not more", (int)FOLDERS_MAX);
    else
        usage_error(command, "--folder takes the path of a folder");
    return false;
}

bool file_take(const struct command *command, const char *option, const char *text, const char **path_out)
{
    *path_out = text;
    if (!text[0])
        usage_error(command, "%s takes the path of a file", option);
    return text[0];
}

bool checks_take(const struct command *command, const char *text, const char **path_out)
{
    *path_out = text;
    if (!text[0])
        usage_error(command, "--checks takes the path of a folder, or of a file of checks");
    return text[0];
}

const char *operand_path(const struct command *command, int argc, char **argv)
{
    if (argc - optind == 1 && argv[optind][0])
        return argv[optind];
    if (argc == optind)
        usage_error(command, "which model? A PATH is missing");
    else if (!argv[optind][0])
        usage_error(command, "PATH is empty");
    else
        usage_error(command, "one PATH at a time; '%s' is one too many", argv[optind + 1]);
    return NULL;
}
