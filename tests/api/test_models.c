/* SPDX-License-Identifier: Apache-2.0 */
/* Registering: what a model may be, what is said about it, and what happens when its files are no longer what they
 * were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/make_files.h"
#include "support/host.h"

static struct test_folder folder;

struct fixture {
    struct test_file file;
    sgi_runtime     *rt;
    sgi_error        err;
};

static const struct test_tensor tensors[] = { { "a", KIB(100) }, { "none", 0 }, { "b", 4097 }, { "c", 3 } };

static void set_up_with(struct fixture *f, const sgi_runtime_config *config)
{
    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    test_file_make(&f->file, &folder, "m.safetensors", 0, tensors, sizeof tensors / sizeof *tensors);
    f->rt = host_open(config);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_file_free(&f->file);
}

static sgi_status refused(struct fixture *f, const sgi_model_config *config)
{
    sgi_model model = 0;
    f->err.message[0] = '\0';
    sgi_status st = sgi_model_register(f->rt, config, &model, &f->err);
    assert_int_not_equal(st, SGI_OK);
    assert_int_equal(model, 0);
    assert_int_equal(f->err.code, st);
    assert_true(strlen(f->err.message) > 0);
    return st;
}

/* ---- what it says about itself ---- */

static void a_model_is_described_as_its_file(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model      model = host_add(f.rt, "m", f.file.path, NULL), found = 0;
    sgi_model_info info = { .struct_size = sizeof info };
    sgi_tensor     t = { .struct_size = sizeof t }, by_name = { .struct_size = sizeof by_name };
    uint64_t       sum = 0;

    assert_int_equal(sgi_model_find(f.rt, "m", &found), SGI_OK);
    assert_int_equal(found, model);
    assert_int_equal(sgi_model_find(f.rt, "n", &found), SGI_E_NOT_FOUND);
    assert_int_equal(found, model);
    assert_int_equal(sgi_model_describe(f.rt, model, &info), SGI_OK);
    assert_string_equal(info.name, "m");
    assert_string_equal(info.format, "safetensors");
    assert_true(info.parts_count == 1 && info.tensors_count == 4);
    assert_int_equal(info.file_bytes, f.file.bytes);
    assert_int_equal(info.tensor_bytes, f.file.bytes - f.file.data_offset);
    assert_true(info.image_bytes >= info.tensor_bytes && info.image_bytes < info.tensor_bytes + 3 * 4096);
    assert_int_equal(info.engine_bytes, 0);
    for (uint64_t n = 0; n < 4; n++) {
        assert_int_equal(sgi_model_tensor_at(f.rt, model, n, &t), SGI_OK);
        assert_string_equal(t.dtype, "U8");
        assert_true(t.index == n && t.part == 0 && t.rank == 1 && t.shape[0] == t.bytes);
        assert_true(t.block_elements == 1 && t.block_bytes == 1);
        assert_int_equal(sgi_model_tensor_find(f.rt, model, t.name, &by_name), SGI_OK);
        assert_int_equal(by_name.index, n);
        assert_int_equal(by_name.file_offset, t.file_offset);
        sum += t.bytes;
    }
    assert_int_equal(sum, info.tensor_bytes);
    assert_int_equal(sgi_model_tensor_at(f.rt, model, 4, &t), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_model_tensor_at(f.rt, model, UINT64_MAX, &t), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_model_tensor_find(f.rt, model, "d", &t), SGI_E_NOT_FOUND);
    sgi_model_state s = host_state(f.rt, model);
    assert_true(s.state == SGI_MODEL_COLD && s.device == -1 && s.tier == SGI_TIER_DISK && s.loads_count == 0 &&
                s.device_bytes == 0);
    assert_int_equal(host_info(f.rt).device_bytes, 0); /* registering holds nothing */
    assert_int_equal(host_info(f.rt).threads_count, 1);
    tear_down(&f);
}

