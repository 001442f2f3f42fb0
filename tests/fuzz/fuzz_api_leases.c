/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the fuzz target that are about leases, calls on them, and what is observed. */
#include "fuzz_api.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

/* WEDGED: of a lease whose engine is stuck, which the header says of calls only. */
#define WELL_OR(...) SGI_E_STALE, SGI_E_INVALID, SGI_E_WEDGED, __VA_ARGS__

/* ----------------------------------------------------------------------------------------------------------- leases */

static bool call_is_open(const struct world *w, sgi_lease lease)
{
    for (uint32_t n = 0; n < w->live_count[ID_CALL]; n++)
        if (w->live[ID_CALL][n].of == lease)
            return true;
    return false;
}

static void step_release(struct world *w)
{
    enum known known;
    sgi_lease  lease = pick(w, ID_LEASE, &known);
    sgi_status st = sgi_lease_release(w->rt, lease);

    ONE_OF(w, st, SGI_E_STALE, SGI_E_BUSY);
    check_stale(known, st, SGI_OK);
    if (known == LIVE)
        CHECK((st == SGI_E_BUSY) == call_is_open(w, lease));
    if (st == SGI_OK)
        gone(w, ID_LEASE, lease);
}

static void step_tensor(struct world *w)
{
    enum known known;
    struct out o;
    sgi_lease  lease = pick(w, ID_LEASE, &known);
    uint32_t   index = below(w, 5);
    uint64_t   digest;
    sgi_status waited = sgi_lease_tensor_wait(w->rt, lease, index, 1, err_of(w));

    ONE_OF(w, waited, SGI_E_STALE, SGI_E_NOT_FOUND, SGI_E_TIMEOUT, LOAD_FAILED);
    check_stale(known, waited, SGI_OK);
    if (waited != SGI_E_TIMEOUT) {
        uint8_t    bytes[64];
        uint64_t   offset = below(w, 3) * 1000;
        sgi_status got = sgi_lease_tensor_read(w->rt, lease, index, offset, bytes, below(w, 65), err_of(w));
        ONE_OF(w, got, SGI_E_STALE, SGI_E_NOT_FOUND, SGI_E_INVALID, LOAD_FAILED);
    }
    if (waited != SGI_E_TIMEOUT) { /* on a host it waits as long as that takes */
        sgi_status on = sgi_lease_tensor_on(w->rt, lease, index, NULL, err_of(w));
        ONE_OF(w, on, SGI_E_STALE, SGI_E_NOT_FOUND, LOAD_FAILED);
        check_stale(known, on, SGI_OK);
    }
    sgi_view  *view = out_begin(w, &o, sizeof *view);
    sgi_status st = sgi_lease_tensor(w->rt, lease, index, view, err_of(w));
    ONE_OF(w, st, WELL_OR(SGI_E_NOT_FOUND));
    if (out_end(&o, sizeof *view, st) && waited == SGI_OK && view->bytes > 0) {
        volatile const uint8_t *bytes = view->data; /* they can be read */
        (void)(bytes[0] + bytes[view->bytes - 1]);
    }
    if (one_in(w, 4) && waited != SGI_E_TIMEOUT) {
        st = sgi_lease_tensor_digest(w->rt, lease, index, &digest, err_of(w));
        ONE_OF(w, st, SGI_E_STALE, SGI_E_NOT_FOUND, SGI_E_TIMEOUT, LOAD_FAILED);
    }
}

static void step_image(struct world *w)
{
    enum known known;
    struct out o;
    sgi_lease  lease = pick(w, ID_LEASE, &known);
    sgi_image *image = out_begin(w, &o, sizeof *image);

    if (o.size < sizeof *image && o.size > 0) /* would hand a descriptor over without a place for it */
        o.any.struct_size = o.size = sizeof *image;
    sgi_status st = sgi_lease_image(w->rt, lease, below(w, 3), image, err_of(w));
    ONE_OF(w, st, WELL_OR(SGI_E_NOT_FOUND), SGI_E_BUSY, SGI_E_SYSTEM);
    check_stale(known, st, SGI_E_INVALID);
    if (!out_end(&o, sizeof *image, st))
        return;
    CHECK(image->base != NULL && image->prefix_bytes <= image->bytes);
    if (image->fd >= 0)
        CHECK(close(image->fd) == 0);
}

static sgi_status run(void *user, void *stream, sgi_error *err)
{
    CHECK(stream == NULL);
    return *(bool *)user ? sgi_error_set(err, SGI_E_DEVICE, "told to") : SGI_OK;
}

static void step_look(struct world *w)
{
    enum known known;
    struct out o;
    sgi_lease  lease = pick(w, ID_LEASE, &known);
    void      *stream = w;
    bool       fails = one_of_two(w);

    sgi_status st = sgi_lease_run(w->rt, lease, run, &fails, err_of(w));
    ONE_OF(w, st, WELL_OR(SGI_E_DEVICE));
    check_stale(known, st, SGI_OK);
    if (known == LIVE && st != SGI_E_WEDGED)
        CHECK(st == (fails ? SGI_E_DEVICE : SGI_OK));
    st = sgi_lease_stream(w->rt, lease, &stream, NULL);
    ONE_OF(w, st, WELL_OR(SGI_E_STALE));
    CHECK((st == SGI_OK) == (stream == NULL));
    sgi_timing *timing = out_begin(w, &o, sizeof *timing);
    st = sgi_lease_timing(w->rt, lease, timing);
    ONE_OF(w, st, WELL_OR(SGI_E_BUSY));
    if (out_end(&o, sizeof *timing, st))
        CHECK(timing->tier <= SGI_TIER_DEVICE && timing->request_ns > 0);
}

