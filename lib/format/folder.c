/* SPDX-License-Identifier: Apache-2.0 */
#include "format/folder.h"

#include <string.h>

#include "base/text.h"
#include "format/source.h"

struct found {
    const char       *path;
    struct sgi__names indices, safetensors, ggufs;
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
    struct sgi__names *list = NULL;
    if (name[0] == '.') /* "._model.safetensors" and the like: another system's notes */
        return SGI_OK;
    if (ends_with(name, ".safetensors.index.json"))
        list = &found->indices;
    else if (ends_with(name, ".safetensors"))
        list = &found->safetensors;
    else if (ends_with(name, ".gguf"))
        list = &found->ggufs;
    if (!list)
        found->others++;
    else if (!sgi__names_add(list, name))
        return sgi__no_memory(found->path, err);
    return SGI_OK;
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

enum { DIGITS = 5 };

static bool take_digits(const char *text, unsigned *out)
{
    unsigned value = 0;
    for (int i = 0; i < DIGITS; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = 10 * value + (unsigned)(text[i] - '0');
    }
    *out = value;
    return true;
}

/* "<stem>-00002-of-00005.safetensors" */
static bool take_numbers(const char *name, size_t *stem_bytes, unsigned *number, unsigned *count)
{
    static const char end[] = ".safetensors", of[] = "-of-";
    const size_t      tail = 1 + DIGITS + (sizeof of - 1) + DIGITS + (sizeof end - 1);
    size_t            bytes = strlen(name);
    if (bytes < tail)
        return false;
    const char *at = name + bytes - tail;
    *stem_bytes = bytes - tail;
    return at[0] == '-' && take_digits(at + 1, number) && memcmp(at + 1 + DIGITS, of, sizeof of - 1) == 0 &&
           take_digits(at + DIGITS + sizeof of, count);
}

/* The names are sorted: those of one stem and count are a complete set if and only if they are numbered 1, 2, ...
 * count. */
static sgi_status check_set(const struct found *found, sgi_error *err)
{
    const struct sgi__names *names = &found->safetensors;
    struct sgi__shown        shown;
    size_t                   stem = 0, this_stem;
    unsigned                 count = 0, number, this_count;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->list[i];
        if (!take_numbers(name, &this_stem, &number, &this_count))
            return refuse_several(found, names, ".safetensors files and no index", err);
        if (i == 0) {
            stem = this_stem;
            count = this_count;
        }
        if (this_stem != stem || this_count != count || memcmp(name, names->list[0], stem) != 0)
            return refuse_several(found, names, ".safetensors files of several models and no index", err);
        if (number != i + 1)
            return sgi__refuse_path(found->path, err, "a folder where shard %zu of %u is missing before '%s'", i + 1,
                                    count, sgi__show_name(&shown, name));
    }
    if (names->count != count)
        return sgi__refuse_path(found->path, err, "a folder with %zu of %u shards: none follows '%s'", names->count,
                                count, sgi__show_name(&shown, names->list[names->count - 1]));
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
        return check_set(found, err);
    if (found->safetensors.count == 1)
        return SGI_OK;
    *chosen_out = &found->ggufs;
    if (found->ggufs.count > 1)
        return refuse_several(found, &found->ggufs, ".gguf files", err);
    if (found->ggufs.count == 1)
        return SGI_OK;
    return sgi__refuse_path(found->path, err,
                            "a folder without a model: no .safetensors, no index of them, no .gguf among %lu names",
                            found->others);
}

sgi_status sgi__folder_search(const struct sgi__fs *fs, const char *path, struct sgi__names *files_out, sgi_error *err)
{
    struct found       found = { .path = path };
    struct sgi__names *chosen;
    sgi_status         st = fs->list(fs->user, path, SGI__FOLDER_NAMES_MAX, note, &found, err);
    if (st == SGI_OK &&
        (!sgi__names_sort(&found.indices) || !sgi__names_sort(&found.safetensors) || !sgi__names_sort(&found.ggufs)))
        st = sgi__no_memory(path, err);
    if (st == SGI_OK)
        st = choose(&found, &chosen, err);
    if (st == SGI_OK) {
        *files_out = *chosen;
        *chosen = (struct sgi__names){ .list = NULL };
    }
    sgi__names_free(&found.indices);
    sgi__names_free(&found.safetensors);
    sgi__names_free(&found.ggufs);
    return st;
}
