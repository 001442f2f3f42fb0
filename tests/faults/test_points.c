/* SPDX-License-Identifier: Apache-2.0 */
/* Every named point of base/fault.h, through the loop: failing once, and from there on. */
#include <errno.h>

#include "loop.h"

static const struct fault faults[] = {
    { .name = "alloc", .which = SGI__FAULT_ALLOC, .value = ENOMEM, .may_say = { SGI_E_NO_MEMORY } },
    { .name = "map", .which = SGI__FAULT_MAP, .value = ENOMEM, .may_say = { SGI_E_DEVICE_MEMORY } },
    { .name = "memfd", .which = SGI__FAULT_MEMFD, .value = EMFILE, .may_say = { SGI_E_SYSTEM } },
    { .name = "open", .which = SGI__FAULT_OPEN, .value = EMFILE, .may_say = { SGI_E_IO } },
    { .name = "header", .which = SGI__FAULT_HEADER, .value = EIO, .may_say = { SGI_E_IO } },
    { .name = "ring", .which = SGI__FAULT_RING, .value = EPERM },
    { .name = "ring, no other",
      .which = SGI__FAULT_RING,
      .value = EPERM,
      .may_say = { SGI_E_UNSUPPORTED },
      .io_engine = SGI_IO_URING },
    { .name = "thread", .which = SGI__FAULT_THREAD, .value = EAGAIN, .may_say = { SGI_E_SYSTEM, SGI_E_NO_MEMORY } },
    { .name = "eventfd", .which = SGI__FAULT_EVENTFD, .value = EMFILE, .may_say = { SGI_E_SYSTEM } },
    { .name = "eventfd, ring",
      .which = SGI__FAULT_EVENTFD,
      .value = EMFILE,
      .may_say = { SGI_E_SYSTEM },
      .io_engine = SGI_IO_URING },
    { .name = "reserve", .which = SGI__FAULT_RESERVE, .value = ENOMEM, .may_say = { SGI_E_DEVICE_MEMORY } },
    { .name = "touch", .which = SGI__FAULT_TOUCH, .value = ENOMEM, .may_say = { SGI_E_DEVICE_MEMORY }, .large = true },
    { .name = "context", .which = SGI__FAULT_CONTEXT, .value = 1, .may_say = { SGI_E_DEVICE } },
};

int main(int argc, char **argv)
{
    return loop_main(argc, argv, "points", faults, sizeof faults / sizeof *faults, NULL, 0);
}
