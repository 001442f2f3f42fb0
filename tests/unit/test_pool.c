/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: threads that exist only while there is work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/pool.h"
#include "support/gate.h"

struct counted {
    struct sgi__job job;  /* first */
    struct gate    *gate; /* NULL: none */
    atomic_int     *done;
};

static void run(struct sgi__job *job)
{
    struct counted *c = (struct counted *)job;
    if (c->gate)
        gate_pass(c->gate);
    atomic_fetch_add(c->done, 1);
}

static bool has_no_threads(void *user)
{
    return sgi__pool_threads(user) == 0;
}

static void threads_are_there_while_jobs_are(void **state)
{
    (void)state;
    struct sgi__pool *pool = sgi__pool_new("test", 8);
    atomic_int        done = 0;
    struct gate       gate;
    struct counted    jobs[4];

    gate_init(&gate);
    gate_close(&gate);
    assert_int_equal(sgi__pool_threads(pool), 0);
    for (int n = 0; n < 4; n++) {
        jobs[n] = (struct counted){ .job.run = run, .gate = &gate, .done = &done };
        assert_int_equal(sgi__pool_submit(pool, &jobs[n].job), 0);
    }
    gate_wait_arrived(&gate, 4); /* none waits for another */
    assert_int_equal(sgi__pool_threads(pool), 4);
    gate_open(&gate);
    test_wait_until(has_no_threads, pool, "pool threads do not leave");
    assert_int_equal(done, 4);
    sgi__pool_free(pool);
    gate_fini(&gate);
}

static void no_more_threads_than_its_maximum(void **state)
{
    (void)state;
    struct sgi__pool *pool = sgi__pool_new("test", 2);
    atomic_int        done = 0;
    struct gate       gate;
    struct counted    jobs[10];

    gate_init(&gate);
    gate_close(&gate);
    for (int n = 0; n < 10; n++) {
        jobs[n] = (struct counted){ .job.run = run, .gate = &gate, .done = &done };
        assert_int_equal(sgi__pool_submit(pool, &jobs[n].job), 0);
    }
    gate_wait_arrived(&gate, 2);
    assert_int_equal(sgi__pool_threads(pool), 2);
    assert_int_equal(gate_arrived(&gate), 2);
    gate_open(&gate);
    sgi__pool_free(pool); /* runs what is queued */
    assert_int_equal(done, 10);
    gate_fini(&gate);
}

static void run_and_free(struct sgi__job *job)
{
    atomic_fetch_add(((struct counted *)job)->done, 1);
    free(job);
}

static void a_job_may_be_freed_by_its_run(void **state)
{
    (void)state;
    struct sgi__pool *pool = sgi__pool_new("test", 3);
    atomic_int        done = 0;

    for (int n = 0; n < 1000; n++) {
        struct counted *c = calloc(1, sizeof *c);
        c->job.run = run_and_free;
        c->done = &done;
        assert_int_equal(sgi__pool_submit(pool, &c->job), 0);
    }
    sgi__pool_free(pool);
    assert_int_equal(done, 1000);
}

static void without_a_thread_the_job_is_refused(void **state)
{
    (void)state;
    struct sgi__pool *pool = sgi__pool_new("test", 8);
    atomic_int        done = 0;
    struct gate       gate;
    struct counted    first = { .job.run = run, .gate = &gate, .done = &done };
    struct counted    second = { .job.run = run, .done = &done };

    gate_init(&gate);
    gate_close(&gate);
    sgi__fault_plan(SGI__FAULT_THREAD, 1, UINT64_MAX, EAGAIN);
    assert_int_equal(sgi__pool_submit(pool, &first.job), EAGAIN); /* not taken */
    sgi__fault_clear();
    assert_int_equal(sgi__pool_submit(pool, &first.job), 0);
    gate_wait_arrived(&gate, 1);
    sgi__fault_plan(SGI__FAULT_THREAD, 1, UINT64_MAX, EAGAIN);
    assert_int_equal(sgi__pool_submit(pool, &second.job), EAGAIN); /* the one that is there may wait for it */
    sgi__fault_clear();
    assert_int_equal(sgi__pool_submit(pool, &second.job), 0);
    gate_open(&gate);
    sgi__pool_free(pool);
    assert_int_equal(done, 2);
    gate_fini(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_are_there_while_jobs_are),
        cmocka_unit_test(no_more_threads_than_its_maximum),
        cmocka_unit_test(a_job_may_be_freed_by_its_run),
        cmocka_unit_test(without_a_thread_the_job_is_refused),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
