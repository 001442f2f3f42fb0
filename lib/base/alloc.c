/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

void *sgi__alloc(size_t bytes)
{
    if (sgi__fault(SGI__FAULT_ALLOC))
        return NULL;
    return malloc(bytes ? bytes : 1);
}

void *sgi__alloc_zero(size_t count, size_t bytes)
{
    if (sgi__fault(SGI__FAULT_ALLOC))
        return NULL;
    return calloc(count ? count : 1, bytes ? bytes : 1);
}

void *sgi__realloc_array(void *old, size_t count, size_t bytes)
{
    if (sgi__fault(SGI__FAULT_ALLOC))
        return NULL;
    if (bytes && count > SIZE_MAX / bytes)
        return NULL;
    size_t total = count * bytes;
    return realloc(old, total ? total : 1);
}

char *sgi__strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char  *copy = sgi__alloc(bytes);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

void sgi__free(void *memory)
{
    free(memory);
}
