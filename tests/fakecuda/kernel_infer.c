/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stand-ins for the kernels of examples/cuda_infer (kernels.cu says what they do). They add up in an order of their
 * own: results differ in the last digits, as they do on a device.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { HEAD = 32 };

/* -------------------------------------------------------------------------------------------------------- arguments */

/* What a stand-in reads, argument by argument as they were taken. An argument in several pieces of memory is put
 * together. */
struct reader {
    const struct part *next;
    void              *copies[4];
    unsigned           copies_count;
};

static const void *read_argument(struct reader *r, size_t bytes)
{
    const struct part *part = r->next++;
    if (part->bytes >= bytes)
        return part->reach;
    char  *copy = malloc(bytes);
    size_t at = 0;
    if (!copy)
        abort(); /* a test's machine has the memory */
    r->copies[r->copies_count++] = copy;
    for (;; part = r->next++) {
        memcpy(copy + at, part->reach, part->bytes);
        at += part->bytes;
        if (at >= bytes)
            return copy;
    }
}

static void read_end(struct reader *r)
{
    for (unsigned n = 0; n < r->copies_count; n++)
        free(r->copies[n]);
}

static float *output_of(size_t count)
{
    float *out = malloc(count * sizeof *out);
    if (!out)
        abort();
    return out;
}

/* Takes it. */
static void write_output(const struct work *work, float *out)
{
    const char *from = (const char *)out;
    for (unsigned n = 0; n < work->to.count; n++) {
        memcpy(work->to.list[n].reach, from, work->to.list[n].bytes);
        from += work->to.list[n].bytes;
    }
    free(out);
}

static size_t floats(uint64_t rows, uint64_t columns)
{
    return rows * columns * sizeof(float);
}

/* ------------------------------------------------------------------------------------------------------------ embed */

/* ids, words, positions, types, out, width, vocabulary; the tokens are the grid's */
static void take_embed(struct work *work, int device, void *const *parameters)
{
    uint32_t tokens = work->numbers[0], width = fc_kernel_u32(parameters, 5), vocabulary = fc_kernel_u32(parameters, 6);
    work->numbers[1] = width;
    work->numbers[2] = vocabulary;
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 0), tokens * sizeof(uint32_t));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 1), floats(vocabulary, width));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 2), floats(tokens, width));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 3), floats(1, width));
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 4), floats(tokens, width));
}

static void embed(const struct work *work)
{
    uint32_t        tokens = work->numbers[0], width = work->numbers[1], vocabulary = work->numbers[2];
    struct reader   r = { .next = work->from.list };
    const uint32_t *ids = read_argument(&r, tokens * sizeof(uint32_t));
    const float    *words = read_argument(&r, floats(vocabulary, width));
    const float    *positions = read_argument(&r, floats(tokens, width)), *types = read_argument(&r, floats(1, width));
    float          *out = output_of((size_t)tokens * width);
    for (uint32_t t = 0; t < tokens; t++) {
        size_t word = ids[t] < vocabulary ? ids[t] : vocabulary - 1, row = (size_t)t * width;
        for (uint32_t n = 0; n < width; n++)
            out[row + n] = words[word * width + n] + positions[row + n] + types[n];
    }
    write_output(work, out);
    read_end(&r);
}

/* ------------------------------------------------------------------------------------------------------------- norm */

/* x, more or NULL, gain, bias, out, width; the tokens are the grid's */
static void take_norm(struct work *work, int device, void *const *parameters)
{
    uint32_t tokens = work->numbers[0], width = fc_kernel_u32(parameters, 5);
    uint64_t more = fc_kernel_u64(parameters, 1);
    work->numbers[1] = width;
    work->numbers[2] = more != 0;
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 0), floats(tokens, width));
    if (more)
        fc_kernel_reads(work, device, more, floats(tokens, width));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 2), floats(1, width));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 3), floats(1, width));
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 4), floats(tokens, width));
}

static void norm_row(float *row, const float *x, const float *more, const float *gain, const float *bias,
                     uint32_t width)
{
    float mean = 0, variance = 0;
    for (uint32_t n = 0; n < width; n++) {
        row[n] = x[n] + (more ? more[n] : 0);
        mean += row[n];
    }
    mean /= (float)width;
    for (uint32_t n = 0; n < width; n++)
        variance += (row[n] - mean) * (row[n] - mean);
    float scale = 1 / sqrtf(variance / (float)width + 1e-12f);
    for (uint32_t n = 0; n < width; n++)
        row[n] = (row[n] - mean) * scale * gain[n] + bias[n];
}

static void norm(const struct work *work)
{
    uint32_t      tokens = work->numbers[0], width = work->numbers[1];
    struct reader r = { .next = work->from.list };
    const float  *x = read_argument(&r, floats(tokens, width));
    const float  *more = work->numbers[2] ? read_argument(&r, floats(tokens, width)) : NULL;
    const float  *gain = read_argument(&r, floats(1, width)), *bias = read_argument(&r, floats(1, width));
    float        *out = output_of((size_t)tokens * width);
    for (size_t row = 0; row < (size_t)tokens * width; row += width)
        norm_row(out + row, x + row, more ? more + row : NULL, gain, bias, width);
    write_output(work, out);
    read_end(&r);
}

