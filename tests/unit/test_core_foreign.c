/* SPDX-License-Identifier: Apache-2.0 */
/* The core: devices that are shared with other processes, and what a closed context leaves of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *with_gpu(uint64_t device_mib, uint64_t dram_mib)
{
    return sim_new(&(struct sim_config){
        .seed = 7, .discrete = true, .vram_bytes = MIB(device_mib), .dram_bytes = MIB(dram_mib) });
}

static sgi_model model(struct sim *s, uint64_t mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib), .idle_ms = 100 });
}

static void use(struct sim *s, sgi_model m)
{
    sim_release(s, sim_acquire(s, m));
}

/* Used, and idle for so long that it left its device. */
static void use_up(struct sim *s, sgi_model m)
{
    use(s, m);
    sim_advance_ms(s, 100);
}

/* ---- what others have taken ---- */

static void others_may_take_what_is_left_to_them(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .discrete = true, .vram_bytes = MIB(1000), .total_bytes = { MIB(1600) } });
    sgi_model                    m = model(s, 800);
    struct sgi__core_device_view v;

    sim_foreign(s, 0, MIB(800)); /* 200 more than that */
    use(s, m);
    sgi__core_device_view(sim_core(s), 0, &v);
    assert_int_equal(v.bytes_foreign, MIB(800));
    sim_advance_ms(s, 100);
    sim_foreign(s, 0, MIB(801));
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 10 });
    assert_int_equal(sim_wait(s, t).status, SGI_E_TIMEOUT);
    sim_foreign(s, 0, 0);
    sim_free(s);
}

static void who_waits_for_what_others_have_taken_looks_at_it(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 0);
    sgi_model   m = model(s, 800);

    sim_foreign(s, 0, MIB(300));
    assert_int_equal(sgi__core_wake_at(sim_core(s)), SGI__NEVER); /* nobody waits */
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 1); /* what is known may be old */
    sim_advance_ms(s, 240);
    sim_foreign_unseen(s, 0, MIB(100));
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 10);
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 2);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 2);
    sim_release(s, sim_outcome(s, t).lease);
    sim_foreign(s, 0, 0);
    sim_free(s);
}

static void nobody_looks_for_what_is_not_taken(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .discrete = true, .vram_bytes = MIB(1000), .total_bytes = { MIB(1600) } });
    sgi_model a = model(s, 800), b = model(s, 800);
    sgi_lease lease = sim_acquire(s, a);

    sim_foreign(s, 0, MIB(500)); /* theirs */
    sgi_ticket t = sim_ask(s, b, NULL);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 0);
    sim_foreign(s, 0, MIB(700));
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 1);
    sim_lose_device(s, 0);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    sim_release(s, lease);
    sim_free(s);
}

/* One that waits here and there, for moments only, does not make it more than that. */
static void it_is_looked_at_once_in_a_while(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 0);
    sgi_model   m = model(s, 800);

    sim_foreign(s, 0, MIB(300));
    for (uint32_t n = 0; n < 20; n++) {
        sgi_ticket t = sim_ask(s, m, NULL);
        sim_advance_ms(s, 10);
        sim_cancel(s, t);
        sim_advance_ms(s, 15);
    }
    assert_int_equal(sim_actions(s, SGI__ACT_LOOK), 2); /* at once, and at 250 ms of 500 */
    sim_run_out(s);
    assert_int_equal(sgi__core_wake_at(sim_core(s)), SGI__NEVER);
    sim_foreign(s, 0, 0);
    sim_free(s);
}

/* ---- what a context leaves ---- */

static void a_closed_context_says_what_is_left_of_it(void **state)
{
    (void)state;
    struct sim                  *s = with_gpu(1000, 0);
    sgi_model                    m = model(s, 300);
    struct sgi__core_device_view v;

    sim_residue(s, 0, MIB(30));
    use_up(s, m);
    sim_advance_ms(s, 1000);
    assert_false(sim_context_open(s, 0));
    sgi__core_device_view(sim_core(s), 0, &v);
    assert_int_equal(v.bytes_residue, MIB(30));
    use(s, m);
    sgi__core_device_view(sim_core(s), 0, &v);
    assert_int_equal(v.bytes_residue, 0); /* the context's again */
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_may_take_what_is_left_to_them),
        cmocka_unit_test(who_waits_for_what_others_have_taken_looks_at_it),
        cmocka_unit_test(nobody_looks_for_what_is_not_taken),
        cmocka_unit_test(it_is_looked_at_once_in_a_while),
        cmocka_unit_test(a_closed_context_says_what_is_left_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
