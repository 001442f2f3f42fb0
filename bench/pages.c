/* SPDX-License-Identifier: Apache-2.0 */
/* What new memory costs by itself: an image's size of it mapped and its pages made, nothing read. No code of the
 * library. What a load into fresh memory takes beyond this is the load's. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "commands.h"
#include "mapped.h"
#include "measure.h"
#include "options.h"
#include "report.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { PAGE_BYTES = 4096 };

struct options {
    const char *memory;
    uint64_t    bytes, repeat;
    bool        on_line;
};

/* As the library does it; false: this kernel is older than that, and each page was written to instead. */
static bool make_pages(uint8_t *memory, uint64_t bytes)
{
    if (madvise(memory, bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        die("MADV_POPULATE_WRITE: %s", strerror(errno));
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
        ((volatile uint8_t *)memory)[at] = 1;
    return false;
}

/* Giving it back is not in the figures: a load gives nothing back either. */
static void once(const struct options *o, struct summary *summary)
{
    uint64_t bytes = (o->bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    double   gib = (double)bytes / GIB, cpu = cpu_seconds(), seconds = seconds_now();
    uint8_t *memory = strcmp(o->memory, "memfd") == 0 ? map_memfd(bytes) : map_anonymous(bytes);
    bool     populated = make_pages(memory, bytes);

    seconds = seconds_now() - seconds;
    cpu = cpu_seconds() - cpu;
    munmap(memory, bytes);
    report_line(json_pack("{s:s, s:s, s:b, s:I, s:f, s:f, s:f}", "what", "pages", "memory", o->memory, "populated",
                          populated, "bytes", (json_int_t)bytes, "seconds", seconds, "gib_s", gib / seconds,
                          "cpu_core_s_per_gib", cpu / gib));
    summary_add(summary, "seconds", seconds);
    summary_add(summary, "gib_s", gib / seconds);
    summary_add(summary, "cpu_core_s_per_gib", cpu / gib);
}

int pages_main(int argc, char **argv)
{
    static const char *const          memories[] = { "anonymous", "memfd", NULL };
    static const struct bench_command command = {
        .name = "pages",
        .operands = "",
        .purpose =
            "New memory by itself, nothing read into it: mapped, and its pages made by one thread. anonymous memory\n"
            "comes in huge pages, a memfd in pages of 4 KiB. Of the fresh rows of `load` this is the part that is the\n"
            "kernel's.\n",
    };
    struct options            o = { .memory = "anonymous", .bytes = UINT64_C(1) << 30, .repeat = 1 };
    const struct bench_option options[] = {
        { "memory", OPTION_CHOICE, &o.memory, 0, 0, memories, "what kind" },
        { "bytes", OPTION_BYTES, &o.bytes, 1, UINT64_C(1) << 40, NULL, "how much" },
        OPTION_REPEAT(&o),
        OPTION_STDIN(&o),
    };
    struct summary summary = { 0 };
    struct turns   turns = { 0 };

    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, NULL);
    refuse_more_than_fits(o.bytes, "--bytes");
    turns = (struct turns){ .repeat = o.repeat, .on_line = o.on_line };
    while (next_turn(&turns))
        once(&o, &summary);
    if (!o.on_line)
        summary_report(&summary, "pages", NULL, NULL);
    summary_free(&summary);
    return EXIT_GOOD;
}
