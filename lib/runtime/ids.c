/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of an id that names nothing. No state; any thread. */
#include "base/error.h"
#include "runtime/runtime.h"

static const struct {
    const char *noun, *gone;
} kinds[] = {
    [SGI__ID_MODEL] = { "model", "it was unregistered, or is being so" },
    [SGI__ID_LEASE] = { "lease", "it was released" },
    [SGI__ID_TICKET] = { "ticket", "it has ended, and its completion was taken" },
    [SGI__ID_CALL] = { "call", "it was given up by sgi_call_end()" },
};

sgi_status sgi__rt_stale(sgi_error *err, const char *function, enum sgi__id_kind kind, uint64_t id)
{
    const char *noun = kinds[kind].noun;

    if (id == 0)
        return sgi__error(err, SGI_E_STALE, "%s: the %s is 0, which is no id", function, noun);
    if (id >> 62 != (uint64_t)kind)
        return sgi__error(err, SGI_E_STALE, "%s: 0x%llx is not the id of a %s", function, (unsigned long long)id, noun);
    return sgi__error(err, SGI_E_STALE, "%s: there is no %s 0x%llx: %s, or it is of another runtime", function, noun,
                      (unsigned long long)id, kinds[kind].gone);
}
