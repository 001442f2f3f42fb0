/* SPDX-License-Identifier: Apache-2.0 */
/* Text from files on its way into messages: valid UTF-8, one line, and short enough that the cause behind it is not
 * cut off. */
#ifndef SGI_BASE_TEXT_H
#define SGI_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A path, two names and a dozen words fit into sgi_error.message. */
enum { SGI__SHOWN_NAME_BYTES = 56, SGI__SHOWN_PATH_BYTES = 119 };

struct sgi__shown {
    char text[SGI__SHOWN_PATH_BYTES + 1];
};

/* Bytes of the well-formed UTF-8 sequence that `text` begins with, or 0. */
size_t sgi__utf8_length(const char *text, size_t bytes);
bool   sgi__utf8_valid(const char *text, size_t bytes);

/* The beginning of a name, the end of a path; "..." for what is left out, '?' for each control character and each
 * byte that is no UTF-8. Returns shown->text. */
const char *sgi__show_name(struct sgi__shown *shown, const char *name);
const char *sgi__show_bytes(struct sgi__shown *shown, const char *name, size_t bytes);
const char *sgi__show_path(struct sgi__shown *shown, const char *path);

#endif
