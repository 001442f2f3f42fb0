/* SPDX-License-Identifier: Apache-2.0 */
/* Calls, as far as the core has to know them: while one is out its instance is in use, whoever has given it up. */
#include "core/state.h"

sgi_status sgi__core_call_begin(struct sgi__core *core, uint64_t now, sgi_lease lease, uint64_t *instance_out)
{
    struct lease *l = sgi__slots_get(&core->leases, lease, ID_LEASE);
    (void)now;
    if (!l)
        return SGI_E_STALE;
    struct instance *i = l->instance;
    if (!i->model->config.has_engine)
        return SGI_E_UNSUPPORTED;
    if (i->lost)
        return SGI_E_DEVICE_LOST;
    if ((i->state == ST_WEDGED || i->state == ST_STOPPING) && i->failed != SGI_OK) /* good for release only */
        return i->failed;
    if (l->is_overdue)
        return SGI_E_TIMEOUT;
    if (l->call_open || i->calls >= i->model->config.leases_max) /* one given up may be out still */
        return SGI_E_BUSY;
    l->call_open = true;
    i->calls++;
    core->calls++;
    *instance_out = i->id;
    return SGI_OK;
}

static void call_ending(struct sgi__core *core, uint64_t now, struct instance *i)
{
    i->calls_ending++;
    i->ending_last = now;
    if (i->state == ST_WEDGED || i->calls_ending > 1)
        return;
    sgi__instance_watch(core, now, i, CB_CALL);
}

void sgi__core_call_cancel(struct sgi__core *core, uint64_t now, uint64_t instance)
{
    struct instance *i = sgi__core_instance_of(core, instance);
    if (i && i->calls_ending < i->calls)
        call_ending(core, now, i);
    sgi__core_settle(core, now);
}

void sgi__core_call_detach(struct sgi__core *core, uint64_t now, sgi_lease lease, bool out)
{
    struct lease *l = sgi__slots_get(&core->leases, lease, ID_LEASE);
    (void)now;
    if (!l)
        return;
    l->call_open = false;
    if (out && l->instance->calls > 0) /* 0: it died with its place */
        l->instance->calls_detached++;
}

void sgi__core_call_back(struct sgi__core *core, uint64_t now, uint64_t instance, bool was_canceled, bool was_detached)
{
    struct instance *i = sgi__core_instance_of(core, instance);

    if (!i || i->calls == 0) /* it died with its place */
        return;
    i->calls--;
    core->calls--;
    if (was_canceled && i->calls_ending > 0)
        i->calls_ending--;
    if (was_detached && i->calls_detached > 0) {
        i->calls_detached--;
        core->dirty = core->dirty || core->pending_head; /* there is room for another lease */
    }
    if (i->calls_ending == 0)
        sgi__instance_unwatch(core, i, CB_CALL);
    else if (was_canceled && i->state != ST_WEDGED) /* which are left is not known: none is later than the last */
        sgi__instance_watch(core, i->ending_last, i, CB_CALL);
    if (sgi__instance_unused(i))
        sgi__instance_less_used(core, now, i, i->rest_ns);
    sgi__instance_heal(core, now, i);
    sgi__core_settle(core, now);
}
