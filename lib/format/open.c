/* SPDX-License-Identifier: Apache-2.0 */
#include "format/readers.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/text.h"
#include "format/folder.h"
#include "format/pack.h"
#include "format/shard.h"
#include "format/sums.h"

enum { SNIFF_BYTES = 8 };

/* An index is JSON text: a brace after white space, and no zero byte, which every header length below 2^56 has. */
static bool looks_like_json(const char *begin, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && begin[at] != '\0' && strchr(" \t\r\n", begin[at]))
        at++;
    return at < bytes && begin[at] == '{' && !memchr(begin, 0, bytes);
}

static sgi_status read_source(struct sgi__source *s, sgi_error *err)
{
    const void *begin;
    size_t      bytes = s->id.bytes < SNIFF_BYTES ? (size_t)s->id.bytes : SNIFF_BYTES;
    sgi_status  st = sgi__source_peek(s, bytes, &begin, err);
    if (st != SGI_OK)
        return st;
    if (sgi__pack_begins(begin, bytes))
        return sgi__pack_read(s, err);
    if (sgi__sums_begins(begin, bytes))
        return sgi__refuse(s, err, "checks of a model's file, as sgi digest writes them, and no model");
    if (bytes >= 4 && memcmp(begin, "GGUF", 4) == 0)
        return sgi__gguf_read(s, err);
    if (looks_like_json(begin, bytes))
        return sgi__index_read(s, err);
    if (bytes < SNIFF_BYTES)
        return sgi__refuse(s, err, "too short for a model file: %zu bytes", bytes);
    return sgi__safetensors_read(s, err);
}

static sgi_status open_file(struct sgi__parse *p, const char *path, sgi_error *err)
{
    struct sgi__source s;
    sgi_status         st = sgi__source_open(p, path, &s, err);
    if (st != SGI_OK)
        return st;
    st = read_source(&s, err);
    sgi__source_close(&s);
    return st;
}

static sgi_status open_folder(struct sgi__parse *p, const char *path, sgi_error *err)
{
    struct sgi__names files = { .list = NULL };
    sgi_status        st = sgi__folder_search(p->fs, path, &files, err);
    if (st == SGI_OK && files.count > 1)
        st = sgi__shards_read(p, path, &files, NULL, err);
    if (st == SGI_OK && files.count == 1) {
        char *file = sgi__path_join(path, files.list[0]);
        st = file ? open_file(p, file, err) : sgi__no_memory(path, err);
        sgi__free(file);
    }
    sgi__names_free(&files);
    return st;
}

static sgi_status check_folders(struct sgi__parse *p, sgi_error *err)
{
    if (p->folders_count > SGI__FOLDERS_MAX)
        return sgi__error(err, SGI_E_INVALID, "folders: %u of them, more than the %d supported", p->folders_count,
                          (int)SGI__FOLDERS_MAX);
    for (uint32_t i = 0; i < p->folders_count; i++) {
        enum sgi__fs_kind kind;
        const char       *path = p->folders ? p->folders[i] : NULL;
        if (!path || !*path)
            return sgi__error(err, SGI_E_INVALID, "folders: number %u is missing", i);
        sgi_status st = p->fs->kind(p->fs->user, path, &kind, err);
        if (st != SGI_OK)
            return st;
        if (kind != SGI__FS_FOLDER)
            return sgi__refuse_path(path, err, "no folder, so no shard can be in it");
    }
    return SGI_OK;
}

static sgi_status check_options(struct sgi__parse *p, sgi_error *err)
{
    if (p->checks_path && !*p->checks_path)
        return sgi__error(err, SGI_E_INVALID, "checks_path: it is empty");
    return check_folders(p, err);
}

static sgi_status read_checks(struct sgi__parse *p, const char *path, sgi_error *err)
{
    struct sgi__shown shown;

    if (!p->m->packed)
        return sgi__sums_read(p, err);
    if (p->checks_path) /* not ignored: whoever names checks counts on them */
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s: a packed file, which has its checks in it and takes no others",
                          sgi__show_path(&shown, path));
    return SGI_OK;
}

static struct sgi__parse parse_of(const struct sgi__fs *fs, const struct sgi__format_options *options)
{
    struct sgi__parse p = { .fs = fs };
    if (options) {
        p.flags = options->flags;
        p.header_bytes_max = options->header_bytes_max;
        p.folders = options->folders;
        p.folders_count = options->folders_count;
        p.checks_path = options->checks_path;
    }
    return p;
}

