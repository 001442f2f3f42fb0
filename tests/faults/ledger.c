/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "support/calls.h"
#include "support/gate.h"

static uint32_t entries(const char *path)
{
    DIR     *dir = opendir(path);
    uint32_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

struct ledger ledger_take(void)
{
    return (struct ledger){ entries("/proc/self/fd"), entries("/proc/self/task"), sgi__alloc_live(),
                            test_calls_mapped() };
}

static bool threads_are(void *user)
{
    return entries("/proc/self/task") == *(const uint32_t *)user;
}

void ledger_compare(const struct ledger *before, const char *what)
{
    uint32_t threads = before->threads;
    test_wait_until(threads_are, &threads, "threads stay");
    struct ledger now = ledger_take();
    if (now.descriptors != before->descriptors || now.allocations != before->allocations ||
        now.mapped != before->mapped)
        fail_msg("%s: left are %d descriptors, %lld allocations, %lld mapped bytes", what,
                 (int)now.descriptors - (int)before->descriptors, (long long)(now.allocations - before->allocations),
                 (long long)(now.mapped - before->mapped));
}
