/* SPDX-License-Identifier: Apache-2.0 */
#include "show.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BAR_COLUMNS = 40,
    TIMELINE_COLUMNS = 48,
    LABEL_COLUMNS = 11,
    PHASE_NS_MIN = 1000, /* a step that was there in name only */
};

const char *const run_names[RUN_COUNT] = { "cold", "again", "warm" };
const char *const tier_names[] = { [SGI_TIER_DISK] = "disk", [SGI_TIER_DRAM] = "DRAM", [SGI_TIER_DEVICE] = "device" };

static bool quiet, bold, bar;
static bool line_begun; /* of an answer */

void show_init(int quiet_)
{
    quiet = quiet_;
    bold = isatty(STDOUT_FILENO);
    bar = !quiet && isatty(STDERR_FILENO);
    if (quiet) /* in one piece, so that it is known why it cannot be written */
        setvbuf(stdout, NULL, _IOFBF, 1u << 16);
    else
        setvbuf(stdout, NULL, _IOLBF, 0);
}

struct text {
    char text[24];
};

static const char *bytes_text(struct text *t, uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double                   n = (double)bytes;
    unsigned                 unit = 0;

    while (n >= 1024 && unit < 4) {
        n /= 1024;
        unit++;
    }
    snprintf(t->text, sizeof t->text, unit > 0 ? "%.1f %s" : "%.0f %s", n, units[unit]);
    return t->text;
}

/* Three digits that matter, from nanoseconds to minutes. */
static const char *time_text(struct text *t, uint64_t ns)
{
    double ms = (double)ns / 1e6;

    if (ms < 0.1)
        snprintf(t->text, sizeof t->text, "%.1f us", ms * 1e3);
    else if (ms < 10)
        snprintf(t->text, sizeof t->text, "%.2f ms", ms);
    else if (ms < 10000)
        snprintf(t->text, sizeof t->text, "%.1f ms", ms);
    else
        snprintf(t->text, sizeof t->text, "%.1f s", ms / 1e3);
    return t->text;
}

static double rate(const struct asked *run)
{
    double s = (double)run->timing.load_ns / 1e9;

    return s > 0 ? (double)run->timing.bytes / (double)(1u << 30) / s : 0;
}

/* ----------------------------------------------------------------------------------------------------------- pieces */

void show_heading(const char *heading, const char *text)
{
    if (!quiet)
        printf("\n%s%-*s%s %s\n", bold ? "\033[1m" : "", LABEL_COLUMNS, heading, bold ? "\033[0m" : "", text);
}

void show_model(const struct report *report)
{
    struct text size;
    uint32_t    version = sgi_version();

    if (quiet)
        return;
    printf("libsgi %u.%u.%u with llama.cpp, %s: %s, %" PRIu64 " tensors, %s\n", version / 10000, version / 100 % 100,
           version % 100, report->path, report->model.format, report->model.tensors_count,
           bytes_text(&size, report->model.file_bytes));
}

void show_held(const struct held *held)
{
    struct text device, engine, dram, prepared, rss;

    if (quiet)
        return;
    printf("%-*s device %s", LABEL_COLUMNS, "", bytes_text(&device, held->device_bytes));
    if (held->device_bytes > 0)
        printf(" (%s of it the engine's)", bytes_text(&engine, held->engine_bytes));
    printf(", DRAM %s, prepared %s; RSS of the process %s\n", bytes_text(&dram, held->dram_bytes),
           bytes_text(&prepared, held->prepared_bytes), bytes_text(&rss, held->rss_bytes));
    printf("%-*s instances %u, contexts %u; threads: 1 of libsgi asleep, %u at work, %u of the engine\n", LABEL_COLUMNS,
           "", held->instances, held->contexts, held->working_threads, held->engine_threads);
}

void show_loading(uint64_t loaded_bytes, uint64_t loading_bytes)
{
    char        cells[BAR_COLUMNS + 1];
    struct text done, all;
    size_t      filled;

    if (!bar)
        return;
    if (loading_bytes == 0) {
        fputs("\r\033[K", stderr);
        return;
    }
    filled = (size_t)((double)loaded_bytes / (double)loading_bytes * BAR_COLUMNS);
    if (filled > BAR_COLUMNS)
        filled = BAR_COLUMNS;
    memset(cells, '#', filled);
    memset(cells + filled, '.', BAR_COLUMNS - filled);
    cells[BAR_COLUMNS] = '\0';
    fprintf(stderr, "\r%-*s [%s] %s of %s%s\033[K", LABEL_COLUMNS, "", cells, bytes_text(&done, loaded_bytes),
            bytes_text(&all, loading_bytes), loaded_bytes < loading_bytes ? "" : ", the engine starts");
}