/* ------------------------------------------------------------------------------------------------------------ calls */

static struct test_request a_request(struct world *w)
{
    static const sgi_status ends[] = { SGI_OK, SGI_OK, SGI_OK, SGI_E_ENGINE, ENGINES_OWN, SGI_E_NOT_FOUND, SGI_E_BUSY };
    struct test_request     r = { .kind = below(w, 5), .pieces = below(w, 5) };

    r.piece_bytes = one_in(w, 8) ? 40000 : take(w);
    r.status = ends[below(w, 7)];
    return r;
}

#define CALL_REFUSED                                                                                         \
    SGI_E_STALE, SGI_E_BUSY, SGI_E_TIMEOUT, SGI_E_UNSUPPORTED, SGI_E_INVALID, SGI_E_NO_MEMORY, SGI_E_WEDGED, \
        SGI_E_DEVICE_LOST
#define CALL_FAILED SGI_E_CANCELED, SGI_E_ENGINE, ENGINES_OWN, SGI_E_NOT_FOUND, SGI_E_INVALID, SGI_E_WEDGED

static void step_call_begin(struct world *w)
{
    enum known          known;
    sgi_lease           lease = pick(w, ID_LEASE, &known);
    struct test_request r = a_request(w);
    sgi_call            call = 0;

    if (!room_for(w, ID_CALL))
        return;
    sgi_status st = sgi_call_begin(w->rt, lease, &r, one_in(w, 16) ? 0 : sizeof r, 8, &call, err_of(w));
    ONE_OF(w, st, CALL_REFUSED);
    CHECK((st == SGI_OK) == (call != 0));
    check_stale(known, st, SGI_OK);
    if (known == LIVE && call_is_open(w, lease))
        CHECK(st != SGI_OK);
    if (call)
        born(w, ID_CALL, call, lease);
}

static void step_call_read(struct world *w)
{
    enum known known;
    sgi_call   call = pick(w, ID_CALL, &known);
    size_t     capacity = one_in(w, 8) ? 1 : 256, bytes = 0;
    uint8_t   *piece = malloc(capacity); /* of its size, so that ASan sees a byte past it */

    CHECK(piece != NULL);
    for (uint32_t n = 1 + below(w, 4); n > 0; n--) {
        sgi_status st = sgi_call_read(w->rt, call, piece, capacity, &bytes, err_of(w));
        ONE_OF(w, st, SGI_E_WOULD_BLOCK, SGI_E_END, SGI_E_STALE, CALL_FAILED);
        check_stale(known, st, SGI_OK);
        CHECK(st != SGI_OK || (bytes > 0 && bytes <= capacity));
    }
    free(piece);
}

static void step_call_wait(struct world *w)
{
    enum known known;
    sgi_call   call = pick(w, ID_CALL, &known);
    sgi_status st = sgi_call_wait(w->rt, call, 1, err_of(w));

    ONE_OF(w, st, SGI_E_TIMEOUT, SGI_E_STALE);
    check_stale(known, st, SGI_OK);
}

static void step_call_cancel(struct world *w)
{
    enum known known;
    sgi_call   call = pick(w, ID_CALL, &known);
    sgi_status st = sgi_call_cancel(w->rt, call);

    ONE_OF(w, st, SGI_E_STALE);
    check_stale(known, st, SGI_OK);
}

static void step_call_end(struct world *w)
{
    enum known known;
    sgi_call   call = pick(w, ID_CALL, &known);
    sgi_status st = sgi_call_end(w->rt, call);

    ONE_OF(w, st, SGI_E_STALE);
    check_stale(known, st, SGI_OK);
    gone(w, ID_CALL, call);
}

static int take_piece(void *user, const void *piece, size_t bytes)
{
    uint32_t *left = user;
    CHECK(piece != NULL && bytes > 0);
    return (*left)-- == 0;
}

static void step_lease_call(struct world *w)
{
    enum known          known;
    sgi_lease           lease = pick(w, ID_LEASE, &known);
    struct test_request r = a_request(w);
    uint32_t            pieces = below(w, 8);
    sgi_status st = sgi_lease_call(w->rt, lease, &r, sizeof r, 1 + below(w, 2), one_of_two(w) ? take_piece : NULL,
                                   &pieces, err_of(w));

    ONE_OF(w, st, CALL_REFUSED, CALL_FAILED);
    check_stale(known, st, SGI_OK);
}

static void step_lease_cancel(struct world *w)
{
    enum known known;
    sgi_lease  lease = pick(w, ID_LEASE, &known);
    sgi_status st = sgi_lease_cancel(w->rt, lease);

    ONE_OF(w, st, SGI_E_STALE);
    check_stale(known, st, SGI_OK);
}

