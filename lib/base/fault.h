/* SPDX-License-Identifier: Apache-2.0 */
/* Named points where a test can make something fail. In a release build each is the constant 0. */
#ifndef SGI_BASE_FAULT_H
#define SGI_BASE_FAULT_H

#include <stdint.h>

enum sgi__fault_point {
    SGI__FAULT_ALLOC,      /* sgi__alloc and friends return NULL */
    SGI__FAULT_MAP,        /* mmap of image memory fails */
    SGI__FAULT_MEMFD,      /* memfd_create fails */
    SGI__FAULT_OPEN,       /* opening a source file fails */
    SGI__FAULT_HEADER,     /* reading a header fails */
    SGI__FAULT_READ,       /* a read of weights completes with -value */
    SGI__FAULT_READ_SHORT, /* a read of weights completes short by half */
    SGI__FAULT_CORRUPT,    /* a read of weights delivers a flipped byte */
    SGI__FAULT_RING,       /* io_uring_setup is refused */
    SGI__FAULT_THREAD,     /* pthread_create fails */
    SGI__FAULT_EVENTFD,    /* eventfd fails */
    SGI__FAULT_RESERVE,    /* device memory is not to be had */
    SGI__FAULT_TOUCH,      /* the kernel has no page for image memory */
    SGI__FAULT_CONTEXT,    /* a device context does not open */
    SGI__FAULT_COUNT
};

#ifdef SGI_FAULT_POINTS
/* Non-zero when the point must fail now: the value the plan gave. */
int sgi__fault(enum sgi__fault_point point);

/* From the `nth` passing on (1 is the next), fail `times` times with `value`; nth 0 takes the plan off. */
void     sgi__fault_plan(enum sgi__fault_point point, uint64_t nth, uint64_t times, int value);
uint64_t sgi__fault_passed(enum sgi__fault_point point); /* since the last plan for it */
void     sgi__fault_clear(void);
#else
#define sgi__fault(point) 0
#endif

#endif
