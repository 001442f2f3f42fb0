/* SPDX-License-Identifier: Apache-2.0 */
/* Structs of the public interface grow at the end. What a caller compiled against an older header gets or gives ends
 * where its struct ends. Every such struct begins with a uint32_t struct_size; none is larger than SGI__SIZED_MAX, so a
 * larger one is taken for what it is: memory that nobody has set up. */
#ifndef SGI_BASE_SIZED_H
#define SGI_BASE_SIZED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sgi/sgi.h>

enum { SGI__SIZED_MAX = 65536 };

/* Zeroes `size` bytes and sets struct_size. false: `size` cannot even hold that, or is absurd. */
bool sgi__sized_init(void *object, size_t size);
/* It is an output to be filled: not NULL, its struct_size set. */
bool sgi__sized_is(const void *out);
/* *out = *full, as far as out->struct_size goes; that field stays. false: out is NULL or its struct_size is not
 * set. */
bool sgi__sized_out(void *out, const void *full, size_t full_size);
/* *full = *in with zeros (defaults) for what it does not have. false: its struct_size is not set, or it is larger than
 * we know and what we do not know is not zero: the caller asks for something this library cannot do. */
bool sgi__sized_in(const void *in, void *full, size_t full_size);
/* Why one of these was false, as SGI_E_INVALID: `what` is NULL, its size was never set, or, for an input that is larger
 * than the `ours` bytes of this library, it asks for something newer. */
sgi_status sgi__sized_refuse(sgi_error *err, const char *function, const char *what, const void *object, size_t ours);

#endif
