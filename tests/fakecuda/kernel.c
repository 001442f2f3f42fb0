/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stand-ins for kernels: those of gpu_probe, by their names, if the image has them. There are no others, and an image
 * without any of them is refused. They run in stream order on the memory as it is then.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { KERNEL_NOOP, KERNEL_STOP, KERNEL_POKE, KERNEL_PEEK, KERNEL_COUNT, KERNELS, KERNEL_BITS = 3 };

static const char *const names[KERNELS] = { "noop", "stop", "poke", "peek", "count" };

static bool image_has(const char *image, int kernel)
{
    char entry[64];
    snprintf(entry, sizeof entry, ".visible .entry %s(", names[kernel]);
    return strstr(image, entry) != NULL;
}

static cu_result load(const char *image, cu_module *module)
{
    unsigned has = 0;
    if (strncmp(image,
                "\x7f"
                "ELF",
                4) == 0)
        return CU_NO_BINARY_FOR_GPU;
    for (int n = 0; n < KERNELS; n++)
        has |= (unsigned)image_has(image, n) << n;
    struct module *made = has ? calloc(1, sizeof *made) : NULL;
    if (!made)
        return has ? CU_OUT_OF_MEMORY : CU_INVALID_PTX;
    *made = (struct module){ .context = fc_current(), .kernels = has };
    made->handle = (cu_module)(uintptr_t)fc_handle_make(KIND_MODULE, made);
    *module = made->handle;
    return CU_OK;
}

cu_result cuModuleLoadDataEx(cu_module *module, const void *image, unsigned int count, cu_jit_option *options,
                             void **values)
{
    cu_result code = fc_enter(CALL_cuModuleLoadDataEx, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!module || !image || (count > 0 && (!options || !values)))
        return fc_leave(CU_INVALID_VALUE);
    return fc_leave(load(image, module));
}

cu_result cuModuleUnload(cu_module module)
{
    cu_result code = fc_enter(CALL_cuModuleUnload, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct module *found = fc_handle_get(KIND_MODULE, (uintptr_t)module);
    if (!found)
        return fc_leave(CU_INVALID_HANDLE);
    fc_handle_drop((uintptr_t)module);
    free(found);
    return fc_leave(CU_OK);
}

/* A function is its module's handle and its number. */
cu_result cuModuleGetFunction(cu_function *function, cu_module module, const char *name)
{
    cu_result code = fc_enter(CALL_cuModuleGetFunction, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct module *found = fc_handle_get(KIND_MODULE, (uintptr_t)module);
    if (!function || !name || !found)
        return fc_leave(found ? CU_INVALID_VALUE : CU_INVALID_HANDLE);
    for (unsigned n = 0; n < KERNELS; n++) {
        if (strcmp(names[n], name) == 0 && (found->kernels >> n & 1) != 0) {
            *function = (cu_function)((uintptr_t)module << KERNEL_BITS | n);
            return fc_leave(CU_OK);
        }
    }
    return fc_leave(CU_NOT_FOUND);
}

/* An address that is nobody's is no error of the launch. */
static void argument(struct work *work, cu_ptr at, size_t bytes, int device, bool writing)
{
    struct parts *parts = writing ? &work->to : &work->from;
    if (fc_resolve(at, bytes, device, writing, parts, &work->fault) != CU_OK)
        work->fault = CU_ILLEGAL_ADDRESS;
}

static uint64_t number(void *const *params, int n)
{
    uint64_t value;
    memcpy(&value, params[n], sizeof value);
    return value;
}

static uint32_t word(void *const *params, int n)
{
    uint32_t value;
    memcpy(&value, params[n], sizeof value);
    return value;
}

static void take_arguments(struct work *work, int device, void *const *params)
{
    switch (work->kernel) {
    case KERNEL_STOP:
        work->fault = CU_LAUNCH_FAILED;
        break;
    case KERNEL_POKE:
        work->value = word(params, 1);
        argument(work, number(params, 0), 4, device, true);
        break;
    case KERNEL_PEEK:
        argument(work, number(params, 0), 4, device, false);
        argument(work, number(params, 1), 4, device, true);
        break;
    case KERNEL_COUNT:
        work->words = number(params, 1);
        work->value = word(params, 2);
        argument(work, number(params, 0), work->words * 4, device, false);
        argument(work, number(params, 3), 8, device, true);
        break;
    default:
        break;
    }
}

cu_result cuLaunchKernel(cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                         unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
                         cu_stream stream, void **params, void **extra)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuLaunchKernel, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    int kernel = (int)((uintptr_t)function & ((1u << KERNEL_BITS) - 1));
    if (!fc_handle_get(KIND_MODULE, (uintptr_t)function >> KERNEL_BITS) || kernel >= KERNELS)
        return fc_leave(CU_INVALID_HANDLE);
    if (grid_x == 0 || grid_y == 0 || grid_z == 0 || block_x == 0 || block_y == 0 || block_z == 0 || extra ||
        (uint64_t)block_x * block_y * block_z > 1024 || shared_bytes > 48u << 10 || (kernel >= KERNEL_POKE && !params))
        return fc_leave(CU_INVALID_VALUE);
    code = fc_stream_and_current(stream, &on);
    struct work *work = code == CU_OK ? fc_work_new(WORK_KERNEL) : NULL;
    if (!work)
        return fc_leave(code == CU_OK ? CU_OUT_OF_MEMORY : code);
    work->kernel = kernel;
    take_arguments(work, on->device, params);
    fc_submit(on, work);
    return fc_leave(CU_OK);
}

static uint64_t count(const struct work *work)
{
    uint64_t found = 0;
    for (unsigned n = 0; n < work->from.count; n++) {
        const struct part *part = &work->from.list[n];
        for (size_t at = 0; at < part->bytes; at += 4) {
            uint32_t value;
            memcpy(&value, part->reach + at, sizeof value);
            found += value == work->value;
        }
    }
    return found;
}

void fc_kernel_run(const struct work *work)
{
    if (work->kernel == KERNEL_POKE) {
        memcpy(work->to.list[0].reach, &work->value, 4);
    } else if (work->kernel == KERNEL_PEEK) {
        memcpy(work->to.list[0].reach, work->from.list[0].reach, 4);
    } else if (work->kernel == KERNEL_COUNT) {
        uint64_t sum;
        memcpy(&sum, work->to.list[0].reach, sizeof sum);
        sum += count(work);
        memcpy(work->to.list[0].reach, &sum, sizeof sum);
    }
}
