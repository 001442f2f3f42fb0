/* SPDX-License-Identifier: Apache-2.0 */
/* Image memory: made, sealed, handed out, recycled within its limit and within its tenant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"
#include "device/image.h"
#include "support/host.h"

static struct sgi__image *image_new(struct sgi__image_memory *memory, uint64_t bytes, uint32_t flags, uint32_t tenant)
{
    struct sgi__image *image = NULL;
    sgi_error          err;
    sgi__error_init(&err);
    if (sgi__image_new(memory, &bytes, 1, flags, tenant, &image, &err) != SGI_OK)
        fail_msg("image: %s", err.message);
    return image;
}

/* As a load leaves it. */
static void use(struct sgi__image *image, uint8_t value)
{
    memset(image->parts[0]->base, value, image->parts[0]->bytes);
    image->parts[0]->fresh = false;
}

static bool is_filled(const struct sgi__image *image, uint8_t value)
{
    for (uint64_t at = 0; at < image->parts[0]->bytes; at++)
        if (image->parts[0]->base[at] != value)
            return false;
    return true;
}

static void memory_is_aligned_zeroed_and_writable(void **state)
{
    (void)state;
    static const uint32_t     flags[] = { 0, SGI_IMAGE_FD, SGI_IMAGE_FD | SGI_IMAGE_HUGETLB };
    struct sgi__image_memory *memory = sgi__image_memory_new(0);

    for (int n = 0; n < 3; n++) {
        struct sgi__image *image = image_new(memory, MIB(1) + 1, flags[n], 0);
        assert_int_equal((uintptr_t)image->parts[0]->base % MIB(2), 0);
        assert_true(image->parts[0]->bytes >= MIB(1) + 4096);
        assert_int_equal(image->bytes, image->parts[0]->bytes);
        assert_true(image->parts[0]->fresh);
        assert_int_equal(image->parts[0]->fd >= 0, n > 0);
        assert_true(is_filled(image, 0));
        use(image, 0x11);
        sgi__image_free(memory, image);
    }
    assert_int_equal(sgi__image_memory_spare(memory), 0); /* no limit was set: nothing is kept */
    sgi__image_memory_free(memory);
}

static void a_part_of_no_bytes_has_no_memory(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    const uint64_t            bytes[] = { 0, 4096, 0 };
    struct sgi__image        *image;
    int                       fd = 5;

    assert_int_equal(sgi__image_new(memory, bytes, 3, SGI_IMAGE_FD, 0, &image, NULL), SGI_OK);
    assert_int_equal(image->parts_count, 3);
    assert_null(image->parts[0]->base);
    assert_int_equal(image->bytes, 4096);
    assert_int_equal(sgi__region_share(image->parts[0], &fd, NULL), SGI_OK);
    assert_int_equal(fd, -1);
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

static bool maps_writable(int fd)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        munmap(at, 4096);
    return at != MAP_FAILED;
}

