/* SPDX-License-Identifier: Apache-2.0 */
/* The world around the real runtime: its clock, its trouble, and when nothing is under way any more. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "sim/scenario_real.h"
#include "support/fake_cuda.h"

static const struct {
    uint8_t op;       /* enum test_place_op */
    int8_t  gate;     /* enum engine_step: held inside the engine's callback; -1: before the op begins */
    int8_t  callback; /* that fails; -1: none */
    int8_t  fault;    /* enum sgi__fault_point; -1: none */
    int     value;
} works[WORKS] = {
    [WORK_SOURCE] = { OP_CHECK, -1, -1, -1, 0 },
    [WORK_CONTEXT] = { OP_CONTEXT_OPEN, -1, -1, SGI__FAULT_CONTEXT, 1 },
    [WORK_MEMORY] = { OP_RESERVE, -1, -1, SGI__FAULT_RESERVE, 1 },
    [WORK_OPEN] = { OP_LOAD, -1, -1, SGI__FAULT_OPEN, EMFILE },
    [WORK_READ] = { OP_LOAD, -1, -1, SGI__FAULT_READ, EIO },
    [WORK_CHECK] = { OP_LOAD, -1, -1, SGI__FAULT_CORRUPT, 1 },
    [WORK_PREFIX] = { OP_PREFIX, ENGINE_PREFIX_FILL, ENGINE_PREFIX_FILL, -1, 0 },
    [WORK_PREPARE] = { OP_PREPARE, ENGINE_PREPARE, ENGINE_PREPARE, -1, 0 },
    [WORK_START] = { OP_START, ENGINE_START, ENGINE_START, -1, 0 },
    [WORK_STOP] = { OP_STOP, ENGINE_STOP, -1, -1, 0 },
    [WORK_FREE] = { OP_FREE, -1, -1, -1, 0 },
    [WORK_KEEP] = { OP_KEEP, -1, -1, -1, 0 },
    [WORK_DROP] = { OP_DROP, -1, -1, -1, 0 },
    [WORK_CHANGED] = { OP_CHECK, -1, -1, -1, 0 },
};

/* ---- until nothing is under way ---- */

static bool core_is_settled(void *user)
{
    struct real *x = user;

    sgi__rt_poke(x->rt); /* the library's own thread would do it too: whoever comes first */
    pthread_mutex_lock(&x->rt->mutex);
    bool settled = !x->rt->dispatching && sgi__core_wake_at(x->rt->core) > sgi__rt_now(x->rt);
    pthread_mutex_unlock(&x->rt->mutex);
    return settled;
}

static uint32_t gate_of(enum test_place_op what)
{
    for (uint32_t w = 0; w < WORKS; w++)
        if (works[w].op == what && works[w].gate >= 0)
            return (uint32_t)works[w].gate;
    return ENGINE_STEPS;
}

static struct real_model *model_of(struct real *x, sgi_model id)
{
    for (uint32_t m = 0; m < x->models_count; m++)
        if (x->models[m].id == id)
            return &x->models[m];
    return NULL;
}

struct coming {
    struct real *x;
    struct gate *gate;
    uint32_t     before;
};

/* A start whose load has failed on its way to a device ends before it calls out. */
static bool has_come(void *user)
{
    struct coming *c = user;
    return gate_arrived(c->gate) > c->before || test_place_is_running(c->x->tp) <= c->x->blocked;
}

/* The oldest op that may begin, until its result is taken in, or its callback is at a gate. */
static bool one_op(struct real *x)
{
    enum test_place_op what;
    sgi_model          id;
    uint32_t           arrived[MODELS_MAX][ENGINE_STEPS];

    for (uint32_t m = 0; m < x->models_count; m++)
        for (uint32_t g = 0; g < ENGINE_STEPS; g++)
            arrived[m][g] = gate_arrived(&x->models[m].engine.gates[g]);
    if (!test_place_begin(x->tp, &what, &id))
        return false;
    struct real_model *m = id ? model_of(x, id) : NULL;
    uint32_t           gate = m ? gate_of(what) : ENGINE_STEPS;
    if (gate == ENGINE_STEPS || !m->gated[gate]) {
        test_place_wait_running(x->tp, x->blocked);
        return true;
    }
    struct coming coming = { x, &m->engine.gates[gate], arrived[m - x->models][gate] };
    test_wait_until(has_come, &coming, "nobody comes to the gate");
    if (gate_arrived(coming.gate) == coming.before)
        return true;
    m->at_gate[gate]++;
    x->blocked++;
    test_place_hold_op(x->tp, what, id); /* one at a time, so that they come out in their order */
    return true;
}

