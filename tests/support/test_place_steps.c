/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that do not begin by themselves: those that are held, and all of them where a test carries them out one by
 * one. */
#include "test_place_state.h"

#include <assert.h>

bool steps_held(const struct test_place *tp, const struct op_job *j)
{
    for (uint32_t n = 0; n < tp->held_ops_count; n++)
        if (tp->held_ops[n].what == j->what && (tp->held_ops[n].model == 0 || tp->held_ops[n].model == j->model))
            return true;
    return false;
}

bool steps_own(const struct test_place *tp, int32_t device)
{
    return device >= 0 && !tp->config.devices[device]->ops->unified;
}

static bool holds(const struct test_place *tp, enum test_place_op what, sgi_model model)
{
    return steps_held(tp, &(struct op_job){ .what = what, .model = model });
}

/* On a device with memory of its own a load waits for the context, and a start for the load. The place inside does so
 * too; but there nobody would see whether they are at it or wait, and of all who do, who goes first. Where ops begin by
 * themselves they do wait inside, unless something is held here that they would wait for. */
static bool is_at_gate(const struct op_job *j)
{
    const struct test_place    *tp = j->life->tp;
    const struct held_instance *i = life_find_instance(j->life, j->instance);

    if ((j->what != OP_LOAD && j->what != OP_START) || !i || !steps_own(tp, i->device))
        return false;
    bool shut = j->life->contexts[i->device] == CONTEXT_SHUT && !i->canceled;
    if (tp->stepped)
        return j->what == OP_LOAD ? shut : i->loading;
    shut = shut && holds(tp, OP_CONTEXT_OPEN, 0);
    return j->what == OP_LOAD ? shut : i->loading && (shut || holds(tp, OP_LOAD, j->model));
}

bool steps_wait(const struct test_place *tp, const struct op_job *j)
{
    return steps_held(tp, j) || is_at_gate(j);
}

/* Whoever lets go counts nobody as parked any more: those that still are say so again. */
static void wake_parked(struct test_place *tp)
{
    for (struct incarnation *life = tp->lives; life; life = life->next)
        life->parked = 0;
    tp->let_go++;
    pthread_cond_broadcast(&tp->changed);
}

void steps_park(struct incarnation *life)
{
    struct test_place *tp = life->tp;
    uint32_t           let_go = tp->let_go;

    life->parked++;
    while (tp->let_go == let_go)
        pthread_cond_wait(&tp->changed, &tp->mutex);
}

void steps_add(struct test_place *tp, struct op_job *j)
{
    struct op_job **at = &tp->waiting;
    while (*at)
        at = &(*at)->next;
    *at = j;
}

void steps_leave_gate(struct incarnation *life, int32_t device, uint64_t instance)
{
    struct test_place *tp = life->tp;
    struct op_job     *gone = NULL, **tail = &gone;

    for (struct op_job **at = &tp->waiting; *at;) {
        struct op_job              *j = *at;
        const struct held_instance *i = life_find_instance(life, j->instance);
        if (!j->at_gate || !i || (device >= 0 && i->device != device) || (instance > 0 && i->id != instance)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        j->next = NULL;
        j->at_gate = false;
        *tail = j;
        tail = &j->next;
    }
    struct op_job **end = &tp->waiting;
    while (*end)
        end = &(*end)->next;
    *end = gone;
    if (!tp->stepped)
        wake_parked(tp);
}

void steps_forget(struct test_place *tp)
{
    wake_parked(tp);
    while (tp->waiting) {
        struct op_job *j = tp->waiting;
        tp->waiting = j->next;
        j->life->out--;
        tp->lost++;
        free(j);
    }
}

void test_place_hold_op(struct test_place *tp, enum test_place_op what, sgi_model model)
{
    pthread_mutex_lock(&tp->mutex);
    assert(tp->held_ops_count < HELD_OPS_MAX);
    tp->held_ops[tp->held_ops_count].what = what;
    tp->held_ops[tp->held_ops_count++].model = model;
    pthread_mutex_unlock(&tp->mutex);
}

void test_place_let_go_op(struct test_place *tp, enum test_place_op what, sgi_model model)
{
    uint32_t kept = 0;

    pthread_mutex_lock(&tp->mutex);
    for (uint32_t n = 0; n < tp->held_ops_count; n++)
        if (tp->held_ops[n].what != what || tp->held_ops[n].model != model)
            tp->held_ops[kept++] = tp->held_ops[n];
    tp->held_ops_count = kept;
    wake_parked(tp);
    pthread_mutex_unlock(&tp->mutex);
}

bool test_place_begin(struct test_place *tp, enum test_place_op *what_out, sgi_model *model_out)
{
    pthread_mutex_lock(&tp->mutex);
    struct op_job **at = &tp->waiting;
    for (; *at; at = &(*at)->next) {
        if ((*at)->at_gate || steps_held(tp, *at))
            continue;
        (*at)->at_gate = is_at_gate(*at);
        if (!(*at)->at_gate)
            break;
    }
    struct op_job *j = *at;
    if (j) {
        *at = j->next;
        j->life->running++;
        *what_out = j->what;
        *model_out = j->model;
    }
    pthread_mutex_unlock(&tp->mutex);
    if (j && sgi__pool_submit(tp->pool, &j->job) != 0)
        abort();
    return j != NULL;
}

void test_place_wait_running(struct test_place *tp, uint32_t count)
{
    pthread_mutex_lock(&tp->mutex);
    while (tp->live && (tp->live->running > count || tp->telling > 0))
        pthread_cond_wait(&tp->changed, &tp->mutex);
    pthread_mutex_unlock(&tp->mutex);
}

uint32_t test_place_is_running(struct test_place *tp)
{
    pthread_mutex_lock(&tp->mutex);
    uint32_t running = tp->live ? tp->live->running + tp->telling : 0;
    pthread_mutex_unlock(&tp->mutex);
    return running;
}

bool test_place_quiet(struct test_place *tp, uint32_t blocked)
{
    pthread_mutex_lock(&tp->mutex);
    uint32_t out = tp->live ? tp->live->out - tp->live->parked : 0;
    bool     quiet = tp->telling == 0 && (out == blocked || !tp->live);
    pthread_mutex_unlock(&tp->mutex);
    return quiet;
}
