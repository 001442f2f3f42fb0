/* SPDX-License-Identifier: Apache-2.0 */
/* What a lease gives: tensors, digests, the image and its descriptors, the parts it is made of, the run of the host's
 * own code, and the timing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, fd_model; /* fd_model: SGI_IMAGE_FD, with a prefix */
    sgi_error          err;
};

static void set_up_with(struct fixture *f, const sgi_runtime_config *config)
{
    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    test_engine_init(&f->engine, true, false);
    f->rt = host_open(config);
    f->model = host_add(f->rt, "anon", file.path, NULL);
    sgi_model_config mc = host_model("fd", file.path, &f->engine);
    mc.flags = SGI_IMAGE_FD;
    f->fd_model = host_register(f->rt, &mc);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

static void tensors_are_where_the_view_says(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = host_acquire(f.rt, f.model);
    sgi_view  view = { .struct_size = sizeof view };
    uint64_t  digest = 5;

    host_same_bytes(f.rt, f.model, lease, &file);
    assert_int_equal(sgi_lease_tensor(f.rt, lease, 3, &view, &f.err), SGI_E_NOT_FOUND);
    assert_non_null(strstr(f.err.message, "'anon'"));
    assert_int_equal(sgi_lease_tensor(f.rt, lease, UINT64_MAX, &view, &f.err), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 3, 1, &f.err), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_lease_tensor_digest(f.rt, lease, 3, &digest, &f.err), SGI_E_NOT_FOUND);
    uint64_t some = 0, bytes = host_tensor(f.rt, lease, 0).bytes;
    assert_int_equal(sgi_lease_tensor_read(f.rt, lease, 3, 0, &some, 1, &f.err), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_lease_tensor_read(f.rt, lease, 0, bytes, &some, 0, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_tensor_read(f.rt, lease, 0, bytes, &some, 1, &f.err), SGI_E_INVALID);
    assert_int_equal(sgi_lease_tensor_read(f.rt, lease, 0, UINT64_MAX, &some, 2, &f.err), SGI_E_INVALID);
    assert_int_equal(digest, 5);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* What sgi_view promises: as the file has it, to within a page. */
static void a_tensor_is_as_aligned_as_in_its_file(void **state)
{
    (void)state;
    static const struct test_tensor tensors[] = { { "a", 3 }, { "b", 100 }, { "c", 5000 }, { "d", 8 } };
    struct fixture                  f;
    set_up(&f);
    for (uint32_t rest = 0; rest < 8; rest++) {
        struct test_file made;
        sgi_model_part   part = { .struct_size = sizeof part };
        test_file_make(&made, &folder, "aligned.safetensors", rest, tensors, 4);
        for (int with_prefix = 0; with_prefix < 2; with_prefix++) {
            sgi_model m = host_add(f.rt, "m", made.path, with_prefix ? &f.engine : NULL);
            sgi_lease lease = host_acquire(f.rt, m);
            assert_int_equal(sgi_model_part_at(f.rt, m, 0, &part), SGI_OK);
            assert_int_equal(part.data_offset % 8, rest);
            for (uint64_t n = 0; n < 4; n++) {
                sgi_tensor t = { .struct_size = sizeof t };
                assert_int_equal(sgi_model_tensor_at(f.rt, m, n, &t), SGI_OK);
                uint64_t at = rest ? t.file_offset - part.data_offset : t.file_offset;
                assert_int_equal((uintptr_t)host_tensor(f.rt, lease, n).data % 4096, at % 4096);
            }
            host_release(f.rt, lease);
            assert_int_equal(sgi_model_unregister(f.rt, m, SGI_FOREVER, &f.err), SGI_OK);
        }
        test_file_free(&made);
    }
    tear_down(&f);
}

static void an_image_without_fd_is_memory_only(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = host_acquire(f.rt, f.model);
    sgi_image image = { .struct_size = sizeof image, .fd = 77 };

    assert_int_equal(sgi_lease_image(f.rt, lease, 0, &image, &f.err), SGI_OK);
    assert_int_equal(image.fd, -1);
    assert_int_equal(image.file_offset, file.data_offset);
    assert_memory_equal((const uint8_t *)image.base + image.prefix_bytes, file.data + file.data_offset,
                        file.bytes - file.data_offset);
    assert_int_equal(sgi_lease_image(f.rt, lease, 1, &image, &f.err), SGI_E_NOT_FOUND);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* The whole of it, read through the descriptor. */
static void assert_descriptor(struct fixture *f, const sgi_image *image)
{
    uint8_t *read_back = malloc(image->bytes);
    assert_int_equal(pread(image->fd, read_back, image->bytes, 0), (ssize_t)image->bytes);
    for (uint64_t at = 0; at < image->prefix_bytes; at++)
        assert_int_equal(read_back[at], test_engine_prefix_byte(0, at));
    assert_memory_equal(read_back + image->prefix_bytes, file.data + file.data_offset, file.bytes - file.data_offset);
    assert_true(image->prefix_bytes >= f->engine.prefix_bytes);
    free(read_back);
}

static void a_descriptor_holds_prefix_and_data_and_cannot_be_written(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease   lease = host_acquire(f.rt, f.fd_model);
    sgi_image   image = { .struct_size = sizeof image };
    struct stat st;
    char        path[64];

    assert_int_equal(sgi_lease_image(f.rt, lease, 0, &image, &f.err), SGI_OK);
    assert_true(image.fd >= 0);
    assert_descriptor(&f, &image);
    assert_int_equal(fstat(image.fd, &st), 0);
    assert_true((uint64_t)st.st_size >= image.bytes);
    assert_int_equal(write(image.fd, "x", 1), -1);
    assert_int_equal(ftruncate(image.fd, 0), -1);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, image.fd, 0), MAP_FAILED);
    assert_true(fcntl(image.fd, F_GET_SEALS) & F_SEAL_WRITE);
    assert_true(fcntl(image.fd, F_GETFD) & FD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", image.fd);
    int writable = open(path, O_RDWR); /* reopened for writing: the seal holds all the same */
    if (writable >= 0) {
        assert_int_equal(pwrite(writable, "x", 1, 0), -1);
        assert_int_equal(errno, EPERM);
        close(writable);
    }
    void *map = mmap(NULL, image.bytes, PROT_READ, MAP_SHARED, image.fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_memory_equal((uint8_t *)map + image.prefix_bytes, file.data + file.data_offset,
                        file.bytes - file.data_offset);
    munmap(map, image.bytes);
    close(image.fd);
    host_same_bytes(f.rt, f.fd_model, lease, &file); /* whoever reads by pointer does not notice */
    host_release(f.rt, lease);
    tear_down(&f);
}

static void a_descriptor_outlives_the_lease_and_its_memory_is_not_reused(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.dram_bytes_max = MIB(64);
    config.spare_bytes_max = MIB(64); /* recycling would be allowed */
    set_up_with(&f, &config);
    sgi_lease lease = host_acquire(f.rt, f.fd_model);
    sgi_image image = { .struct_size = sizeof image };

    assert_int_equal(sgi_lease_image(f.rt, lease, 0, &image, &f.err), SGI_OK);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_evict(f.rt, f.fd_model, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f.rt, f.fd_model, SGI_MODEL_COLD);
    host_wait_threads(f.rt, 1);
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    assert_int_equal(host_info(f.rt).dram_bytes, 0); /* counted against nobody */
    for (int n = 0; n < 3; n++) {                    /* the same model again, into other memory */
        lease = host_acquire(f.rt, f.fd_model);
        assert_descriptor(&f, &image);
        host_same_bytes(f.rt, f.fd_model, lease, &file);
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_evict(f.rt, f.fd_model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, f.fd_model, SGI_MODEL_COLD);
    }
    host_close(f.rt);
    assert_descriptor(&f, &image); /* not even the runtime is needed */
    close(image.fd);
    test_engine_fini(&f.engine);
}

static void freed_memory_is_recycled_where_that_was_asked_for(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.dram_bytes_max = MIB(64);
    config.spare_bytes_max = MIB(16);
    set_up_with(&f, &config);
    const void *first = NULL;

    for (int n = 0; n < 3; n++) {
        sgi_lease lease = host_acquire(f.rt, f.model);
        host_same_bytes(f.rt, f.model, lease, &file);
        const void *at = host_tensor(f.rt, lease, 0).data;
        if (n == 0)
            first = at;
        assert_ptr_equal(at, first);
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
        host_wait_threads(f.rt, 1);
        sgi_runtime_info info = host_info(f.rt);
        assert_true(info.spare_bytes > 0 && info.spare_bytes <= MIB(16));
        assert_int_equal(info.dram_bytes, info.spare_bytes);
        assert_int_equal(info.device_bytes, 0);
    }
    tear_down(&f);
}

/* ---- parts ---- */

static void parts_are_the_files_and_their_share_of_the_image(void **state)
{
    (void)state;
    struct fixture     f;
    struct test_shards shards;
    set_up(&f);
    test_shards_make(&shards, &folder, 5000);
    sgi_model_info info = { .struct_size = sizeof info };
    sgi_model_part part = { .struct_size = sizeof part }, unsized = { 0 };
    sgi_image      image = { .struct_size = sizeof image };
    uint64_t       total = 0;
    sgi_model      model = host_add(f.rt, "shards", shards.path, NULL);
    sgi_lease      lease = host_acquire(f.rt, model);

    assert_int_equal(sgi_model_describe(f.rt, model, &info), SGI_OK);
    assert_int_equal(info.parts_count, 2);
    for (uint32_t n = 0; n < 2; n++) {
        char *path = realpath(shards.shards[n].path, NULL);
        assert_int_equal(sgi_model_part_at(f.rt, model, n, &part), SGI_OK);
        assert_int_equal(sgi_lease_image(f.rt, lease, n, &image, &f.err), SGI_OK);
        assert_string_equal(part.path, path);
        assert_int_equal(part.file_bytes, shards.shards[n].bytes);
        assert_int_equal(part.data_offset, shards.shards[n].data_offset);
        assert_int_equal(part.prefix_bytes, image.prefix_bytes);
        assert_true(part.image_bytes >= image.bytes && part.image_bytes % 4096 == 0);
        total += part.image_bytes;
        free(path);
    }
    assert_int_equal(total, info.image_bytes);
    assert_int_equal(sgi_model_part_at(f.rt, model, 2, &part), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_model_part_at(f.rt, model, UINT32_MAX, &part), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_model_part_at(f.rt, lease, 0, &part), SGI_E_STALE);
    assert_int_equal(sgi_model_part_at(f.rt, model, 0, &unsized), SGI_E_INVALID);
    assert_int_equal(sgi_model_part_at(f.rt, model, 0, NULL), SGI_E_INVALID);
    host_release(f.rt, lease);
    tear_down(&f);
    test_shards_free(&shards);
}

/* ---- run ---- */

struct runner {
    struct fixture *f;
    sgi_lease       lease;
    pthread_t       thread;
    bool            same_thread;
    sgi_status      release, inner_wait;
};

static sgi_status run(void *user, void *stream, sgi_error *err)
{
    struct runner *r = user;
    r->same_thread = pthread_equal(pthread_self(), r->thread) && stream == NULL;
    r->release = sgi_lease_release(r->f->rt, r->lease);
    r->inner_wait = sgi_lease_tensor_wait(r->f->rt, r->lease, 0, 1, NULL); /* it is the host's own thread */
    return sgi_error_set(err, SGI_E_UNSUPPORTED, "the host's own");
}

static void run_is_a_call_that_keeps_the_lease(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease     lease = host_acquire(f.rt, f.model);
    struct runner r = { .f = &f, .lease = lease, .thread = pthread_self() };
    void         *stream = &f;

    assert_int_equal(sgi_lease_run(f.rt, lease, run, &r, &f.err), SGI_E_UNSUPPORTED);
    assert_string_equal(f.err.message, "the host's own");
    assert_true(r.same_thread);
    assert_int_equal(r.release, SGI_E_BUSY);
    assert_int_equal(r.inner_wait, SGI_OK);
    assert_int_equal(sgi_lease_stream(f.rt, lease, &stream, NULL), SGI_OK);
    assert_null(stream);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- timing ---- */

static void a_cold_starts_timing_adds_up(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease  lease = host_acquire(f.rt, f.fd_model);
    sgi_timing t = host_timing(f.rt, lease);

    assert_int_equal(t.tier, SGI_TIER_DISK);
    assert_true(t.request_ns > 0 && t.total_ns > 0 && t.load_ns > 0 && t.load_ns <= t.total_ns);
    assert_int_equal(t.bytes, file.bytes - file.data_offset);
    assert_true(t.cpu_ns > 0);
    assert_int_equal(t.joined, 0);
    assert_true(t.direct <= 2);
    assert_true(strcmp(t.engine, "uring") == 0 || strcmp(t.engine, "threads") == 0);
    for (uint32_t step = 0; step < 16; step++) {
        if (t.phases[step].duration_ns == 0)
            continue;
        if (t.phases[step].start_ns > t.total_ns || t.phases[step].duration_ns > t.total_ns ||
            t.phases[step].start_ns + t.phases[step].duration_ns > t.total_ns)
            fail_msg("step %s does not lie within the total", sgi_step_name(step));
    }
    assert_true(t.phases[SGI_STEP_READ].duration_ns > 0);
    assert_true(t.phases[SGI_STEP_START].duration_ns > 0);
    assert_true(t.phases[SGI_STEP_PREFIX].duration_ns > 0);
    assert_true(t.phases[SGI_STEP_OPEN].duration_ns > 0);
    assert_int_equal(t.phases[SGI_STEP_STOP].duration_ns, 0);
    host_release(f.rt, lease);

    lease = host_acquire(f.rt, f.fd_model); /* warm: nothing of that was for this one */
    t = host_timing(f.rt, lease);
    assert_true(t.tier == SGI_TIER_DEVICE && t.load_ns == 0 && t.bytes == 0);
    for (uint32_t step = 0; step < 16; step++)
        assert_int_equal(t.phases[step].duration_ns, 0);
    host_release(f.rt, lease);
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    const struct test_tensor tensors[] = { { "a", MIB(1) + 3 }, { "none", 0 }, { "b", KIB(300) } };
    test_folder_make(&folder);
    test_file_make(&file, &folder, "a.safetensors", 0, tensors, 3);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_where_the_view_says),
        cmocka_unit_test(a_tensor_is_as_aligned_as_in_its_file),
        cmocka_unit_test(an_image_without_fd_is_memory_only),
        cmocka_unit_test(a_descriptor_holds_prefix_and_data_and_cannot_be_written),
        cmocka_unit_test(a_descriptor_outlives_the_lease_and_its_memory_is_not_reused),
        cmocka_unit_test(freed_memory_is_recycled_where_that_was_asked_for),
        cmocka_unit_test(parts_are_the_files_and_their_share_of_the_image),
        cmocka_unit_test(run_is_a_call_that_keeps_the_lease),
        cmocka_unit_test(a_cold_starts_timing_adds_up),
    };
    return cmocka_run_group_tests_name("lease", tests, make_files, remove_files);
}
