/* SPDX-License-Identifier: Apache-2.0 */
#include "format/folder.h"

#include <string.h>

#include "base/text.h"
#include "format/numbered.h"
#include "format/source.h"

struct found {
    const char       *path;
    struct sgi__names indices, safetensors, ggufs, packs;
    unsigned long     others;
};

static bool ends_with(const char *name, const char *end)
{
    size_t name_bytes = strlen(name), end_bytes = strlen(end);
    return name_bytes > end_bytes && strcmp(name + name_bytes - end_bytes, end) == 0;
}

static sgi_status note(void *user, const char *name, sgi_error *err)
{
    struct found      *found = user;
    struct sgi__names *list;
    if (name[0] == '.') /* "._model.safetensors" and the like: another system's notes */
        return SGI_OK;
    if (ends_with(name, ".safetensors.index.json"))
        list = &found->indices;
    else if (ends_with(name, ".safetensors"))
        list = &found->safetensors;
    else if (ends_with(name, ".gguf"))
        list = &found->ggufs;
    else if (ends_with(name, ".sgi"))
        list = &found->packs;
    else {
        found->others++;
        return SGI_OK;
    }
    return sgi__names_add(list, name) ? SGI_OK : sgi__no_memory(found->path, err);
}

static sgi_status refuse_several(const struct found *found, const struct sgi__names *names, const char *what,
                                 sgi_error *err)
{
    struct sgi__shown one, two;
    return sgi__refuse_path(found->path, err, "a folder with %zu %s ('%s', '%s'%s): name the one to open", names->count,
                            what, sgi__show_name(&one, names->list[0]), sgi__show_name(&two, names->list[1]),
                            names->count > 2 ? ", ..." : "");
}

/* ------------------------------------------------------------------------- shards without an index */

/* How a set's names end, and what to call files that are none. */
struct kind {
    const char *end, *several, *several_models;
};

static const struct kind safetensors_kind = { ".safetensors", ".safetensors files and no index",
                                              ".safetensors files of several models and no index" };

static const struct kind gguf_kind = { ".gguf", ".gguf files", ".gguf files of several models" };

/* The names are sorted: those of one stem and count are a complete set if and only if they are numbered 1, 2, ...
 * count. */
static sgi_status check_set(const struct found *found, const struct sgi__names *names, const struct kind *kind,
                            sgi_error *err)
{
    struct sgi__shown    shown;
    struct sgi__numbered first = { .count = 0 }, this;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->list[i];
        if (!sgi__numbered_take(name, kind->end, &this))
            return refuse_several(found, names, kind->several, err);
        if (i == 0)
            first = this;
        if (this.stem_bytes != first.stem_bytes || this.count != first.count ||
            memcmp(name, names->list[0], first.stem_bytes) != 0)
            return refuse_several(found, names, kind->several_models, err);
        if (this.number != i + 1)
            return sgi__refuse_path(found->path, err, "a folder where shard %zu of %u is missing before '%s'", i + 1,
                                    first.count, sgi__show_name(&shown, name));
    }
    if (names->count != first.count)
        return sgi__refuse_path(found->path, err, "a folder with %zu of %u shards: none follows '%s'", names->count,
                                first.count, sgi__show_name(&shown, names->list[names->count - 1]));
    return SGI_OK;
}

/* ------------------------------------------------------------------------------------------- choice */

static sgi_status choose(struct found *found, struct sgi__names **chosen_out, sgi_error *err)
{
    *chosen_out = &found->indices;
    if (found->indices.count > 1)
        return refuse_several(found, &found->indices, "indices", err);
    if (found->indices.count == 1)
        return SGI_OK;
    *chosen_out = &found->safetensors;
    if (found->safetensors.count > 1)
        return check_set(found, &found->safetensors, &safetensors_kind, err);
    if (found->safetensors.count == 1)
        return SGI_OK;
    *chosen_out = &found->ggufs;
    if (found->ggufs.count > 1)
        return check_set(found, &found->ggufs, &gguf_kind, err);
    if (found->ggufs.count == 1)
        return SGI_OK;
    *chosen_out = &found->packs;
    if (found->packs.count > 1)
        return refuse_several(found, &found->packs, ".sgi files", err);
    if (found->packs.count == 1)
        return SGI_OK;
    return sgi__refuse_path(
        found->path, err,
        "a folder without a model: no .safetensors, no index of them, no .gguf, no .sgi among %lu names",
        found->others);
}

sgi_status sgi__folder_search(const struct sgi__fs *fs, const char *path, struct sgi__names *files_out, sgi_error *err)
{
    struct found       found = { .path = path };
    struct sgi__names *chosen;
    sgi_status         st = fs->list(fs->user, path, SGI__FOLDER_NAMES_MAX, note, &found, err);
    if (st == SGI_OK && (!sgi__names_sort(&found.indices) || !sgi__names_sort(&found.safetensors) ||
                         !sgi__names_sort(&found.ggufs) || !sgi__names_sort(&found.packs)))
        st = sgi__no_memory(path, err);
    if (st == SGI_OK)
        st = choose(&found, &chosen, err);
    if (st == SGI_OK) {
        if (chosen == &found.ggufs)
            sgi__names_keep_first(chosen);
        *files_out = *chosen;
        *chosen = (struct sgi__names){ .list = NULL };
    }
    sgi__names_free(&found.indices);
    sgi__names_free(&found.safetensors);
    sgi__names_free(&found.ggufs);
    sgi__names_free(&found.packs);
    return st;
}
