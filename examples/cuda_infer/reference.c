/* SPDX-License-Identifier: Apache-2.0 */
/* The network on the CPU, as plainly as it can be said: what the kernels are compared with. */
#include "network.h"

#include <math.h>
#include <stdlib.h>

/* Rows of tokens: `wide` is of net->inner, the others of net->width. */
struct rows {
    float *x, *y, *query, *key, *value, *wide;
};

/* out = x * weight' + bias */
static void linear(const float *x, const float *weight, const float *bias, float *out, unsigned tokens, unsigned inputs,
                   unsigned outputs)
{
    for (unsigned t = 0; t < tokens; t++) {
        for (unsigned o = 0; o < outputs; o++) {
            const float *row = weight + (size_t)o * inputs, *from = x + (size_t)t * inputs;
            float        sum = 0;

            for (unsigned i = 0; i < inputs; i++)
                sum += from[i] * row[i];
            out[(size_t)t * outputs + o] = sum + bias[o];
        }
    }
}

/* x = the sum of x and `more` (or NULL), normalised row by row */
static void norm(float *x, const float *more, const float *gain, const float *bias, unsigned tokens, unsigned width)
{
    for (unsigned t = 0; t < tokens; t++) {
        float *row = x + (size_t)t * width, mean = 0, variance = 0;

        for (unsigned n = 0; n < width; n++) {
            row[n] += more ? more[(size_t)t * width + n] : 0;
            mean += row[n] / (float)width;
        }
        for (unsigned n = 0; n < width; n++)
            variance += (row[n] - mean) * (row[n] - mean) / (float)width;
        for (unsigned n = 0; n < width; n++)
            row[n] = (row[n] - mean) / sqrtf(variance + 1e-12f) * gain[n] + bias[n];
    }
}

static void gelu(float *x, size_t count)
{
    for (size_t n = 0; n < count; n++)
        x[n] = 0.5f * x[n] * (1 + erff(x[n] * 0.70710678f));
}

/* What one token sees of all of them with one head. */
static void attend(const struct rows *r, float *out, unsigned token, unsigned column, unsigned tokens, unsigned width)
{
    const float *query = r->query + (size_t)token * width + column;
    float        scores[TOKENS_MAX], highest = -INFINITY, sum = 0;

    for (unsigned t = 0; t < tokens; t++) {
        const float *key = r->key + (size_t)t * width + column;

        scores[t] = 0;
        for (unsigned n = 0; n < HEAD_WIDTH; n++)
            scores[t] += query[n] * key[n];
        scores[t] /= sqrtf(HEAD_WIDTH);
        highest = fmaxf(highest, scores[t]);
    }
    for (unsigned n = 0; n < HEAD_WIDTH; n++)
        out[n] = 0;
    for (unsigned t = 0; t < tokens; t++) {
        const float *value = r->value + (size_t)t * width + column;
        float        weight = expf(scores[t] - highest);

        sum += weight;
        for (unsigned n = 0; n < HEAD_WIDTH; n++)
            out[n] += weight * value[n];
    }
    for (unsigned n = 0; n < HEAD_WIDTH; n++)
        out[n] /= sum;
}

static void embed(const network *net, const float *const *weights, const uint32_t *ids, unsigned tokens, float *x)
{
    for (unsigned t = 0; t < tokens; t++) {
        const float *word = weights[WORDS] + (size_t)ids[t] * net->width;
        const float *position = weights[POSITIONS] + (size_t)t * net->width;

        for (unsigned n = 0; n < net->width; n++)
            x[(size_t)t * net->width + n] = word[n] + position[n] + weights[TYPES][n];
    }
    norm(x, NULL, weights[FIRST_GAIN], weights[FIRST_BIAS], tokens, net->width);
}

static void compute_layer(const network *net, const float *const *weights, struct rows *r, unsigned tokens)
{
    unsigned width = net->width, inner = net->inner;

    linear(r->x, weights[QUERY], weights[QUERY_BIAS], r->query, tokens, width, width);
    linear(r->x, weights[KEY], weights[KEY_BIAS], r->key, tokens, width, width);
    linear(r->x, weights[VALUE], weights[VALUE_BIAS], r->value, tokens, width, width);
    for (unsigned t = 0; t < tokens; t++)
        for (unsigned column = 0; column < width; column += HEAD_WIDTH)
            attend(r, r->y + (size_t)t * width + column, t, column, tokens, width);
    linear(r->y, weights[ATTENDED], weights[ATTENDED_BIAS], r->query, tokens, width, width);
    norm(r->x, r->query, weights[ATTENTION_GAIN], weights[ATTENTION_BIAS], tokens, width);

    linear(r->x, weights[INNER], weights[INNER_BIAS], r->wide, tokens, width, inner);
    gelu(r->wide, (size_t)tokens * inner);
    linear(r->wide, weights[OUTER], weights[OUTER_BIAS], r->y, tokens, inner, width);
    norm(r->x, r->y, weights[OUTPUT_GAIN], weights[OUTPUT_BIAS], tokens, width);
}

static void pool(const float *x, unsigned tokens, unsigned width, float *out)
{
    float squares = 0;

    for (unsigned n = 0; n < width; n++) {
        out[n] = 0;
        for (unsigned t = 0; t < tokens; t++)
            out[n] += x[(size_t)t * width + n] / (float)tokens;
        squares += out[n] * out[n];
    }
    for (unsigned n = 0; n < width; n++)
        out[n] /= sqrtf(squares + 1e-24f);
}

int network_compute(const network *net, const network_weights *weights, const uint32_t *ids, unsigned tokens,
                    float *out)
{
    size_t      row = (size_t)tokens * net->width;
    float      *memory = calloc(5 * row + (size_t)tokens * net->inner, sizeof *memory);
    struct rows r = { memory, memory + row, memory + 2 * row, memory + 3 * row, memory + 4 * row, memory + 5 * row };

    if (!memory)
        return -1;
    embed(net, weights->embedding, ids, tokens, r.x);
    for (unsigned l = 0; l < net->layers_count; l++)
        compute_layer(net, weights->layers[l], &r, tokens);
    pool(r.x, tokens, net->width, out);
    free(memory);
    return 0;
}
