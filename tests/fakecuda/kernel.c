/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules, and launches of the kernels there are stand-ins for: those of gpu_probe and of examples/cuda_infer, by their
 * names, if the image has them. An image without any of them is refused. PTX says what it has; of a fatbin, whose parts
 * are compressed, it stands in the identifier of its images (fatbinary --ident).
 *
 * Stand-ins run in stream order on the memory as it is then. Addresses are looked at when they are launched.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { KERNELS = PROBE_KERNELS + INFER_KERNELS, KERNEL_BITS = 4 };

#define FATBIN_MAGIC 0xBA55ED50u

struct fatbin {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes; /* behind the header */
};

static const struct kernel *kernel_at(unsigned n)
{
    return n < PROBE_KERNELS ? &fc_probe_kernels[n] : &fc_infer_kernels[n - PROBE_KERNELS];
}

static bool is_fatbin(const void *image)
{
    uint32_t magic;
    memcpy(&magic, image, sizeof magic);
    return magic == FATBIN_MAGIC;
}

static bool ptx_has(const char *image, const char *name)
{
    char entry[64];
    snprintf(entry, sizeof entry, ".visible .entry %s(", name);
    return strstr(image, entry) != NULL;
}

static bool fatbin_has(const void *image, const char *name)
{
    struct fatbin fatbin;
    memcpy(&fatbin, image, sizeof fatbin);
    return memmem((const char *)image + fatbin.header_bytes, fatbin.bytes, name, strlen(name)) != NULL;
}

/* A bit for each kernel. */
static unsigned kernels_of(const void *image)
{
    unsigned has = 0;
    for (unsigned n = 0; n < KERNELS; n++) {
        const char *name = kernel_at(n)->name;
        bool        there = is_fatbin(image) ? fatbin_has(image, name) : ptx_has(image, name);
        has |= (unsigned)there << n;
    }
    return has;
}

static cu_result load(const char *image, cu_module *module)
{
    if (strncmp(image,
                "\x7f"
                "ELF",
                4) == 0)
        return CU_NO_BINARY_FOR_GPU;
    unsigned has = kernels_of(image);
    if (!has)
        return is_fatbin(image) ? CU_NO_BINARY_FOR_GPU : CU_INVALID_PTX;
    struct module *made = calloc(1, sizeof *made);
    if (!made)
        return CU_OUT_OF_MEMORY;
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
        if (strcmp(kernel_at(n)->name, name) == 0 && (found->kernels >> n & 1) != 0) {
            *function = (cu_function)((uintptr_t)module << KERNEL_BITS | n);
            return fc_leave(CU_OK);
        }
    }
    return fc_leave(CU_NOT_FOUND);
}

/* Behind what is there: parts of one argument, then those of the next. */
static bool append(struct parts *to, struct parts *more)
{
    struct part *list = realloc(to->list, (to->count + more->count) * sizeof *list);
    if (list) {
        memcpy(list + to->count, more->list, more->count * sizeof *list);
        *to = (struct parts){ list, to->count + more->count };
    }
    free(more->list);
    return list != NULL;
}

/* An address that is nobody's is no error of the launch. */
static void argument(struct work *work, struct parts *to, cu_ptr at, size_t bytes, int device, bool writing)
{
    struct parts parts;
    if (bytes > 0 && (fc_resolve(at, bytes, device, writing, &parts, &work->fault) != CU_OK || !append(to, &parts)))
        work->fault = CU_ILLEGAL_ADDRESS;
}

void fc_kernel_reads(struct work *work, int device, cu_ptr at, size_t bytes)
{
    argument(work, &work->from, at, bytes, device, false);
}

void fc_kernel_writes(struct work *work, int device, cu_ptr at, size_t bytes)
{
    argument(work, &work->to, at, bytes, device, true);
}

uint64_t fc_kernel_u64(void *const *parameters, int n)
{
    uint64_t value;
    memcpy(&value, parameters[n], sizeof value);
    return value;
}

uint32_t fc_kernel_u32(void *const *parameters, int n)
{
    uint32_t value;
    memcpy(&value, parameters[n], sizeof value);
    return value;
}

cu_result cuLaunchKernel(cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                         unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
                         cu_stream stream, void **params, void **extra)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuLaunchKernel, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    unsigned n = (unsigned)((uintptr_t)function & ((1u << KERNEL_BITS) - 1));
    if (!fc_handle_get(KIND_MODULE, (uintptr_t)function >> KERNEL_BITS) || n >= KERNELS)
        return fc_leave(CU_INVALID_HANDLE);
    const struct kernel *kernel = kernel_at(n);
    if (grid_x == 0 || grid_y == 0 || grid_z == 0 || block_x == 0 || block_y == 0 || block_z == 0 || extra ||
        (uint64_t)block_x * block_y * block_z > 1024 || shared_bytes > 48u << 10 || (kernel->has_parameters && !params))
        return fc_leave(CU_INVALID_VALUE);
    code = fc_stream_and_current(stream, &on);
    struct work *work = code == CU_OK ? fc_work_new(WORK_KERNEL) : NULL;
    if (!work)
        return fc_leave(code == CU_OK ? CU_OUT_OF_MEMORY : code);
    work->kernel = kernel;
    work->numbers[0] = grid_x;
    if (kernel->take)
        kernel->take(work, on->device, params);
    fc_submit(on, work);
    return fc_leave(CU_OK);
}
