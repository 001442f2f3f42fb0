/* SPDX-License-Identifier: Apache-2.0 */
/* What every device of the table does alike: with the argument `host` and, on a driver or the fake one, `cuda`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "device/device.h"

#define MIB(n) ((uint64_t)(n) << 20)

enum { SKIPPED = 77 };

typedef sgi_status (*open_fn)(uint32_t ordinal, struct sgi__device **device_out, sgi_error *err);

static open_fn             open_device;
static struct sgi__device *d;
static sgi_error           err;

static void ok_or_say(sgi_status st, const char *call)
{
    if (st != SGI_OK)
        fail_msg("%s: %s: %s", call, sgi_status_name(st), err.message);
}

#define OK(call) ok_or_say((call), #call)

static unsigned char *pages(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(at, MAP_FAILED);
    return at;
}

static void number(unsigned char *at, uint64_t bytes, unsigned seed)
{
    for (uint64_t n = 0; n < bytes; n++)
        at[n] = (unsigned char)((n * 31 + seed) >> 3 ^ n);
}

static int set_up(void **state)
{
    (void)state;
    sgi__error_init(&err);
    return open_device(0, &d, &err) == SGI_OK ? 0 : -1;
}

static int take_down(void **state)
{
    (void)state;
    d->ops->close(d);
    d = NULL;
    return 0;
}

static struct sgi__device_scope scope;

static void enter(void)
{
    OK(d->ops->context_open(d, &err));
    OK(d->ops->enter(d, &scope, &err));
}

static void leave(void)
{
    OK(d->ops->leave(d, &scope, &err));
    assert_int_equal(d->ops->context_close(d), 0);
}

static void it_says_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(d->ops->abi, SGI__DEVICE_ABI);
    assert_non_null(strchr(d->name, ':'));
    assert_int_equal(strncmp(d->name, d->ops->kind, strlen(d->ops->kind)), 0);
    assert_false(d->ops->others(d));
    struct sgi__device *none = NULL;
    if (open_device(9999, &none, &err) == SGI_OK) /* any host there may be */
        none->ops->close(none);
    else
        assert_int_equal(err.code, SGI_E_NOT_FOUND);
}

static void its_context_opens_again_after_it_was_closed(void **state)
{
    (void)state;
    for (int n = 0; n < 3; n++) {
        enter();
        leave();
        assert_false(d->ops->others(d));
    }
}

/* Memory is taken before there is a context, as both are asked for at once. */
static void what_is_copied_in_comes_out(void **state)
{
    (void)state;
    struct sgi__arena  *arena = NULL;
    struct sgi__stream *stream = NULL;
    unsigned char      *in = pages(MIB(4)), *out = pages(MIB(4));

    OK(d->ops->arena_new(d, MIB(5), MIB(64), &arena, &err));
    assert_true(arena->bytes >= MIB(5) && arena->reserved >= MIB(64) && arena->base % 256 == 0);
    enter();
    OK(d->ops->arena_map(d, arena, &err));
    OK(d->ops->pin(d, in, MIB(4), &err));
    OK(d->ops->pin(d, out, MIB(4), &err));
    OK(d->ops->stream_new(d, &stream, &err));
    number(in, MIB(4), 7);
    OK(d->ops->copy_in(d, stream, arena->base + 4096, in, MIB(4), &err));
    OK(d->ops->copy_out(d, stream, out, arena->base + 4096, MIB(4), &err));
    OK(d->ops->stream_wait(d, stream, &err));
    assert_memory_equal(in, out, MIB(4));
    OK(d->ops->zero(d, stream, arena->base + 4096, MIB(1), &err));
    OK(d->ops->copy_out(d, stream, out, arena->base + 4096, MIB(2), &err));
    OK(d->ops->stream_wait(d, stream, &err));
    for (uint64_t n = 0; n < MIB(1); n++)
        assert_int_equal(out[n], 0);
    assert_memory_equal(in + MIB(1), out + MIB(1), MIB(1));
    d->ops->stream_free(d, stream);
    d->ops->arena_free(d, arena, NULL);
    d->ops->unpin(d, in);
    d->ops->unpin(d, out);
    leave();
    munmap(in, MIB(4));
    munmap(out, MIB(4));
}

static void an_arena_grows_at_its_end_and_keeps_what_is_in_it(void **state)
{
    (void)state;
    struct sgi__arena  *arena = NULL;
    struct sgi__stream *stream = NULL;
    unsigned char      *in = pages(MIB(2)), *out = pages(MIB(2));

    OK(d->ops->arena_new(d, 0, MIB(32), &arena, &err));
    uint64_t base = arena->base, end = 0;
    enter();
    OK(d->ops->arena_map(d, arena, &err));
    OK(d->ops->pin(d, in, MIB(2), &err));
    OK(d->ops->pin(d, out, MIB(2), &err));
    OK(d->ops->stream_new(d, &stream, &err));
    for (unsigned n = 0; n < 4; n++) {
        OK(d->ops->arena_grow(d, arena, MIB(2), &err));
        assert_true(arena->base == base && arena->bytes >= end + MIB(2));
        number(in, MIB(2), n);
        OK(d->ops->copy_in(d, stream, base + end, in, MIB(2), &err));
        OK(d->ops->stream_wait(d, stream, &err));
        end = arena->bytes;
    }
    for (unsigned n = 0; n < 4; n++) {
        OK(d->ops->copy_out(d, stream, out, base + end / 4 * n, MIB(2), &err));
        OK(d->ops->stream_wait(d, stream, &err));
        number(in, MIB(2), n);
        assert_memory_equal(in, out, MIB(2));
    }
    assert_int_equal(d->ops->arena_grow(d, arena, MIB(64), &err), SGI_E_DEVICE_MEMORY); /* beyond its addresses */
    assert_int_equal(arena->bytes, end);
    d->ops->stream_free(d, stream);
    d->ops->arena_free(d, arena, NULL);
    leave(); /* the pins go with it */
    munmap(in, MIB(2));
    munmap(out, MIB(2));
}

