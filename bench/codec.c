/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one core does with the chunks of a packed model: encodes them, compares them with their check, decodes them. The
 * library's own code, by itself: nothing is read, and no other thread runs.
 *
 *     codec FILE
 *
 * Takes FILE as floats of two bytes (BF16, F16), 256 MiB of it at most. One turn for each line of input, one JSON
 * object for each turn; rates are GiB of the file a second, not of what is stored.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "codec/codec.h"
#include "measure.h"
#include "options.h"

enum { CHUNK_BYTES = 4 << 20, WIDTH = 2, LEVEL = 1 }; /* as `sgi pack` has them */

#define BYTES_MAX ((size_t)256 << 20) /* more than caches hold: a load finds nothing in them either */

struct codec {
    struct sgi__encoder *encoder;
    struct sgi__decoder *decoder;
    uint8_t             *raw, *stored, *decoded; /* each chunk at its own place in all three */
    size_t               bytes, stored_bytes, *chunk_bytes;
    uint64_t             checks; /* that nobody leaves out what nobody looks at */
};

static size_t chunks(const struct codec *c)
{
    return (c->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
}

static size_t length_of(const struct codec *c, size_t chunk)
{
    size_t left = c->bytes - chunk * CHUNK_BYTES;
    return left < CHUNK_BYTES ? left : CHUNK_BYTES;
}

static void encode(struct codec *c)
{
    c->stored_bytes = 0;
    for (size_t n = 0; n < chunks(c); n++) {
        size_t at = n * CHUNK_BYTES;
        c->chunk_bytes[n] = sgi__encode(c->encoder, SGI__CODEC_PLANES, WIDTH, c->raw + at, length_of(c, n),
                                        c->stored + at, length_of(c, n));
        c->stored_bytes += c->chunk_bytes[n] ? c->chunk_bytes[n] : length_of(c, n);
    }
}

static void check(struct codec *c)
{
    for (size_t n = 0; n < chunks(c); n++)
        c->checks += sgi__hash(c->stored + n * CHUNK_BYTES, c->chunk_bytes[n]);
}

/* What does not become smaller is raw in a packed file, and there is nothing to decode. */
static void decode(struct codec *c)
{
    for (size_t n = 0; n < chunks(c); n++) {
        size_t      at = n * CHUNK_BYTES;
        const char *wrong = c->chunk_bytes[n] ? sgi__decode(c->decoder, SGI__CODEC_PLANES, WIDTH, c->stored + at,
                                                            c->chunk_bytes[n], c->decoded + at, length_of(c, n))
                                              : NULL;
        if (wrong)
            die("chunk %zu: %s", n, wrong);
    }
}

/* GiB of the file a second. */
static double rate_of(struct codec *c, void (*step)(struct codec *c))
{
    double start = seconds_now();
    step(c);
    return (double)c->bytes / GIB / (seconds_now() - start);
}

static void take_turn(struct codec *c)
{
    double encoded = rate_of(c, encode), checked = rate_of(c, check), decoded = rate_of(c, decode);

    printf("{\"bytes\": %zu, \"stored_bytes\": %zu, \"encode_gib_s\": %.4f, \"check_gib_s\": %.4f, "
           "\"decode_gib_s\": %.4f}\n",
           c->bytes, c->stored_bytes, encoded, checked, decoded);
    fflush(stdout);
}

/* ---- set-up ---- */

static uint8_t *room(size_t bytes)
{
    uint8_t *memory = malloc(bytes);
    if (!memory)
        die("no memory for %zu bytes", bytes);
    return memset(memory, 0, bytes); /* its pages are there when the clock runs */
}

static void read_file(struct codec *c, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    c->bytes = fread(c->raw, 1, BYTES_MAX, file);
    if (ferror(file))
        die("%s: it cannot be read", path);
    fclose(file);
    if (c->bytes == 0)
        die("%s is empty", path);
}

/* A rate of bytes that come out wrong would be none. */
static void try_it(struct codec *c)
{
    encode(c);
    check(c);
    decode(c);
    for (size_t n = 0; n < chunks(c); n++)
        if (c->chunk_bytes[n] && memcmp(c->raw + n * CHUNK_BYTES, c->decoded + n * CHUNK_BYTES, length_of(c, n)) != 0)
            die("chunk %zu is another one after it was decoded", n);
}

int main(int argc, char **argv)
{
    struct codec c = { .bytes = 0 };
    sgi_error    err = SGI_ERROR_INIT;
    char         line[64];

    if (argc != 2) {
        fputs("usage: codec FILE\n", stderr);
        return EXIT_USAGE;
    }
    if (sgi__encoder_new(LEVEL, &c.encoder, &err) != SGI_OK || sgi__decoder_new(&c.decoder, &err) != SGI_OK)
        die("%s", err.message);
    c.raw = room(BYTES_MAX);
    read_file(&c, argv[1]);
    c.stored = room(BYTES_MAX);
    c.decoded = room(BYTES_MAX);
    c.chunk_bytes = calloc(chunks(&c), sizeof *c.chunk_bytes);
    if (!c.chunk_bytes)
        die("no memory for %zu chunks", chunks(&c));
    try_it(&c);
    while (fgets(line, sizeof line, stdin) != NULL)
        take_turn(&c);
    free(c.chunk_bytes);
    free(c.decoded);
    free(c.stored);
    free(c.raw);
    sgi__decoder_free(c.decoder);
    sgi__encoder_free(c.encoder);
    return EXIT_GOOD;
}
