/* SPDX-License-Identifier: Apache-2.0 */
/* What is read, in which order, to where: whatever the model, every byte once and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "load/plan.h"
#include "support/manifests.h"

enum { BLOCK = 16384, PARTS_MAX = 4 };

static uint64_t rng(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return *seed >> 33;
}

/* Marks what each chunk writes of the image, and checks what a chunk may be. */
static void check_plan(const struct sgi__layout *l, const struct sgi__plan *plan)
{
    uint8_t *written[PARTS_MAX] = { 0 };

    for (uint32_t n = 0; n < l->parts_count; n++)
        written[n] = calloc(1, l->parts[n].region_bytes + 1);
    for (uint64_t n = 0; n < plan->chunks_count; n++) {
        const struct sgi__chunk *c = &plan->chunks[n];
        const struct sgi__part  *p = &l->parts[c->part];
        assert_true(c->bytes > 0 && c->bytes <= BLOCK);
        assert_true(c->offset + c->bytes <= p->data_offset + p->data_bytes);
        assert_int_equal(c->unaligned, p->realigned);
        /* A byte of the file has one place, whichever chunk brings it. */
        assert_int_equal(c->dst, p->prefix_bytes + c->offset - p->data_offset);
        if (p->realigned || c->bounce) {
            assert_true(c->offset >= p->data_offset);
        } else { /* direct: offset and address on a block, and room for the rest of the last one */
            assert_int_equal(c->offset % SGI__PLACE_ALIGN, 0);
            assert_int_equal(c->dst % SGI__PLACE_ALIGN, 0);
            uint64_t whole = (c->bytes + SGI__PLACE_ALIGN - 1) / SGI__PLACE_ALIGN * SGI__PLACE_ALIGN;
            assert_true(c->dst + whole <= p->region_bytes);
        }
        if (p->engine_prefix)
            assert_true(c->dst >= p->prefix_bytes); /* the engine's, and it may be writing there right now */
        if (c->bounce) {
            assert_true(p->engine_prefix);
            assert_true((c->offset + c->bytes - 1) / SGI__PLACE_ALIGN == c->offset / SGI__PLACE_ALIGN);
        }
        for (uint64_t at = 0; at < c->bytes; at++)
            if (written[c->part][c->dst + at]++ != 0)
                fail_msg("byte %llu of part %u is read twice", (unsigned long long)(c->dst + at), c->part);
    }
    for (uint32_t n = 0; n < l->parts_count; n++) {
        for (uint64_t at = 0; at < l->parts[n].data_bytes; at++)
            if (!written[n][l->parts[n].prefix_bytes + at])
                fail_msg("byte %llu of part %u is not read", (unsigned long long)at, n);
        free(written[n]);
    }
}

static void random_manifest(struct sgi__manifest *m, uint64_t *seed)
{
    uint32_t parts = 1 + (uint32_t)rng(seed) % PARTS_MAX;

    for (uint32_t n = 0; n < parts; n++) {
        uint64_t bytes[8], offset = 8 + rng(seed) % 9000;
        uint32_t count = (uint32_t)rng(seed) % 8;
        if (rng(seed) % 3)
            offset = offset / 8 * 8;
        for (uint32_t t = 0; t < count; t++)
            bytes[t] = rng(seed) % 4 == 0 ? 0 : rng(seed) % (rng(seed) % 2 ? 50 : 40000);
        manifest_add(m, offset, bytes, count);
    }
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
}

