/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the fuzz target that only ask: what a request would meet, and what the library says of itself. */
#include "fuzz_api.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------------- estimates */

static void check_evicted(struct world *w, sgi_model model, const sgi_model *evicted, uint32_t room, uint32_t count)
{
    for (uint32_t n = 0; n < room; n++) {
        CHECK((n < count) == (evicted[n] != UINT64_MAX)); /* as many as there are, and room for */
        if (n >= count)
            continue;
        CHECK(evicted[n] != model && find(w, ID_MODEL, evicted[n]));
        for (uint32_t before = 0; before < n; before++)
            CHECK(evicted[before] != evicted[n]);
    }
}

static void check_estimate(const struct world *w, const sgi_estimate *e)
{
    bool refused = e->outlook == SGI_ESTIMATE_REFUSED;

    CHECK(e->outlook >= SGI_ESTIMATE_WARM && e->outlook <= SGI_ESTIMATE_REFUSED);
    CHECK((e->status != SGI_OK) == refused && (e->retry_after_ms == 0 || refused));
    CHECK(e->device >= SGI_DEVICE_ANY && e->device < (int32_t)w->devices_count);
    CHECK(e->tier <= SGI_TIER_DEVICE && e->lacking_bytes <= e->device_bytes && e->reserved0 == 0);
    if (e->outlook == SGI_ESTIMATE_WARM)
        CHECK(e->tier == SGI_TIER_DEVICE && e->device >= 0 && e->expected_ns == 0);
    if (e->outlook == SGI_ESTIMATE_LOAD || e->outlook == SGI_ESTIMATE_EVICT)
        CHECK(e->device >= 0 && e->tier < SGI_TIER_DEVICE);
    if (e->outlook == SGI_ESTIMATE_LOAD)
        CHECK(e->lacking_bytes == 0 && e->evicted_count == 0);
    if (e->outlook == SGI_ESTIMATE_EVICT)
        CHECK(e->evicted_count > 0);
}

static void step_estimate(struct world *w)
{
    static const uint32_t rooms[] = { 0, 1, 2, LIVE_MAX };
    struct options        options;
    enum known            known;
    struct out            o;
    sgi_model             model = pick(w, ID_MODEL, &known);
    uint32_t              room = rooms[below(w, 4)];
    bool                  absent = one_in(w, 4); /* with room for some, all the same */
    sgi_model            *evicted = malloc(room ? room * sizeof *evicted : 1);

    CHECK(evicted != NULL);
    for (uint32_t n = 0; n < room; n++)
        evicted[n] = UINT64_MAX;
    const sgi_acquire_options *asked = one_in(w, 4) ? NULL : an_options(w, &options, false);
    sgi_estimate              *e = out_begin(w, &o, sizeof *e);
    sgi_status                 st = sgi_model_estimate(w->rt, model, asked, e, absent ? NULL : evicted, room);
    ONE_OF(w, st, SGI_E_STALE, SGI_E_CLOSED, SGI_E_INVALID);
    check_stale(known, st, SGI_E_INVALID);
    CHECK(known != LIVE || st == SGI_E_INVALID || (st == SGI_E_CLOSED) == w->draining);
    if (out_end(&o, sizeof *e, st)) {
        check_estimate(w, e);
        check_evicted(w, model, evicted, room, absent ? 0 : e->evicted_count);
    } else if (st != SGI_OK) {
        check_evicted(w, model, evicted, room, 0);
    }
    free(evicted);
}

/* ------------------------------------------------------------------------------------------------------ the library */

static uint32_t a_number(struct world *w)
{
    uint32_t number = take(w);
    if (one_of_two(w))
        number = 0u - number;
    return one_in(w, 4) ? number * 0x01010101u : number;
}

