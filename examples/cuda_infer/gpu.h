/* SPDX-License-Identifier: Apache-2.0 */
/* The network on a CUDA device: our kernels, queued on a stream. The driver is found at run time, and what is used of
 * it declared by hand: no toolkit is needed to build this. */
#ifndef GPU_H
#define GPU_H

#include "network.h"

typedef struct CUctx_st    *gpu_context;
typedef struct CUstream_st *gpu_stream;
typedef struct CUevent_st  *gpu_event;
typedef struct CUmod_st    *gpu_module;
typedef struct CUfunc_st   *gpu_function;
typedef uint64_t            gpu_address;

enum { EMBED, NORM, LINEAR, ATTENTION, POOL, KERNELS };

typedef struct gpu {
    int (*cuGetErrorName)(int code, const char **text);
    int (*cuModuleLoadDataEx)(gpu_module *module, const void *image, unsigned options, const int *names, void **values);
    int (*cuModuleUnload)(gpu_module module);
    int (*cuModuleGetFunction)(gpu_function *function, gpu_module module, const char *name);
    int (*cuLaunchKernel)(gpu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared_bytes, gpu_stream stream,
                          void **arguments, void **extra);
    int (*cuMemcpyHtoDAsync)(gpu_address to, const void *from, size_t bytes, gpu_stream stream);
    int (*cuMemcpyDtoHAsync)(void *to, gpu_address from, size_t bytes, gpu_stream stream);
    int (*cuStreamSynchronize)(gpu_stream stream);
    int (*cuEventCreate)(gpu_event *event, unsigned flags);
    int (*cuEventDestroy)(gpu_event event);
    int (*cuEventRecord)(gpu_event event, gpu_stream stream);
    int (*cuEventElapsedTime)(float *ms, gpu_event from, gpu_event to);

    gpu_module   module;
    gpu_function kernels[KERNELS];
} gpu;

/* Rows of tokens on the device, one behind the other in one piece of memory: what a pass needs beside the weights. */
typedef struct gpu_rows {
    gpu_address ids, x, y, query, key, value, wide, out;
} gpu_rows;

uint64_t gpu_rows_bytes(const network *net);
gpu_rows gpu_rows_at(const network *net, void *memory);

/* SGI_E_UNSUPPORTED: there is no driver, or none that has what is used of it. */
sgi_status gpu_open(gpu *g, sgi_error *err);

/* The kernels, for the context that is current, and away again: while it is. */
sgi_status gpu_load(gpu *g, sgi_error *err);
void       gpu_unload(gpu *g);

/* Pieces of a pass, queued on a stream whose context is current. They follow each other: the rows are where the last
 * one left them. */
sgi_status gpu_embed(gpu *g, gpu_stream stream, const network *net, const network_weights *weights, const gpu_rows *r,
                     const uint32_t *ids, unsigned tokens, sgi_error *err);
sgi_status gpu_layer(gpu *g, gpu_stream stream, const network *net, const float *const *weights, const gpu_rows *r,
                     unsigned tokens, sgi_error *err);
/* Waits for all of it. */
sgi_status gpu_pool(gpu *g, gpu_stream stream, const network *net, const gpu_rows *r, unsigned tokens, float *out,
                    sgi_error *err);

/* SGI_OK for 0; else SGI_E_ENGINE with the call and the code's name. */
sgi_status gpu_ended(const gpu *g, const char *call, int code, sgi_error *err);

#endif
