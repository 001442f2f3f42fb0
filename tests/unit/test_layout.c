/* SPDX-License-Identifier: Apache-2.0 */
/* Where a model's bytes lie in its image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "load/layout.h"
#include "support/manifests.h"

static struct sgi__manifest *one_file(uint64_t data_offset, uint64_t bytes)
{
    struct sgi__manifest *m = sgi__manifest_new();
    manifest_add(m, data_offset, &bytes, 1);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    return m;
}

/* What must hold for every part, whatever was asked for. */
static void check_part(const struct sgi__manifest *m, const struct sgi__layout *l, uint32_t n, uint64_t wanted)
{
    const struct sgi__part *p = &l->parts[n];

    assert_int_equal(p->data_offset, m->files[n].data_offset);
    assert_int_equal(p->data_bytes, m->files[n].id.bytes - m->files[n].data_offset);
    assert_true(p->prefix_bytes >= wanted && p->prefix_bytes < wanted + 2 * SGI__PLACE_ALIGN);
    assert_int_equal(p->bytes, p->prefix_bytes + p->data_bytes);
    assert_int_equal(p->engine_prefix, wanted > 0);
    assert_int_equal(p->region_bytes % SGI__PLACE_ALIGN, 0);
    if (p->realigned)
        assert_int_equal(p->prefix_bytes % SGI__PLACE_ALIGN, 0);
    else /* a direct read of any block of the file lands where that block belongs */
        assert_int_equal(p->prefix_bytes % SGI__PLACE_ALIGN, p->data_offset % SGI__PLACE_ALIGN);
    if (p->data_bytes || wanted) {
        assert_true(p->region_bytes >= p->bytes);
        assert_true(p->region_bytes - p->bytes < SGI__PLACE_ALIGN);
    } else {
        assert_int_equal(p->region_bytes, 0);
    }
}

static void data_keeps_its_offset_modulo_the_block(void **state)
{
    (void)state;
    static const uint64_t offsets[] = { 8, 16, 4088, 4096, 4104, 8192 + 8, 1 << 20 };
    static const uint64_t wanted[] = { 0, 1, 8, 100, 4087, 4088, 4089, 4096, 4097, 1 << 20 };
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
        for (size_t j = 0; j < sizeof wanted / sizeof *wanted; j++) {
            struct sgi__manifest *m = one_file(offsets[i], 10000);
            struct sgi__layout   *l;
            assert_int_equal(sgi__layout_new(m, &wanted[j], SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
            check_part(m, l, 0, wanted[j]);
            assert_false(l->parts[0].realigned);
            assert_int_equal(sgi__layout_tensor(l, &m->tensors[0]), l->parts[0].prefix_bytes);
            assert_int_equal(l->image_bytes, l->parts[0].region_bytes);
            assert_int_equal(l->data_bytes, 10000);
            sgi__layout_free(l);
            sgi__manifest_free(m);
        }
}

static void data_at_an_odd_offset_is_put_at_an_aligned_one(void **state)
{
    (void)state;
    static const uint64_t wanted[] = { 0, 1, 5000 };
    for (uint64_t offset = 9; offset < 16; offset++)
        for (size_t j = 0; j < sizeof wanted / sizeof *wanted; j++) {
            struct sgi__manifest *m = one_file(offset, 100);
            struct sgi__layout   *l;
            assert_int_equal(sgi__layout_new(m, &wanted[j], SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
            assert_true(l->parts[0].realigned);
            check_part(m, l, 0, wanted[j]);
            sgi__layout_free(l);
            sgi__manifest_free(m);
        }
}

static void parts_without_data_take_nothing(void **state)
{
    (void)state;
    struct sgi__manifest *m = sgi__manifest_new();
    const uint64_t        bytes[] = { 0, 5000 };
    struct sgi__layout   *l;

    manifest_add(m, 13, bytes, 1); /* odd, but there is nothing to realign */
    manifest_add(m, 4096, &bytes[1], 1);
    manifest_add(m, 64, NULL, 0);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(m, NULL, SGI__PLACE_ALIGN, &l, NULL), SGI_OK);
    for (uint32_t n = 0; n < 3; n++)
        check_part(m, l, n, 0);
    assert_false(l->parts[0].realigned);
    assert_int_equal(l->image_bytes, 8192);
    assert_int_equal(l->data_bytes, 5000);
    sgi__layout_free(l);
    sgi__manifest_free(m);
}

static void an_absurd_prefix_is_refused(void **state)
{
    (void)state;
    struct sgi__manifest *m = one_file(4096, 100);
    struct sgi__layout   *l = NULL;
    uint64_t              wanted = (UINT64_C(1) << 32) + 1;
    sgi_error             err;

    sgi__error_init(&err);
    assert_int_equal(sgi__layout_new(m, &wanted, SGI__PLACE_ALIGN, &l, &err), SGI_E_ENGINE);
    assert_null(l);
    assert_non_null(strstr(err.message, "4294967297"));
    assert_non_null(strstr(err.message, "0.safetensors"));
    wanted = UINT64_MAX; /* the sums would wrap */
    assert_int_equal(sgi__layout_new(m, &wanted, SGI__PLACE_ALIGN, &l, &err), SGI_E_ENGINE);
    wanted--;
    assert_int_equal(sgi__layout_new(m, &wanted, SGI__PLACE_ALIGN, &l, &err), SGI_E_ENGINE);
    wanted = UINT64_C(1) << 32;
    assert_int_equal(sgi__layout_new(m, &wanted, SGI__PLACE_ALIGN, &l, &err), SGI_OK);
    check_part(m, l, 0, wanted);
    sgi__layout_free(l);
    sgi__manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_keeps_its_offset_modulo_the_block),
        cmocka_unit_test(data_at_an_odd_offset_is_put_at_an_aligned_one),
        cmocka_unit_test(parts_without_data_take_nothing),
        cmocka_unit_test(an_absurd_prefix_is_refused),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
