/* SPDX-License-Identifier: Apache-2.0 */
#include "observing.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

sgi_runtime_config observe_config(void)
{
    sgi_runtime_config c = host_config();
    c.idle_timeout_ms = IDLE_MS;
    c.context_linger_ms = LINGER_MS;
    c.hang_timeout_ms = HANG_MS;
    c.dram_bytes_max = MIB(16);
    return c;
}

void open_over(struct fixture *f, const sgi_runtime_config *config, const struct sgi__place_ops *place)
{
    memset(f, 0, sizeof *f);
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_clock_init(&f->clock);
    test_engine_init(&f->engine, false, true);
    f->engine.prepared_bytes = 321;
    if (sgi__runtime_open_with(config, place, &f->clock.table, &f->rt, &f->err) != SGI_OK ||
        sgi_events_open(f->rt, 0, 0, &f->events, &f->err) != SGI_OK)
        fail_msg("open: %s", f->err.message);
}

void set_up(struct fixture *f)
{
    sgi_runtime_config config = observe_config();
    open_over(f, &config, NULL);
}

void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

void advance(struct fixture *f, uint64_t ms)
{
    test_clock_advance_ms(&f->clock, f->rt, ms);
}

/* ---- events ---- */

sgi_event next_event(struct fixture *f)
{
    sgi_event e = { .struct_size = sizeof e };
    int       fd = -1;

    assert_int_equal(sgi_events_fd(f->rt, f->events, &fd), SGI_OK);
    for (;;) {
        sgi_status    st = sgi_events_read(f->rt, f->events, &e);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (st == SGI_OK)
            return e;
        assert_int_equal(st, SGI_E_WOULD_BLOCK);
        if (poll(&p, 1, HOST_WAIT_MS) != 1)
            fail_msg("no event comes");
    }
}

void expect(struct fixture *f, const char *names)
{
    char     got[512] = "", wanted[512];
    size_t   used = 0;
    uint32_t count = 1;
    uint64_t time_ns = 0;

    for (const char *at = names; *at; at++)
        count += *at == ' ';
    assert_true(count <= LAST_MAX);
    for (uint32_t n = 0; n < count; n++) {
        f->last[n] = next_event(f);
        assert_int_equal(f->last[n].struct_size, sizeof(sgi_event));
        assert_int_equal(f->last[n].dropped, 0);
        assert_true(f->last[n].time_ns >= time_ns);
        time_ns = f->last[n].time_ns;
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%s", n ? " " : "", sgi_event_name(f->last[n].kind));
        snprintf(wanted, sizeof wanted, "%.*s", (int)used, names);
        if (strcmp(got, wanted) != 0)
            fail_msg("the events are '%s', they should be '%s'", got, names);
    }
}

void quiet(struct fixture *f)
{
    sgi_event e = { .struct_size = sizeof e };
    if (sgi_events_read(f->rt, f->events, &e) != SGI_E_WOULD_BLOCK)
        fail_msg("'%s' is told, where nothing should be", sgi_event_name(e.kind));
}

/* ---- metrics ---- */

int collect(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    t->data = realloc(t->data, t->bytes + bytes + 1);
    memcpy(t->data + t->bytes, text, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
    return 0;
}

struct text metrics(sgi_runtime *rt)
{
    struct text t = { 0 };
    assert_int_equal(sgi_metrics_write(rt, collect, &t), SGI_OK);
    return t;
}

double metric(sgi_runtime *rt, const char *series)
{
    struct text t = metrics(rt);
    const char *at = strstr(t.data, series);

    while (at && (at == t.data || at[-1] != '\n' || at[strlen(series)] != ' '))
        at = strstr(at + 1, series);
    if (!at)
        fail_msg("there is no series '%s'", series);
    double value = strtod(at + strlen(series), NULL);
    free(t.data);
    return value;
}

void is(struct fixture *f, const char *series, double wanted)
{
    double value = metric(f->rt, series);
    if (value != wanted)
        fail_msg("%s is %f, it should be %f", series, value, wanted);
}

double acquires(struct fixture *f, const char *model, const char *result, const char *path)
{
    char series[400];
    snprintf(series, sizeof series, "sgi_acquire_total{model=\"%s\",result=\"%s\",path=\"%s\"}", model, result, path);
    return metric(f->rt, series);
}