static uint32_t at_gate(struct gate *gate)
{
    uint32_t passed = gate_passed(gate);
    return gate_arrived(gate) - passed;
}

/* Free: callbacks that wait at closed gates, calls too. Whoever is at an open one goes on, and is not counted. */
static uint32_t at_gates(struct real *x)
{
    uint32_t count = 0;

    for (uint32_t m = 0; m < x->models_count; m++)
        for (uint32_t g = 0; g < ENGINE_STEPS; g++)
            if (x->models[m].gated[g])
                count += at_gate(&x->models[m].engine.gates[g]);
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        if (x->wants[n].call_out)
            count += at_gate(&x->wants[n].call_gate);
    return count;
}

static bool all_is_quiet(void *user)
{
    struct real *x = user;
    return core_is_settled(x) && test_place_quiet(x->tp, at_gates(x)) && core_is_settled(x) &&
           test_place_quiet(x->tp, at_gates(x));
}

/* Whoever has been told by the core knows it by now. */
static bool ends_are_known(void *user)
{
    struct real            *x = user;
    struct sgi__core_totals t;
    uint32_t                waiting = 0;

    real_take_completions(x);
    pthread_mutex_lock(&x->rt->mutex);
    sgi__core_totals(x->rt->core, &t);
    pthread_mutex_unlock(&x->rt->mutex);
    pthread_mutex_lock(&x->mutex);
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        waiting += x->wants[n].asked && !x->wants[n].ended;
    pthread_mutex_unlock(&x->mutex);
    return waiting == t.wants;
}

static bool leavers_are_known(void *user)
{
    struct real                *x = user;
    struct sgi__core_model_view v;
    bool                        known = true;

    for (uint32_t n = 0; n < x->models_count; n++) {
        struct real_model *m = &x->models[n];
        if (!m->leaving || atomic_load(&m->gone))
            continue;
        pthread_mutex_lock(&x->rt->mutex);
        sgi_status st = sgi__core_model_view(x->rt->core, m->id, &v);
        pthread_mutex_unlock(&x->rt->mutex);
        known = known && st == SGI_OK && v.draining && !v.drained;
    }
    return known;
}

static void wait_for_others(struct real *x)
{
    test_wait_until(core_is_settled, x, "the core does not settle");
    test_wait_until(ends_are_known, x, "somebody is not told");
    test_wait_until(leavers_are_known, x, "a model does not leave");
}

void real_settle(struct real *x)
{
    wait_for_others(x);
    if (!x->stepped) {
        test_wait_until(all_is_quiet, x, "the place does not become quiet");
        wait_for_others(x);
        real_check_bytes(x);
        return;
    }
    do
        wait_for_others(x);
    while (one_op(x));
    real_check_bytes(x);
}

/* ---- time ---- */

static void move_clock(struct real *x, uint64_t to)
{
    atomic_store(&x->clock.now_ns, to);
    sgi__rt_poke(x->rt);
    real_settle(x);
}

static void advance(struct real *x, uint32_t ms)
{
    uint64_t until = atomic_load(&x->clock.now_ns) + (uint64_t)ms * 1000000u;

    for (;;) {
        pthread_mutex_lock(&x->rt->mutex);
        uint64_t wake = sgi__core_wake_at(x->rt->core);
        pthread_mutex_unlock(&x->rt->mutex);
        if (wake > until)
            break;
        move_clock(x, wake);
    }
    move_clock(x, until);
}

/* ---- trouble ---- */

static void swap_file(struct real_model *m, uint8_t broken)
{
    char            gone[sizeof m->file->path + 8];
    struct stat     st;
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };

    snprintf(gone, sizeof gone, "%s.gone", m->file->path);
    if (m->broken == WORK_SOURCE || broken == WORK_SOURCE) {
        bool away = broken == WORK_SOURCE;
        if (rename(away ? m->file->path : gone, away ? gone : m->file->path) != 0)
            abort();
    } else {
        if (stat(m->file->path, &st) != 0)
            abort();
        times[1] = st.st_mtim;
        times[1].tv_sec += broken == WORK_CHANGED ? 1 : -1;
        if (utimensat(AT_FDCWD, m->file->path, times, 0) != 0)
            abort();
    }
    m->broken = broken;
}

