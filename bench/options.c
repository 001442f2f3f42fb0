/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *part; /* of the program, which this process is */

void name_part(const char *name)
{
    part = name;
}

void usage_error(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "sgi-bench %s: ", command);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_USAGE);
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: %s%s", program_invocation_short_name, part ? part : "", part ? ": " : "");
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_BAD);
}

void help_done(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        die("the help cannot be written: %s", strerror(errno));
    exit(EXIT_GOOD);
}

static const char *placeholder(const struct bench_option *o)
{
    return o->kind == OPTION_FLAG ? "" : o->kind == OPTION_BYTES ? "BYTES" : o->kind == OPTION_NUMBER ? "N" : "NAME";
}

/* As it may be written on the command line. */
static void put_default(const struct bench_option *o)
{
    static const char *const units[] = { "", "K", "M", "G", "T" };
    uint64_t                 value = *(uint64_t *)o->value;
    size_t                   unit = 0;
    while (o->kind == OPTION_BYTES && unit + 1 < sizeof units / sizeof *units && value % 1024 == 0) {
        value /= 1024;
        unit++;
    }
    printf(" (default %" PRIu64 "%s)", value, units[unit]);
}

static void put_help(const struct bench_command *command, const struct bench_option *options, size_t count)
{
    printf("sgi-bench %s%s%s [OPTION]...\n\n%s\n", command->name, command->operands[0] ? " " : "", command->operands,
           command->purpose);
    bool bytes = false;
    for (size_t n = 0; n < count; n++) {
        const struct bench_option *o = &options[n];
        char                       left[64];
        bytes |= o->kind == OPTION_BYTES;
        snprintf(left, sizeof left, "--%s %s", o->name, placeholder(o));
        printf("  %-18s %s", left, o->help);
        for (size_t c = 0; o->kind == OPTION_CHOICE && o->choices[c]; c++)
            printf("%s%s", c ? ", " : ": ", o->choices[c]);
        if (o->kind == OPTION_DEVICE)
            printf(": host, host:N, cuda or cuda:N");
        if ((o->kind == OPTION_CHOICE || o->kind == OPTION_DEVICE) && *(const char **)o->value)
            printf(" (default %s)", *(const char **)o->value);
        if ((o->kind == OPTION_NUMBER || o->kind == OPTION_BYTES) && *(uint64_t *)o->value > 0)
            put_default(o);
        putchar('\n');
    }
    if (bytes)
        puts("\n" BYTES_HELP);
}

/* ---- values ---- */

/* "123", and with `units` "2M", "2MiB". */
static bool parse_number(const char *text, bool units, uint64_t *out)
{
    static const char letters[] = "KMGT";
    char             *end = NULL;
    errno = 0;
    uint64_t value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || errno)
        return false;
    const char *unit = units && *end ? strchr(letters, *end) : NULL;
    if (unit) {
        unsigned shift = 10 * (unsigned)(unit - letters + 1);
        if (value > UINT64_MAX >> shift)
            return false;
        value <<= shift;
        end++;
        if (strcmp(end, "iB") == 0)
            end += 2;
    }
    *out = value;
    return *end == 0;
}

static void take_number(const struct bench_command *command, const struct bench_option *o, const char *text)
{
    uint64_t value;
    if (!parse_number(text, o->kind == OPTION_BYTES, &value) || value < o->min || value > o->max)
        usage_error(command->name, "--%s takes %s from %" PRIu64 " to %" PRIu64 ", not '%s'", o->name,
                    o->kind == OPTION_BYTES ? "bytes (2M is 2 MiB, as is 2MiB)" : "a number", o->min, o->max, text);
    *(uint64_t *)o->value = value;
}

static void take_choice(const struct bench_command *command, const struct bench_option *o, const char *text)
{
    char   list[200] = "";
    size_t used = 0;
    for (size_t n = 0; o->choices[n]; n++) {
        if (strcmp(o->choices[n], text) == 0) {
            *(const char **)o->value = o->choices[n];
            return;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 n == 0              ? ""
                                 : o->choices[n + 1] ? ", "
                                                     : " or ",
                                 o->choices[n]);
        assert(used < sizeof list);
    }
    usage_error(command->name, "--%s takes %s, not '%s'", o->name, list, text);
}