static void names_are_checked_and_unique(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char             longest[257];
    sgi_model_config mc = host_model(NULL, f.file.path, NULL);

    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    mc.name = "";
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    static const char *const bad[] = { "a\nb", "\xff\xfe", "cut \xe2\x82", "\xed\xa0\x80" };
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        mc.name = bad[n];
        assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    }
    mc.name = "mod\xc3\xa8le \xf0\x9f\x9a\x80";
    sgi_model named = host_register(f.rt, &mc);
    assert_int_equal(sgi_model_unregister(f.rt, named, HOST_WAIT_MS, &f.err), SGI_OK);
    memset(longest, 'n', sizeof longest - 1);
    longest[256] = '\0';
    mc.name = longest;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    longest[255] = '\0';
    sgi_model model = host_register(f.rt, &mc);
    assert_int_equal(refused(&f, &mc), SGI_E_EXISTS);
    assert_int_equal(sgi_model_unregister(f.rt, model, HOST_WAIT_MS, &f.err), SGI_OK);
    host_register(f.rt, &mc); /* a name comes free again */
    assert_int_equal(host_info(f.rt).models_count, 1);
    tear_down(&f);
}

struct registrar {
    struct fixture *f;
    sgi_status      status;
    sgi_model       model;
};

static void *register_it(void *arg)
{
    struct registrar *r = arg;
    sgi_model_config  mc = { .struct_size = sizeof mc, .name = "same", .path = r->f->file.path };
    r->status = sgi_model_register(r->f->rt, &mc, &r->model, NULL);
    return NULL;
}

static void of_many_that_register_one_name_one_wins(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    enum { MANY = 8 };
    pthread_t        threads[MANY];
    struct registrar r[MANY];
    int              won = 0;

    for (int n = 0; n < MANY; n++) {
        r[n] = (struct registrar){ .f = &f };
        pthread_create(&threads[n], NULL, register_it, &r[n]);
    }
    for (int n = 0; n < MANY; n++) {
        pthread_join(threads[n], NULL);
        won += r[n].status == SGI_OK;
        assert_true(r[n].status == SGI_OK || r[n].status == SGI_E_EXISTS);
    }
    assert_int_equal(won, 1);
    assert_int_equal(host_info(f.rt).models_count, 1);
    tear_down(&f);
}

static void what_the_config_names_must_be_there(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    static const char *const order[] = { "a", "nothing" };
    const sgi_tensor_check   twice[] = { { "a", 1 }, { "b", 2 }, { "a", 1 } };
    sgi_model_config         mc = host_model("m", f.file.path, NULL);

    mc.order = order;
    mc.order_count = 2;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    assert_non_null(strstr(f.err.message, "'nothing'"));
    mc.order = NULL;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    mc.order_count = 0;
    mc.checks = twice;
    mc.checks_count = 3;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    assert_non_null(strstr(f.err.message, "'a'"));
    mc.checks = NULL;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    mc.checks_count = 0;
    mc.path = NULL;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    mc.path = "";
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    mc.path = "/does/not/exist.safetensors";
    assert_int_equal(refused(&f, &mc), SGI_E_IO);
    assert_non_null(strstr(f.err.message, "/does/not/exist.safetensors"));
    mc.path = folder.path; /* a folder without a single model in it */
    unlink(f.file.path);
    sgi_status st = refused(&f, &mc);
    assert_true(st == SGI_E_FORMAT || st == SGI_E_IO);
    test_file_write(&f.file);
    mc.path = f.file.path;
    mc.header_bytes_max = 16;
    assert_int_equal(refused(&f, &mc), SGI_E_FORMAT);
    mc.header_bytes_max = 0;
    mc.engine_bytes = UINT64_MAX;
    assert_int_equal(refused(&f, &mc), SGI_E_INVALID);
    tear_down(&f);
}

