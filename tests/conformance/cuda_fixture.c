/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda_fixture.h"

enum { CUDA_OF_550 = 12040 };

struct cuda_functions cu;
void                 *cuda_library;

static bool find(void *to, const char *name)
{
    void *found = dlsym(cuda_library, name);
    memcpy(to, &found, sizeof found); /* ISO C lets no function be a void * */
    return found != NULL;
}

/* What came after the oldest driver that the library uses may be missing, and is NULL then. */
static bool is_newer(const char *name)
{
    static const struct {
        const char *name;
        int         since;
    } list[] = {
#define SINCE(name, called, since, until) { #name, (since) },
        FAKECUDA_SINCE(SINCE)
#undef SINCE
    };

    for (size_t n = 0; n < sizeof list / sizeof list[0]; n++)
        if (strcmp(list[n].name, name) == 0)
            return list[n].since > CUDA_OF_550;
    return false;
}

#define FIND(name, parameters) all = (find(&cu.name, #name) || is_newer(#name)) && all;

bool cuda_find(void)
{
    bool all = true;
    FAKECUDA_CALLS(FIND)
    return all;
}

cu_context retain(void)
{
    cu_context context = NULL;
    OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
    assert_non_null(context);
    return context;
}

cu_context enter(void)
{
    cu_context context = retain();
    OK(cu.cuCtxPushCurrent_v2(context));
    return context;
}

void leave(void)
{
    cu_context popped = NULL;
    OK(cu.cuCtxPopCurrent_v2(&popped));
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
}

int is_active(void)
{
    unsigned flags = 0;
    int      active = -1;
    OK(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
    return active;
}

cu_allocation property(void)
{
    cu_allocation prop;
    memset(&prop, 0, sizeof prop);
    prop.type = CU_ALLOCATION_PINNED;
    prop.location = (cu_location){ .type = CU_LOCATION_DEVICE, .id = 0 };
    return prop;
}

size_t granularity(void)
{
    cu_allocation prop = property();
    size_t        bytes = 0;
    OK(cu.cuMemGetAllocationGranularity(&bytes, &prop, CU_GRANULARITY_MINIMUM));
    assert_true(bytes > 0 && (bytes & (bytes - 1)) == 0);
    return bytes;
}

cu_handle create(size_t bytes)
{
    cu_allocation prop = property();
    cu_handle     handle = 0;
    OK(cu.cuMemCreate(&handle, bytes, &prop, 0));
    return handle;
}

cu_result set_access(cu_ptr at, size_t bytes, unsigned flags)
{
    cu_access access = { .location = { .type = CU_LOCATION_DEVICE, .id = 0 }, .flags = flags };
    return cu.cuMemSetAccess(at, bytes, &access, 1);
}

cu_ptr arena(size_t bytes)
{
    cu_ptr at = 0;
    OK(cu.cuMemAddressReserve(&at, bytes, 0, 0, 0));
    cu_handle handle = create(bytes);
    OK(cu.cuMemMap(at, bytes, 0, handle, 0));
    OK(cu.cuMemRelease(handle));
    OK(set_access(at, bytes, CU_ACCESS_READ_WRITE));
    return at;
}

void arena_free(cu_ptr at, size_t bytes)
{
    OK(cu.cuMemUnmap(at, bytes));
    OK(cu.cuMemAddressFree(at, bytes));
}

unsigned char *host_pages(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED);
    return at;
}

void number(unsigned char *at, size_t bytes, unsigned seed)
{
    for (size_t n = 0; n < bytes; n++)
        at[n] = (unsigned char)(n * 131 + seed + n / 251);
}

cu_stream stream_new(void)
{
    cu_stream stream = NULL;
    OK(cu.cuStreamCreate(&stream, CU_STREAM_DOES_NOT_BLOCK));
    return stream;
}

cu_event event_new(void)
{
    cu_event event = NULL;
    OK(cu.cuEventCreate(&event, CU_EVENT_SLEEPS | CU_EVENT_NO_TIMING));
    return event;
}
