/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <sgi/ext.h>

enum { TILE = 16, ROW_THREADS = 128, WARP = 32, PIECE = 256 };

/* kernels.fatbin, in the program itself. */
__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        "cuda_infer_kernels:\n"
        ".incbin \"" KERNELS_FATBIN "\"\n"
        ".popsection\n");
extern const unsigned char cuda_infer_kernels[] __attribute__((visibility("hidden")));

static const char *const kernel_names[KERNELS] = {
    [EMBED] = "infer_embed",         [NORM] = "infer_norm", [LINEAR] = "infer_linear",
    [ATTENTION] = "infer_attention", [POOL] = "infer_pool",
};

/* ------------------------------------------------------------------------------------------------------- the driver */

/* The library has opened it too, so this finds the same one. It is not closed again: it has threads of its own. */
sgi_status gpu_open(gpu *g, sgi_error *err)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    /* Names as the driver exports them: cuda.h's macros make the same of the plain ones. */
    const struct {
        const char *name;
        void       *to;
    } functions[] = {
        { "cuGetErrorName", &g->cuGetErrorName },
        { "cuModuleLoadDataEx", &g->cuModuleLoadDataEx },
        { "cuModuleUnload", &g->cuModuleUnload },
        { "cuModuleGetFunction", &g->cuModuleGetFunction },
        { "cuLaunchKernel", &g->cuLaunchKernel },
        { "cuMemcpyHtoDAsync_v2", &g->cuMemcpyHtoDAsync },
        { "cuMemcpyDtoHAsync_v2", &g->cuMemcpyDtoHAsync },
        { "cuStreamSynchronize", &g->cuStreamSynchronize },
        { "cuEventCreate", &g->cuEventCreate },
        { "cuEventDestroy_v2", &g->cuEventDestroy },
        { "cuEventRecord", &g->cuEventRecord },
        { "cuEventElapsedTime", &g->cuEventElapsedTime },
    };

    if (!library)
        return sgi_error_set(err, SGI_E_UNSUPPORTED, "there is no CUDA driver (libcuda.so.1) here");
    for (size_t n = 0; n < sizeof functions / sizeof *functions; n++) {
        void *found = dlsym(library, functions[n].name);

        if (!found)
            return sgi_error_set(err, SGI_E_UNSUPPORTED, "the CUDA driver lacks functions that this example calls");
        memcpy(functions[n].to, &found, sizeof found); /* ISO C lets no function be a void * */
    }
    return SGI_OK;
}

sgi_status gpu_ended(const gpu *g, const char *call, int code, sgi_error *err)
{
    const char *name = NULL;
    char        text[128];

    if (code == 0)
        return SGI_OK;
    g->cuGetErrorName(code, &name);
    snprintf(text, sizeof text, "%s: %s (%d)", call, name ? name : "an unknown CUDA error", code);
    return sgi_error_set(err, SGI_E_ENGINE, text);
}

sgi_status gpu_load(gpu *g, sgi_error *err)
{
    sgi_status st = gpu_ended(g, "cuModuleLoadDataEx of kernels.fatbin",
                              g->cuModuleLoadDataEx(&g->module, cuda_infer_kernels, 0, NULL, NULL), err);

    if (st != SGI_OK)
        return st;
    for (unsigned n = 0; n < KERNELS && st == SGI_OK; n++)
        st = gpu_ended(g, kernel_names[n], g->cuModuleGetFunction(&g->kernels[n], g->module, kernel_names[n]), err);
    if (st != SGI_OK)
        gpu_unload(g);
    return st;
}

void gpu_unload(gpu *g)
{
    g->cuModuleUnload(g->module);
}

/* ------------------------------------------------------------------------------------------------------------- rows */

static uint64_t piece(uint64_t bytes)
{
    return (bytes + PIECE - 1) / PIECE * PIECE;
}

static uint64_t place_rows(const network *net, uint64_t at, gpu_rows *r)
{
    uint64_t     row = piece((uint64_t)TOKENS_MAX * net->width * sizeof(float));
    gpu_address *rows[] = { &r->x, &r->y, &r->query, &r->key, &r->value, &r->out };

    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++, at += row)
        *rows[n] = at;
    r->ids = at;
    r->wide = at + piece(TOKENS_MAX * sizeof(uint32_t));
    return r->wide + piece((uint64_t)TOKENS_MAX * net->inner * sizeof(float));
}

uint64_t gpu_rows_bytes(const network *net)
{
    gpu_rows r;

    return place_rows(net, 0, &r);
}

gpu_rows gpu_rows_at(const network *net, void *memory)
{
    gpu_rows r;

    place_rows(net, (uintptr_t)memory, &r);
    return r;
}

/* ---------------------------------------------------------------------------------------------------------- kernels */

struct launch {
    unsigned grid_x, grid_y, block_x, block_y, shared_bytes;
};

static sgi_status launch(gpu *g, gpu_stream stream, int kernel, struct launch l, void **arguments, sgi_error *err)
{
    int code = g->cuLaunchKernel(g->kernels[kernel], l.grid_x, l.grid_y, 1, l.block_x, l.block_y, 1, l.shared_bytes,
                                 stream, arguments, NULL);

    return gpu_ended(g, kernel_names[kernel], code, err);
}

