/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of a library that was opened at run time. */
#ifndef SGI_DEVICE_SYMBOL_H
#define SGI_DEVICE_SYMBOL_H

#include <stdbool.h>
#include <stddef.h>

/* Into a member that is a pointer to a function, of `bytes`. false: the library has none such, and it is NULL. */
bool sgi__symbol(void *library, const char *name, void *member, size_t bytes);

#endif
