/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call that the library makes and that may fail, through the loop: failing once, and from there on. Those
 * without a point in base/fault.h are here; tests/faults/calls.py holds the list of all and fails for one that is in
 * neither.
 */
#include <errno.h>

#include "loop.h"

#define CALL(call, says) .kind = FAULT_CALL, .which = (call), .name = (says)

static const struct fault faults[] = {
    { CALL(CALL_FCNTL, "fcntl"), .thin = true, .value = EIO, .may_say = { SGI_E_IO, SGI_E_SYSTEM } },
    { CALL(CALL_FOPEN, "fopen"), .value = EMFILE },
    { CALL(CALL_FSTAT, "fstat"), .thin = true, .value = EIO, .may_say = { SGI_E_IO } },
    { CALL(CALL_FTRUNCATE, "ftruncate"), .value = ENOSPC, .may_say = { SGI_E_SYSTEM } },
    { CALL(CALL_FTRUNCATE, "ftruncate, no memory"), .rare = true, .value = ENOMEM, .may_say = { SGI_E_DEVICE_MEMORY } },
    { CALL(CALL_GETRANDOM, "getrandom"), .value = ENOSYS },
    { CALL(CALL_MADVISE, "madvise"), .rare = true, .value = EINVAL },
    { CALL(CALL_MADVISE, "madvise, large"), .value = EINVAL, .large = true },
    { CALL(CALL_MMAP, "mmap"), .thin = true, .value = ENOMEM, .may_say = { SGI_E_DEVICE_MEMORY, SGI_E_SYSTEM } },
    { CALL(CALL_OPEN, "open"), .thin = true, .value = EMFILE, .may_say = { SGI_E_IO, SGI_E_SYSTEM } },
    { CALL(CALL_OPENDIR, "opendir"), .value = EMFILE, .may_say = { SGI_E_IO } },
    { CALL(CALL_PREAD, "pread"), .thin = true, .value = EIO, .may_say = { SGI_E_IO } },
    { CALL(CALL_READDIR, "readdir"), .value = EIO, .may_say = { SGI_E_IO } },
    { CALL(CALL_READLINK, "readlink"), .value = ENOENT, .may_say = { SGI_E_DENIED } },
    { CALL(CALL_REALPATH, "realpath"), .thin = true, .value = EIO, .may_say = { SGI_E_INVALID, SGI_E_DENIED } },
    { CALL(CALL_STAT, "stat"), .thin = true, .value = EIO, .may_say = { SGI_E_IO } },
    { CALL(CALL_STATX, "statx"), .value = ENOSYS, .cold = true },
    { CALL(CALL_SYSCALL, "cachestat"), .value = ENOSYS },
    { CALL(CALL_URING_PROBE, "io_uring_register"), .rare = true, .value = EPERM },
    { CALL(CALL_URING_PROBE, "io_uring_register, no other"), .value = EPERM, .may_say = { SGI_E_UNSUPPORTED },
      .io_engine = SGI_IO_URING },
    { CALL(CALL_URING_ENTER, "io_uring_enter"), .value = EPERM, .may_say = { SGI_E_IO }, .cold = true },
    { CALL(CALL_URING_ENTER, "io_uring_enter, no other"), .value = EAGAIN, .may_say = { SGI_E_IO, SGI_E_UNSUPPORTED },
      .io_engine = SGI_IO_URING },
    { CALL(CALL_URING_ENTER, "io_uring_enter, interrupted"), .value = EINTR, .io_engine = SGI_IO_URING, .times = 5 },
};

int main(int argc, char **argv)
{
    return loop_main(argc, argv, "calls", faults, sizeof faults / sizeof *faults, NULL, 0);
}