static void fail(struct real *x, const struct step *step, bool fails)
{
    enum work          what = step->what;
    struct real_model *m = &x->models[step->model];

    if (what == WORK_SOURCE || what == WORK_CHANGED) {
        if (m->broken != WORKS)
            swap_file(m, WORKS);
        if (fails)
            swap_file(m, (uint8_t)what);
        return;
    }
    if (what == WORK_MEMORY && x->scenario->cuda) { /* the device's: there is host memory */
        fake.fakecuda_faults_clear();
        if (fails)
            fake_cuda_fault("cuMemCreate * error 2");
        return;
    }
    for (uint32_t w = 0; w < WORKS; w++) /* of one op only one way to fail at a time */
        if (works[w].op == works[what].op && works[w].fault >= 0)
            sgi__fault_plan((enum sgi__fault_point)works[w].fault, 0, 0, 0);
    if (fails && works[what].fault >= 0)
        sgi__fault_plan((enum sgi__fault_point)works[what].fault, 1, UINT64_MAX, works[what].value);
    for (uint32_t n = 0; n < x->models_count && works[what].callback >= 0; n++)
        atomic_store(&x->models[n].engine.fail[works[what].callback], fails ? SGI_E_ENGINE : SGI_OK);
}

static void hold(struct real *x, const struct step *step)
{
    struct real_model *m = &x->models[step->model];
    int8_t             gate = works[step->what].gate;

    if (step->what == WORK_READ || step->what == WORK_PREFIX) { /* or nothing would tell a start that waits for it */
        m->engine.no_wait = true;
        m->engine.look = false;
    }
    if (gate >= 0) {
        gate_close(&m->engine.gates[gate]);
        m->gated[gate] = true;
    } else {
        test_place_hold_op(x->tp, works[step->what].op, step->what == WORK_CONTEXT ? 0 : m->id);
    }
}

static void let_go(struct real *x, const struct step *step)
{
    struct real_model *m = &x->models[step->model];
    int8_t             gate = works[step->what].gate;

    test_place_let_go_op(x->tp, works[step->what].op, step->what == WORK_CONTEXT ? 0 : m->id);
    if (gate < 0 || !m->gated[gate])
        return;
    m->gated[gate] = false;
    x->blocked -= m->at_gate[gate];
    m->at_gate[gate] = 0;
    gate_open(&m->engine.gates[gate]);
    if (x->stepped)
        test_place_wait_running(x->tp, x->blocked);
}

/* Everything that waits comes back: to nobody. */
static void place_dies(struct real *x)
{
    test_place_die(x->tp);
    for (uint32_t n = 0; n < x->models_count; n++) {
        struct real_model *m = &x->models[n];
        for (uint32_t what = 0; what < WORKS; what++)
            test_place_let_go_op(x->tp, works[what].op, what == WORK_CONTEXT ? 0 : m->id);
        for (uint32_t g = 0; g < ENGINE_STEPS; g++) {
            gate_open(&m->engine.gates[g]);
            m->gated[g] = false;
            m->at_gate[g] = 0;
        }
    }
    for (uint32_t n = 0; n < WANTS_MAX; n++) {
        gate_open(&x->wants[n].call_gate);
        x->wants[n].call_out = false;
    }
    x->blocked = 0;
    test_place_wait_reaped(x->tp);
}

void real_world_step(struct real *x, const struct step *step)
{
    switch (step->kind) {
    case STEP_ADVANCE:
        advance(x, step->ms);
        break;
    case STEP_HOLD:
        hold(x, step);
        break;
    case STEP_LET_GO:
        let_go(x, step);
        break;
    case STEP_FAIL:
    case STEP_MEND:
        fail(x, step, step->kind == STEP_FAIL);
        break;
    case STEP_LOSE_DEVICE:
        test_place_lose_device(x->tp, step->device);
        break;
    case STEP_DEVICE_BACK:
        test_place_device_back(x->tp, step->device);
        break;
    case STEP_PLACE_DIES:
        place_dies(x);
        break;
    case STEP_PLACE_UP:
        test_place_up(x->tp);
        break;
    default:
        break;
    }
}
