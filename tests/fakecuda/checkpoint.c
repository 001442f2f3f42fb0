/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: a state that is the process's own and that others change. While it is locked its calls wait; while it is
 * checkpointed what it holds does not count, and has to find room again before it is restored. Contents stay where they
 * are, which the process cannot tell.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static struct fc_process *own;

void fc_process_open(void)
{
    static struct fc_process alone; /* a process that nobody sees */
    own = fc_ledger_process((int)getpid(), true);
    if (!own)
        own = &alone;
    fc.process = own;
    __atomic_store_n(&own->client, fc_config.mps, __ATOMIC_RELEASE);
}

void fc_process_pending(int change)
{
    __atomic_fetch_add(&own->pending, (uint32_t)change, __ATOMIC_RELAXED);
}

bool fc_process_failed(void)
{
    return __atomic_load_n(&own->failed, __ATOMIC_ACQUIRE) != 0;
}

static void turn(struct fc_process *process, uint32_t state)
{
    __atomic_store_n(&process->state, state, __ATOMIC_RELEASE);
    __atomic_fetch_add(&process->turn, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &process->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool is_of_checkpoints(void)
{
    return strncmp(fc_thread.call, "cuCheckpoint", 12) == 0;
}

/* A process may undo its own: those calls do not wait. */
void fc_checkpoint_wait(void)
{
    for (;;) {
        uint32_t turned = __atomic_load_n(&own->turn, __ATOMIC_ACQUIRE);
        uint32_t state = __atomic_load_n(&own->state, __ATOMIC_ACQUIRE);
        if (state == CU_PROCESS_RUNNING || is_of_checkpoints())
            return;
        fc_unlock();
        syscall(SYS_futex, &own->turn, FUTEX_WAIT, turned, NULL, NULL, 0);
        fc_lock();
    }
}

/* The real one reaches the process through /proc, and can only where it may look into it. */
static cu_result process_of(int pid, bool to_change, struct fc_process **process)
{
    char path[64];
    if (to_change) {
        snprintf(path, sizeof path, "/proc/%d/fd", pid);
        int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
            return CU_OPERATING_SYSTEM;
        close(folder);
    }
    *process = pid == (int)getpid() ? own : fc_ledger_process(pid, false);
    return *process ? CU_OK : CU_INVALID_VALUE;
}

static void put(struct fc_process *process)
{
    if (process != own)
        fc_ledger_process_put(process);
}

static bool is_told_to(const char *what)
{
    return fc_config.checkpoint && strcmp(fc_config.checkpoint, what) == 0;
}

cu_result cuCheckpointProcessGetState(int pid, cu_process_state *state)
{
    struct fc_process *process;
    cu_result          code = fc_enter(CALL_cuCheckpointProcessGetState, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    code = state ? process_of(pid, false, &process) : CU_INVALID_VALUE;
    if (code == CU_OK) {
        *state = __atomic_load_n(&process->state, __ATOMIC_ACQUIRE);
        put(process);
    }
    return fc_leave(code);
}

/* New calls wait from here on; what was handed over is waited for, up to the timeout. 0 waits without an end. */
static cu_result lock_process(struct fc_process *process, unsigned timeout_ms)
{
    struct timespec pause = { 0, 200000 };
    uint64_t        end = fc_now_ns() + timeout_ms * 1000000ull;
    turn(process, CU_PROCESS_LOCKED);
    while (__atomic_load_n(&process->pending, __ATOMIC_ACQUIRE) > 0 || is_told_to("lock_timeout")) {
        if (timeout_ms > 0 && fc_now_ns() >= end) {
            turn(process, CU_PROCESS_RUNNING);
            return CU_NOT_READY;
        }
        fc_unlock();
        nanosleep(&pause, NULL);
        fc_lock();
    }
    return CU_OK;
}

cu_result cuCheckpointProcessLock(int pid, cu_lock_args *args)
{
    struct fc_process *process;
    cu_result          code = fc_enter(CALL_cuCheckpointProcessLock, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    code = process_of(pid, true, &process);
    if (code != CU_OK)
        return fc_leave(code);
    code = process->state == CU_PROCESS_RUNNING ? lock_process(process, args ? args->timeout_ms : 0) : CU_ILLEGAL_STATE;
    put(process);
    return fc_leave(code);
}

static cu_result checkpoint(struct fc_process *process)
{
    if (process->state != CU_PROCESS_LOCKED)
        return CU_ILLEGAL_STATE;
    /* Memory that others have a part in: not before 610. */
    if (is_told_to("refused") || (process->shared > 0 && fc_config.version < 13030))
        return CU_NOT_SUPPORTED;
    if (is_told_to("failed")) {
        turn(process, CU_PROCESS_FAILED);
        return CU_UNKNOWN;
    }
    turn(process, CU_PROCESS_CHECKPOINTED);
    return CU_OK;
}

cu_result cuCheckpointProcessCheckpoint(int pid, cu_checkpoint_args *args)
{
    struct fc_process *process;
    cu_result          code = fc_enter(CALL_cuCheckpointProcessCheckpoint, NEEDS_INIT);
    (void)args;
    if (code != CU_OK)
        return code;
    code = process_of(pid, true, &process);
    if (code == CU_OK) {
        code = checkpoint(process);
        put(process);
    }
    return fc_leave(code);
}

static cu_result restore(struct fc_process *process, int pid)
{
    if (process->state != CU_PROCESS_CHECKPOINTED)
        return CU_ILLEGAL_STATE;
    if (is_told_to("restore_refused"))
        return CU_NOT_PERMITTED; /* as without persistence mode */
    for (unsigned n = 0; n < fc_config.devices; n++) {
        uint64_t others = fc_ledger_used((int)n, 0) + fc_config.foreign_bytes, mine = fc_ledger_used((int)n, pid);
        if (others + mine > fc_config.vram)
            return CU_OUT_OF_MEMORY;
    }
    turn(process, CU_PROCESS_LOCKED);
    return CU_OK;
}

cu_result cuCheckpointProcessRestore(int pid, cu_restore_args *args)
{
    struct fc_process *process;
    cu_result          code = fc_enter(CALL_cuCheckpointProcessRestore, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (args && args->pairs_count > 0) /* to other devices: not here */
        return fc_leave(CU_INVALID_VALUE);
    code = process_of(pid, true, &process);
    if (code == CU_OK) {
        code = restore(process, pid);
        put(process);
    }
    return fc_leave(code);
}

cu_result cuCheckpointProcessUnlock(int pid, cu_unlock_args *args)
{
    struct fc_process *process;
    cu_result          code = fc_enter(CALL_cuCheckpointProcessUnlock, NEEDS_INIT);
    (void)args;
    if (code != CU_OK)
        return code;
    code = process_of(pid, true, &process);
    if (code != CU_OK)
        return fc_leave(code);
    code = process->state == CU_PROCESS_LOCKED ? CU_OK : CU_ILLEGAL_STATE;
    if (code == CU_OK)
        turn(process, CU_PROCESS_RUNNING);
    put(process);
    return fc_leave(code);
}
