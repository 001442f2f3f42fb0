/* SPDX-License-Identifier: Apache-2.0 */
/* What the public functions say about a call that cannot be carried out. The macros want an `err` in the function, NULL
 * where it has none to give. */
#ifndef SGI_API_CHECK_H
#define SGI_API_CHECK_H

#include "base/error.h"
#include "base/sized.h"

#define NOT_NULL(argument)                                                                \
    do {                                                                                  \
        if (!(argument))                                                                  \
            return sgi__error(err, SGI_E_INVALID, "%s: " #argument " is NULL", __func__); \
    } while (0)

#define SIZED(out)                                                               \
    do {                                                                         \
        if (!sgi__sized_is(out))                                                 \
            return sgi__sized_refuse(err, __func__, #out, (out), sizeof *(out)); \
    } while (0)

static inline sgi_status not_here(sgi_error *err, const char *function)
{
    return sgi__error(err, SGI_E_DEADLOCK, "%s: it would block a thread of the library", function);
}

#endif