sgi_status sgi__format_open(const struct sgi__fs *fs, const char *path, const struct sgi__format_options *options,
                            struct sgi__manifest **manifest_out, sgi_error *err)
{
    enum sgi__fs_kind kind;
    struct sgi__parse p = parse_of(fs, options);
    sgi_status        st = check_options(&p, err);
    if (st == SGI_OK)
        st = fs->kind(fs->user, path, &kind, err);
    if (st != SGI_OK)
        return st;
    p.m = sgi__manifest_new();
    if (!p.m)
        return sgi__no_memory(path, err);
    st = kind == SGI__FS_FOLDER ? open_folder(&p, path, err) : open_file(&p, path, err);
    if (st == SGI_OK && !(p.flags & SGI__FORMAT_UNCHECKED))
        st = read_checks(&p, path, err);
    if (st == SGI_OK)
        *manifest_out = p.m;
    else
        sgi__manifest_free(p.m);
    return st;
}

/* ---- several files, each by its path ---- */

static sgi_status add_one(struct sgi__parse *p, const char *path, sgi_error *err)
{
    struct sgi__source s;
    const void        *begin;

    sgi_status st = sgi__source_open(p, path, &s, err);
    if (st != SGI_OK)
        return st;
    size_t bytes = s.id.bytes < SNIFF_BYTES ? (size_t)s.id.bytes : SNIFF_BYTES;
    st = sgi__source_peek(&s, bytes, &begin, err);
    if (st == SGI_OK && (bytes < SNIFF_BYTES || sgi__pack_begins(begin, bytes) || memcmp(begin, "GGUF", 4) == 0 ||
                         looks_like_json(begin, bytes)))
        st = sgi__refuse(&s, err, "no safetensors file, as each of several files of one model has to be");
    if (st == SGI_OK)
        st = sgi__safetensors_add(&s, err);
    sgi__source_close(&s);
    return st;
}

static sgi_status check_names(const struct sgi__manifest *m, sgi_error *err)
{
    struct sgi__names names = { .list = NULL };
    struct sgi__shown shown;
    bool              added = true;

    for (uint32_t n = 0; n < m->files_count && added; n++)
        added = sgi__names_add(&names, m->files[n].name);
    sgi_status  st = added && sgi__names_sort(&names) ? SGI_OK : sgi__no_memory(m->files[0].asked, err);
    const char *twice = st == SGI_OK ? sgi__names_twice(&names) : NULL;
    if (twice)
        st = sgi__refuse_path(m->files[0].asked, err, "two of the files are named '%s'", sgi__show_name(&shown, twice));
    sgi__names_free(&names);
    return st;
}

sgi_status sgi__format_open_several(const struct sgi__fs *fs, const char *const *paths, uint32_t paths_count,
                                    const struct sgi__format_options *options, struct sgi__manifest **manifest_out,
                                    sgi_error *err)
{
    struct sgi__parse p = parse_of(fs, options);
    sgi_status        st = SGI_OK;

    for (uint32_t n = 0; n < paths_count || paths_count == 0; n++)
        if (paths_count == 0 || !paths[n] || !*paths[n])
            return sgi__error(err, SGI_E_INVALID, "path number %u is missing", n);
    if (paths_count == 1)
        return sgi__format_open(fs, paths[0], options, manifest_out, err);
    st = check_options(&p, err);
    if (st != SGI_OK)
        return st;
    p.m = sgi__manifest_new();
    if (!p.m)
        return sgi__no_memory(paths[0], err);
    for (uint32_t n = 0; n < paths_count && st == SGI_OK; n++)
        st = add_one(&p, paths[n], err);
    if (st == SGI_OK)
        st = check_names(p.m, err);
    if (st == SGI_OK)
        st = sgi__manifest_finish(p.m, err);
    if (st == SGI_OK)
        st = sgi__safetensors_check(p.m, err);
    if (st == SGI_OK && !(p.flags & SGI__FORMAT_UNCHECKED))
        st = read_checks(&p, paths[0], err);
    if (st == SGI_OK)
        *manifest_out = p.m;
    else
        sgi__manifest_free(p.m);
    return st;
}
