/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of chunks to what is stored and back: nothing is lost, and what is damaged is refused without a byte outside
 * the buffers being touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/codec.h"
#include "codec/planes.h"

enum { BLOCK = SGI__PLANES_BLOCK_ELEMENTS };

static uint64_t seed = 1;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void fill_random(uint8_t *at, size_t bytes)
{
    for (size_t n = 0; n < bytes; n++)
        at[n] = (uint8_t)random64();
}

/* Weights: floats around zero, in the width of an element. */
static void fill_floats(uint8_t *at, size_t bytes, unsigned width)
{
    for (size_t n = 0; n + width <= bytes; n += width) {
        float    sum = 0;
        uint32_t bits;
        for (int k = 0; k < 12; k++)
            sum += (float)(random64() >> 40) / (float)(1 << 24);
        sum = (sum - 6) * 0.02f;
        memcpy(&bits, &sum, sizeof bits);
        for (unsigned k = 0; k < width; k++)
            at[n + k] = (uint8_t)(bits >> (8 * (4 - width + k)));
    }
}

/* ---- planes ---- */

static void fast_and_portable_agree(void **state)
{
    static uint8_t elements[4 * 300], back[4 * 300 + 1], fast[4][300], slow[4][300];
    uint8_t       *fast_planes[4] = { fast[0], fast[1], fast[2], fast[3] };
    uint8_t       *slow_planes[4] = { slow[0], slow[1], slow[2], slow[3] };
    const uint8_t *in[4] = { fast[0], fast[1], fast[2], fast[3] };

    (void)state;
    for (unsigned width = 2; width <= 4; width += 2)
        for (size_t count = 0; count < 300; count++) {
            fill_random(elements, sizeof elements);
            memset(fast, 0xaa, sizeof fast);
            memset(slow, 0xaa, sizeof slow);
            sgi__planes_split(elements, count, width, fast_planes);
            sgi__planes_split_portable(elements, count, width, slow_planes);
            assert_memory_equal(fast, slow, sizeof fast);
            memset(back, 0x55, sizeof back);
            sgi__planes_merge(in, count, width, back);
            assert_memory_equal(back, elements, count * width);
            assert_int_equal(back[count * width], 0x55);
            memset(back, 0x55, sizeof back);
            sgi__planes_merge_portable(in, count, width, back);
            assert_memory_equal(back, elements, count * width);
        }
}

/* What the layout on disk says: the exponent in plane 0, the sign in the lowest bit of the last. */
static void planes_are_what_they_are_said_to_be(void **state)
{
    const uint8_t minus_one[2] = { 0x80, 0xbf }; /* bf16 */
    uint8_t       high, low;
    uint8_t      *planes[2] = { &high, &low };

    (void)state;
    sgi__planes_split(minus_one, 1, 2, planes);
    assert_int_equal(high, 127);
    assert_int_equal(low, 1);
}

/* ---- there and back ---- */

struct coders {
    struct sgi__encoder *encoder;
    struct sgi__decoder *decoder;
};

static void open_coders(struct coders *c, int level)
{
    assert_int_equal(sgi__encoder_new(level, &c->encoder, NULL), SGI_OK);
    assert_int_equal(sgi__decoder_new(&c->decoder, NULL), SGI_OK);
}

static void close_coders(struct coders *c)
{
    sgi__encoder_free(c->encoder);
    sgi__decoder_free(c->decoder);
}

/* Bytes stored, 0 where it does not get less. */
static size_t there_and_back(struct coders *c, uint32_t codec, uint32_t width, const uint8_t *raw, size_t bytes)
{
    uint8_t *stored = malloc(bytes + 1), *back = malloc(bytes + 1);

    assert_true(stored && back);
    stored[bytes] = back[bytes] = 0x77;
    size_t made = sgi__encode(c->encoder, codec, width, raw, bytes, stored, bytes);
    assert_true(made < bytes || made == 0);
    assert_int_equal(stored[bytes], 0x77);
    if (made) {
        uint8_t *exact = malloc(made); /* so that a byte read behind it is seen */
        assert_non_null(exact);
        memcpy(exact, stored, made);
        assert_null(sgi__decode(c->decoder, codec, width, exact, made, back, bytes));
        assert_memory_equal(back, raw, bytes);
        assert_int_equal(back[bytes], 0x77);
        free(exact);
    }
    free(stored);
    free(back);
    return made;
}

