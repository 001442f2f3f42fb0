/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a faulting kernel leaves usable: to its own context, to others of its process, on another device, to NVML, to a
 * process that was there before, and to one that comes after.
 */
#include <string.h>
#include <sys/mman.h>

#include "gpu_probe.h"

/* Ours, so that nobody else's memory is there, and for nobody to touch. */
static cu_ptr nowhere(void)
{
    void *page = mmap(NULL, HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return page == MAP_FAILED ? 4096 : (cu_ptr)(uintptr_t)page;
}

struct victim {
    cu_context second, other;
    cu_device  other_device;
    cu_ptr     own_memory, second_memory;
};

static void put_use(struct probe *p, json_t *to, const char *key, cu_context context)
{
    cu_ptr   at = 0;
    uint32_t word = 0;
    json_t  *use = put_object(to, key);
    put_code(use, "set_current", CU_CODE(p, cuCtxSetCurrent, (context)));
    int code = CU_CODE(p, cuMemAlloc_v2, (&at, MIB));
    put_code(use, "alloc", code);
    if (code == CU_OK) {
        put_code(use, "memset", CU_CODE(p, cuMemsetD32_v2, (at, PATTERN, 4)));
        put_code(use, "copy", CU_CODE(p, cuMemcpyDtoH_v2, (&word, at, sizeof word)));
        json_object_set_new(use, "right", json_boolean(word == PATTERN));
        put_code(use, "free", CU_CODE(p, cuMemFree_v2, (at)));
    }
    put_code(use, "synchronize", CU_CODE(p, cuCtxSynchronize, ()));
}

static int other_ordinal(struct probe *p)
{
    int count = 0;
    if (CU_CODE(p, cuDeviceGetCount, (&count)) != CU_OK || count < 2)
        return -1;
    return p->ordinal == 0 ? 1 : 0;
}

/* A second context of the device, the primary of another device, memory in each: all healthy. */
static bool victim_open(struct probe *p, struct victim *v)
{
    *v = (struct victim){ .second = NULL };
    if (!cuda_context(p) || !cuda_module(p) || !CU(p, cuMemAlloc_v2, (&v->own_memory, MIB)))
        return false;
    int other = other_ordinal(p);
    if (CU(p, cuCtxCreate_v2, (&v->second, 0, p->device)))
        CU(p, cuMemAlloc_v2, (&v->second_memory, MIB));
    if (other >= 0 && CU(p, cuDeviceGet, (&v->other_device, other)))
        CU(p, cuDevicePrimaryCtxRetain, (&v->other, v->other_device));
    return CU(p, cuCtxSetCurrent, (p->context)) && CU(p, cuCtxSynchronize, ());
}

static void put_before(struct probe *p, const struct victim *v, json_t *facts)
{
    put_use(p, facts, "own_context", p->context);
    if (v->second)
        put_use(p, facts, "second_context", v->second);
    if (v->other)
        put_use(p, facts, "other_device", v->other);
    else
        json_object_set_new(facts, "other_device", json_null()); /* there is none */
    CU(p, cuCtxSetCurrent, (p->context));
}

static void put_after(struct probe *p, const struct victim *v, json_t *facts)
{
    size_t     free_bytes, total;
    cu_context made = NULL;
    int        count = 0;

    put_code(facts, "synchronize_again", CU_CODE(p, cuCtxSynchronize, ()));
    put_code(facts, "cuDeviceGetCount", CU_CODE(p, cuDeviceGetCount, (&count)));
    put_code(facts, "cuMemGetInfo", CU_CODE(p, cuMemGetInfo_v2, (&free_bytes, &total)));
    put_code(facts, "free_own_memory", CU_CODE(p, cuMemFree_v2, (v->own_memory)));
    put_before(p, v, facts);
    int code = CU_CODE(p, cuCtxCreate_v2, (&made, 0, p->device));
    put_code(facts, "new_context_create", code);
    if (code == CU_OK) {
        put_use(p, facts, "new_context", made);
        put_code(facts, "new_context_destroy", CU_CODE(p, cuCtxDestroy_v2, (made)));
    }
    nvml_put(p, put_object(facts, "nvml_in_the_process"), -1);
}

/* The cures that are talked about, in their order. */
static void put_cures(struct probe *p, const struct victim *v, json_t *facts)
{
    cu_context again = NULL;
    CU_CODE(p, cuCtxSetCurrent, (NULL));
    if (v->second)
        put_code(facts, "second_context_destroy", CU_CODE(p, cuCtxDestroy_v2, (v->second)));
    put_code(facts, "release", CU_CODE(p, cuDevicePrimaryCtxRelease_v2, (p->device)));
    int code = CU_CODE(p, cuDevicePrimaryCtxRetain, (&again, p->device));
    put_code(facts, "retain", code);
    if (code == CU_OK)
        put_use(p, facts, "after_retain", again);
    put_code(facts, "reset", CU_CODE(p, cuDevicePrimaryCtxReset_v2, (p->device)));
    code = CU_CODE(p, cuDevicePrimaryCtxRetain, (&again, p->device));
    put_code(facts, "retain_after_reset", code);
    if (code == CU_OK)
        put_use(p, facts, "after_reset", again);
}

/* Args: "address", "trap". */
void role_faulty(struct probe *p)
{
    struct victim v;
    json_t       *facts = json_object();
    bool          good = victim_open(p, &v);
    if (good)
        put_before(p, &v, facts);
    failure_put(p, facts);
    stage(p, "ready", facts);
    if (!good) {
        stage(p, "end", NULL);
        return;
    }
    facts = json_object();
    double begin = now_us();
    put_code(facts, "launch", p->arg && strcmp(p->arg, "trap") == 0 ? kernel_trap(p) : kernel_poke(p, nowhere(), 1));
    put_code(facts, "synchronize", CU_CODE(p, cuCtxSynchronize, ()));
    put_number(facts, "noticed_ms", (now_us() - begin) / 1e3);
    put_after(p, &v, facts);
    failure_clear(p);
    stage(p, "faulted", facts);
    facts = json_object();
    put_cures(p, &v, facts);
    stage(p, "cures", facts);
    stage(p, "end", NULL);
}

/* Works on the same device, before and after somebody else's fault. */
void role_bystander(struct probe *p)
{
    const char *const names[] = { "before", "after" };
    bool              good = cuda_context(p) && cuda_module(p);
    for (int n = 0; n < 2; n++) {
        json_t *facts = json_object();
        if (good) {
            put_code(facts, "launch", kernel_noop(p));
            put_use(p, facts, "use", p->context);
        }
        failure_put(p, facts);
        stage(p, names[n], facts);
    }
    stage(p, "end", NULL);
}

struct scene {
    struct role bystander;
    json_t     *seen;
    bool        started;
};

static void bystander_says(struct scene *s, const char *key)
{
    json_t *facts = role_next(&s->bystander, STAGE_MS);
    json_object_set_new(s->seen, key, facts ? facts : json_string("nothing: it has ended, or hangs"));
}

static void new_process(struct probe *p, json_t *at)
{
    struct role_options o = { .name = "starter", .fd = -1 };
    role_run(p, &o, put_object(at, "new_process"), NULL, NULL);
}

static void around_fault(struct probe *p, struct role *r, const char *stage_name, json_t *at, void *user)
{
    struct scene       *s = user;
    struct role_options o = { .name = "bystander", .fd = -1 };
    (void)r;
    if (strcmp(stage_name, "ready") == 0) {
        s->started = role_start(p, &o, &s->bystander, s->seen);
        if (s->started)
            bystander_says(s, "before");
    } else if (strcmp(stage_name, "faulted") == 0) {
        if (s->started) {
            role_go(&s->bystander);
            bystander_says(s, "after");
        }
        new_process(p, at);
    }
}

void probe_sticky(struct probe *p, json_t *out)
{
    static const char *const faults[] = { "address", "trap" };
    for (size_t n = 0; n < sizeof faults / sizeof faults[0]; n++) {
        json_t             *to = put_object(out, faults[n]);
        struct scene        s = { .seen = put_object(to, "bystander") };
        struct role_options o = { .name = "faulty", .arg = faults[n], .fd = -1 };
        step(p, faults[n]);
        role_run(p, &o, put_object(to, "faulty"), around_fault, &s);
        if (s.started)
            role_end(&s.bystander, s.seen);
        new_process(p, to);
    }
}