static void a_file_that_is_no_model_or_no_file_is_refused_at_once(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char path[400];

    snprintf(path, sizeof path, "%s/fifo.safetensors", folder.path);
    assert_int_equal(mkfifo(path, 0600), 0);
    sgi_model_config mc = host_model("m", path, NULL);
    assert_int_equal(refused(&f, &mc), SGI_E_IO); /* and does not wait for a writer */
    unlink(path);
    mc.path = "/dev/zero";
    sgi_status st = refused(&f, &mc);
    assert_true(st == SGI_E_IO || st == SGI_E_FORMAT);
    snprintf(path, sizeof path, "%s/short.safetensors", folder.path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_int_equal(write(fd, "abc", 3), 3);
    close(fd);
    mc.path = path;
    assert_int_equal(refused(&f, &mc), SGI_E_FORMAT);
    assert_non_null(strstr(f.err.message, "short.safetensors"));
    unlink(path);
    tear_down(&f);
}

static void allowed_roots_are_kept(void **state)
{
    (void)state;
    struct fixture     f;
    const char        *roots[] = { "/usr", NULL };
    sgi_runtime_config config = host_config();
    char               link[400];
    config.allowed_roots = roots;
    config.allowed_roots_count = 1;
    set_up_with(&f, &config);

    sgi_model_config mc = host_model("m", f.file.path, NULL);
    assert_int_equal(refused(&f, &mc), SGI_E_DENIED);
    assert_non_null(strstr(f.err.message, "m.safetensors"));
    host_close(f.rt);

    roots[0] = folder.path;
    f.rt = host_open(&config);
    host_add(f.rt, "m", f.file.path, NULL);
    snprintf(link, sizeof link, "%s/link.safetensors", folder.path);
    struct test_folder elsewhere;
    struct test_file   outside;
    test_folder_make(&elsewhere);
    test_file_make_one(&outside, &elsewhere, "outside.safetensors", 100);
    assert_int_equal(symlink(outside.path, link), 0);
    char two[300];
    snprintf(two, sizeof two, "%s/two.safetensors", elsewhere.path);
    const char *const hidden[] = { elsewhere.path, two, "/nowhere/at/all", "/etc", "nowhere/either" };
    for (size_t n = 0; n < sizeof hidden / sizeof *hidden; n++) { /* not listed, and not even said to exist or not */
        mc.path = hidden[n];
        assert_int_equal(refused(&f, &mc), SGI_E_DENIED);
        assert_null(strstr(f.err.message, "outside.safetensors"));
    }
    snprintf(two, sizeof two, "%s/two.safetensors", folder.path);
    mc.path = two; /* inside one learns what there is */
    assert_int_equal(refused(&f, &mc), SGI_E_IO);
    mc.path = link; /* the resolved path counts */
    mc.name = "link";
    assert_int_equal(refused(&f, &mc), SGI_E_DENIED);
    unlink(link);
    assert_int_equal(symlink(f.file.path, link), 0);
    host_add(f.rt, "link", link, NULL); /* to a file inside it is fine */
    unlink(link);
    test_file_free(&outside);
    test_folder_remove(&elsewhere);

    sgi_runtime *none = NULL;
    roots[0] = "/does/not/exist";
    assert_int_equal(sgi_runtime_open(&config, &none, &f.err), SGI_E_INVALID);
    assert_non_null(strstr(f.err.message, "/does/not/exist"));
    tear_down(&f);
}

/* ---- shapes of files ---- */

static void load_and_compare(struct fixture *f, const char *name, const char *path, const struct test_file *files,
                             sgi_timing *timing)
{
    sgi_model model = host_add(f->rt, name, path, NULL);
    sgi_lease lease = host_acquire(f->rt, model);
    host_same_bytes(f->rt, model, lease, files);
    *timing = host_timing(f->rt, lease);
    host_release(f->rt, lease);
}

static void data_at_an_odd_start_is_copied_and_the_timing_says_so(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_timing t;

    for (uint32_t rest = 1; rest < 8; rest += 2) {
        struct test_file odd;
        char             name[16];
        snprintf(name, sizeof name, "odd%u", rest);
        test_file_make(&odd, &folder, "odd.safetensors", rest, tensors, 4);
        load_and_compare(&f, name, odd.path, &odd, &t);
        assert_int_equal(t.bounced_bytes, odd.bytes - odd.data_offset);
        test_file_free(&odd);
    }
    load_and_compare(&f, "even", f.file.path, &f.file, &t);
    assert_int_equal(t.bounced_bytes, 0);
    tear_down(&f);
}

static void tensors_of_no_bytes_and_files_of_no_tensors_are_models(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_file empty;
    sgi_timing       t;
    sgi_view         view;

    test_file_make(&empty, &folder, "empty.safetensors", 0, NULL, 0);
    load_and_compare(&f, "empty", empty.path, &empty, &t);
    assert_int_equal(t.bytes, 0);
    test_file_free(&empty);
    test_file_make(&empty, &folder, "zeros.safetensors", 0, (const struct test_tensor[]){ { "x", 0 }, { "y", 0 } }, 2);
    load_and_compare(&f, "zeros", empty.path, &empty, &t);
    sgi_model model = 0;
    assert_int_equal(sgi_model_find(f.rt, "zeros", &model), SGI_OK);
    sgi_lease lease = host_acquire(f.rt, model);
    view = host_tensor(f.rt, lease, 1);
    assert_true(view.data == NULL && view.bytes == 0);
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 1, 1, &f.err), SGI_OK);
    host_release(f.rt, lease);
    test_file_free(&empty);
    tear_down(&f);
}

