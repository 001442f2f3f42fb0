/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of weights that end badly, through the loop, over each way of reading: one whose disk is asked through a ring
 * and past the page cache, one that has nothing but a ring, one that has nothing but threads. What may pass is tried
 * again, what is short goes on where it stopped, what is wrong is never granted.
 */
#include <errno.h>

#include "loop.h"

#define READ(says, number) .name = (says), .which = SGI__FAULT_READ, .thin = true, .value = (number)
#define FAILS              .may_say = { SGI_E_IO }
#define DIRECT             .cold = true
#define RING               .io_engine = SGI_IO_URING
#define THREADS            .io_engine = SGI_IO_THREADS

static const struct fault faults[] = {
    { READ("EIO, threads", EIO), FAILS, THREADS },
    { READ("EIO, ring", EIO), FAILS, RING },
    { READ("EIO, direct", EIO), FAILS, DIRECT },
    { READ("EBADF, threads", EBADF), FAILS, THREADS },                 /* not tried again */
    { READ("ENODATA, direct", ENODATA), FAILS, DIRECT },               /* a medium error: tried again */
    { .rare = true, READ("ECANCELED, ring", ECANCELED), FAILS, RING }, /* which nobody has asked for */
    { .rare = true, READ("ENOMEM, ring", ENOMEM), FAILS, RING },
    { READ("EINVAL, direct", EINVAL), FAILS, DIRECT }, /* goes on through the page cache */
    { .rare = true, READ("EOPNOTSUPP, direct", EOPNOTSUPP), FAILS, DIRECT },
    { READ("EAGAIN, threads", EAGAIN), THREADS, .times = 7 }, /* for a while */
    { .rare = true, READ("EAGAIN, ring", EAGAIN), RING, .times = 7 },
    { .rare = true, READ("EINTR, threads", EINTR), THREADS, .times = 50 },
    { READ("EINTR, ring", EINTR), RING, .times = 50 },
    { .name = "short, threads", .which = SGI__FAULT_READ_SHORT, .value = 1, .thin = true, THREADS },
    { .name = "short, ring", .which = SGI__FAULT_READ_SHORT, .value = 1, .thin = true, RING },
    { .name = "short, direct", .which = SGI__FAULT_READ_SHORT, .value = 1, .thin = true, DIRECT },
    { .name = "corrupt, threads",
      .which = SGI__FAULT_CORRUPT,
      .value = 1,
      .thin = true,
      .may_say = { SGI_E_CHECK },
      THREADS },
    { .name = "corrupt, ring",
      .which = SGI__FAULT_CORRUPT,
      .value = 1,
      .thin = true,
      .may_say = { SGI_E_CHECK },
      RING },
    { .name = "corrupt, direct",
      .which = SGI__FAULT_CORRUPT,
      .value = 1,
      .thin = true,
      .may_say = { SGI_E_CHECK },
      DIRECT },
};

int main(int argc, char **argv)
{
    return loop_main(argc, argv, "reads", faults, sizeof faults / sizeof *faults, NULL, 0);
}
