/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sized.h"

#include <string.h>

#include "base/error.h"

static uint32_t size_of(const void *object)
{
    uint32_t size;
    memcpy(&size, object, sizeof size);
    return size;
}

bool sgi__sized_init(void *object, size_t size)
{
    if (!object || size < sizeof(uint32_t) || size > SGI__SIZED_MAX)
        return false;
    uint32_t size32 = (uint32_t)size;
    memset(object, 0, size);
    memcpy(object, &size32, sizeof size32);
    return true;
}

bool sgi__sized_is(const void *out)
{
    uint32_t size = out ? size_of(out) : 0;
    return size >= sizeof size && size <= SGI__SIZED_MAX;
}

bool sgi__sized_out(void *out, const void *full, size_t full_size)
{
    if (!sgi__sized_is(out))
        return false;
    uint32_t size = size_of(out);
    size_t   known = size < full_size ? size : full_size;
    memcpy((char *)out + sizeof size, (const char *)full + sizeof size, known - sizeof size);
    if (size > known)
        memset((char *)out + known, 0, size - known);
    return true;
}

bool sgi__sized_in(const void *in, void *full, size_t full_size)
{
    uint32_t size = size_of(in);
    if (size < sizeof size || size > SGI__SIZED_MAX)
        return false;
    size_t known = size < full_size ? size : full_size;
    memset(full, 0, full_size);
    memcpy(full, in, known);
    for (size_t n = known; n < size; n++)
        if (((const char *)in)[n] != 0)
            return false;
    return true;
}

sgi_status sgi__sized_refuse(sgi_error *err, const char *function, const char *what, const void *object, size_t ours)
{
    if (!object)
        return sgi__error(err, SGI_E_INVALID, "%s: %s is NULL", function, what);
    uint32_t size = size_of(object);
    if (size == 0)
        return sgi__error(err, SGI_E_INVALID, "%s: %s: struct_size is 0, not set", function, what);
    if (size < sizeof size || size > SGI__SIZED_MAX || size <= ours)
        return sgi__error(err, SGI_E_INVALID, "%s: %s: struct_size is %u, which is the size of no struct", function,
                          what, size);
    return sgi__error(err, SGI_E_INVALID,
                      "%s: %s: struct_size is %u, and what lies beyond the %zu bytes that this library knows is not 0: "
                      "it is from a newer one",
                      function, what, size, ours);
}
