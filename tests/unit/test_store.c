/* SPDX-License-Identifier: Apache-2.0 */
/* Stored chunks in host memory: equal ones once, others never taken for them, and all of it goes again. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/hash.h"
#include "load/store.h"

enum { CHUNKS = 8, CHUNK = 3 << 20, PAGES = CHUNK, THREADS = 8 };

/* A model of CHUNKS raw chunks behind a header of one page, which is a chunk of its own. */
struct model {
    struct sgi__manifest     m;
    struct sgi__packed       packed;
    struct sgi__layout       layout;
    struct sgi__part         part;
    struct sgi__stored_chunk chunks[CHUNKS + 1];
    uint8_t                 *bytes[CHUNKS];
    struct sgi__kept        *kept;
};

static struct sgi__store *store;

/* Chunk n is full of `fill[n]`; the last one is a byte short of its page. */
static void make(struct model *m, const uint8_t fill[CHUNKS])
{
    memset(m, 0, sizeof *m);
    m->part = (struct sgi__part){ .data_offset = 4096, .data_bytes = (uint64_t)CHUNKS * CHUNK };
    m->layout = (struct sgi__layout){ .parts_count = 1, .parts = &m->part };
    m->packed = (struct sgi__packed){ .chunks = m->chunks, .chunks_count = CHUNKS + 1 };
    m->m.packed = &m->packed;
    m->chunks[CHUNKS] = (struct sgi__stored_chunk){ .bytes = 4096, .stored_bytes = 4096 };
    for (int n = 0; n < CHUNKS; n++) {
        uint32_t bytes = n + 1 < CHUNKS ? CHUNK : CHUNK - 1;
        m->bytes[n] = malloc(bytes);
        assert_non_null(m->bytes[n]);
        memset(m->bytes[n], fill[n], bytes);
        m->chunks[n] = (struct sgi__stored_chunk){ .offset = 4096 + (uint64_t)n * CHUNK,
                                                   .bytes = bytes,
                                                   .stored_bytes = bytes,
                                                   .check = sgi__hash(m->bytes[n], bytes) };
    }
    assert_int_equal(sgi__kept_bytes_max(&m->m, &m->layout), CHUNKS * PAGES);
    assert_int_equal(sgi__kept_new(store, &m->m, &m->layout, 0, &m->kept, NULL), SGI_OK);
}

static void put_all(struct model *m)
{
    for (int n = 0; n < CHUNKS; n++)
        sgi__kept_put(m->kept, &m->chunks[n], m->bytes[n]);
}

static void is_right(const struct model *m)
{
    for (int n = 0; n < CHUNKS; n++)
        assert_memory_equal(sgi__kept_at(m->kept, &m->chunks[n]), m->bytes[n], m->chunks[n].stored_bytes);
}

static void unmake(struct model *m, uint64_t stays)
{
    assert_int_equal(sgi__kept_free(m->kept), stays);
    for (int n = 0; n < CHUNKS; n++)
        free(m->bytes[n]);
}

static int set_up(void **state)
{
    (void)state;
    store = sgi__store_new();
    return store ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sgi__store_free(store); /* asserts that nothing is kept */
    return 0;
}

static const uint8_t all_one[CHUNKS] = { 1, 2, 3, 4, 5, 6, 7, 8 }, half_one[CHUNKS] = { 1, 2, 3, 4, 15, 16, 17, 18 };

static void what_is_put_is_there(void **state)
{
    struct model a;
    (void)state;
    make(&a, all_one);
    for (int n = CHUNKS; n-- > 1;)
        sgi__kept_put(a.kept, &a.chunks[n], a.bytes[n]);
    assert_false(sgi__kept_is_whole(a.kept));
    sgi__kept_put(a.kept, &a.chunks[0], a.bytes[0]);
    assert_true(sgi__kept_is_whole(a.kept));
    assert_int_equal(sgi__kept_complete(a.kept), 0);
    is_right(&a);
    unmake(&a, 0);
}

static void what_is_not_whole_goes_too(void **state)
{
    struct model a, b;
    (void)state;
    make(&a, all_one);
    sgi__kept_put(a.kept, &a.chunks[3], a.bytes[3]);
    make(&b, all_one);
    put_all(&b);
    assert_int_equal(sgi__kept_complete(b.kept), 0); /* a does not count, though b uses its chunk */
    unmake(&a, 0);
    is_right(&b);
    unmake(&b, 0);
}

