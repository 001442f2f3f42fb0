/* SPDX-License-Identifier: Apache-2.0 */
/* A list of names that grows. */
#ifndef SGI_CLI_NAMES_H
#define SGI_CLI_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names {
    char    **list;
    uint32_t *lines; /* of a text file, from 1, that they stood on; 0: none */
    uint32_t  count;
};

/* Copied; false: out of memory. */
bool names_add(struct names *names, const char *text, size_t bytes, uint32_t line);
/* Likewise a path: "folder/name", of a folder's text so many bytes, and behind it `end`. */
bool names_add_path(struct names *names, const char *folder, size_t folder_bytes, const char *name, const char *end);
void names_free(struct names *names);

#endif