static void every_byte_is_read_once_to_its_place(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 300; round++) {
        uint64_t              seed = round, prefixes[PARTS_MAX], order[8], order_count = 0;
        struct sgi__manifest *m = sgi__manifest_new();
        struct sgi__layout   *l;
        struct sgi__plan     *plan;

        random_manifest(m, &seed);
        for (uint32_t n = 0; n < PARTS_MAX; n++)
            prefixes[n] = rng(&seed) % 2 ? 0 : rng(&seed) % 10000;
        while (m->tensors_count > 0 && order_count < 8 && rng(&seed) % 4)
            order[order_count++] = rng(&seed) % m->tensors_count;
        assert_int_equal(sgi__layout_new(m, rng(&seed) % 3 ? prefixes : NULL, SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
        assert_int_equal(sgi__plan_new(m, l, BLOCK, order_count ? order : NULL, order_count, &plan, NULL), SGI_OK);
        check_plan(l, plan);
        sgi__plan_free(plan);
        sgi__layout_free(l);
        sgi__manifest_free(m);
    }
}

static void a_part_may_end_anywhere_about_a_block(void **state)
{
    (void)state;
    for (uint64_t bytes = 2 * BLOCK - 2; bytes <= 2 * BLOCK + 2; bytes++) {
        struct sgi__manifest *m = sgi__manifest_new();
        struct sgi__layout   *l;
        struct sgi__plan     *plan;

        manifest_add(m, 4096, &bytes, 1);
        assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
        assert_int_equal(sgi__layout_new(m, NULL, SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
        assert_int_equal(sgi__plan_new(m, l, BLOCK, NULL, 0, &plan, NULL), SGI_OK);
        check_plan(l, plan);
        assert_int_equal(plan->chunks_count, bytes <= 2 * BLOCK ? 2 : 3);
        sgi__plan_free(plan);
        sgi__layout_free(l);
        sgi__manifest_free(m);
    }
}

static void without_wishes_it_is_the_files_own_order(void **state)
{
    (void)state;
    struct sgi__manifest *m = sgi__manifest_new();
    const uint64_t        bytes[] = { 100000, 50000 };
    struct sgi__layout   *l;
    struct sgi__plan     *plan;

    manifest_add(m, 4096, bytes, 2);
    manifest_add(m, 4104, bytes, 2);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(m, NULL, SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
    assert_int_equal(sgi__plan_new(m, l, BLOCK, NULL, 0, &plan, NULL), SGI_OK);
    for (uint64_t n = 1; n < plan->chunks_count; n++) {
        const struct sgi__chunk *a = &plan->chunks[n - 1], *b = &plan->chunks[n];
        assert_true(a->part < b->part || (a->part == b->part && a->offset + a->bytes == b->offset)); /* one stream */
    }
    sgi__plan_free(plan);
    sgi__layout_free(l);
    sgi__manifest_free(m);
}

static bool covers(const struct sgi__plan *plan, uint64_t chunks, const struct sgi__tensor *t)
{
    uint64_t bytes = 0;
    for (uint64_t n = 0; n < chunks; n++) {
        const struct sgi__chunk *c = &plan->chunks[n];
        uint64_t                 from = c->offset > t->offset ? c->offset : t->offset;
        uint64_t to = c->offset + c->bytes < t->offset + t->bytes ? c->offset + c->bytes : t->offset + t->bytes;
        if (c->part == t->file && from < to)
            bytes += to - from;
    }
    return bytes == t->bytes;
}

static void wished_tensors_come_first_in_their_order(void **state)
{
    (void)state;
    struct sgi__manifest *m = sgi__manifest_new();
    const uint64_t        bytes[] = { 5 * BLOCK, 3 * BLOCK, 100, 4 * BLOCK };
    struct sgi__layout   *l;
    struct sgi__plan     *plan;

    manifest_add(m, 4096, bytes, 4);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(m, NULL, SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
    const uint64_t order[] = { 3, 1 };
    assert_int_equal(sgi__plan_new(m, l, BLOCK, order, 2, &plan, NULL), SGI_OK);
    check_plan(l, plan);
    assert_true(covers(plan, 5, &m->tensors[3]));
    assert_true(covers(plan, 9, &m->tensors[1]));
    assert_false(covers(plan, plan->chunks_count - 1, &m->tensors[0]));
    sgi__plan_free(plan);
    sgi__layout_free(l);
    sgi__manifest_free(m);
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    struct sgi__manifest *m = sgi__manifest_new();
    const uint64_t        bytes = 100000, order = 0;
    struct sgi__layout   *l;
    struct sgi__plan     *plan = NULL;

    manifest_add(m, 4096, &bytes, 1);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(m, NULL, SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
    uint64_t nth = 1;
    for (;; nth++) {
        sgi__fault_plan(SGI__FAULT_ALLOC, nth, 1, 1);
        sgi_status st = sgi__plan_new(m, l, BLOCK, &order, 1, &plan, NULL);
        if (st == SGI_OK)
            break;
        assert_int_equal(st, SGI_E_NO_MEMORY);
        assert_null(plan);
    }
    assert_true(nth > 3);
    sgi__fault_clear();
    sgi__plan_free(plan);
    sgi__layout_free(l);
    sgi__manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_read_once_to_its_place),
        cmocka_unit_test(a_part_may_end_anywhere_about_a_block),
        cmocka_unit_test(without_wishes_it_is_the_files_own_order),
        cmocka_unit_test(wished_tensors_come_first_in_their_order),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