static void shards_are_parts(void **state)
{
    (void)state;
    struct fixture     f;
    struct test_shards s;
    sgi_timing         t;
    sgi_model_info     info = { .struct_size = sizeof info };
    set_up(&f);

    test_shards_make(&s, &folder, MIB(1) + 123);
    load_and_compare(&f, "shards", s.path, s.shards, &t);
    sgi_model model = 0;
    assert_int_equal(sgi_model_find(f.rt, "shards", &model), SGI_OK);
    assert_int_equal(sgi_model_describe(f.rt, model, &info), SGI_OK);
    assert_true(info.parts_count == 2 && info.tensors_count == 4);
    assert_int_equal(info.file_bytes, s.shards[0].bytes + s.shards[1].bytes);
    sgi_lease lease = host_acquire(f.rt, model);
    for (uint32_t part = 0; part < 2 && host_is_host(); part++) {
        sgi_image image = { .struct_size = sizeof image };
        assert_int_equal(sgi_lease_image(f.rt, lease, part, &image, &f.err), SGI_OK);
        assert_int_equal(image.file_offset, s.shards[part].data_offset);
        assert_memory_equal((const uint8_t *)image.base + image.prefix_bytes, s.shards[part].data + image.file_offset,
                            s.shards[part].bytes - image.file_offset);
    }
    host_release(f.rt, lease);
    test_shards_free(&s);
    tear_down(&f);
}

/* `count` shards of two tensors each, "a<n>" and "b<n>", behind an index. */
static void write_many_shards(struct test_file *shards, uint32_t count, const char *path)
{
    FILE *index = fopen(path, "w");
    assert_non_null(index);
    fputs("{\"weight_map\":{", index);
    for (uint32_t n = 0; n < count; n++) {
        char file[32], a[16], b[16];
        snprintf(file, sizeof file, "many-%03u.safetensors", n);
        snprintf(a, sizeof a, "a%u", n);
        snprintf(b, sizeof b, "b%u", n);
        test_file_make(&shards[n], &folder, file, 0, (const struct test_tensor[]){ { a, 9000 }, { b, 9000 } }, 2);
        fprintf(index, "%s\"%s\":\"%s\",\"%s\":\"%s\"", n ? "," : "", a, file, b, file);
    }
    fputs("}}", index);
    assert_int_equal(fclose(index), 0);
}