/* ----------------------------------------------------------------------------------------------------------- linear */

/* x, weight, bias, out, tokens, inputs, outputs, gelu */
static void take_linear(struct work *work, int device, void *const *parameters)
{
    for (int n = 0; n < 4; n++)
        work->numbers[n] = fc_kernel_u32(parameters, 4 + n);
    uint32_t tokens = work->numbers[0], inputs = work->numbers[1], outputs = work->numbers[2];
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 0), floats(tokens, inputs));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 1), floats(outputs, inputs));
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 2), floats(1, outputs));
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 3), floats(tokens, outputs));
}

static float product(const float *a, const float *b, uint32_t count)
{
    float sums[4] = { 0 };
    for (uint32_t n = 0; n < count; n++)
        sums[n % 4] += a[n] * b[n];
    return sums[0] + sums[1] + sums[2] + sums[3];
}

static void linear(const struct work *work)
{
    uint32_t      tokens = work->numbers[0], inputs = work->numbers[1], outputs = work->numbers[2];
    struct reader r = { .next = work->from.list };
    const float  *x = read_argument(&r, floats(tokens, inputs)), *weight = read_argument(&r, floats(outputs, inputs));
    const float  *bias = read_argument(&r, floats(1, outputs));
    float        *out = output_of((size_t)tokens * outputs);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t o = 0; o < outputs; o++) {
            float sum = product(x + t * inputs, weight + o * inputs, inputs) + bias[o];
            out[t * outputs + o] = work->numbers[3] ? 0.5f * sum * (1 + erff(sum * 0.70710678f)) : sum;
        }
    }
    write_output(work, out);
    read_end(&r);
}

/* -------------------------------------------------------------------------------------------------------- attention */

/* q, k, v, out, tokens, width */
static void take_attention(struct work *work, int device, void *const *parameters)
{
    uint32_t tokens = fc_kernel_u32(parameters, 4), width = fc_kernel_u32(parameters, 5);
    work->numbers[0] = tokens;
    work->numbers[1] = width;
    for (int n = 0; n < 3; n++)
        fc_kernel_reads(work, device, fc_kernel_u64(parameters, n), floats(tokens, width));
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 3), floats(tokens, width));
}

/* One head of one token; k, v and out begin at the head's column. */
static void attend(const float *q, const float *k, const float *v, float *out, float *scores, uint32_t tokens,
                   uint32_t width)
{
    float highest = -INFINITY, sum = 0;
    for (size_t t = 0; t < tokens; t++) {
        scores[t] = product(q, k + t * width, HEAD) / sqrtf(HEAD);
        highest = fmaxf(highest, scores[t]);
    }
    memset(out, 0, HEAD * sizeof *out);
    for (size_t t = 0; t < tokens; t++) {
        float share = expf(scores[t] - highest);
        sum += share;
        for (size_t n = 0; n < HEAD; n++)
            out[n] += share * v[t * width + n];
    }
    for (size_t n = 0; n < HEAD; n++)
        out[n] /= sum;
}

static void attention(const struct work *work)
{
    uint32_t      tokens = work->numbers[0], width = work->numbers[1];
    struct reader r = { .next = work->from.list };
    const float  *q = read_argument(&r, floats(tokens, width)), *k = read_argument(&r, floats(tokens, width));
    const float  *v = read_argument(&r, floats(tokens, width));
    float        *out = output_of((size_t)tokens * width), *scores = output_of(tokens);
    for (size_t t = 0; t < tokens; t++)
        for (size_t column = 0; column + HEAD <= width; column += HEAD)
            attend(q + t * width + column, k + column, v + column, out + t * width + column, scores, tokens, width);
    free(scores);
    write_output(work, out);
    read_end(&r);
}

/* ------------------------------------------------------------------------------------------------------------- pool */

/* x, out, tokens, width */
static void take_pool(struct work *work, int device, void *const *parameters)
{
    uint32_t tokens = fc_kernel_u32(parameters, 2), width = fc_kernel_u32(parameters, 3);
    work->numbers[0] = tokens;
    work->numbers[1] = width;
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 0), floats(tokens, width));
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 1), floats(1, width));
}

static void pool(const struct work *work)
{
    uint32_t      tokens = work->numbers[0], width = work->numbers[1];
    struct reader r = { .next = work->from.list };
    const float  *x = read_argument(&r, floats(tokens, width));
    float        *out = output_of(width), squares = 0;
    for (size_t n = 0; n < width; n++) {
        float sum = 0;
        for (size_t t = 0; t < tokens; t++)
            sum += x[t * width + n];
        out[n] = sum / (float)tokens;
        squares += out[n] * out[n];
    }
    for (size_t n = 0; n < width; n++)
        out[n] /= sqrtf(squares + 1e-24f);
    write_output(work, out);
    read_end(&r);
}

const struct kernel fc_infer_kernels[INFER_KERNELS] = {
    { "infer_embed", true, take_embed, embed },    { "infer_norm", true, take_norm, norm },
    { "infer_linear", true, take_linear, linear }, { "infer_attention", true, take_attention, attention },
    { "infer_pool", true, take_pool, pool },
};
