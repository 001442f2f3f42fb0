/* SPDX-License-Identifier: Apache-2.0 */
#include "device/symbol.h"

#include <dlfcn.h>
#include <string.h>

/* POSIX lets a void * be a function; ISO C does not, hence the copy of its bytes. */
bool sgi__symbol(void *library, const char *name, void *member, size_t bytes)
{
    void *found = dlsym(library, name);
    memcpy(member, &found, bytes);
    return found != NULL;
}