static void equal_chunks_are_there_once(void **state)
{
    struct model a, b, c;
    (void)state;
    make(&a, all_one);
    put_all(&a);
    assert_int_equal(sgi__kept_complete(a.kept), 0);
    make(&b, half_one);
    make(&c, all_one);
    put_all(&b);
    put_all(&c);
    assert_int_equal(sgi__kept_complete(b.kept), 4 * PAGES);
    assert_int_equal(sgi__kept_complete(c.kept), 8 * PAGES);
    for (int n = 0; n < CHUNKS; n++) {
        const uint8_t *at = sgi__kept_at(a.kept, &a.chunks[n]);
        assert_ptr_equal(at, sgi__kept_at(c.kept, &c.chunks[n]));
        assert_int_equal(at == sgi__kept_at(b.kept, &b.chunks[n]), n < 4);
    }
    is_right(&b);

    unmake(&a, 8 * PAGES);
    is_right(&c);
    unmake(&c, 4 * PAGES);
    is_right(&b);
    unmake(&b, 0);
}

static void the_rest_of_one_that_goes_is_given_back_at_once(void **state)
{
    struct model a, b;
    uint8_t      one_of_it[CHUNKS] = { 21, 22, 23, 4, 25, 26, 27, 28 };
    (void)state;
    make(&a, all_one);
    put_all(&a);
    sgi__kept_complete(a.kept);
    make(&b, one_of_it);
    put_all(&b);
    assert_int_equal(sgi__kept_complete(b.kept), PAGES);
    unsigned char there[CHUNK / 4096];
    uint8_t      *first = (uint8_t *)(uintptr_t)sgi__kept_at(a.kept, &a.chunks[0]);
    unmake(&a, PAGES);
    assert_int_equal(mincore(first, CHUNK, there), 0); /* the addresses stay, */
    for (int n = 0; n < CHUNK / 4096; n++)
        assert_false(there[n] & 1); /* without pages */
    is_right(&b);
    unmake(&b, 0);
    assert_int_equal(mincore(first, CHUNK, there), -1);
}

static uint64_t shares(const struct model *m)
{
    return sgi__store_shares(store, &m->m, &m->layout);
}

static void what_would_be_shared_is_that_of_those_that_are_complete(void **state)
{
    struct model a, b;
    (void)state;
    make(&a, all_one);
    make(&b, half_one);
    put_all(&a);
    assert_int_equal(shares(&b), 0);
    assert_int_equal(sgi__kept_complete(a.kept), 0);
    assert_int_equal(shares(&b), 4 * PAGES);
    assert_int_equal(shares(&a), 8 * PAGES);
    b.chunks[2].unchecked = true;
    assert_int_equal(shares(&b), 3 * PAGES);
    b.chunks[2].unchecked = false;
    b.chunks[1].codec = 1;
    assert_int_equal(shares(&b), 3 * PAGES);
    unmake(&a, 0);
    assert_int_equal(shares(&b), 0);
    unmake(&b, 0);
}

/* It was promised what others have: it takes the rest, and no byte more, whatever comes. */
static void what_is_not_shared_after_all_is_not_taken(void **state)
{
    struct model a, b, c;
    (void)state;
    make(&a, all_one);
    put_all(&a);
    assert_int_equal(sgi__kept_complete(a.kept), 0);
    make(&c, half_one);
    sgi__kept_free(c.kept);
    assert_int_equal(sgi__kept_new(store, &c.m, &c.layout, 4 * PAGES, &c.kept, NULL), SGI_OK);
    put_all(&c);
    assert_true(sgi__kept_is_whole(c.kept));
    assert_int_equal(sgi__kept_complete(c.kept), 4 * PAGES);
    is_right(&c);
    make(&b, half_one);
    sgi__kept_free(b.kept);
    assert_int_equal(sgi__kept_free(c.kept), 4 * PAGES);
    assert_int_equal(sgi__kept_new(store, &c.m, &c.layout, 4 * PAGES + 1, &c.kept, NULL), SGI_OK);
    put_all(&c);
    assert_false(sgi__kept_is_whole(c.kept)); /* the last one of its own found no room */
    assert_int_equal(sgi__kept_new(store, &b.m, &b.layout, 8 * PAGES, &b.kept, NULL), SGI_OK);
    put_all(&b); /* what c has is not complete, so it does not count */
    assert_false(sgi__kept_is_whole(b.kept));
    unmake(&b, 0);
    unmake(&c, 0);
    is_right(&a);
    unmake(&a, 0);
}