static void while_it_is_ours_nobody_else_can_write_it(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    struct sgi__image        *image = image_new(memory, MIB(1), SGI_IMAGE_FD, 0);
    int                       fd = -1, again = -1;

    use(image, 0x22);
    assert_int_equal(sgi__region_fd(image->parts[0], &fd, NULL), SGI_OK);
    assert_int_equal(sgi__region_fd(image->parts[0], &again, NULL), SGI_OK);
    assert_int_equal(fd, again); /* the library's own, opened once */
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_false(maps_writable(fd));
    assert_false(maps_writable(image->parts[0]->fd)); /* not even through ours */
    assert_int_equal(ftruncate(image->parts[0]->fd, 0), -1);
    assert_int_equal(ftruncate(image->parts[0]->fd, (off_t)MIB(2)), -1);
    use(image, 0x33); /* we still can */
    assert_false(image->parts[0]->shared);
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

static void what_was_handed_out_is_sealed_and_stays(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    struct sgi__image        *image = image_new(memory, MIB(1), SGI_IMAGE_FD, 0);
    int                       fd = -1, second = -1;
    uint8_t                   byte = 0;

    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    use(image, 0x44);
    assert_int_equal(sgi__region_share(image->parts[0], &fd, NULL), SGI_OK);
    assert_int_equal(sgi__region_share(image->parts[0], &second, NULL), SGI_OK);
    assert_int_not_equal(fd, second); /* each is its owner's to close */
    close(second);
    assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(is_filled(image, 0x44)); /* our readers keep their map */
    sgi__image_free(memory, image);
    assert_int_equal(sgi__image_memory_spare(memory), 0); /* not recycled */
    struct sgi__image *other = image_new(memory, MIB(1), SGI_IMAGE_FD, 0);
    use(other, 0x55);
    assert_int_equal(pread(fd, &byte, 1, (off_t)MIB(1) - 1), 1);
    assert_int_equal(byte, 0x44);
    sgi__image_free(memory, other);
    close(fd);
    sgi__image_memory_free(memory);
}

/* If the seal is refused, our map has been replaced by one that only reads: nobody may write to it again. */
static void a_region_that_could_not_be_sealed_is_not_recycled(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    struct sgi__image        *image = image_new(memory, MIB(1), SGI_IMAGE_FD, 0);
    int                       fd = -1;
    sgi_error                 err;

    sgi__error_init(&err);
    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    use(image, 0x44);
    assert_int_equal(fcntl(image->parts[0]->fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
    assert_int_equal(sgi__region_share(image->parts[0], &fd, &err), SGI_E_SYSTEM);
    assert_int_equal(err.os_errno, EPERM);
    assert_int_equal(fd, -1);
    sgi__image_free(memory, image);
    assert_int_equal(sgi__image_memory_spare(memory), 0);
    image = image_new(memory, MIB(1), SGI_IMAGE_FD, 0);
    use(image, 0x55); /* crashes when it is the old one */
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

static void memory_is_recycled_within_the_limit(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(3));
    struct sgi__image        *a = image_new(memory, MIB(1), 0, 0), *b = image_new(memory, MIB(2), 0, 0),
                      *c = image_new(memory, MIB(1), 0, 0);
    const uint8_t *base = c->parts[0]->base;

    use(a, 1);
    use(b, 2);
    use(c, 3);
    sgi__image_free(memory, a);
    assert_int_equal(sgi__image_memory_spare(memory), 0); /* the budget has said nothing yet */
    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    sgi__image_free(memory, b);
    assert_int_equal(sgi__image_memory_spare(memory), MIB(2));
    sgi__image_free(memory, c);
    assert_int_equal(sgi__image_memory_spare(memory), MIB(3));
    struct sgi__image *again = image_new(memory, MIB(1), 0, 0);
    assert_ptr_equal(again->parts[0]->base, base); /* the smallest that fits */
    assert_false(again->parts[0]->fresh);
    assert_int_equal(sgi__image_memory_spare(memory), MIB(2));
    struct sgi__region *excess = sgi__image_memory_limit(memory, MIB(1)); /* the budget leaves less: the rest goes */
    assert_non_null(excess);
    assert_int_equal(sgi__image_memory_spare(memory), 0);
    sgi__regions_free(excess);
    sgi__image_free(memory, again);
    assert_int_equal(sgi__image_memory_spare(memory), MIB(1));
    sgi__image_memory_free(memory);
}

static void the_oldest_spare_goes_first(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(2));
    struct sgi__image        *old = image_new(memory, MIB(1), 0, 1), *young = image_new(memory, MIB(1), 0, 2), *last;

    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    use(old, 1);
    use(young, 2);
    sgi__image_free(memory, old);
    sgi__image_free(memory, young);
    last = image_new(memory, MIB(1), 0, 3);
    use(last, 3);
    sgi__image_free(memory, last);
    assert_int_equal(sgi__image_memory_spare(memory), MIB(2));
    struct sgi__image *image = image_new(memory, MIB(1), 0, 2);
    assert_true(is_filled(image, 2)); /* of the same tenant: not zeroed, it is about to be read over */
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(1), 0, 1);
    assert_true(image->parts[0]->fresh);
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

static void another_tenant_or_kind_never_gets_it(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    struct sgi__image        *image = image_new(memory, MIB(1), 0, 7);

    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    use(image, 0x66);
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(1), 0, 8);
    assert_true(is_filled(image, 0));
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(1), SGI_IMAGE_FD, 7);
    assert_true(is_filled(image, 0));
    assert_true(image->parts[0]->fd >= 0);
    sgi__image_free(memory, image);
    image = image_new(memory, KIB(1024), 0, 7);
    assert_true(is_filled(image, 0x66));
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

static void what_a_recycled_region_has_too_much_is_given_back(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    struct sgi__image        *image = image_new(memory, MIB(8), 0, 7);
    unsigned char             there;

    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    use(image, 0x66);
    uint8_t *base = image->parts[0]->base;
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(4) - 5, 0, 7); /* wastes more than a quarter and 2 MiB */
    assert_true(image->parts[0]->fresh);
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(7) - 5, 0, 7);
    assert_ptr_equal(image->parts[0]->base, base);
    sgi__image_trim(image);
    assert_int_equal(image->bytes, MIB(7));
    assert_int_equal(image->parts[0]->bytes, MIB(7));
    assert_true(is_filled(image, 0x66));
    assert_int_equal(mincore(base + MIB(7), 4096, &there), -1);
    assert_int_equal(errno, ENOMEM); /* nothing is mapped there any more */
    sgi__image_free(memory, image);
    assert_int_equal(sgi__image_memory_spare(memory), MIB(7));

    image = image_new(memory, MIB(2), SGI_IMAGE_FD, 7); /* these cannot shrink, so only what fits exactly is taken */
    use(image, 0x77);
    base = image->parts[0]->base;
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(2) - 4096, SGI_IMAGE_FD, 7);
    assert_true(image->parts[0]->fresh);
    sgi__image_free(memory, image);
    image = image_new(memory, MIB(2) - 4095, SGI_IMAGE_FD, 7);
    assert_ptr_equal(image->parts[0]->base, base);
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

