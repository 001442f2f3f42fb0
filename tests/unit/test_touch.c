/* SPDX-License-Identifier: Apache-2.0 */
/* Touching memory ahead of the reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/fault.h"
#include "load/touch.h"
#include "support/host.h"
#include "support/manifests.h"

#define BLOCK MIB(2)

struct fixture {
    struct sgi__manifest     *manifest;
    struct sgi__layout       *layout;
    struct sgi__plan         *plan;
    struct sgi__image_memory *memory;
    struct sgi__image        *image;
};

static void set_up(struct fixture *f, uint64_t bytes)
{
    f->manifest = sgi__manifest_new();
    manifest_add(f->manifest, 4096, &bytes, 1);
    assert_int_equal(sgi__manifest_finish(f->manifest, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(f->manifest, NULL, SGI__PLACE_ALIGN, &f->layout, NULL), SGI_OK);
    assert_int_equal(sgi__plan_new(f->manifest, f->layout, BLOCK, NULL, 0, &f->plan, NULL), SGI_OK);
    f->memory = sgi__image_memory_new(0);
    assert_int_equal(sgi__image_new(f->memory, &f->layout->parts[0].region_bytes, 1, 0, 0, &f->image, NULL), SGI_OK);
}

static void tear_down(struct fixture *f)
{
    sgi__image_free(f->memory, f->image);
    sgi__image_memory_free(f->memory);
    sgi__plan_free(f->plan);
    sgi__layout_free(f->layout);
    sgi__manifest_free(f->manifest);
}

static bool resident(const struct fixture *f, uint64_t offset, uint64_t bytes)
{
    static unsigned char pages[4096];
    assert_int_equal(mincore(f->image->parts[0]->base + offset, bytes, pages), 0);
    for (uint64_t n = 0; n < bytes / 4096; n++)
        if (!(pages[n] & 1))
            return false;
    return true;
}

static void a_chunk_is_ready_once_its_pages_are_there(void **state)
{
    (void)state;
    struct fixture          f;
    struct sgi__touch      *touch;
    struct sgi__touch_times times;

    set_up(&f, MIB(16));
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    assert_non_null(touch);
    for (uint64_t n = 0; n < f.plan->chunks_count; n++) {
        assert_int_equal(sgi__touch_wait(touch, n, NULL), SGI_OK);
        assert_true(sgi__touch_ready(touch, n));
        assert_true(resident(&f, f.plan->chunks[n].dst, f.plan->chunks[n].bytes));
        sgi__touch_submitted(touch, n + 1);
    }
    assert_false(sgi__touch_ready(touch, f.plan->chunks_count));
    sgi__touch_stop(touch, &times);
    assert_true(times.start_ns > 0 && times.busy_ns > 0);
    tear_down(&f);
}

static bool last_is_not_ready_but_the_window_is(void *user)
{
    return sgi__touch_ready(user, 31);
}

static void it_stays_a_bounded_way_ahead(void **state)
{
    (void)state;
    struct fixture          f;
    struct sgi__touch      *touch;
    struct sgi__touch_times times;

    set_up(&f, MIB(160)); /* more than the 64 MiB it may be ahead */
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    test_wait_until(last_is_not_ready_but_the_window_is, touch, "the window is not touched");
    assert_false(sgi__touch_ready(touch, 40)); /* chunk 40 begins at 80 MiB */
    sgi__touch_submitted(touch, 20);
    assert_int_equal(sgi__touch_wait(touch, 50, NULL), SGI_OK);
    assert_false(sgi__touch_ready(touch, 60));
    sgi__touch_stop(touch, &times); /* in the middle */
    tear_down(&f);
}

static void recycled_or_little_memory_is_not_worth_a_thread(void **state)
{
    (void)state;
    struct fixture          f;
    struct sgi__touch      *touch = (struct sgi__touch *)&f;
    struct sgi__touch_times times;

    set_up(&f, MIB(2));
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    assert_null(touch);
    assert_true(sgi__touch_ready(NULL, 0));
    assert_int_equal(sgi__touch_wait(NULL, 0, NULL), SGI_OK);
    sgi__touch_submitted(NULL, 1);
    sgi__touch_stop(NULL, &times);
    assert_true(times.start_ns == 0 && times.busy_ns == 0 && times.cpu_ns == 0);
    tear_down(&f);

    set_up(&f, MIB(16));
    f.image->parts[0]->fresh = false;
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    assert_null(touch);
    tear_down(&f);
}

static void memory_that_is_not_there_fails_the_wait(void **state)
{
    (void)state;
    struct fixture          f;
    struct sgi__touch      *touch;
    struct sgi__touch_times times;
    sgi_error               err;

    sgi__error_init(&err);
    set_up(&f, MIB(16));
    sgi__fault_plan(SGI__FAULT_TOUCH, 5, UINT64_MAX, ENOMEM);
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    assert_int_equal(sgi__touch_wait(touch, 3, &err), SGI_OK);
    assert_int_equal(sgi__touch_wait(touch, f.plan->chunks_count - 1, &err), SGI_E_DEVICE_MEMORY);
    assert_int_equal(err.os_errno, ENOMEM);
    assert_int_equal(sgi__touch_wait(touch, 0, &err), SGI_OK); /* what is there is there */
    sgi__touch_stop(touch, &times);
    sgi__fault_clear();
    tear_down(&f);
}

static void what_is_short_for_now_is_tried_again(void **state)
{
    (void)state;
    struct fixture          f;
    struct sgi__touch      *touch;
    struct sgi__touch_times times;

    set_up(&f, MIB(16));
    sgi__fault_plan(SGI__FAULT_TOUCH, 1, 3, EAGAIN);
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    assert_int_equal(sgi__touch_wait(touch, 0, NULL), SGI_OK);
    assert_true(sgi__fault_passed(SGI__FAULT_TOUCH) > 3);
    sgi__touch_stop(touch, &times);

    sgi__fault_plan(SGI__FAULT_TOUCH, 1, UINT64_MAX, EAGAIN);
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    sgi__touch_stop(touch, &times); /* it does not go on trying for nobody */
    assert_true(sgi__fault_passed(SGI__FAULT_TOUCH) < 100);
    sgi__fault_clear();
    tear_down(&f);
}

static void without_a_thread_it_goes_on_without(void **state)
{
    (void)state;
    struct fixture     f;
    struct sgi__touch *touch;

    set_up(&f, MIB(16));
    sgi__fault_plan(SGI__FAULT_THREAD, 1, 1, EAGAIN);
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_OK);
    assert_null(touch);
    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    assert_int_equal(sgi__touch_start(f.plan, f.image, &touch, NULL), SGI_E_NO_MEMORY);
    sgi__fault_clear();
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_ready_once_its_pages_are_there),
        cmocka_unit_test(it_stays_a_bounded_way_ahead),
        cmocka_unit_test(recycled_or_little_memory_is_not_worth_a_thread),
        cmocka_unit_test(memory_that_is_not_there_fails_the_wait),
        cmocka_unit_test(what_is_short_for_now_is_tried_again),
        cmocka_unit_test(without_a_thread_it_goes_on_without),
    };
    return cmocka_run_group_tests_name("touch", tests, NULL, NULL);
}
