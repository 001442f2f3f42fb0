/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of a CUDA driver share: the driver's functions, and the steps that most of them begin or end with. */
#ifndef CUDA_FIXTURE_H
#define CUDA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../fakecuda/calls.h"

enum { SKIPPED = 77, KIB = 1024, MIB = 1024 * 1024 };

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define CUDA_MEMBER(name, parameters) cu_result(*name) parameters;
struct cuda_functions {
    FAKECUDA_CALLS(CUDA_MEMBER)
};

extern struct cuda_functions cu;
extern void                 *cuda_library;

#define OK(call) assert_int_equal(call, CU_OK)

/* Finds them. False: one is missing that drivers from 570 on have. */
bool cuda_find(void);

cu_context retain(void); /* of device 0, as everything here */
cu_context enter(void);  /* retained, and current */
void       leave(void);
int        is_active(void);

cu_allocation property(void);
size_t        granularity(void);
cu_handle     create(size_t bytes);
cu_result     set_access(cu_ptr at, size_t bytes, unsigned flags);
cu_ptr        arena(size_t bytes); /* of one handle, which only its mapping keeps; ready for use */
void          arena_free(cu_ptr at, size_t bytes);

unsigned char *host_pages(size_t bytes); /* munmap() */
void           number(unsigned char *at, size_t bytes, unsigned seed);

cu_stream stream_new(void); /* of those that do not block */
cu_event  event_new(void);

/* The tests of a file; how many failed. */
int cuda_memory_tests(void);
int cuda_stream_tests(void);

#endif