/* The order goes through all files twice, so each is opened twice rather than all at once. */
static void an_order_over_many_shards_keeps_few_files_open(void **state)
{
    (void)state;
    enum { SHARDS = 300 };
    struct fixture    f;
    struct rlimit     limit, low;
    struct test_file *shards = calloc(SHARDS, sizeof *shards);
    char              path[256], names[SHARDS][8];
    const char       *order[SHARDS];

    assert_non_null(shards);
    sgi_runtime_config rc = host_config();
    rc.read_block_bytes = 4096; /* a tensor is several reads */
    set_up_with(&f, &rc);
    snprintf(path, sizeof path, "%s/many.safetensors.index.json", folder.path);
    write_many_shards(shards, SHARDS, path);
    for (uint32_t n = 0; n < SHARDS; n++) {
        snprintf(names[n], sizeof names[n], "b%u", n);
        order[n] = names[n];
    }
    sgi_model_config mc = host_model("many", path, NULL);
    mc.order = order;
    mc.order_count = SHARDS;
    sgi_model model = 0;
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_OK);

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = 256; /* two descriptors a file: not enough for all of them */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    sgi_lease lease = host_acquire(f.rt, model);
    host_same_bytes(f.rt, model, lease, shards);
    host_release(f.rt, lease);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (uint32_t n = 0; n < SHARDS; n++)
        test_file_free(&shards[n]);
    free(shards);
    unlink(path);
    tear_down(&f);
}

static void a_gguf_file_is_a_model_too(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct bytes     b = { 0 };
    struct test_file gguf = { .data_offset = make_gguf(&b, 32) };
    sgi_timing       t;
    sgi_tensor       tensor = { .struct_size = sizeof tensor };
    sgi_model        model = 0;

    snprintf(gguf.path, sizeof gguf.path, "%s/tiny.gguf", folder.path);
    gguf.data = b.data;
    gguf.bytes = b.size;
    test_file_write(&gguf);
    load_and_compare(&f, "tiny", gguf.path, &gguf, &t);
    assert_int_equal(sgi_model_find(f.rt, "tiny", &model), SGI_OK);
    assert_int_equal(sgi_model_tensor_find(f.rt, model, "b", &tensor), SGI_OK);
    assert_string_equal(tensor.dtype, "Q8_0");
    assert_true(tensor.block_elements == 32 && tensor.block_bytes == 34);
    unlink(gguf.path);
    bytes_free(&b);
    tear_down(&f);
}

static void every_way_of_reading_gives_the_same_bytes(void **state)
{
    (void)state;
    static const uint32_t engines[] = { SGI_IO_THREADS, SGI_IO_URING, SGI_IO_AUTO };
    static const uint32_t blocks[] = { 4096, 65536, 0 };
    static const uint32_t depths[] = { 1, 64, 0 };

    for (int e = 0; e < 3; e++)
        for (int n = 0; n < 3; n++) {
            struct fixture     f;
            sgi_runtime_config config = host_config();
            sgi_runtime       *probe = NULL;
            sgi_timing         t;
            struct test_file   large;
            config.io_engine = engines[e];
            config.read_block_bytes = blocks[n];
            config.read_depth = depths[n];
            sgi_error  err = { .struct_size = sizeof err };
            sgi_status st = sgi_runtime_open(&config, &probe, &err);
            if (engines[e] == SGI_IO_URING && st == SGI_E_UNSUPPORTED) {
                assert_true(strlen(err.message) > 0);
                continue; /* it says why it cannot */
            }
            assert_int_equal(st, SGI_OK);
            host_close(probe);
            set_up_with(&f, &config);
            test_file_make_one(&large, &folder, "large.safetensors", MIB(3) + 1);
            int fd = open(large.path, O_RDONLY);
            assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0); /* cold */
            load_and_compare(&f, "cold", large.path, &large, &t);
            assert_int_equal(t.bytes, MIB(3) + 1);
            if (engines[e] != SGI_IO_AUTO)
                assert_string_equal(t.engine, engines[e] == SGI_IO_URING ? "uring" : "threads");
            for (size_t at = 0; at < large.bytes; at += 4096) { /* hot */
                char byte;
                assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
            }
            load_and_compare(&f, "hot", large.path, &large, &t);
            close(fd);
            test_file_free(&large);
            tear_down(&f);
        }
}

