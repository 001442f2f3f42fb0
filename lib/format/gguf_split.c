/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which GGUF files are one model. Such a set is told by the keys split.count, split.no (from 0) and
 * split.tensors.count, and named <stem>-00001-of-00005.gguf: the first file has the model's metadata, each has its own
 * tensors.
 *
 * The rules are llama.cpp's, which opens a set by its first file: the types of the three keys, what is needed where,
 * and that a split.count of 0 (a merged model) or 1 makes no set. Beyond them the names have to be true, since they
 * are all that leads from one file to the next, and what the other files say again has to be what the first says.
 */
#include "format/gguf.h"

#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "format/numbered.h"
#include "format/readers.h"
#include "format/shard.h"

static const char end[] = ".gguf";

/* ------------------------------------------------------------------------------------------------------------- keys */

sgi_status sgi__gguf_note_set(struct sgi__gguf *g, const char *key, const struct sgi__value *value, bool u16, bool i32,
                              sgi_error *err)
{
    struct sgi__gguf_set *set = &g->set;
    bool                  no = strcmp(key, "split.no") == 0, count = strcmp(key, "split.count") == 0;
    bool                  tensors = strcmp(key, "split.tensors.count") == 0;
    if ((no || count) && !u16)
        return sgi__refuse(g->source, err, "metadata '%s' is no 16-bit unsigned number", key);
    if (tensors && !i32)
        return sgi__refuse(g->source, err, "metadata '%s' is no 32-bit signed number", key);
    set->has_no |= no;
    set->has_count |= count;
    set->has_tensors |= tensors;
    if (no)
        set->no = (uint32_t)value->u64;
    if (count)
        set->count = (uint32_t)value->u64;
    if (tensors)
        set->tensors = value->i64;
    return SGI_OK;
}

/* --------------------------------------------------------------------------------------------------------- one file */

static const char *file_name(const struct sgi__gguf *g)
{
    return g->source->parse->m->files[g->file].name;
}

/* A file that is a model alone, as far as its keys go. */
static sgi_status check_single(const struct sgi__gguf *g, sgi_error *err)
{
    struct sgi__numbered name;
    if (!sgi__numbered_take(file_name(g), end, &name) || name.count <= 1)
        return SGI_OK;
    if (!g->set.has_count)
        return sgi__refuse(g->source, err, "named as file %u of %u, but it has no split.count", name.number,
                           name.count);
    return sgi__refuse(g->source, err, "named as file %u of %u, but its split.count is %u", name.number, name.count,
                       g->set.count);
}

static sgi_status refuse_later(const struct sgi__gguf *g, const struct sgi__numbered *name, sgi_error *err)
{
    struct sgi__shown shown;
    char             *first = sgi__strdup(file_name(g));
    if (!first)
        return sgi__no_memory(g->source->path, err);
    sgi__numbered_put(first, name, 1);
    sgi_status st = sgi__refuse(g->source, err, "file %u of the %u of a split model: open the first, %s", name->number,
                                name->count, sgi__show_path(&shown, first));
    sgi__free(first);
    return st;
}

static sgi_status check_first(const struct sgi__gguf *g, sgi_error *err)
{
    const struct sgi__gguf_set *set = &g->set;
    struct sgi__numbered        name;
    if (set->count > SGI__FILES_MAX)
        return sgi__refuse(g->source, err, "split.count is %u, more than the %d files supported", set->count,
                           (int)SGI__FILES_MAX);
    if (!set->has_no)
        return sgi__refuse(g->source, err, "split.count is %u, but there is no split.no", set->count);
    if (set->no >= set->count)
        return sgi__refuse(g->source, err, "split.no is %u, but split.count is %u", set->no, set->count);
    if (!sgi__numbered_take(file_name(g), end, &name) || name.number != set->no + 1 || name.count != set->count)
        return sgi__refuse(g->source, err,
                           "split.no %u and split.count %u belong to a name that ends with -%05u-of-%05u.gguf", set->no,
                           set->count, set->no + 1, set->count);
    if (set->no > 0)
        return refuse_later(g, &name, err);
    if (!set->has_tensors)
        return sgi__refuse(g->source, err, "split.count is %u, but there is no split.tensors.count", set->count);
    return SGI_OK;
}

