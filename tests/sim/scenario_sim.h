/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the simulated executor share. */
#ifndef SGI_SIM_SCENARIO_SIM_H
#define SGI_SIM_SCENARIO_SIM_H

#include "sim/scenario.h"
#include "sim/sim_state.h"

struct simulated_want {
    bool       asked;
    sgi_ticket ticket; /* 0: it was not accepted, or needed none */
    int32_t    status; /* of what needed none */
    sgi_lease  lease;  /* held */
    bool       taken;  /* its lease was, or is not held any more */
    sgi_lease  call_lease;
    uint64_t   call_instance;
    bool       call_canceled;
    int32_t    call_status;         /* what the runtime has to make of it: SGI_E_WOULD_BLOCK until it has ended */
    bool       call_out, call_open; /* the engine is in it; its user has not given it up */
    int32_t    model;
};

struct simulated {
    struct sim            *s;
    const struct scenario *scenario;
    sgi_model              models[MODELS_MAX];
    bool                   leaving[MODELS_MAX], gone[MODELS_MAX];
    uint32_t               models_count, devices_count;
    struct simulated_want  wants[WANTS_MAX];
    sgi_lease              overdue[WANTS_MAX]; /* just now: their calls are to be canceled, as core.h says */
    uint32_t               overdue_count;
    uint32_t               told_count;
    struct told            told[TOLD_MAX];
};

void simulated_told(void *user, const struct sgi__core_reply *reply); /* for sim_told() */
void simulated_observe(void *executor, struct seen *seen);

#endif