static sgi_status norm(gpu *g, gpu_stream stream, gpu_address x, gpu_address more, const float *gain, const float *bias,
                       gpu_address out, unsigned tokens, unsigned width, sgi_error *err)
{
    void *arguments[] = { &x, &more, &gain, &bias, &out, &width };

    return launch(g, stream, NORM, (struct launch){ tokens, 1, ROW_THREADS, 1, 0 }, arguments, err);
}

static sgi_status linear(gpu *g, gpu_stream stream, gpu_address x, const float *weight, const float *bias,
                         gpu_address out, unsigned tokens, unsigned inputs, unsigned outputs, unsigned gelu,
                         sgi_error *err)
{
    void         *arguments[] = { &x, &weight, &bias, &out, &tokens, &inputs, &outputs, &gelu };
    struct launch l = { (outputs + TILE - 1) / TILE, (tokens + TILE - 1) / TILE, TILE, TILE, 0 };

    return launch(g, stream, LINEAR, l, arguments, err);
}

static sgi_status attention(gpu *g, gpu_stream stream, const gpu_rows *r, gpu_address out, unsigned tokens,
                            unsigned width, sgi_error *err)
{
    gpu_address   query = r->query, key = r->key, value = r->value;
    void         *arguments[] = { &query, &key, &value, &out, &tokens, &width };
    struct launch l = { tokens, width / HEAD_WIDTH, WARP, 1, (unsigned)(tokens * sizeof(float)) };

    return launch(g, stream, ATTENTION, l, arguments, err);
}

sgi_status gpu_embed(gpu *g, gpu_stream stream, const network *net, const network_weights *weights, const gpu_rows *r,
                     const uint32_t *ids, unsigned tokens, sgi_error *err)
{
    const float *const *w = weights->embedding;
    gpu_address         ids_at = r->ids, out = r->y;
    unsigned            width = net->width, vocabulary = net->vocabulary;
    const float        *words = w[WORDS], *positions = w[POSITIONS], *types = w[TYPES];
    void               *arguments[] = { &ids_at, &words, &positions, &types, &out, &width, &vocabulary };
    sgi_status st = gpu_ended(g, "cuMemcpyHtoDAsync", g->cuMemcpyHtoDAsync(ids_at, ids, tokens * sizeof *ids, stream),
                              err);

    if (st == SGI_OK)
        st = launch(g, stream, EMBED, (struct launch){ tokens, 1, ROW_THREADS, 1, 0 }, arguments, err);
    return st != SGI_OK ? st : norm(g, stream, r->y, 0, w[FIRST_GAIN], w[FIRST_BIAS], r->x, tokens, width, err);
}

static sgi_status attention_block(gpu *g, gpu_stream stream, const network *net, const float *const *w,
                                  const gpu_rows *r, unsigned tokens, sgi_error *err)
{
    unsigned   n = net->width;
    sgi_status st = linear(g, stream, r->x, w[QUERY], w[QUERY_BIAS], r->query, tokens, n, n, 0, err);

    if (st == SGI_OK)
        st = linear(g, stream, r->x, w[KEY], w[KEY_BIAS], r->key, tokens, n, n, 0, err);
    if (st == SGI_OK)
        st = linear(g, stream, r->x, w[VALUE], w[VALUE_BIAS], r->value, tokens, n, n, 0, err);
    if (st == SGI_OK)
        st = attention(g, stream, r, r->y, tokens, n, err);
    if (st == SGI_OK)
        st = linear(g, stream, r->y, w[ATTENDED], w[ATTENDED_BIAS], r->query, tokens, n, n, 0, err);
    return st != SGI_OK ? st
                        : norm(g, stream, r->query, r->x, w[ATTENTION_GAIN], w[ATTENTION_BIAS], r->y, tokens, n, err);
}

sgi_status gpu_layer(gpu *g, gpu_stream stream, const network *net, const float *const *weights, const gpu_rows *r,
                     unsigned tokens, sgi_error *err)
{
    const float *const *w = weights;
    unsigned            n = net->width, inner = net->inner;
    sgi_status          st = attention_block(g, stream, net, w, r, tokens, err);

    if (st == SGI_OK)
        st = linear(g, stream, r->y, w[INNER], w[INNER_BIAS], r->wide, tokens, n, inner, 1, err);
    if (st == SGI_OK)
        st = linear(g, stream, r->wide, w[OUTER], w[OUTER_BIAS], r->query, tokens, inner, n, 0, err);
    return st != SGI_OK ? st : norm(g, stream, r->query, r->y, w[OUTPUT_GAIN], w[OUTPUT_BIAS], r->x, tokens, n, err);
}

sgi_status gpu_pool(gpu *g, gpu_stream stream, const network *net, const gpu_rows *r, unsigned tokens, float *out,
                    sgi_error *err)
{
    gpu_address x = r->x, pooled = r->out;
    unsigned    width = net->width;
    void       *arguments[] = { &x, &pooled, &tokens, &width };
    sgi_status  st = launch(g, stream, POOL, (struct launch){ 1, 1, ROW_THREADS, 1, 0 }, arguments, err);

    if (st == SGI_OK)
        st = gpu_ended(g, "cuMemcpyDtoHAsync", g->cuMemcpyDtoHAsync(out, pooled, width * sizeof *out, stream), err);
    return st != SGI_OK ? st : gpu_ended(g, "cuStreamSynchronize", g->cuStreamSynchronize(stream), err);
}
