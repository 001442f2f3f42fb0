/* SPDX-License-Identifier: Apache-2.0 */
/* What the process holds; taken before and compared after. */
#ifndef TESTS_FAULTS_LEDGER_H
#define TESTS_FAULTS_LEDGER_H

#include <stdint.h>

struct ledger {
    uint32_t descriptors, threads;
    int64_t  allocations; /* the library's, of base/alloc.h */
    int64_t  mapped;      /* bytes */
};

struct ledger ledger_take(void);
/* Fails the test if anything is left; `what` says after what. Threads may still be on their way out: they are waited
 * for. */
void ledger_compare(const struct ledger *before, const char *what);

#endif
