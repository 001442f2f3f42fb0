/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#ifdef SGI_FAULT_POINTS
#include <stdatomic.h>

static atomic_int_fast64_t live;

int64_t sgi__alloc_live(void)
{
    return atomic_load(&live);
}

#define COUNT(change) atomic_fetch_add(&live, (change))
#else
#define COUNT(change) ((void)0)
#endif

static void *counted(void *memory)
{
    if (memory)
        COUNT(1);
    return memory;
}

void *sgi__alloc(size_t bytes)
{
    if (sgi__fault(SGI__FAULT_ALLOC))
        return NULL;
    return counted(malloc(bytes ? bytes : 1));
}

void *sgi__alloc_zero(size_t count, size_t bytes)
{
    if (sgi__fault(SGI__FAULT_ALLOC))
        return NULL;
    return counted(calloc(count ? count : 1, bytes ? bytes : 1));
}

void *sgi__realloc_array(void *old, size_t count, size_t bytes)
{
    if (sgi__fault(SGI__FAULT_ALLOC))
        return NULL;
    if (bytes && count > SIZE_MAX / bytes)
        return NULL;
    size_t total = count * bytes;
    void  *memory = realloc(old, total ? total : 1);
    return old ? memory : counted(memory);
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
    if (memory)
        COUNT(-1);
    free(memory);
}