static void step_names(struct world *w)
{
    uint32_t    number = a_number(w);
    const char *name = sgi_status_name((sgi_status)number), *text = sgi_status_text((sgi_status)number);
    bool        known = false;

#define KNOWN(constant, code, words) known |= (sgi_status)number == (code);
    SGI_STATUS_LIST(KNOWN)
#undef KNOWN
    CHECK(strncmp(name, "SGI_", 4) == 0 && (strcmp(name, "SGI_E_?") != 0) == known);
    CHECK(text[0] != '\0' && text[strlen(text) - 1] != '.');
    CHECK((strcmp(sgi_step_name(number), "?") != 0) == (number < SGI_STEP_COUNT));
    CHECK((strcmp(sgi_event_name(number), "?") != 0) ==
          (number >= SGI_EVENT_REGISTERED && number <= SGI_EVENT_DEVICE_BACK));
    CHECK((strcmp(sgi_cause_name(number), "?") != 0) == (number <= SGI_CAUSE_PRESSURE));
    CHECK(sgi_version() == SGI_VERSION);
}

static void step_feature(struct world *w)
{
    struct out   o;
    uint32_t     index = one_in(w, 4) ? a_number(w) : below(w, 8);
    sgi_feature *feature = out_begin(w, &o, sizeof *feature);
    sgi_status   st = sgi_feature_at(index, feature);

    ONE_OF(w, st, SGI_E_NOT_FOUND, SGI_E_INVALID);
    if (out_end(&o, sizeof *feature, st)) {
        CHECK(feature->usable <= 1 && memchr(feature->name, 0, sizeof feature->name) && feature->name[0] != '\0');
        CHECK(memchr(feature->detail, 0, sizeof feature->detail) && feature->detail[0] != '\0');
    }
}

static char log_user; /* whose address is told */

static void on_log(void *user, uint32_t severity, const char *text)
{
    static atomic_uint records; /* ever */

    CHECK(user == &log_user);
    CHECK(severity >= SGI_LOG_ERROR && severity <= SGI_LOG_DEBUG);
    CHECK(text[0] != '\0');
    for (const char *at = text; *at; at++)
        CHECK(!((unsigned char)*at < ' ' || *at == '\x7f')); /* one line, whatever an engine or a file says */
    if (atomic_fetch_add(&records, 1) % 8 == 7)
        sgi_log_set_sink(on_log, user, severity); /* under no lock */
}

static void step_log(struct world *w)
{
    static const uint32_t severities[] = { SGI_LOG_DEBUG, SGI_LOG_WARN, 0, UINT32_MAX };
    bool                  listens = !one_in(w, 4);

    sgi_log_set_sink(listens ? on_log : NULL, &log_user, severities[below(w, 4)]);
}

static void step_init(struct world *w)
{
    static const uint16_t sizes[] = { 0, 3, 4, 8, 20, 200, 1000, 4096 };
    uint8_t               bytes[4096 + 8];
    size_t                size = sizes[below(w, sizeof sizes / sizeof *sizes)];
    uint32_t              struct_size;
    sgi_status            st;

    void *object = one_in(w, 8) ? NULL : bytes;
    memset(bytes, 0xa5, sizeof bytes);
    switch (below(w, 5)) {
    case 0:
        st = sgi_runtime_config_init(object, size);
        break;
    case 1:
        st = sgi_device_config_init(object, size);
        break;
    case 2:
        st = sgi_model_config_init(object, size);
        break;
    case 3:
        st = sgi_engine_init(object, size);
        break;
    default:
        st = sgi_acquire_options_init(object, size);
    }
    memcpy(&struct_size, bytes, sizeof struct_size);
    CHECK(st == (object && size >= sizeof struct_size ? SGI_OK : SGI_E_INVALID));
    CHECK(st != SGI_OK || struct_size == size);
    for (size_t n = st == SGI_OK ? size : 0; n < sizeof bytes; n++)
        CHECK(bytes[n] == 0xa5); /* nothing past its size */
}

void fuzz_api_asks(struct world *w)
{
    static void (*const steps[])(struct world *) = {
        step_estimate, step_estimate, step_names, step_feature, step_log, step_init, step_estimate, fuzz_api_pack,
    };
    steps[below(w, sizeof steps / sizeof *steps)](w);
}