/* ---- checks ---- */

static void checks_are_verified_by_every_load(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_tensor       t = { .struct_size = sizeof t };
    sgi_tensor_check checks[] = { { "c", 0 }, { "none", 0 }, { "a", 0 } };
    sgi_model        plain = host_add(f.rt, "plain", f.file.path, NULL);

    for (int n = 0; n < 3; n++) {
        assert_int_equal(sgi_model_tensor_find(f.rt, plain, checks[n].name, &t), SGI_OK);
        checks[n].xxh3 = test_xxh3(f.file.data + t.file_offset, t.bytes);
    }
    sgi_model_config mc = host_model("good", f.file.path, NULL);
    mc.checks = checks;
    mc.checks_count = 3;
    sgi_model good = host_register(f.rt, &mc);
    sgi_lease lease = host_acquire(f.rt, good);
    host_same_bytes(f.rt, good, lease, &f.file);
    assert_true(host_timing(f.rt, lease).phases[SGI_STEP_VERIFY].duration_ns > 0);
    host_release(f.rt, lease);

    checks[0].xxh3++;
    mc.name = "bad";
    sgi_model bad = host_register(f.rt, &mc);
    assert_int_equal(host_acquire_fails(f.rt, bad, &f.err), SGI_E_CHECK);
    host_error_is(&f.err, SGI_E_CHECK, SGI_STEP_VERIFY, "'c'");
    host_error_is(&f.err, SGI_E_CHECK, SGI_STEP_VERIFY, "m.safetensors");
    assert_int_equal(host_state(f.rt, bad).last_error, SGI_E_CHECK);
    host_wait_state(f.rt, bad, SGI_MODEL_COLD);
    tear_down(&f);
}

/* Bytes changed under the same size, inode and times: only the check can tell. */
static void silently_changed_bytes_are_caught_by_a_check(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct stat      was;
    sgi_tensor_check check = { .name = "b" };
    sgi_tensor       t = { .struct_size = sizeof t };
    sgi_model        plain = host_add(f.rt, "plain", f.file.path, NULL);

    assert_int_equal(sgi_model_tensor_find(f.rt, plain, "b", &t), SGI_OK);
    check.xxh3 = test_xxh3(f.file.data + t.file_offset, t.bytes);
    sgi_model_config mc = host_model("m", f.file.path, NULL);
    mc.checks = &check;
    mc.checks_count = 1;
    sgi_model model = host_register(f.rt, &mc);
    assert_int_equal(stat(f.file.path, &was), 0);
    int fd = open(f.file.path, O_WRONLY);
    assert_int_equal(pwrite(fd, "!", 1, (off_t)(t.file_offset + 17)), 1);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(futimens(fd, (struct timespec[]){ was.st_atim, was.st_mtim }), 0);
    close(fd);
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_CHECK);
    host_error_is(&f.err, SGI_E_CHECK, SGI_STEP_VERIFY, "'b'");
    tear_down(&f);
}

/* ---- files that change ---- */

