/* SPDX-License-Identifier: Apache-2.0 */
/* One file while its header is read: a window that moves forward, so that a header of any length costs one window of
 * memory and each of its bytes is read at most once. The parsers of one sgi__format_open() share a struct
 * sgi__parse. */
#ifndef SGI_FORMAT_SOURCE_H
#define SGI_FORMAT_SOURCE_H

#include "base/error.h"
#include "format/format.h"

struct sgi__parse {
    const struct sgi__fs *fs;
    uint32_t              flags;
    uint64_t              header_bytes_max; /* 0: the format's own */
    const char *const    *folders;          /* where shards may be too */
    uint32_t              folders_count;
    const char           *checks_path; /* NULL: checks are looked for beside the files */
    struct sgi__manifest *m;
};

enum { SGI__SOURCE_WINDOW = 64 << 10 };

struct sgi__source {
    struct sgi__parse  *parse;
    const char         *path; /* as asked for; the opener's */
    char               *resolved;
    void               *file;
    struct sgi__file_id id;
    uint64_t            limit;           /* bytes that may be read as header: at most the file's */
    char               *window;          /* SGI__SOURCE_WINDOW bytes; NULL before the first take */
    uint64_t            window_at;       /* offset in the file of window[0] */
    size_t              window_used, at; /* bytes in it; of these taken */
    const char         *part;            /* what is being read, for messages: "metadata", "tensor"; or NULL */
    const char         *name;            /* of it, or NULL */
};

sgi_status sgi__source_open(struct sgi__parse *p, const char *path, struct sgi__source *s, sgi_error *err);
void       sgi__source_close(struct sgi__source *s);

/* Where the next byte is taken from, and how many are left until the end of the file. */
uint64_t sgi__source_at(const struct sgi__source *s);
uint64_t sgi__source_left(const struct sgi__source *s);

/* SGI_E_FORMAT if the file, or what may be header, ends before `bytes` more, naming `part` and `name`. Nothing may
 * be allocated for a length before sgi__source_need() has agreed to it. A view lasts until the next call. */
sgi_status sgi__source_need(const struct sgi__source *s, uint64_t bytes, sgi_error *err);
sgi_status sgi__source_peek(struct sgi__source *s, size_t bytes, const void **view_out,
                            sgi_error *err); /* at most a window */
sgi_status sgi__source_view(struct sgi__source *s, size_t bytes, const void **view_out, sgi_error *err); /* likewise */
sgi_status sgi__source_copy(struct sgi__source *s, void *dst, uint64_t bytes, sgi_error *err);
sgi_status sgi__source_skip(struct sgi__source *s, uint64_t bytes, sgi_error *err);
sgi_status sgi__source_text(struct sgi__source *s, uint64_t bytes, char **text_out,
                            sgi_error *err); /* the caller's, 0-terminated */
sgi_status sgi__source_u32(struct sgi__source *s, uint32_t *out, sgi_error *err);
sgi_status sgi__source_u64(struct sgi__source *s, uint64_t *out, sgi_error *err);

/* SGI_E_FORMAT: "<path>: <text>". */
sgi_status sgi__refuse(const struct sgi__source *s, sgi_error *err, const char *format, ...) SGI_PRINTF(3, 4);
sgi_status sgi__refuse_path(const char *path, sgi_error *err, const char *format, ...) SGI_PRINTF(3, 4);
sgi_status sgi__no_memory(const char *path, sgi_error *err);

/* Adds the file to the manifest. */
sgi_status sgi__source_add(struct sgi__source *s, uint32_t *index_out, sgi_error *err);

#endif
