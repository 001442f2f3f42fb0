/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a large JSON object member by member. jansson parses each piece; the object as a whole is never a tree in
 * memory, which could be fifty times the size of a hostile text. What this accepts is what jansson would accept as a
 * whole, with a bound on nesting; duplicate members are for the caller to notice. */
#ifndef SGI_FORMAT_JSON_H
#define SGI_FORMAT_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "format/source.h"

struct sgi__span {
    const char *text;
    size_t      bytes;
};

struct sgi__json {
    struct sgi__span whole;
    size_t           at;
    bool             begun; /* a member has been given */
    const char      *wrong; /* what is wrong with the object, when _begin or _next gave -1 */
};

/* 0, or -1 if `whole` does not begin like an object. */
int sgi__json_begin(struct sgi__json *json, struct sgi__span whole);

/* 1 and the next member (spans of text, the value not checked yet), 0 after the last one, -1 if that is no object. */
int sgi__json_next(struct sgi__json *json, struct sgi__span *key_out, struct sgi__span *value_out);

/* One piece as a value; json_decref() it. SGI_E_FORMAT naming the source, `part` and `name` (which may be NULL). */
sgi_status sgi__json_load(const struct sgi__source *s, struct sgi__span piece, const char *part, const char *name,
                          json_t **value_out, sgi_error *err);

/* The same for a piece that has to be a string; `name` is NULL only for a key. */
sgi_status sgi__json_load_text(const struct sgi__source *s, struct sgi__span piece, const char *part, const char *name,
                               json_t **value_out, sgi_error *err);

#endif