static void a_changed_file_is_refused_and_a_restored_one_is_not(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model model = host_add(f.rt, "m", f.file.path, NULL);
    char      aside[400];

    host_release(f.rt, host_acquire(f.rt, model));
    assert_int_equal(sgi_model_evict(f.rt, model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);

    snprintf(aside, sizeof aside, "%s/aside", folder.path);
    assert_int_equal(rename(f.file.path, aside), 0); /* deleted */
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_IO);
    host_error_is(&f.err, SGI_E_IO, SGI_STEP_SOURCE, "m.safetensors");
    test_file_write(&f.file); /* replaced by another file with the same bytes */
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_CHANGED);
    host_error_is(&f.err, SGI_E_CHANGED, SGI_STEP_SOURCE, "m.safetensors");
    assert_int_equal(rename(aside, f.file.path), 0); /* the one that was registered is back */
    sgi_lease lease = 0;
    while (sgi_model_acquire_wait(f.rt, model, NULL, &lease, &f.err) != SGI_OK) /* after its back-off */
        assert_true(f.err.retry_after_ms > 0);
    host_same_bytes(f.rt, model, lease, &f.file);
    host_release(f.rt, lease);
    tear_down(&f);
}

static void a_shorter_or_touched_file_is_changed(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model a = host_add(f.rt, "a", f.file.path, NULL);

    assert_int_equal(truncate(f.file.path, (off_t)f.file.bytes - 1), 0);
    assert_int_equal(host_acquire_fails(f.rt, a, &f.err), SGI_E_CHANGED);
    test_file_write(&f.file);
    sgi_model b = host_add(f.rt, "b", f.file.path, NULL);
    assert_int_equal(utimensat(AT_FDCWD, f.file.path, (struct timespec[]){ { 5, 0 }, { 5, 0 } }, 0), 0);
    assert_int_equal(host_acquire_fails(f.rt, b, &f.err), SGI_E_CHANGED);
    host_error_is(&f.err, SGI_E_CHANGED, SGI_STEP_SOURCE, "m.safetensors");
    tear_down(&f);
}

static void a_loaded_model_does_not_need_its_file(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model model = host_add(f.rt, "m", f.file.path, NULL);
    sgi_lease lease = host_acquire(f.rt, model);

    unlink(f.file.path);
    host_same_bytes(f.rt, model, lease, &f.file);
    host_release(f.rt, lease);
    lease = host_acquire(f.rt, model); /* warm */
    host_same_bytes(f.rt, model, lease, &f.file);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* A load that fails must not have evicted somebody else for it: the source is checked first. */
static void a_broken_source_evicts_nobody(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = KIB(160) };
    sgi_runtime_config config = host_config();
    config.devices = &device;
    config.devices_count = 1;
    set_up_with(&f, &config);
    struct test_file gone;

    test_file_make_one(&gone, &folder, "gone.safetensors", KIB(100));
    sgi_model warm = host_add(f.rt, "warm", f.file.path, NULL), broken = host_add(f.rt, "broken", gone.path, NULL);
    host_release(f.rt, host_acquire(f.rt, warm));
    unlink(gone.path);
    assert_int_equal(host_acquire_fails(f.rt, broken, &f.err), SGI_E_IO);
    assert_int_equal(host_state(f.rt, warm).state, SGI_MODEL_READY);
    test_file_free(&gone);
    tear_down(&f);
}

/* ---- and back ---- */

static void unregister_waits_for_holders_and_names_them(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model  model = host_add(f.rt, "held", f.file.path, NULL), found = 0;
    sgi_lease  lease = host_acquire(f.rt, model), second = 0;
    sgi_ticket ticket;

    assert_int_equal(sgi_model_unregister(f.rt, model, 5, &f.err), SGI_E_TIMEOUT);
    assert_non_null(strstr(f.err.message, "'held'"));
    assert_non_null(strstr(f.err.message, "1 lease"));
    /* It stays closed to new requests, and what is held is good. */
    assert_int_equal(sgi_model_acquire_wait(f.rt, model, NULL, &second, &f.err), SGI_E_STALE);
    assert_int_equal(sgi_model_try_acquire(f.rt, model, NULL, &second), SGI_E_STALE);
    assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, NULL), SGI_E_STALE);
    host_same_bytes(f.rt, model, lease, &f.file);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_unregister(f.rt, model, HOST_WAIT_MS, &f.err), SGI_OK);
    assert_int_equal(sgi_model_unregister(f.rt, model, HOST_WAIT_MS, &f.err), SGI_E_STALE);
    assert_int_equal(sgi_model_find(f.rt, "held", &found), SGI_E_NOT_FOUND);
    assert_int_equal(host_info(f.rt).models_count, 0);
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    tear_down(&f);
}

