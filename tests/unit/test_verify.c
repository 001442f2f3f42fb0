/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes of tensors whose pieces land in any order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include "base/fault.h"
#include "load/verify.h"
#include "support/model_files.h"

enum { BYTES = 100003, PIECES = 70 };

static uint8_t data[BYTES];

static void land(struct sgi__verify *v, uint64_t tensor, const uint8_t *bytes, uint64_t from, uint64_t to, bool first)
{
    struct sgi__piece piece = { .bytes = bytes + from, .from = from, .to = to };
    sgi__verify_landed(v, tensor, &piece, first);
}

/* 0: it was not hashed whole. */
static uint64_t end(struct sgi__verify *v, uint64_t tensor, uint64_t bytes)
{
    uint64_t value = 1;
    return sgi__verify_end(v, tensor, bytes, &value) ? value : 0;
}

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
            land(&v, 7, data, bounds[order[n]], bounds[order[n] + 1], n == 0);
        assert_true(end(&v, 7, BYTES) == want);
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
            land(&v, t, data + t * EACH, EACH / 4 * at, at == 3 ? EACH : EACH / 4 * (at + 1), part == 0);
        }
    assert_int_equal(v.open_count, TENSORS);
    shuffle(&random, order, TENSORS);
    for (uint32_t n = 0; n < TENSORS; n++)
        assert_true(end(&v, order[n], EACH) == test_xxh3(data + order[n] * EACH, EACH));
    sgi__verify_fini(&v);
}

/* Past its room, or out of memory, a tensor is not hashed while it lands, and nothing is held for it. */
static void without_room_the_end_says_so(void **state)
{
    (void)state;
    struct sgi__verify v = { 0 };
    uint32_t           holds = 0;
    enum { MANY = SGI__VERIFY_PIECES_MAX + 10 };

    for (uint32_t n = MANY; n-- > 0;) { /* backwards: all of them wait for the first */
        struct sgi__piece piece = { data, BYTES / MANY * n, n == MANY - 1 ? BYTES : BYTES / MANY * (n + 1), &holds };
        sgi__verify_landed(&v, 1, &piece, n == MANY - 1);
        assert_int_equal(holds, n >= 10 ? MANY - n : 0);
    }
    assert_true(end(&v, 1, BYTES) == 0);
    land(&v, 1, data, 500, 1000, true); /* and the next one has all the room again */
    land(&v, 1, data, 0, 500, false);
    assert_true(end(&v, 1, 1000) == test_xxh3(data, 1000));

    for (uint64_t t = 0; t <= SGI__VERIFY_OPEN_MAX; t++)
        land(&v, t, data, 0, 1000, true);
    assert_int_equal(v.open_count, SGI__VERIFY_OPEN_MAX);
    for (uint64_t t = 0; t <= SGI__VERIFY_OPEN_MAX; t++) /* what came too late for room does not begin in the middle */
        land(&v, t, data, 1000, 2000, false);
    for (uint64_t t = 0; t <= SGI__VERIFY_OPEN_MAX; t++)
        assert_true(end(&v, t, 2000) == (t < SGI__VERIFY_OPEN_MAX ? test_xxh3(data, 2000) : 0));
    sgi__verify_fini(&v);

    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    land(&v, 1, data, 0, 500, true);
    land(&v, 1, data, 500, 1000, false);
    sgi__fault_clear();
    assert_true(end(&v, 1, 1000) == 0);
    land(&v, 2, data, 0, 10, true); /* a load that ends in the middle */
    sgi__verify_fini(&v);
    assert_true(v.open_count == 0 && !v.spare);
}

static void memory_is_held_while_a_piece_waits(void **state)
{
    (void)state;
    struct sgi__verify v = { 0 };
    uint32_t           first = 0, second = 0, third = 0;

    sgi__verify_landed(&v, 1, &(struct sgi__piece){ data + 20, 20, 30, &third }, true);
    sgi__verify_landed(&v, 1, &(struct sgi__piece){ data + 10, 10, 20, &second }, false);
    assert_true(second == 1 && third == 1);
    sgi__verify_landed(&v, 1, &(struct sgi__piece){ data, 0, 10, &first }, false);
    assert_true(first == 0 && second == 0 && third == 0);
    assert_true(end(&v, 1, 30) == test_xxh3(data, 30));

    sgi__verify_landed(&v, 2, &(struct sgi__piece){ data + 20, 20, 30, &third }, true);
    sgi__verify_landed(&v, 3, &(struct sgi__piece){ data, 0, 10, &first }, true);
    assert_true(sgi__verify_give_up(&v)); /* who waits for nothing loses nothing */
    assert_false(sgi__verify_give_up(&v));
    assert_true(third == 0);
    sgi__verify_landed(&v, 2, &(struct sgi__piece){ data, 0, 20, &first }, false);
    sgi__verify_landed(&v, 3, &(struct sgi__piece){ data + 10, 10, 20, &second }, false);
    assert_true(end(&v, 2, 30) == 0);
    assert_true(end(&v, 3, 20) == test_xxh3(data, 20));
    sgi__verify_fini(&v);
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
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_order_the_hash_is_that_of_what_landed),
        cmocka_unit_test(tensors_beside_each_other_are_kept_apart),
        cmocka_unit_test(without_room_the_end_says_so),
        cmocka_unit_test(memory_is_held_while_a_piece_waits),
        cmocka_unit_test(a_state_may_lie_anywhere),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