/* A mark is reached when what was queued before it is done; another stream that follows it sees that. */
static void marks_order_streams(void **state)
{
    (void)state;
    struct sgi__arena  *arena = NULL;
    struct sgi__stream *one = NULL, *other = NULL;
    struct sgi__mark   *mark = NULL;
    unsigned char      *in = pages(MIB(8)), *out = pages(MIB(8));

    OK(d->ops->arena_new(d, MIB(8), 0, &arena, &err));
    enter();
    OK(d->ops->arena_map(d, arena, &err));
    OK(d->ops->pin(d, in, MIB(8), &err));
    OK(d->ops->pin(d, out, MIB(8), &err));
    OK(d->ops->stream_new(d, &one, &err));
    OK(d->ops->stream_new(d, &other, &err));
    OK(d->ops->mark_new(d, &mark, &err));
    for (unsigned n = 0; n < 4; n++) { /* a mark is set anew, again and again */
        number(in, MIB(8), n);
        OK(d->ops->copy_in(d, one, arena->base, in, MIB(8), &err));
        OK(d->ops->mark_set(d, mark, one, &err));
        OK(d->ops->mark_order(d, mark, d->ops->stream_native(other), &err));
        OK(d->ops->copy_out(d, other, out, arena->base, MIB(8), &err));
        OK(d->ops->stream_wait(d, other, &err));
        assert_memory_equal(in, out, MIB(8));
        OK(d->ops->mark_wait(d, mark, &err));
        OK(d->ops->mark_reached(d, mark, &err));
    }
    d->ops->mark_free(d, mark);
    d->ops->stream_free(d, one);
    d->ops->stream_free(d, other);
    d->ops->arena_free(d, arena, NULL);
    leave();
    munmap(in, MIB(8));
    munmap(out, MIB(8));
}

static void memory_that_is_not_there_is_told_and_nothing_is_taken(void **state)
{
    (void)state;
    struct sgi__arena *arena = NULL;
    uint64_t           most = d->bytes ? d->bytes : UINT64_C(1) << 47;

    assert_int_equal(d->ops->arena_new(d, most + MIB(2), 0, &arena, &err), SGI_E_DEVICE_MEMORY);
    assert_null(arena);
    assert_non_null(strstr(err.message, d->name));
    assert_non_null(strpbrk(err.message, "123456789"));
    OK(d->ops->arena_new(d, MIB(4), 0, &arena, &err));
    d->ops->arena_free(d, arena, NULL);
    d->ops->arena_free(d, NULL, NULL);
}

static void what_is_current_comes_back(void **state)
{
    (void)state;
    struct sgi__device_scope inner;

    enter();
    for (int n = 0; n < 3; n++) {
        OK(d->ops->enter(d, &inner, &err));
        OK(d->ops->leave(d, &inner, &err));
    }
    leave();
}

/* A pin goes with its context, and the memory can be pinned again with the next one. */
static void pins_end_with_the_context(void **state)
{
    (void)state;
    unsigned char *at = pages(MIB(2));

    for (int n = 0; n < 3; n++) {
        enter();
        OK(d->ops->pin(d, at, MIB(2), &err));
        if (n == 1) {
            d->ops->unpin(d, at);
            d->ops->unpin(d, at); /* it is not any more: nothing to do */
            OK(d->ops->pin(d, at, MIB(2), &err));
        }
        leave();
    }
    munmap(at, MIB(2));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_what_it_is, set_up, take_down),
        cmocka_unit_test_setup_teardown(its_context_opens_again_after_it_was_closed, set_up, take_down),
        cmocka_unit_test_setup_teardown(what_is_copied_in_comes_out, set_up, take_down),
        cmocka_unit_test_setup_teardown(an_arena_grows_at_its_end_and_keeps_what_is_in_it, set_up, take_down),
        cmocka_unit_test_setup_teardown(marks_order_streams, set_up, take_down),
        cmocka_unit_test_setup_teardown(memory_that_is_not_there_is_told_and_nothing_is_taken, set_up, take_down),
        cmocka_unit_test_setup_teardown(what_is_current_comes_back, set_up, take_down),
        cmocka_unit_test_setup_teardown(pins_end_with_the_context, set_up, take_down),
    };
    bool cuda = argc > 1 && strcmp(argv[1], "cuda") == 0;

    open_device = cuda ? sgi__device_cuda : sgi__device_host;
    sgi__error_init(&err);
    if (open_device(0, &d, &err) == SGI_E_UNSUPPORTED) {
        printf("skipped: %s\n", err.message);
        return SKIPPED;
    }
    if (!d) {
        printf("%s\n", err.message);
        return 1;
    }
    d->ops->close(d);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