static void one_model_has_its_own_equal_chunks_once(void **state)
{
    struct model  a;
    const uint8_t twice[CHUNKS] = { 1, 1, 1, 1, 2, 2, 2, 3 };
    (void)state;
    make(&a, twice);
    put_all(&a);
    assert_int_equal(sgi__kept_complete(a.kept), 5 * PAGES);
    is_right(&a);
    unmake(&a, 5 * PAGES);
}

/* A check can be made to meet another chunk's; its bytes cannot. */
static void a_check_alone_makes_nothing_equal(void **state)
{
    struct model  models[12];
    const uint8_t fill[CHUNKS] = { 40, 41, 42, 43, 44, 45, 46, 47 };
    (void)state;
    for (int k = 0; k < 12; k++) {
        uint8_t own[CHUNKS];
        for (int n = 0; n < CHUNKS; n++)
            own[n] = (uint8_t)(fill[n] + 8 * (k % 10));
        make(&models[k], own);
        for (int n = 0; n < CHUNKS; n++)
            models[k].chunks[n].check = 99;
        put_all(&models[k]);
        sgi__kept_complete(models[k].kept);
        is_right(&models[k]);
    }
    for (int k = 0; k < 12; k++) {
        is_right(&models[k]);
        sgi__kept_free(models[k].kept);
        for (int n = 0; n < CHUNKS; n++)
            free(models[k].bytes[n]);
    }
}

static void chunks_without_checks_are_found_too(void **state)
{
    struct model a, b;
    (void)state;
    make(&a, all_one);
    make(&b, half_one);
    for (int n = 0; n < CHUNKS; n++) {
        b.chunks[n].unchecked = true;
        b.chunks[n].check = 0;
    }
    put_all(&a);
    sgi__kept_complete(a.kept);
    put_all(&b);
    assert_int_equal(sgi__kept_complete(b.kept), 4 * PAGES);
    unmake(&b, 4 * PAGES);
    unmake(&a, 0);
}

/* The same bytes encoded in two ways are two chunks: what is stored is compared. */
static void another_encoding_is_another_chunk(void **state)
{
    struct model a, b;
    (void)state;
    make(&a, all_one);
    make(&b, all_one);
    for (int n = 0; n < CHUNKS; n++)
        b.chunks[n].codec = 1;
    put_all(&a);
    sgi__kept_complete(a.kept);
    put_all(&b);
    assert_int_equal(sgi__kept_complete(b.kept), 0);
    unmake(&b, 0);
    unmake(&a, 0);
}

static pthread_barrier_t together;

static void *put_one(void *arg)
{
    pthread_barrier_wait(&together);
    put_all(arg);
    return NULL;
}

static void *go_again(void *arg)
{
    struct model *m = arg;
    pthread_barrier_wait(&together);
    sgi__kept_free(m->kept);
    return NULL;
}

static void all_at_once_they_are_there_once_too(void **state)
{
    static struct model models[THREADS];
    pthread_t           threads[THREADS];
    uint64_t            shared = 0;
    (void)state;
    for (int round = 0; round < 5; round++) {
        pthread_barrier_init(&together, NULL, THREADS);
        for (int t = 0; t < THREADS; t++)
            make(&models[t], all_one);
        for (int t = 0; t < THREADS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, put_one, &models[t]), 0);
        for (int t = 0; t < THREADS; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
        shared = 0;
        for (int t = 0; t < THREADS; t++) {
            assert_true(sgi__kept_is_whole(models[t].kept));
            shared += sgi__kept_complete(models[t].kept);
            is_right(&models[t]);
        }
        assert_int_equal(shared, (THREADS - 1) * CHUNKS * PAGES);
        for (int t = 0; t < THREADS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, go_again, &models[t]), 0);
        for (int t = 0; t < THREADS; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
        for (int t = 0; t < THREADS; t++)
            for (int n = 0; n < CHUNKS; n++)
                free(models[t].bytes[n]);
        pthread_barrier_destroy(&together);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_whole_goes_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equal_chunks_are_there_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rest_of_one_that_goes_is_given_back_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_would_be_shared_is_that_of_those_that_are_complete, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_shared_after_all_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_model_has_its_own_equal_chunks_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_check_alone_makes_nothing_equal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chunks_without_checks_are_found_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_encoding_is_another_chunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_at_once_they_are_there_once_too, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