static void nothing_is_lost(void **state)
{
    static const size_t sizes[] = {
        1, 2, 3, 15, 16, 17, 4096, 100001, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 7, 4 * BLOCK + 3, (2 << 20)
    };
    static const uint32_t widths[] = { 1, 2, 4 };
    struct coders         c;

    (void)state;
    for (int level = 1; level <= 7; level += 6) {
        open_coders(&c, level);
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
            uint8_t *raw = malloc(sizes[n]);
            assert_non_null(raw);
            for (size_t w = 0; w < 3; w++) {
                fill_random(raw, sizes[n]);
                there_and_back(&c, SGI__CODEC_PLANES, widths[w], raw, sizes[n]);
                memset(raw, 0x3f, sizes[n]);
                there_and_back(&c, SGI__CODEC_PLANES, widths[w], raw, sizes[n]);
                fill_floats(raw, sizes[n], widths[w]);
                there_and_back(&c, SGI__CODEC_PLANES, widths[w], raw, sizes[n]);
            }
            there_and_back(&c, SGI__CODEC_ZSTD, 0, raw, sizes[n]);
            free(raw);
        }
        close_coders(&c);
    }
}

static void floats_become_less(void **state)
{
    enum { BYTES = 1 << 20 };
    static uint8_t raw[BYTES];
    struct coders  c;

    (void)state;
    open_coders(&c, 1);
    fill_floats(raw, BYTES, 2);
    assert_in_range(there_and_back(&c, SGI__CODEC_PLANES, 2, raw, BYTES), BYTES * 60 / 100, BYTES * 70 / 100);
    fill_random(raw, BYTES);
    assert_int_equal(there_and_back(&c, SGI__CODEC_PLANES, 2, raw, BYTES), 0);
    assert_int_equal(there_and_back(&c, SGI__CODEC_ZSTD, 0, raw, BYTES), 0);
    close_coders(&c);
}

/* ---- what is damaged ---- */

static void what_is_cut_short_or_too_long_is_refused(void **state)
{
    enum { BYTES = 40000 };
    static uint8_t raw[BYTES], stored[BYTES], back[BYTES];
    struct coders  c;

    (void)state;
    open_coders(&c, 1);
    fill_floats(raw, BYTES, 2);
    size_t made = sgi__encode(c.encoder, SGI__CODEC_PLANES, 2, raw, BYTES, stored, BYTES);
    assert_true(made > 0);
    for (size_t less = 1; less < made; less += less < 64 ? 1 : 997) {
        uint8_t *exact = malloc(made - less);
        assert_non_null(exact);
        memcpy(exact, stored, made - less);
        assert_non_null(sgi__decode(c.decoder, SGI__CODEC_PLANES, 2, exact, made - less, back, BYTES));
        free(exact);
    }
    assert_non_null(sgi__decode(c.decoder, SGI__CODEC_PLANES, 2, stored, made + 1, back, BYTES));
    assert_non_null(sgi__decode(c.decoder, SGI__CODEC_PLANES, 2, stored, made, back, BYTES - 2));
    assert_non_null(sgi__decode(c.decoder, SGI__CODEC_PLANES, 3, stored, made, back, BYTES));
    assert_non_null(sgi__decode(c.decoder, SGI__CODEC_PLANES, 4, stored, made, back, BYTES));
    assert_non_null(sgi__decode(c.decoder, 3, 2, stored, made, back, BYTES));
    assert_non_null(sgi__decode(c.decoder, SGI__CODEC_ZSTD, 0, stored, made, back, BYTES));
    close_coders(&c);
}

/* Whatever is in it: it is decoded to something or refused, and nothing else is touched (what runs under a sanitizer
 * sees that). */
static void any_bytes_do_no_harm(void **state)
{
    enum { BYTES = 20000 };
    static uint8_t raw[BYTES], stored[BYTES];
    struct coders  c;

    (void)state;
    open_coders(&c, 1);
    fill_floats(raw, BYTES, 2);
    size_t made = sgi__encode(c.encoder, SGI__CODEC_PLANES, 2, raw, BYTES, stored, BYTES);
    assert_true(made > 0);
    for (int round = 0; round < 3000; round++) {
        uint8_t *bad = malloc(made), *back = malloc(BYTES);
        assert_true(bad && back);
        memcpy(bad, stored, made);
        for (uint64_t flips = random64() % 4; flips < 4; flips++)
            bad[random64() % (round % 2 ? made : 16)] ^= (uint8_t)(1u << random64() % 8);
        sgi__decode(c.decoder, round % 7 ? SGI__CODEC_PLANES : SGI__CODEC_ZSTD, 2, bad, made, back, BYTES);
        free(bad);
        free(back);
    }
    close_coders(&c);
}

static void codecs_have_names(void **state)
{
    (void)state;
    assert_string_equal(sgi__codec_name(SGI__CODEC_RAW), "raw");
    assert_string_equal(sgi__codec_name(SGI__CODEC_ZSTD), "zstd");
    assert_string_equal(sgi__codec_name(SGI__CODEC_PLANES), "planes");
    assert_null(sgi__codec_name(3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_and_portable_agree),
        cmocka_unit_test(planes_are_what_they_are_said_to_be),
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(floats_become_less),
        cmocka_unit_test(what_is_cut_short_or_too_long_is_refused),
        cmocka_unit_test(any_bytes_do_no_harm),
        cmocka_unit_test(codecs_have_names),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
