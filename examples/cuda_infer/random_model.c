/* SPDX-License-Identifier: Apache-2.0 */
#include "random_model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "network.h"

enum { WIDTH = 384, WIDE = 1536, LAYERS = 6, VOCABULARY = 30522, PLACES = 512, CHUNK = 4096, HEADER_MAX = 32768 };

struct header {
    char     text[HEADER_MAX];
    size_t   length;
    uint64_t data_bytes;
};

static void add_tensor(struct header *h, const char *name, unsigned rows, unsigned columns)
{
    uint64_t bytes = (uint64_t)rows * (columns ? columns : 1) * sizeof(float);
    char     shape[32];

    snprintf(shape, sizeof shape, columns ? "%u,%u" : "%u", rows, columns);
    h->length += (size_t)snprintf(h->text + h->length, sizeof h->text - h->length,
                                  "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%" PRIu64 ",%" PRIu64
                                  "]}",
                                  h->data_bytes ? "," : "{", name, shape, h->data_bytes, h->data_bytes + bytes);
    h->data_bytes += bytes;
}

static void add_layer(struct header *h, unsigned layer)
{
    char name[96];

    for (unsigned t = 0; t < LAYER_TENSORS; t++) {
        int vector = strstr(network_layer_names[t], ".bias") || t == ATTENTION_GAIN || t == OUTPUT_GAIN;

        snprintf(name, sizeof name, "encoder.layer.%u.%s", layer, network_layer_names[t]);
        add_tensor(h, name, t == INNER || t == INNER_BIAS ? WIDE : WIDTH, vector ? 0 : t == OUTER ? WIDE : WIDTH);
    }
}

static void make_header(struct header *h)
{
    static const unsigned rows[EMBEDDING_TENSORS] = { VOCABULARY, PLACES, 2, WIDTH, WIDTH };
    static const unsigned columns[EMBEDDING_TENSORS] = { WIDTH, WIDTH, WIDTH, 0, 0 };

    memset(h, 0, sizeof *h);
    for (unsigned t = 0; t < EMBEDDING_TENSORS; t++)
        add_tensor(h, network_embedding_names[t], rows[t], columns[t]);
    for (unsigned l = 0; l < LAYERS; l++)
        add_layer(h, l);
    h->text[h->length++] = '}';
    while (h->length % 8) /* so that the data is aligned */
        h->text[h->length++] = ' ';
}

/* Between -0.1 and 0.1, the same every time. */
static float next_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return ((float)(*state >> 40) / (float)(1u << 24) - 0.5f) * 0.2f;
}

static int write_numbers(FILE *out, uint64_t count)
{
    float    chunk[CHUNK];
    uint64_t state = 88172645463325252u;

    while (count > 0) {
        size_t now = count < CHUNK ? (size_t)count : CHUNK;

        for (size_t n = 0; n < now; n++)
            chunk[n] = next_number(&state);
        if (fwrite(chunk, sizeof *chunk, now, out) != now)
            return -1;
        count -= now;
    }
    return 0;
}

static int write_file(FILE *out)
{
    struct header h;
    uint64_t      length;

    make_header(&h);
    length = h.length;
    if (fwrite(&length, sizeof length, 1, out) != 1 || fwrite(h.text, h.length, 1, out) != 1)
        return -1;
    return write_numbers(out, h.data_bytes / sizeof(float));
}

int random_model_make(random_model *model)
{
    const char *tmp = getenv("TMPDIR");
    int         rc, saved, fd;
    FILE       *out;

    errno = ENAMETOOLONG;
    if (snprintf(model->path, sizeof model->path, "%s/sgi-minilm-XXXXXX.safetensors", tmp && *tmp ? tmp : "/tmp") >=
        (int)sizeof model->path)
        return -1;
    fd = mkstemps(model->path, (int)strlen(".safetensors"));
    if (fd < 0)
        return -1;
    out = fdopen(fd, "wb");
    rc = out ? write_file(out) : -1;
    saved = errno;
    if (out ? fclose(out) != 0 : close(fd) != 0) {
        saved = rc == 0 ? errno : saved;
        rc = -1;
    }
    if (rc != 0)
        random_model_remove(model);
    errno = saved;
    return rc;
}

void random_model_remove(const random_model *model)
{
    unlink(model->path);
}
