/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fake driver does beyond a real one, and what tests of the library lean on: late copies, held streams,
 * faults, violations. Run by tests/fakecuda/run with two devices.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "test_fake.h"

struct fake_functions fake;

static bool find(void *to, const char *name)
{
    void *found = dlsym(cuda_library, name);
    memcpy(to, &found, sizeof found);
    return found != NULL;
}

#define FIND(result, name, parameters) all = find(&fake.name, #name) && all;

bool fake_find(void)
{
    bool all = true;
    FAKECUDA_CONTROL(FIND)
    return all;
}

bool has_checked(void)
{
    Dl_info info;
    void   *symbol = dlsym(cuda_library, "cuInit");
    return symbol && dladdr(symbol, &info) && strstr(info.dli_fname, "checked");
}

bool has_tsan(void)
{
    return dlsym(RTLD_DEFAULT, "__tsan_acquire") && !has_checked();
}

struct fakecuda_ledger ledger(void)
{
    struct fakecuda_ledger held;
    fake.fakecuda_ledger(&held);
    return held;
}

void assert_nothing_is_held(void)
{
    struct fakecuda_ledger held = ledger(), nothing;
    memset(&nothing, 0, sizeof nothing);
    assert_memory_equal(&held, &nothing, sizeof held);
}

static char text[512];

void lax_begin(void)
{
    fake.fakecuda_forgive();
    fake.fakecuda_strict(0);
}

uint64_t lax_end(void)
{
    uint64_t count = fake.fakecuda_violations(text, sizeof text);
    fake.fakecuda_forgive();
    fake.fakecuda_strict(1);
    return count;
}

const char *lax_text(void)
{
    return text;
}

void assert_one_violation(const char *begin)
{
    assert_int_equal(lax_end(), 1);
    if (strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", text, begin);
}

void lane_open(struct lane *lane)
{
    *lane = (struct lane){ .bytes = MIB };
    lane->context = enter();
    lane->stream = stream_new();
    lane->event = event_new();
    lane->at = arena((size_t)2 * MIB);
    lane->host = host_pages(lane->bytes);
    number(lane->host, lane->bytes, 1);
    OK(cu.cuMemHostRegister_v2(lane->host, lane->bytes, CU_HOST_PORTABLE));
}

void lane_close(struct lane *lane)
{
    OK(cu.cuStreamSynchronize(lane->stream));
    OK(cu.cuMemHostUnregister(lane->host));
    munmap(lane->host, lane->bytes);
    arena_free(lane->at, (size_t)2 * MIB);
    OK(cu.cuEventDestroy_v2(lane->event));
    OK(cu.cuStreamDestroy_v2(lane->stream));
    leave();
    assert_nothing_is_held();
}

void lane_copy(struct lane *lane)
{
    OK(cu.cuMemcpyHtoDAsync_v2(lane->at, lane->host, lane->bytes, lane->stream));
    OK(cu.cuEventRecord(lane->event, lane->stream));
}

/* Without arguments: all tests. "--role NAME": what another process of the tests does. */
int main(int argc, char **argv)
{
    cuda_library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!cuda_library || !cuda_find() || !fake_find()) {
        fprintf(stderr, "there is no fake driver here: run it by tests/fakecuda/run\n");
        return 1;
    }
    if (argc == 3 && strcmp(argv[1], "--role") == 0)
        return role_main(argv[2]);
    if (cu.cuInit(0) != CU_OK)
        return 1;
    return fake_stream_tests() + fake_memory_tests() + fake_process_tests() ? 1 : 0;
}
