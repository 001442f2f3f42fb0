/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fake_cuda.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conformance/cuda_fixture.h"

struct fake_cuda fake;

static bool find(void *to, const char *name)
{
    void *found = dlsym(cuda_library, name);
    memcpy(to, &found, sizeof found); /* ISO C lets no function be a void * */
    return found != NULL;
}

#define FIND(result, name, parameters) all = find(&fake.name, #name) && all;

bool fake_cuda_find(void)
{
    bool all = true;

    cuda_library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!cuda_library)
        return false;
    cuda_find(); /* an older driver has not all of it: what tests use is in every one */
    FAKECUDA_CONTROL(FIND)
    return all;
}

void fake_cuda_nothing_is_held(const char *after, uint64_t n)
{
    struct fakecuda_ledger l;

    fake.fakecuda_ledger(&l);
    if (l.contexts || l.retains || l.streams || l.events || l.modules || l.handles || l.mappings || l.reservations ||
        l.allocations || l.pins || l.host_allocations || l.queued || l.unobserved)
        fail_msg("after %s %llu: %llu contexts (%llu references), %llu streams, %llu events, %llu handles, %llu "
                 "mappings, %llu reservations, %llu allocations, %llu pins, %llu queued, %llu not waited for",
                 after, (unsigned long long)n, (unsigned long long)l.contexts, (unsigned long long)l.retains,
                 (unsigned long long)l.streams, (unsigned long long)l.events, (unsigned long long)l.handles,
                 (unsigned long long)l.mappings, (unsigned long long)l.reservations,
                 (unsigned long long)(l.allocations + l.host_allocations), (unsigned long long)l.pins,
                 (unsigned long long)l.queued, (unsigned long long)l.unobserved);
}

void fake_cuda_no_violations(void)
{
    char text[256] = "";
    if (fake.fakecuda_violations(text, sizeof text) > 0)
        fail_msg("the driver says: %s", text);
}

void fake_cuda_fault(const char *format, ...)
{
    char    line[128];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (fake.fakecuda_fault(line) != 0)
        fail_msg("no fault: %s", line);
}