/* ------------------------------------------------------------------------------------------------------ observation */

struct text {
    char  *bytes;
    size_t count;
    size_t most; /* then it stops the writer */
};

static int gather(void *user, const char *bytes, size_t count)
{
    struct text *text = user;
    if (count > text->most - text->count)
        return 1;
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    return 0;
}

static int take_sample(void *user, const sgi_sample *s)
{
    uint32_t *left = user;
    CHECK(strncmp(s->family, "sgi_", 4) == 0 && s->help[0] != '\0' && s->labels_count <= SGI_LABELS_MAX);
    CHECK(s->type == SGI_SAMPLE_GAUGE || s->value >= 0);
    return (*left)-- == 0;
}

static void step_write(struct world *w)
{
    uint32_t    samples = one_of_two(w) ? 100000 : take(w);
    struct text text = { .most = one_in(w, 4) ? 16u * take(w) : 4 << 20 };
    sgi_status  st;

    text.bytes = malloc(4 << 20);
    CHECK(text.bytes != NULL);
    switch (below(w, 3)) {
    case 0:
        st = sgi_trace_write(w->rt, gather, &text);
        if (st == SGI_OK) {
            json_t *json = json_loadb(text.bytes, text.count, 0, NULL);
            CHECK(json != NULL);
            json_decref(json);
        }
        break;
    case 1:
        st = sgi_metrics_write(w->rt, gather, &text);
        CHECK(st != SGI_OK || (text.count > 0 && text.bytes[text.count - 1] == '\n'));
        break;
    default:
        st = sgi_metrics_snapshot(w->rt, take_sample, &samples);
        CHECK(st != SGI_OK || samples < 100000);
    }
    ONE_OF(w, st, SGI_E_CANCELED);
    free(text.bytes);
}

static void step_events_open(struct world *w)
{
    static const uint64_t kinds[] = { 0, 0, 1u << SGI_EVENT_GRANTED, UINT64_C(1) << 63 };
    static const uint32_t records[] = { 0, 1, 3, SGI_EVENTS_RECORDS_MAX + 1 };
    sgi_events            events = 0;

    if (!room_for(w, ID_EVENTS))
        return;
    sgi_status st = sgi_events_open(w->rt, records[below(w, 4)], kinds[below(w, 4)], &events, err_of(w));
    ONE_OF(w, st, SGI_E_INVALID, SGI_E_NO_MEMORY, SGI_E_BUSY);
    CHECK((st == SGI_OK) == (events != 0));
    CHECK((st != SGI_E_BUSY) || w->live_count[ID_EVENTS] == SGI_EVENTS_READERS_MAX);
    if (events)
        born(w, ID_EVENTS, events, 0);
}

static void step_events_read(struct world *w)
{
    enum known known;
    struct out o;
    sgi_events events = pick(w, ID_EVENTS, &known);
    int        fd = -1;
    sgi_status st = SGI_OK;

    if (one_in(w, 8)) {
        st = sgi_events_fd(w->rt, events, &fd);
        ONE_OF(w, st, SGI_E_STALE);
        check_stale(known, st, SGI_OK);
    }
    for (uint32_t n = 1 + below(w, 16); n > 0 && st == SGI_OK; n--) {
        sgi_event *e = out_begin(w, &o, sizeof *e);
        st = sgi_events_read(w->rt, events, e);
        ONE_OF(w, st, WELL_OR(SGI_E_WOULD_BLOCK));
        check_stale(known, st, SGI_E_INVALID);
        if (!out_end(&o, sizeof *e, st))
            continue;
        struct live *reader = find(w, ID_EVENTS, events);
        CHECK(e->kind >= SGI_EVENT_REGISTERED && e->kind <= SGI_EVENT_DEVICE_BACK);
        CHECK(strcmp(sgi_event_name(e->kind), "?") != 0 && strcmp(sgi_cause_name(e->cause), "?") != 0);
        CHECK((e->model != 0) == (e->kind < SGI_EVENT_DEVICE_OPEN));
        CHECK(e->time_ns >= reader->order && e->tier <= SGI_TIER_DEVICE);
        CHECK(e->residue_bytes == 0 && e->device < (int32_t)w->devices_count);
        reader->order = e->time_ns;
    }
}

static void step_events_close(struct world *w)
{
    enum known known;
    sgi_events events = pick(w, ID_EVENTS, &known);
    sgi_status st = sgi_events_close(w->rt, events);

    ONE_OF(w, st, SGI_E_STALE);
    check_stale(known, st, SGI_OK);
    gone(w, ID_EVENTS, events);
}

void fuzz_api_leases(struct world *w)
{
    static void (*const steps[])(struct world *) = {
        step_release,   step_tensor,   step_image,       step_look,        step_call_begin,   step_call_read,
        step_call_wait, step_call_end, step_lease_call,  step_call_begin,  step_call_cancel,  step_lease_cancel,
        step_write,     step_release,  step_events_open, step_events_read, step_events_close,
    };
    steps[below(w, sizeof steps / sizeof *steps)](w);
}
