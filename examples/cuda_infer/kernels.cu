/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of cuda_infer: what a BERT encoder is made of, in float, written to be read. Rows are tokens, weights lie
 * as the file has them ([outputs][inputs]), no argument overlaps another.
 *
 * They are compiled by build_kernels.sh into kernels.fatbin, which is committed: change one, and make the other anew.
 */

enum { TILE = 16, HEAD = 32, ROW_THREADS = 128, WARP = 32 };

/* The sum over a block of ROW_THREADS threads, told to each of them. */
static __device__ float block_sum(float value)
{
    __shared__ float parts[ROW_THREADS];

    parts[threadIdx.x] = value;
    for (unsigned half = ROW_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    __syncthreads();
    value = parts[0];
    __syncthreads(); /* the next sum writes there */
    return value;
}

/* A block a token: the word's row, its position's, and that of the first token type. */
extern "C" __global__ void infer_embed(const unsigned *ids, const float *words, const float *positions,
                                       const float *types, float *out, unsigned width, unsigned vocabulary)
{
    size_t word = (size_t)min(ids[blockIdx.x], vocabulary - 1) * width, row = (size_t)blockIdx.x * width;

    for (unsigned n = threadIdx.x; n < width; n += blockDim.x)
        out[row + n] = words[word + n] + positions[row + n] + types[n];
}

/* A block a token: the sum of two rows, normalised. `more` may be NULL. */
extern "C" __global__ void infer_norm(const float *x, const float *more, const float *gain, const float *bias,
                                      float *out, unsigned width)
{
    size_t row = (size_t)blockIdx.x * width;
    float  sum = 0, squares = 0;

    for (unsigned n = threadIdx.x; n < width; n += ROW_THREADS) {
        out[row + n] = x[row + n] + (more ? more[row + n] : 0);
        sum += out[row + n];
    }
    float mean = block_sum(sum) / (float)width;
    for (unsigned n = threadIdx.x; n < width; n += ROW_THREADS)
        squares += (out[row + n] - mean) * (out[row + n] - mean);
    float scale = rsqrtf(block_sum(squares) / (float)width + 1e-12f);
    for (unsigned n = threadIdx.x; n < width; n += ROW_THREADS)
        out[row + n] = (out[row + n] - mean) * scale * gain[n] + bias[n];
}

/* A block of TILE x TILE threads for as many outputs (x) of as many tokens (y): out = x * weight' + bias. */
extern "C" __global__ void infer_linear(const float *x, const float *weight, const float *bias, float *out,
                                        unsigned tokens, unsigned inputs, unsigned outputs, unsigned gelu)
{
    __shared__ float xs[TILE][TILE], weights[TILE][TILE + 1];
    unsigned         output = blockIdx.x * TILE + threadIdx.x, token = blockIdx.y * TILE + threadIdx.y;
    unsigned         loaded = blockIdx.x * TILE + threadIdx.y; /* the row of weights that this thread fetches from */
    float            sum = 0;

    for (unsigned from = 0; from < inputs; from += TILE) {
        unsigned n = from + threadIdx.x;
        xs[threadIdx.y][threadIdx.x] = token < tokens && n < inputs ? x[(size_t)token * inputs + n] : 0;
        weights[threadIdx.y][threadIdx.x] = loaded < outputs && n < inputs ? weight[(size_t)loaded * inputs + n] : 0;
        __syncthreads();
        for (unsigned k = 0; k < TILE; k++)
            sum += xs[threadIdx.y][k] * weights[threadIdx.x][k];
        __syncthreads();
    }
    if (token >= tokens || output >= outputs)
        return;
    sum += bias[output];
    out[(size_t)token * outputs + output] = gelu ? 0.5f * sum * (1 + erff(sum * 0.70710678f)) : sum;
}

/* A warp for a token (x) and a head (y): how much it looks at each token, then that much of each one's value. The
 * shared memory of the launch is a float a token. */
extern "C" __global__ void infer_attention(const float *q, const float *k, const float *v, float *out, unsigned tokens,
                                           unsigned width)
{
    extern __shared__ float scores[];
    unsigned                column = blockIdx.y * HEAD;
    const float            *query = q + (size_t)blockIdx.x * width + column;
    float                   highest = -INFINITY, sum = 0, value = 0;

    for (unsigned t = threadIdx.x; t < tokens; t += WARP) {
        const float *key = k + (size_t)t * width + column;
        float        score = 0;
        for (unsigned n = 0; n < HEAD; n++)
            score += query[n] * key[n];
        scores[t] = score * rsqrtf((float)HEAD);
        highest = fmaxf(highest, scores[t]);
    }
    for (unsigned lanes = WARP / 2; lanes > 0; lanes /= 2)
        highest = fmaxf(highest, __shfl_xor_sync(0xffffffff, highest, lanes));
    for (unsigned t = threadIdx.x; t < tokens; t += WARP) {
        scores[t] = expf(scores[t] - highest);
        sum += scores[t];
    }
    for (unsigned lanes = WARP / 2; lanes > 0; lanes /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, lanes);
    __syncwarp();
    for (unsigned t = 0; t < tokens; t++)
        value += scores[t] * v[(size_t)t * width + column + threadIdx.x];
    out[(size_t)blockIdx.x * width + column + threadIdx.x] = value / sum;
}

/* One block: the mean over the tokens, of length 1. */
extern "C" __global__ void infer_pool(const float *x, float *out, unsigned tokens, unsigned width)
{
    float squares = 0;

    for (unsigned n = threadIdx.x; n < width; n += ROW_THREADS) {
        float sum = 0;
        for (unsigned t = 0; t < tokens; t++)
            sum += x[(size_t)t * width + n];
        out[n] = sum / (float)tokens;
        squares += out[n] * out[n];
    }
    float scale = rsqrtf(block_sum(squares) + 1e-24f);
    for (unsigned n = threadIdx.x; n < width; n += ROW_THREADS)
        out[n] *= scale;
}
