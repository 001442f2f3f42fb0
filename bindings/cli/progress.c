/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "output.h"

enum { BAR_CELLS_MAX = 40, TEXT_CELLS = 52, COLUMNS_DEFAULT = 80, COLUMNS_MIN = 24 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_begin(struct progress *p)
{
    const char *term = getenv("TERM");
    *p = (struct progress){ .terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0 };
}

/* Cells for the bar itself: what the numbers leave of the line; a line that wraps could not be drawn over. */
static int bar_cells(void)
{
    struct winsize size;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : COLUMNS_DEFAULT;
    int cells = columns - TEXT_CELLS - 1;
    if (columns < COLUMNS_MIN)
        return -1;
    return cells > BAR_CELLS_MAX ? BAR_CELLS_MAX : cells < 0 ? 0 : cells;
}

static void put_rate(struct output *line, const struct progress *p, uint64_t now, uint64_t done, uint64_t total)
{
    if (now <= p->first_ns || done <= p->first_bytes)
        return;
    double rate = (double)(done - p->first_bytes) / ((double)(now - p->first_ns) * 1e-9);
    output_format(line, "  %.2f GiB/s  %.0f s left", rate / (double)(1u << 30), (double)(total - done) / rate);
}

void progress_draw(struct progress *p, uint64_t done, uint64_t total)
{
    int cells = p->terminal && total > 0 ? bar_cells() : -1;
    if (cells < 0)
        return;
    uint64_t now = now_ns();
    if (done > total)
        done = total;
    if (!p->drawn) {
        p->first_ns = now;
        p->first_bytes = done;
    }

    struct output line;
    char          bar[BAR_CELLS_MAX];
    size_t        full = (size_t)((double)done / (double)total * cells);
    memset(bar, '.', sizeof bar);
    memset(bar, '#', full);
    output_init(&line, STDERR_FILENO);
    output_text(&line, "\r\033[K");
    if (cells > 0) {
        output_text(&line, "[");
        output_bytes(&line, bar, (size_t)cells);
        output_text(&line, "] ");
    }
    output_format(&line, "%3.0f%%", (double)done / (double)total * 100);
    if (cells > 0) {
        output_format(&line, "  %s", size_text(total).text);
        put_rate(&line, p, now, done, total);
    }
    output_flush(&line);
    p->drawn = true;
}

void progress_clear(struct progress *p)
{
    if (!p->drawn)
        return;
    struct output line;
    output_init(&line, STDERR_FILENO);
    output_text(&line, "\r\033[K");
    output_flush(&line);
    p->drawn = false;
}

int progress_told(void *user, uint64_t done, uint64_t total)
{
    progress_draw(user, done, total);
    return 0;
}