/* A model may say anything, escape sequences included. */
void show_piece(const char *piece, size_t bytes)
{
    if (quiet)
        return;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)piece[i];

        if (!line_begun && c != '\n')
            printf("%-*s > ", LABEL_COLUMNS - 2, "");
        line_begun = c != '\n';
        putchar(c < 0x20 && c != '\n' && c != '\t' ? '?' : c);
    }
    fflush(stdout);
}

void show_answer_end(void)
{
    if (!quiet && line_begun)
        putchar('\n');
    line_begun = false;
}

/* --------------------------------------------------------------------------------------------------------- timeline */

static void show_phase(const char *name, uint64_t start_ns, uint64_t duration_ns, uint64_t total_ns)
{
    char        cells[TIMELINE_COLUMNS + 1];
    struct text start, duration;
    double      scale = (double)TIMELINE_COLUMNS / (double)total_ns;
    size_t from = (size_t)((double)start_ns * scale), to = (size_t)((double)(start_ns + duration_ns) * scale + 0.5);

    if (from >= TIMELINE_COLUMNS)
        from = TIMELINE_COLUMNS - 1;
    if (to > TIMELINE_COLUMNS)
        to = TIMELINE_COLUMNS;
    if (to <= from)
        to = from + 1;
    memset(cells, ' ', sizeof cells);
    memset(cells + from, '#', to - from);
    cells[TIMELINE_COLUMNS] = '\0';
    printf("%-*s |%s| %9s %9s\n", LABEL_COLUMNS, name, cells, time_text(&start, start_ns),
           time_text(&duration, duration_ns));
}

/* Steps in the order they began: so few that looking for the next one each time is as good as sorting. */
void show_timeline(const struct asked *run)
{
    const sgi_phase *phases = run->timing.phases;
    bool             shown[SGI_STEP_COUNT] = { false };

    if (quiet)
        return;
    printf("\n%-*s  %*s  %9s %9s\n", LABEL_COLUMNS, "timeline", TIMELINE_COLUMNS, "", "at", "for");
    for (;;) {
        uint32_t next = SGI_STEP_NONE;

        for (uint32_t i = SGI_STEP_QUEUE; i < SGI_STEP_COUNT; i++)
            if (phases[i].duration_ns >= PHASE_NS_MIN && !shown[i] &&
                (next == SGI_STEP_NONE || phases[i].start_ns < phases[next].start_ns))
                next = i;
        if (next == SGI_STEP_NONE)
            break;
        shown[next] = true;
        show_phase(sgi_step_name(next), phases[next].start_ns, phases[next].duration_ns, run->first_ns);
    }
    show_phase("first token", run->lease_ns, run->first_ns - run->lease_ns, run->first_ns);
}

/* ------------------------------------------------------------------------------------------------------------ table */

void show_table(const struct report *report)
{
    static const char *const ways[] = { "through the page cache", "past the page cache", "partly past the page cache" };

    if (quiet)
        return;
    printf("\n%-*s %-6s %11s %10s %10s %10s %11s %9s\n", LABEL_COLUMNS, "", "from", "first token", "lease", "load",
           "bytes", "rate", "tokens/s");
    for (int i = 0; i < RUN_COUNT; i++) {
        const struct asked *run = &report->runs[i];
        struct text         first, lease, load = { "-" }, bytes = { "-" }, gib = { "-" };
        uint64_t            writing_ns = run->end_ns - run->first_ns;

        if (run->timing.tier != SGI_TIER_DEVICE) {
            time_text(&load, run->timing.load_ns);
            bytes_text(&bytes, run->timing.bytes);
        }
        if (run->timing.tier == SGI_TIER_DISK)
            snprintf(gib.text, sizeof gib.text, "%.2f GiB/s", rate(run));
        else if (run->timing.tier == SGI_TIER_DRAM)
            snprintf(gib.text, sizeof gib.text, "mapped");
        printf("%-*s %-6s %11s %10s %10s %10s %11s %9.1f\n", LABEL_COLUMNS, run_names[i], tier_names[run->timing.tier],
               time_text(&first, run->first_ns), time_text(&lease, run->lease_ns), load.text, bytes.text, gib.text,
               writing_ns > 0 ? (double)(run->pieces - 1) * 1e9 / (double)writing_ns : 0);
    }
    if (report->runs[RUN_COLD].timing.engine[0] != '\0')
        printf("%-*s cold was read by %s, %s\n", LABEL_COLUMNS, "", report->runs[RUN_COLD].timing.engine,
               ways[report->runs[RUN_COLD].timing.direct % 3]);
}