static void a_region_nobody_filled_is_not_kept(void **state)
{
    (void)state;
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    assert_null(sgi__image_memory_limit(memory, MIB(64)));
    sgi__image_free(memory, image_new(memory, MIB(1), 0, 0));
    assert_int_equal(sgi__image_memory_spare(memory), 0);
    sgi__image_free(memory, NULL);
    sgi__image_memory_free(memory);
}

static uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void what_fails_leaves_nothing(void **state)
{
    (void)state;
    static const enum sgi__fault_point points[] = { SGI__FAULT_ALLOC, SGI__FAULT_MAP, SGI__FAULT_MEMFD,
                                                    SGI__FAULT_RESERVE };
    static const sgi_status   codes[] = { SGI_E_NO_MEMORY, SGI_E_DEVICE_MEMORY, SGI_E_SYSTEM, SGI_E_DEVICE_MEMORY };
    struct sgi__image_memory *memory = sgi__image_memory_new(MIB(64));
    const uint64_t            bytes[] = { MIB(1), 4096, MIB(2) };
    uint32_t                  descriptors = open_descriptors();

    for (size_t n = 0; n < sizeof points / sizeof *points; n++)
        for (uint64_t nth = 1;; nth++) {
            struct sgi__image *image = NULL;
            sgi_error          err;
            sgi__error_init(&err);
            sgi__fault_plan(points[n], nth, 1, ENOMEM);
            sgi_status st = sgi__image_new(memory, bytes, 3, SGI_IMAGE_FD, 0, &image, &err);
            sgi__fault_clear();
            if (st == SGI_OK) {
                assert_true(nth > 1);
                sgi__image_free(memory, image);
                break;
            }
            assert_int_equal(st, codes[n]);
            assert_int_equal(err.code, st);
            assert_true(strlen(err.message) > 0);
            assert_null(image);
            assert_int_equal(open_descriptors(), descriptors);
        }
    assert_int_equal(open_descriptors(), descriptors);
    sgi__image_memory_free(memory);
}

static void scratch_is_zeroed_pages(void **state)
{
    (void)state;
    void *memory = NULL;
    assert_int_equal(sgi__scratch_new(8192, &memory, NULL), SGI_OK);
    assert_int_equal((uintptr_t)memory % 4096, 0);
    for (int n = 0; n < 8192; n++)
        assert_int_equal(((uint8_t *)memory)[n], 0);
    sgi__scratch_free(memory, 8192);
    sgi__fault_plan(SGI__FAULT_MAP, 1, 1, ENOMEM);
    assert_int_equal(sgi__scratch_new(8192, &memory, NULL), SGI_E_DEVICE_MEMORY);
    sgi__fault_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zeroed_and_writable),
        cmocka_unit_test(a_part_of_no_bytes_has_no_memory),
        cmocka_unit_test(while_it_is_ours_nobody_else_can_write_it),
        cmocka_unit_test(what_was_handed_out_is_sealed_and_stays),
        cmocka_unit_test(a_region_that_could_not_be_sealed_is_not_recycled),
        cmocka_unit_test(memory_is_recycled_within_the_limit),
        cmocka_unit_test(the_oldest_spare_goes_first),
        cmocka_unit_test(another_tenant_or_kind_never_gets_it),
        cmocka_unit_test(what_a_recycled_region_has_too_much_is_given_back),
        cmocka_unit_test(a_region_nobody_filled_is_not_kept),
        cmocka_unit_test(what_fails_leaves_nothing),
        cmocka_unit_test(scratch_is_zeroed_pages),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
