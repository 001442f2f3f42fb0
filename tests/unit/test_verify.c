/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes of tensors whose pieces land in any order. That a tensor was hashed while it landed shows when its memory is
 * overwritten before its end: the hash is still that of what had landed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/fault.h"
#include "load/verify.h"
#include "support/model_files.h"

enum { BYTES = 100003, PIECES = 70 };

static uint8_t data[BYTES], scribbled[BYTES];

static uint32_t draw(uint64_t *random, uint32_t below)
{
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % below;
}

/* Bounds of `count` pieces of BYTES, none of them empty. */
static void cut(uint64_t *random, uint32_t *bounds, uint32_t count)
{
    for (uint32_t n = 0; n <= count; n++)
        bounds[n] = (uint32_t)((uint64_t)BYTES * n / count);
    for (uint32_t n = 1; n < count; n++)
        bounds[n] += draw(random, 500);
}

static void shuffle(uint64_t *random, uint32_t *order, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        order[n] = n;
    for (uint32_t n = count; n-- > 1;) {
        uint32_t other = draw(random, n + 1), kept = order[n];
        order[n] = order[other];
        order[other] = kept;
    }
}

static void whatever_the_order_the_hash_is_that_of_what_landed(void **state)
{
    (void)state;
    struct sgi__verify v = { 0 };
    uint64_t           random = 5, want = test_xxh3(data, BYTES);
    uint32_t           bounds[PIECES + 1], order[PIECES];

    for (int round = 0; round < 300; round++) {
        uint32_t count = 1 + draw(&random, PIECES);
        cut(&random, bounds, count);
        shuffle(&random, order, count);
        for (uint32_t n = 0; n < count; n++)
            sgi__verify_landed(&v, 7, data, bounds[order[n]], bounds[order[n] + 1]);
        assert_true(sgi__verify_end(&v, 7, scribbled, BYTES) == want); /* nobody looked there again */
        assert_int_equal(v.open_count, 0);
    }
    sgi__verify_fini(&v);
}

static void tensors_beside_each_other_are_kept_apart(void **state)
{
    (void)state;
    struct sgi__verify v = { 0 };
    uint64_t           random = 9;
    enum { TENSORS = 20, EACH = BYTES / TENSORS };
    uint32_t order[TENSORS];

    for (uint32_t part = 0; part < 4; part++) /* from both ends */
        for (uint64_t t = 0; t < TENSORS; t++) {
            uint32_t at = part % 2 ? 3 - part / 2 : part / 2;
            sgi__verify_landed(&v, t, data + t * EACH, EACH / 4 * at, at == 3 ? EACH : EACH / 4 * (at + 1));
        }
    assert_int_equal(v.open_count, TENSORS);
    shuffle(&random, order, TENSORS);
    for (uint32_t n = 0; n < TENSORS; n++)
        assert_true(sgi__verify_end(&v, order[n], scribbled, EACH) == test_xxh3(data + order[n] * EACH, EACH));
    sgi__verify_fini(&v);
}

/* Past its room, or out of memory, a tensor is hashed at its end. */
static void without_room_the_end_hashes_all_of_it(void **state)
{
    (void)state;
    struct sgi__verify v = { 0 };
    enum { MANY = SGI__VERIFY_PIECES_MAX + 10 };

    for (uint32_t n = MANY; n-- > 0;) /* backwards: all of them wait for the first */
        sgi__verify_landed(&v, 1, scribbled, BYTES / MANY * n, n == MANY - 1 ? BYTES : BYTES / MANY * (n + 1));
    assert_true(sgi__verify_end(&v, 1, data, BYTES) == test_xxh3(data, BYTES));
    sgi__verify_landed(&v, 1, data, 500, 1000); /* and the next one has all the room again */
    sgi__verify_landed(&v, 1, data, 0, 500);
    assert_true(sgi__verify_end(&v, 1, scribbled, 1000) == test_xxh3(data, 1000));

    for (uint64_t t = 0; t <= SGI__VERIFY_OPEN_MAX; t++)
        sgi__verify_landed(&v, t, data, 0, 1000);
    assert_int_equal(v.open_count, SGI__VERIFY_OPEN_MAX);
    for (uint64_t t = 0; t <= SGI__VERIFY_OPEN_MAX; t++) {
        bool had_room = t < SGI__VERIFY_OPEN_MAX;
        assert_true(sgi__verify_end(&v, t, had_room ? scribbled : data, 1000) == test_xxh3(data, 1000));
    }
    sgi__verify_fini(&v);

    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    sgi__verify_landed(&v, 1, scribbled, 0, 500);
    sgi__verify_landed(&v, 1, scribbled, 500, 1000);
    sgi__fault_clear();
    assert_true(sgi__verify_end(&v, 1, data, 1000) == test_xxh3(data, 1000));
    sgi__verify_landed(&v, 2, data, 0, 10); /* a load that ends in the middle */
    sgi__verify_fini(&v);
    assert_true(v.open_count == 0 && !v.spare);
}

static void a_state_may_lie_anywhere(void **state)
{
    (void)state;
    static _Alignas(64) uint8_t memory[sizeof(struct sgi__hash_state) + 64];
    for (size_t at = 0; at < 64; at++) {
        struct sgi__hash_state *s = (void *)(memory + at);
        sgi__hash_begin(s);
        for (uint64_t n = 0; n < BYTES; n += 1021)
            sgi__hash_more(s, data + n, n + 1021 < BYTES ? 1021 : BYTES - n);
        assert_true(sgi__hash_so_far(s) == sgi__hash(data, BYTES));
    }
}

static int fill(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t n = 0; n < BYTES; n++)
        data[n] = (uint8_t)draw(&random, 256);
    memset(scribbled, 0xaa, sizeof scribbled);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_order_the_hash_is_that_of_what_landed),
        cmocka_unit_test(tensors_beside_each_other_are_kept_apart),
        cmocka_unit_test(without_room_the_end_hashes_all_of_it),
        cmocka_unit_test(a_state_may_lie_anywhere),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
