/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of examples/cuda_infer and how they are queued, against the plain C of the same network: on whatever
 * driver there is, with no runtime in between. Weights lie as a load puts them, in memory made of several handles.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../examples/cuda_infer/gpu.h"
#include "../conformance/cuda_fixture.h"

enum { ALIGN = 256, HANDLES = 2 };

static const network net = { .width = 64, .inner = 176, .vocabulary = 50, .positions = 32, .layers_count = 2 };

/* Weights on both sides, from the same numbers. */
struct model {
    network_weights host, device;
    float          *numbers;
    cu_ptr          at; /* of HANDLES handles */
    size_t          bytes, used;
    uint64_t        random;
};

static gpu       driver;
static sgi_error err = SGI_ERROR_INIT;

static float next_number(struct model *m)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (float)(m->random >> 40) / (float)(1u << 24) - 0.5f;
}

/* `gain`: near 1, as a norm has them. */
static void add_tensor(struct model *m, size_t count, bool gain, const float **host, const float **device)
{
    float *numbers = m->numbers + m->used / sizeof *numbers;

    for (size_t n = 0; n < count; n++)
        numbers[n] = next_number(m) * 0.3f + (gain ? 1.0f : 0.0f);
    *host = numbers;
    *device = (const float *)(uintptr_t)(m->at + m->used);
    m->used += (count * sizeof *numbers + ALIGN - 1) / ALIGN * ALIGN;
    assert_true(m->used <= m->bytes);
}

static void add_layer(struct model *m, unsigned layer)
{
    for (unsigned t = 0; t < LAYER_TENSORS; t++) {
        bool   vector = t % 2 == 1 || t == ATTENTION_GAIN || t == OUTPUT_GAIN;
        size_t rows = t == INNER || t == INNER_BIAS ? net.inner : net.width,
               columns = t == OUTER ? net.inner : net.width;

        add_tensor(m, vector ? rows : rows * columns, t == ATTENTION_GAIN || t == OUTPUT_GAIN,
                   &m->host.layers[layer][t], &m->device.layers[layer][t]);
    }
}

/* The words are made to lie across the end of the first handle. */
static void model_make(struct model *m)
{
    size_t granule = granularity();
    size_t counts[EMBEDDING_TENSORS] = { (size_t)net.vocabulary * net.width, (size_t)net.positions * net.width,
                                         (size_t)2 * net.width, net.width, net.width };

    *m = (struct model){ .bytes = HANDLES * granule, .used = granule - 16 * ALIGN, .random = 7 };
    m->numbers = calloc(1, m->bytes);
    assert_non_null(m->numbers);
    OK(cu.cuMemAddressReserve(&m->at, m->bytes, 0, 0, 0));
    for (size_t n = 0; n < HANDLES; n++) {
        cu_handle handle = create(granule);
        OK(cu.cuMemMap(m->at + n * granule, granule, 0, handle, 0));
        OK(cu.cuMemRelease(handle));
    }
    OK(set_access(m->at, m->bytes, CU_ACCESS_READ_WRITE));
    for (unsigned t = 0; t < EMBEDDING_TENSORS; t++)
        add_tensor(m, counts[t], t == FIRST_GAIN, &m->host.embedding[t], &m->device.embedding[t]);
    for (unsigned l = 0; l < net.layers_count; l++)
        add_layer(m, l);
    OK(cu.cuMemcpyHtoD_v2(m->at, m->numbers, m->bytes));
    OK(cu.cuCtxSynchronize()); /* pageable bytes may still be on their way, and our stream does not wait for others */
}

static void model_free(struct model *m)
{
    for (size_t n = 0; n < HANDLES; n++)
        OK(cu.cuMemUnmap(m->at + n * (m->bytes / HANDLES), m->bytes / HANDLES));
    OK(cu.cuMemAddressFree(m->at, m->bytes));
    free(m->numbers);
}

static void pass(gpu *g, cu_stream stream, const struct model *m, const gpu_rows *rows, const uint32_t *ids,
                 unsigned tokens, float *out)
{
    gpu_stream on = (gpu_stream)stream;

    assert_int_equal(gpu_embed(g, on, &net, &m->device, rows, ids, tokens, &err), SGI_OK);
    for (unsigned l = 0; l < net.layers_count; l++)
        assert_int_equal(gpu_layer(g, on, &net, m->device.layers[l], rows, tokens, &err), SGI_OK);
    assert_int_equal(gpu_pool(g, on, &net, rows, tokens, out, &err), SGI_OK);
}

static void kernels_compute_what_plain_c_does(void **state)
{
    static const unsigned counts[] = { 1, 5, 16, 17, 32 };
    uint32_t              ids[32];
    float                 out[WIDTH_MAX], right[WIDTH_MAX];
    struct model          m;
    cu_ptr                memory = 0;
    gpu                   g = driver;
    (void)state;
    enter();
    cu_stream stream = stream_new();
    model_make(&m);
    OK(cu.cuMemAlloc_v2(&memory, gpu_rows_bytes(&net)));
    gpu_rows rows = gpu_rows_at(&net, (void *)(uintptr_t)memory); /* NOLINT(performance-no-int-to-ptr) */
    assert_int_equal(gpu_load(&g, &err), SGI_OK);
    for (uint32_t t = 0; t < 32; t++)
        ids[t] = (t * 29 + 49) % net.vocabulary;
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        pass(&g, stream, &m, &rows, ids, counts[n], out);
        assert_int_equal(network_compute(&net, &m.host, ids, counts[n], right), 0);
        for (unsigned i = 0; i < net.width; i++)
            assert_true(fabsf(out[i] - right[i]) < 1e-4f);
    }
    gpu_unload(&g);
    OK(cu.cuMemFree_v2(memory));
    model_free(&m);
    OK(cu.cuStreamDestroy_v2(stream));
    leave();
}

static void what_fails_is_named(void **state)
{
    (void)state;
    sgi_error said = SGI_ERROR_INIT;
    assert_int_equal(gpu_ended(&driver, "cuLaunchKernel", CU_OK, &said), SGI_OK);
    assert_int_equal(gpu_ended(&driver, "cuLaunchKernel", CU_LAUNCH_FAILED, &said), SGI_E_ENGINE);
    assert_string_equal(said.message, "cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED (719)");
}

static void an_image_of_other_kernels_is_no_module_of_ours(void **state)
{
    static const char other[] = ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry noop() { ret; }\n";
    cu_module         module = NULL;
    cu_function       function = NULL;
    (void)state;
    enter();
    OK(cu.cuModuleLoadDataEx(&module, other, 0, NULL, NULL));
    assert_int_equal(cu.cuModuleGetFunction(&function, module, "infer_embed"), CU_NOT_FOUND);
    OK(cu.cuModuleUnload(module));
    leave();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_compute_what_plain_c_does),
        cmocka_unit_test(what_fails_is_named),
        cmocka_unit_test(an_image_of_other_kernels_is_no_module_of_ours),
    };
    int count = 0;

    cuda_library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!cuda_library || !cuda_find() || gpu_open(&driver, &err) != SGI_OK || cu.cuInit(0) != CU_OK ||
        cu.cuDeviceGetCount(&count) != CU_OK || count < 1) {
        printf("there is no CUDA device here, or its driver is older than 550\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