/* Numbers from 0 to 999, no zeros before them, as sgi_device_config.name. */
static void take_device(const struct bench_command *command, const struct bench_option *o, const char *text)
{
    bool        known = strncmp(text, "host", 4) == 0 || strncmp(text, "cuda", 4) == 0;
    const char *rest = known ? text + 4 : "?";
    size_t      count = rest[0] == ':' ? strspn(rest + 1, "0123456789") : 0;
    if (rest[0] && (count < 1 || count > 3 || rest[1 + count] || (count > 1 && rest[1] == '0')))
        usage_error(command->name, "--%s takes host, host:N, cuda or cuda:N, with N from 0 to 999, not '%s'", o->name,
                    text);
    *(const char **)o->value = rest[0] ? text : text[0] == 'h' ? "host:0" : "cuda:0";
}

/* ---- the command line ---- */

/* What begins none of the names, or several. */
static _Noreturn void no_such_option(const struct bench_command *command, const struct option *table, const char *given)
{
    size_t length = strcspn(given + 2, "="), used = 0;
    char   list[200] = "";
    for (const struct option *o = table; o->name; o++)
        if (strncmp(o->name, given + 2, length) == 0 && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s--%s", used ? ", " : "", o->name);
    if (used)
        usage_error(command->name, "%.*s may be any of %s", (int)length + 2, given, list);
    usage_error(command->name, "there is no option %.*s; sgi-bench %s --help lists them", (int)length + 2, given,
                command->name);
}

static _Noreturn void not_understood(const struct bench_command *command, const struct option *table, char **argv,
                                     int result)
{
    if (result == ':')
        usage_error(command->name, "%s needs a value", argv[optind - 1]);
    if (optopt >= OPTIONS_MAX) /* a short one */
        usage_error(command->name, "there is no option -%c", optopt);
    if (optopt > 0)
        usage_error(command->name, "--%s takes no value", table[optopt - 1].name);
    no_such_option(command, table, argv[optind - 1]);
}

void options_parse(const struct bench_command *command, const struct bench_option *options, size_t count, int argc,
                   char **argv, const char **operands)
{
    struct option table[OPTIONS_MAX + 1] = { 0 };
    int           result;

    assert(count + 1 < OPTIONS_MAX);
    for (size_t n = 0; n < count; n++)
        table[n] = (struct option){ .name = options[n].name,
                                    .has_arg = options[n].kind == OPTION_FLAG ? no_argument : required_argument,
                                    .val = (int)n + 1 };
    table[count] = (struct option){ .name = "help", .val = (int)count + 1 };
    optind = 0; /* this may be another command line of the same process */
    while ((result = getopt_long(argc, argv, ":", table, NULL)) != -1) {
        if (result < 1 || result > (int)count + 1)
            not_understood(command, table, argv, result);
        if (result == (int)count + 1) {
            put_help(command, options, count);
            help_done();
        }
        const struct bench_option *o = &options[result - 1];
        if (o->kind == OPTION_FLAG)
            *(bool *)o->value = true;
        else if (o->kind == OPTION_CHOICE)
            take_choice(command, o, optarg);
        else if (o->kind == OPTION_DEVICE)
            take_device(command, o, optarg);
        else
            take_number(command, o, optarg);
    }
    uint32_t given = (uint32_t)(argc - optind);
    if (given < command->operands_min)
        usage_error(command->name, "%s is missing", command->operands);
    if (given > command->operands_max)
        usage_error(command->name, "'%s' is one operand too many", argv[optind + (int)command->operands_max]);
    for (uint32_t n = 0; n < command->operands_max; n++) {
        operands[n] = n < given ? argv[optind + (int)n] : NULL;
        if (operands[n] && !operands[n][0])
            usage_error(command->name, "an operand is empty");
    }
}
