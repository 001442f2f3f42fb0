/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoint and restore (driver 570 and later): of a child and of itself, as we are and as nobody. Whoever is
 * checkpointed is a process of this program that ends with it, restored or not.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gpu_probe.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool take_memory(struct probe *p, cu_ptr *at)
{
    if (!cuda_context(p) || !cuda_module(p))
        return false;
    return p->bytes_max == 0 ||
           (CU(p, cuMemAlloc_v2, (at, p->bytes_max)) && CU(p, cuMemsetD32_v2, (*at, PATTERN, p->bytes_max / 4)) &&
            CU(p, cuCtxSynchronize, ()));
}

/* Kernels, memory and contents, all as before? */
static void put_intact(struct probe *p, cu_ptr at, json_t *facts)
{
    uint64_t found = 0;
    put_code(facts, "launch", kernel_noop(p));
    put_code(facts, "synchronize", CU_CODE(p, cuCtxSynchronize, ()));
    if (p->bytes_max > 0 && kernel_count(p, at, p->bytes_max / 4, PATTERN, &found))
        json_object_set_new(facts, "intact", json_boolean(found == p->bytes_max / 4));
    failure_put(p, facts);
}

/* --bytes is what it holds, exactly; none is a bare context. */
void role_target(struct probe *p)
{
    cu_ptr  at = 0;
    json_t *facts = json_object();
    bool    good = take_memory(p, &at);
    failure_put(p, facts);
    stage(p, "ready", facts);
    facts = json_object();
    if (good)
        put_intact(p, at, facts);
    stage(p, "restored", facts);
    stage(p, "end", NULL);
}

static int timed(json_t *to, const char *key, double begin, int code)
{
    char name[64];
    snprintf(name, sizeof name, "%s_ms", key);
    put_number(to, name, (now_us() - begin) / 1e3);
    put_code(to, key, code);
    return code;
}

static void put_state(struct probe *p, json_t *to, const char *key, pid_t pid)
{
    static const char *const names[] = { "running", "locked", "checkpointed", "failed" };
    cu_process_state         state = 0;
    int                      code = CU_CODE(p, cuCheckpointProcessGetState, (pid, &state));
    if (code != CU_OK)
        put_code(to, key, code);
    else if ((size_t)state < sizeof names / sizeof names[0])
        put_text(to, key, names[state]);
    else
        json_object_set_new(to, key, json_integer((json_int_t)state));
}

static void put_held(struct probe *p, json_t *to, const char *key, pid_t pid)
{
    json_t *held = put_object(to, key);
    put_state(p, held, "state", pid);
    nvml_put(p, held, pid);
    put_number(held, "rss_mib", (double)proc_kib(pid, "status", "VmRSS:") / 1024.0);
}

/* There and back. Whatever step is refused, the ones that undo those before it are tried. False: it is not back, and
 * its next call of the driver would wait for ever. */
static bool there_and_back(struct probe *p, json_t *to, pid_t pid)
{
    cu_lock_args       lock = { .timeout_ms = 10000 };
    cu_checkpoint_args checkpoint;
    cu_restore_args    restore;
    cu_unlock_args     unlock;
    memset(&checkpoint, 0, sizeof checkpoint);
    memset(&restore, 0, sizeof restore);
    memset(&unlock, 0, sizeof unlock);

    put_held(p, to, "before", pid);
    double begin = now_us();
    if (timed(to, "lock", begin, CU_CODE(p, cuCheckpointProcessLock, (pid, &lock))) != CU_OK)
        return true;
    begin = now_us();
    if (timed(to, "checkpoint", begin, CU_CODE(p, cuCheckpointProcessCheckpoint, (pid, &checkpoint))) == CU_OK) {
        put_held(p, to, "checkpointed", pid);
        begin = now_us();
        timed(to, "restore", begin, CU_CODE(p, cuCheckpointProcessRestore, (pid, &restore)));
    }
    begin = now_us();
    int code = timed(to, "unlock", begin, CU_CODE(p, cuCheckpointProcessUnlock, (pid, &unlock)));
    put_held(p, to, "after", pid);
    return code == CU_OK;
}

/* In the thread that asks: a driver that waits for itself here is ended by its probe, which says so. */
void role_self(struct probe *p)
{
    cu_ptr  at = 0;
    json_t *facts = json_object();
    bool    good = take_memory(p, &at);
    failure_put(p, facts);
    stage(p, "ready", facts);
    facts = json_object();
    good = good && there_and_back(p, facts, getpid());
    stage(p, "back", facts);
    facts = json_object();
    if (good)
        put_intact(p, at, facts);
    stage(p, "restored", facts);
    stage(p, "end", NULL);
}

static void target_ready(struct probe *p, struct role *r, const char *stage_name, json_t *at, void *user)
{
    bool *with_init = user;
    if (strcmp(stage_name, "ready") != 0)
        return;
    put_state(p, at, *with_init ? "state_seen" : "state_seen_without_init", r->pid);
    if (*with_init && !there_and_back(p, at, r->pid))
        kill(r->pid, SIGKILL); /* "ended" is then "signal 9" */
}

static void child_of(struct probe *p, uint64_t bytes, bool with_init, const char *name)
{
    struct probe        q = *p;
    struct role_options o = { .name = "target", .fd = -1 };
    json_t             *facts = json_object();
    q.bytes_max = bytes;
    put_number(facts, "mib", (double)bytes / (double)MIB);
    role_run(&q, &o, facts, target_ready, &with_init);
    p->nvml = q.nvml;
    stage(p, name, facts);
}

/* The parent of who is checkpointed, of the same user; first without cuInit, then with it. --bytes: the most. */
void role_checkpointer(struct probe *p)
{
    static const uint64_t sizes[] = { 0, 256 * MIB, GIB, 4 * GIB };
    json_t               *facts = json_object();
    bool                  good = cuda_open(p, facts);
    stage(p, "opened", facts);
    if (good)
        child_of(p, 0, false, "without_init");
    facts = json_object();
    good = good && cuda_init(p);
    failure_put(p, facts);
    stage(p, "init", facts);
    for (size_t n = 0; good && n < sizeof sizes / sizeof sizes[0] && sizes[n] <= p->bytes_max; n++) {
        char name[32];
        snprintf(name, sizeof name, "child_%llu_mib", (unsigned long long)(sizes[n] / MIB));
        child_of(p, sizes[n], true, name);
    }
    stage(p, "end", NULL);
}

static void ask(struct probe *p, json_t *out, const char *role, const char *key, bool restricted, uint64_t bytes)
{
    struct probe        q = *p;
    struct role_options o = { .name = role, .fd = -1, .restricted = restricted };
    step(p, key);
    q.bytes_max = bytes;
    role_run(&q, &o, put_object(out, key), NULL, NULL);
    p->nvml = q.nvml;
}

void probe_checkpoint(struct probe *p, json_t *out)
{
    uint64_t most = least(p->bytes_max, host_available()); /* the contents go to the host's memory */
    if (!cuda_open(p, out))
        return;
    if (!p->cu.cuCheckpointProcessLock) {
        skip(out, "the driver has no cuCheckpointProcessLock: it is older than 570");
        return;
    }
    ask(p, out, "checkpointer", "unprivileged", true, most);
    ask(p, out, "self", "self_unprivileged", true, least(most, GIB));
    if (geteuid() == 0) {
        ask(p, out, "checkpointer", "root", false, most);
        ask(p, out, "self", "self_root", false, least(most, GIB));
    }
}