static void unregister_ends_waiting_requests(void **state)
{
    (void)state;
    struct fixture     f;
    struct test_engine engine;
    sgi_ticket         ticket;
    set_up(&f);
    test_engine_init(&engine, false, true);
    sgi_model model = host_add(f.rt, "m", f.file.path, &engine);

    gate_close(&engine.gates[ENGINE_PREPARE]);
    assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&engine.gates[ENGINE_PREPARE], 1);
    assert_int_equal(sgi_model_unregister(f.rt, model, 5, &f.err), SGI_E_TIMEOUT); /* prepare is still out */
    sgi_completion c = host_next(f.rt);
    assert_true(c.ticket == ticket && c.status == SGI_E_STALE);
    gate_open(&engine.gates[ENGINE_PREPARE]);
    assert_int_equal(sgi_model_unregister(f.rt, model, HOST_WAIT_MS, &f.err), SGI_OK);
    test_engine_fini(&engine);
    tear_down(&f);
}

static void thousands_of_models_come_and_go(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    enum { MANY = 2000 };
    static sgi_model models[MANY];
    char             name[32];

    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < MANY; n++) {
            snprintf(name, sizeof name, "model %d", n);
            models[n] = host_add(f.rt, name, f.file.path, NULL);
        }
        assert_int_equal(host_info(f.rt).models_count, MANY);
        assert_int_equal(host_info(f.rt).threads_count, 1);
        host_release(f.rt, host_acquire(f.rt, models[MANY - 1]));
        for (int n = 0; n < MANY; n++)
            assert_int_equal(sgi_model_unregister(f.rt, models[n], HOST_WAIT_MS, NULL), SGI_OK);
        assert_int_equal(host_info(f.rt).models_count, 0);
    }
    tear_down(&f);
}

static int make_folder(void **state)
{
    (void)state;
    test_folder_make(&folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_described_as_its_file),
        cmocka_unit_test(names_are_checked_and_unique),
        cmocka_unit_test(of_many_that_register_one_name_one_wins),
        cmocka_unit_test(what_the_config_names_must_be_there),
        cmocka_unit_test(a_file_that_is_no_model_or_no_file_is_refused_at_once),
        cmocka_unit_test(allowed_roots_are_kept),
        cmocka_unit_test(data_at_an_odd_start_is_copied_and_the_timing_says_so),
        cmocka_unit_test(tensors_of_no_bytes_and_files_of_no_tensors_are_models),
        cmocka_unit_test(shards_are_parts),
        cmocka_unit_test(an_order_over_many_shards_keeps_few_files_open),
        cmocka_unit_test(a_gguf_file_is_a_model_too),
        cmocka_unit_test(every_way_of_reading_gives_the_same_bytes),
        cmocka_unit_test(checks_are_verified_by_every_load),
        cmocka_unit_test(silently_changed_bytes_are_caught_by_a_check),
        cmocka_unit_test(a_changed_file_is_refused_and_a_restored_one_is_not),
        cmocka_unit_test(a_shorter_or_touched_file_is_changed),
        cmocka_unit_test(a_loaded_model_does_not_need_its_file),
        cmocka_unit_test(a_broken_source_evicts_nobody),
        cmocka_unit_test(unregister_waits_for_holders_and_names_them),
        cmocka_unit_test(unregister_ends_waiting_requests),
        cmocka_unit_test(thousands_of_models_come_and_go),
    };
    return cmocka_run_group_tests_name("models", tests, make_folder, remove_folder);
}
