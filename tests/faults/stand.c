/* SPDX-License-Identifier: Apache-2.0 */
#include "stand.h"

#include <string.h>

sgi_runtime_config stand_config(void)
{
    sgi_runtime_config config = host_config();
    config.hang_timeout_ms = STAND_HANG_MS;
    config.read_block_bytes = KIB(64);
    config.backoff_ms = config.backoff_max_ms = 1;
    return config;
}

void stand_open(struct stand *s, const struct sgi__place_ops *place, const sgi_runtime_config *config)
{
    sgi_runtime_config defaults = stand_config();

    memset(s, 0, sizeof *s);
    s->err = (sgi_error)SGI_ERROR_INIT;
    s->before = ledger_take();
    test_clock_init(&s->clock);
    test_engine_init(&s->engine, true, true);
    if (sgi__runtime_open_with(config ? config : &defaults, place, &s->clock.table, &s->rt, &s->err) != SGI_OK)
        fail_msg("open: %s", s->err.message);
    s->model = host_add(s->rt, "m", loop_shards()->path, &s->engine);
    s->other = host_add(s->rt, "other", loop_file()->path, NULL);
}

void stand_close(struct stand *s)
{
    host_close(s->rt);
    test_engine_fini(&s->engine);
    ledger_compare(&s->before, "the runtime has been closed");
}

sgi_ticket stand_ask(struct stand *s, sgi_model model, uint32_t deadline_ms)
{
    sgi_acquire_options o;
    sgi_ticket          ticket = 0;

    sgi_acquire_options_init(&o, sizeof o);
    o.deadline_ms = deadline_ms;
    assert_int_equal(sgi_model_acquire(s->rt, model, &o, &ticket, NULL, NULL, &s->err), SGI_OK);
    return ticket;
}

sgi_status stand_end(struct stand *s, sgi_ticket ticket, sgi_lease *lease_out)
{
    sgi_lease unused = 0;
    return sgi_ticket_wait(s->rt, ticket, HOST_WAIT_MS, lease_out ? lease_out : &unused, &s->err);
}

/* Anybody may cancel it as long as it has not. */
bool stand_has_ended(struct stand *s, sgi_ticket ticket)
{
    sgi_lease  lease = 0;
    sgi_error  err = SGI_ERROR_INIT;
    sgi_status st = sgi_ticket_wait(s->rt, ticket, 1, &lease, &err);
    return !(st == SGI_E_TIMEOUT && err.step == SGI_STEP_NONE);
}

void stand_serves(struct stand *s, sgi_model model)
{
    sgi_lease lease = host_acquire(s->rt, model);
    host_same_bytes(s->rt, model, lease, model == s->other ? loop_file() : loop_shards()->shards);
    host_release(s->rt, lease);
}

void stand_others_go_on(struct stand *s)
{
    stand_serves(s, s->other);
    assert_int_equal(sgi_model_evict(s->rt, s->other, SGI_TIER_DISK), SGI_OK);
    host_wait_state(s->rt, s->other, SGI_MODEL_COLD);
}

void stand_close_times_out(struct stand *s, const char *holder)
{
    int64_t mapped = test_calls_mapped();

    assert_int_equal(sgi_runtime_close(s->rt, 1, &s->err), SGI_E_TIMEOUT);
    host_error_is(&s->err, SGI_E_TIMEOUT, SGI_STEP_NONE, "model 'm'");
    host_error_is(&s->err, SGI_E_TIMEOUT, SGI_STEP_NONE, holder);
    assert_int_equal(test_calls_mapped(), mapped);
}