/* One that could not be kept, being no short text, is equal to none. */
static bool same_architecture(const struct sgi__gguf_set *a, const struct sgi__gguf_set *b)
{
    const struct sgi__value *x = &a->architecture, *y = &b->architecture;
    return x->kind == SGI__VALUE_TEXT && y->kind == SGI__VALUE_TEXT && x->text.bytes == y->text.bytes &&
           memcmp(x->text.text, y->text.text, (size_t)x->text.bytes) == 0;
}

static sgi_status refuse_architecture(const struct sgi__gguf *g, sgi_error *err)
{
    const struct sgi__value *value = &g->set.architecture;
    struct sgi__shown        shown;
    if (value->kind != SGI__VALUE_TEXT)
        return sgi__refuse(g->source, err, "general.architecture is not that of the first file");
    return sgi__refuse(g->source, err, "general.architecture is '%s', not that of the first file",
                       sgi__show_bytes(&shown, value->text.text, (size_t)value->text.bytes));
}

static sgi_status check_other(const struct sgi__gguf *g, sgi_error *err)
{
    const struct sgi__gguf_set *set = &g->set, *first = &g->first->set;
    if (!set->has_no)
        return sgi__refuse(g->source, err, "no split.no in it, where file %u of %u should be", g->file + 1,
                           first->count);
    if (set->no != g->file)
        return sgi__refuse(g->source, err, "split.no is %u, where its name wants %u", set->no, g->file);
    if (set->has_count && set->count != first->count)
        return sgi__refuse(g->source, err, "split.count is %u, but %u in the first file", set->count, first->count);
    if (set->has_tensors && set->tensors != first->tensors)
        return sgi__refuse(g->source, err, "split.tensors.count is %lld, but %lld in the first file",
                           (long long)set->tensors, (long long)first->tensors);
    if (set->has_architecture && !same_architecture(set, first))
        return refuse_architecture(g, err);
    return SGI_OK;
}

sgi_status sgi__gguf_check_set(const struct sgi__gguf *g, sgi_error *err)
{
    if (g->first)
        return check_other(g, err);
    return g->set.count > 1 ? check_first(g, err) : check_single(g, err);
}

/* ---------------------------------------------------------------------------------------------------------- the set */

static sgi_status read_other(const struct sgi__gguf *first, const char *folder, const char *name, uint64_t *array_items,
                             uint64_t *header_left, sgi_error *err)
{
    struct sgi__shard shard;
    sgi_status        st = sgi__shard_open(first->source->parse, folder, name, first->source->path, &shard, err);
    if (st != SGI_OK)
        return st;
    struct sgi__gguf g = { .source = &shard.source, .first = first, .array_items = *array_items };
    st = sgi__gguf_add(&g, header_left, err);
    *array_items = g.array_items;
    sgi__shard_close(&shard);
    return st;
}

static sgi_status check_tensors(const struct sgi__gguf *first, sgi_error *err)
{
    uint64_t found = first->source->parse->m->tensors_count;
    if (first->set.tensors >= 0 && (uint64_t)first->set.tensors == found)
        return SGI_OK;
    return sgi__refuse(first->source, err, "split.tensors.count is %lld, but the %u files have %llu tensors",
                       (long long)first->set.tensors, first->set.count, (unsigned long long)found);
}

sgi_status sgi__gguf_read_others(const struct sgi__gguf *first, uint64_t header_left, sgi_error *err)
{
    struct sgi__numbered numbered;
    uint64_t             array_items = first->array_items;
    sgi_status           st = SGI_OK;
    if (first->set.count <= 1)
        return SGI_OK;
    char *name = sgi__strdup(file_name(first)), *folder = sgi__path_folder(first->source->path);
    if (!name || !folder || !sgi__numbered_take(name, end, &numbered)) /* the last was seen to be true */
        st = sgi__no_memory(first->source->path, err);
    for (unsigned number = 2; number <= first->set.count && st == SGI_OK; number++) {
        sgi__numbered_put(name, &numbered, number);
        st = read_other(first, folder, name, &array_items, &header_left, err);
    }
    sgi__free(name);
    sgi__free(folder);
    return st == SGI_OK ? check_tensors(first, err) : st;
}
