/* SPDX-License-Identifier: Apache-2.0 */
#include "format/source.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/text.h"

static sgi_status refuse(const char *path, sgi_error *err, const char *format, va_list args)
{
    struct sgi__shown shown;
    char              text[256];
    vsnprintf(text, sizeof text, format, args);
    return sgi__error(err, SGI_E_FORMAT, "%s: %s", sgi__show_path(&shown, path), text);
}

sgi_status sgi__refuse(const struct sgi__source *s, sgi_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sgi_status st = refuse(s->path, err, format, args);
    va_end(args);
    return st;
}

sgi_status sgi__refuse_path(const char *path, sgi_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sgi_status st = refuse(path, err, format, args);
    va_end(args);
    return st;
}

sgi_status sgi__no_memory(const char *path, sgi_error *err)
{
    struct sgi__shown shown;
    return sgi__error(err, SGI_E_NO_MEMORY, "%s: no memory to read the header", sgi__show_path(&shown, path));
}

sgi_status sgi__source_open(struct sgi__parse *p, const char *path, struct sgi__source *s, sgi_error *err)
{
    *s = (struct sgi__source){ .parse = p, .path = path };
    sgi_status st = p->fs->open(p->fs->user, path, &s->file, &s->id, &s->resolved, err);
    if (st != SGI_OK)
        *s = (struct sgi__source){ .parse = NULL };
    s->limit = s->id.bytes;
    return st;
}

void sgi__source_close(struct sgi__source *s)
{
    if (!s->parse)
        return;
    s->parse->fs->close(s->parse->fs->user, s->file);
    sgi__free(s->resolved);
    sgi__free(s->window);
    s->parse = NULL;
}

sgi_status sgi__source_add(struct sgi__source *s, uint32_t *index_out, sgi_error *err)
{
    return sgi__manifest_add_file(s->parse->m, s->path, s->resolved, &s->id, index_out, err);
}

uint64_t sgi__source_at(const struct sgi__source *s)
{
    return s->window_at + s->at;
}

uint64_t sgi__source_left(const struct sgi__source *s)
{
    return s->id.bytes - sgi__source_at(s);
}

sgi_status sgi__source_need(const struct sgi__source *s, uint64_t bytes, sgi_error *err)
{
    struct sgi__shown shown;
    char              where[128] = "";
    if (bytes <= s->limit - sgi__source_at(s))
        return SGI_OK;
    if (s->part && s->name)
        snprintf(where, sizeof where, ", in %s '%s'", s->part, sgi__show_name(&shown, s->name));
    else if (s->part)
        snprintf(where, sizeof where, ", in %s", s->part);
    if (s->limit < s->id.bytes)
        return sgi__refuse(s, err, "the header is longer than the %llu bytes allowed%s", (unsigned long long)s->limit,
                           where);
    return sgi__refuse(s, err, "the file ends within its header%s", where);
}

/* Moves what is not taken yet to the front and fills the rest of the window. */
static sgi_status fill(struct sgi__source *s, sgi_error *err)
{
    if (!s->window) {
        s->window = sgi__alloc(SGI__SOURCE_WINDOW);
        if (!s->window)
            return sgi__no_memory(s->path, err);
    }
    size_t kept = s->window_used - s->at;
    memmove(s->window, s->window + s->at, kept);
    s->window_at += s->at;
    s->at = 0;
    s->window_used = kept;
    uint64_t              rest = s->limit - s->window_at - kept;
    size_t                wanted = rest < SGI__SOURCE_WINDOW - kept ? (size_t)rest : SGI__SOURCE_WINDOW - kept;
    const struct sgi__fs *fs = s->parse->fs;
    sgi_status            st = fs->read(fs->user, s->file, s->window_at + kept, s->window + kept, wanted, err);
    if (st == SGI_OK)
        s->window_used += wanted;
    return st;
}

sgi_status sgi__source_peek(struct sgi__source *s, size_t bytes, const void **view_out, sgi_error *err)
{
    assert(bytes <= SGI__SOURCE_WINDOW);
    sgi_status st = sgi__source_need(s, bytes, err);
    if (st == SGI_OK && s->window_used - s->at < bytes)
        st = fill(s, err);
    if (st == SGI_OK)
        *view_out = bytes > 0 ? s->window + s->at : "";
    return st;
}

sgi_status sgi__source_view(struct sgi__source *s, size_t bytes, const void **view_out, sgi_error *err)
{
    sgi_status st = sgi__source_peek(s, bytes, view_out, err);
    if (st == SGI_OK)
        s->at += bytes;
    return st;
}

sgi_status sgi__source_skip(struct sgi__source *s, uint64_t bytes, sgi_error *err)
{
    sgi_status st = sgi__source_need(s, bytes, err);
    if (st != SGI_OK)
        return st;
    if (bytes <= s->window_used - s->at) {
        s->at += (size_t)bytes;
        return SGI_OK;
    }
    s->window_at += s->at + bytes;
    s->at = s->window_used = 0;
    return SGI_OK;
}

/* More than a window is read to where it goes, past what the window holds of it. */
static sgi_status copy_long(struct sgi__source *s, char *dst, uint64_t bytes, sgi_error *err)
{
    const struct sgi__fs *fs = s->parse->fs;
    size_t                here = s->window_used - s->at;
    if (here > 0)
        memcpy(dst, s->window + s->at, here);
    sgi_status st = fs->read(fs->user, s->file, s->window_at + s->window_used, dst + here, (size_t)bytes - here, err);
    if (st != SGI_OK)
        return st;
    s->window_at += s->at + bytes;
    s->at = s->window_used = 0;
    return SGI_OK;
}

sgi_status sgi__source_copy(struct sgi__source *s, void *dst, uint64_t bytes, sgi_error *err)
{
    const void *view;
    sgi_status  st = sgi__source_need(s, bytes, err);
    if (st != SGI_OK)
        return st;
    if (bytes > SGI__SOURCE_WINDOW)
        return copy_long(s, dst, bytes, err);
    st = sgi__source_view(s, (size_t)bytes, &view, err);
    if (st == SGI_OK)
        memcpy(dst, view, (size_t)bytes);
    return st;
}

sgi_status sgi__source_text(struct sgi__source *s, uint64_t bytes, char **text_out, sgi_error *err)
{
    sgi_status st = sgi__source_need(s, bytes, err);
    if (st != SGI_OK)
        return st;
    char *text = bytes < SIZE_MAX ? sgi__alloc((size_t)bytes + 1) : NULL;
    if (!text)
        return sgi__no_memory(s->path, err);
    text[bytes] = '\0';
    st = sgi__source_copy(s, text, bytes, err);
    if (st == SGI_OK)
        *text_out = text;
    else
        sgi__free(text);
    return st;
}

sgi_status sgi__source_u32(struct sgi__source *s, uint32_t *out, sgi_error *err)
{
    struct sgi__cursor c;
    const void        *view;
    sgi_status         st = sgi__source_view(s, sizeof *out, &view, err);
    if (st != SGI_OK)
        return st;
    sgi__cursor_init(&c, view, sizeof *out);
    *out = sgi__cursor_u32(&c);
    return SGI_OK;
}

sgi_status sgi__source_u64(struct sgi__source *s, uint64_t *out, sgi_error *err)
{
    struct sgi__cursor c;
    const void        *view;
    sgi_status         st = sgi__source_view(s, sizeof *out, &view, err);
    if (st != SGI_OK)
        return st;
    sgi__cursor_init(&c, view, sizeof *out);
    *out = sgi__cursor_u64(&c);
    return SGI_OK;
}
