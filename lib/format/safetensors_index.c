/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Safetensors in several files: a *.safetensors.index.json whose weight_map says which shard each tensor is in, or a
 * complete set of files found in a folder.
 *
 * The map is walked twice, before the shards are read to know them and afterwards to check it, so that nothing has to
 * be kept for its up to a million names. What the format does not say and we do is in format.h.
 */
#include "format/readers.h"

#include <string.h>

#include "base/alloc.h"
#include "base/sort.h"
#include "base/text.h"
#include "format/json.h"
#include "format/shard.h"

enum { SHARD_NAME_BYTES_MAX = 255 };

/* ----------------------------------------------------------------------------------------------------------- shards */

static int compare_key(const void *a, const void *b)
{
    const struct sgi__metadata *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Of the values that several shards give for one key, the first stays. */
static sgi_status merge_metadata(struct sgi__manifest *m, const char *folder, sgi_error *err)
{
    size_t       count = (size_t)m->metadata_count, kept = 0;
    const void **items = sgi__realloc_array(NULL, count, 2 * sizeof *items);
    if (!items)
        return sgi__no_memory(folder, err);
    for (size_t i = 0; i < count; i++)
        items[i] = &m->metadata[i];
    sgi__sort(items, items + count, count, compare_key);
    for (size_t i = count; i-- > 1;) /* backwards: the earlier neighbour still has its key */
        if (compare_key(items[i - 1], items[i]) == 0)
            m->metadata[(const struct sgi__metadata *)items[i] - m->metadata].key = NULL;
    sgi__free(items);
    for (size_t i = 0; i < count; i++)
        if (m->metadata[i].key)
            m->metadata[kept++] = m->metadata[i];
    m->metadata_count = kept;
    return SGI_OK;
}

static sgi_status read_shard(struct sgi__parse *p, const char *folder, const char *name, const char *asker,
                             sgi_error *err)
{
    struct sgi__shard shard;
    sgi_status        st = sgi__shard_open(p, folder, name, asker, &shard, err);
    if (st != SGI_OK)
        return st;
    st = sgi__safetensors_add(&shard.source, err);
    sgi__shard_close(&shard);
    return st;
}

sgi_status sgi__shards_read(struct sgi__parse *p, const char *folder, const struct sgi__names *shards,
                            const char *asker, sgi_error *err)
{
    sgi_status st = SGI_OK;
    for (size_t i = 0; i < shards->count && st == SGI_OK; i++)
        st = read_shard(p, folder, shards->list[i], asker, err);
    if (st == SGI_OK)
        st = merge_metadata(p->m, folder, err);
    if (st == SGI_OK)
        st = sgi__manifest_finish(p->m, err);
    if (st == SGI_OK)
        st = sgi__safetensors_check(p->m, err);
    return st;
}

/* ------------------------------------------------------------------------------------------------------------ index */

struct index {
    struct sgi__source *source;
    struct sgi__span    map;    /* the weight_map, as JSON text */
    struct sgi__names   shards; /* sorted: number i is file i of the manifest */
    bool               *mapped; /* by tensor, in the second walk */
};

typedef sgi_status (*entry_fn)(struct index *index, const char *tensor, const char *shard, sgi_error *err);

static sgi_status read_entry(struct index *index, struct sgi__span key, struct sgi__span value, entry_fn each,
                             sgi_error *err)
{
    json_t    *tensor, *shard;
    sgi_status st = sgi__json_load_text(index->source, key, "a tensor's name", NULL, &tensor, err);
    if (st != SGI_OK)
        return st;
    st = sgi__json_load_text(index->source, value, "the shard of tensor", json_string_value(tensor), &shard, err);
    if (st == SGI_OK) {
        st = each(index, json_string_value(tensor), json_string_value(shard), err);
        json_decref(shard);
    }
    json_decref(tensor);
    return st;
}

static sgi_status walk(struct index *index, entry_fn each, sgi_error *err)
{
    struct sgi__json json;
    struct sgi__span key, value;
    int              more = sgi__json_begin(&json, index->map);
    while (more == 0 && (more = sgi__json_next(&json, &key, &value)) == 1) {
        sgi_status st = read_entry(index, key, value, each, err);
        if (st != SGI_OK)
            return st;
        more = 0;
    }
    return more < 0 ? sgi__refuse(index->source, err, "weight_map %s", json.wrong) : SGI_OK;
}

static sgi_status note_shard(struct index *index, const char *tensor, const char *shard, sgi_error *err)
{
    struct sgi__shown name, file;
    size_t            bytes = strlen(shard);
    if (bytes == 0 || bytes > SHARD_NAME_BYTES_MAX || strchr(shard, '/') || strcmp(shard, ".") == 0 ||
        strcmp(shard, "..") == 0)
        return sgi__refuse(index->source, err,
                           "tensor '%s' is said to be in '%s', which is not the name of a file beside the index",
                           sgi__show_name(&name, tensor), sgi__show_name(&file, shard));
    if (index->shards.count >= SGI__FILES_MAX && sgi__names_find(&index->shards, shard) < 0)
        return sgi__refuse(index->source, err, "weight_map names more than %d files", (int)SGI__FILES_MAX);
    return sgi__names_insert(&index->shards, shard) ? SGI_OK : sgi__no_memory(index->source->path, err);
}

static sgi_status check_entry(struct index *index, const char *tensor, const char *shard, sgi_error *err)
{
    const struct sgi__manifest *m = index->source->parse->m;
    struct sgi__shown           name, file;
    int64_t                     at = sgi__manifest_find(m, tensor);
    if (at < 0 || m->tensors[at].file != (uint32_t)sgi__names_find(&index->shards, shard))
        return sgi__refuse(index->source, err, "tensor '%s' is not in '%s', where the index has it",
                           sgi__show_name(&name, tensor), sgi__show_name(&file, shard));
    if (index->mapped[at])
        return sgi__refuse(index->source, err, "tensor '%s' is in weight_map twice", sgi__show_name(&name, tensor));
    index->mapped[at] = true;
    return SGI_OK;
}

/* Finds weight_map. The other members ("metadata") have to be JSON and are not used. */
static sgi_status find_map(struct index *index, struct sgi__span text, sgi_error *err)
{
    struct sgi__json json;
    struct sgi__span key, value;
    int              more = sgi__json_begin(&json, text);
    while (more == 0 && (more = sgi__json_next(&json, &key, &value)) == 1) {
        static const char map[] = "\"weight_map\"";
        if (key.bytes == sizeof map - 1 && memcmp(key.text, map, key.bytes) == 0) {
            if (index->map.text)
                return sgi__refuse(index->source, err, "weight_map is there twice");
            index->map = value;
        } else {
            json_t    *unused = NULL;
            sgi_status st = value.bytes > SGI__ENTRY_BYTES_MAX
                                ? sgi__refuse(index->source, err, "more than %d bytes beside weight_map",
                                              (int)SGI__ENTRY_BYTES_MAX)
                                : sgi__json_load(index->source, value, "a member of the index", NULL, &unused, err);
            if (st != SGI_OK)
                return st;
            json_decref(unused);
        }
        more = 0;
    }
    if (more < 0)
        return sgi__refuse(index->source, err, "the index %s", json.wrong);
    if (!index->map.text)
        return sgi__refuse(index->source, err, "no weight_map in it, so it is no index of safetensors shards");
    return SGI_OK;
}

static sgi_status read_mapped_shards(struct index *index, sgi_error *err)
{
    struct sgi__source *s = index->source;
    char               *folder = sgi__path_folder(s->path);
    if (!folder)
        return sgi__no_memory(s->path, err);
    sgi_status st = sgi__shards_read(s->parse, folder, &index->shards, s->path, err);
    sgi__free(folder);
    if (st != SGI_OK)
        return st;
    index->mapped = sgi__alloc_zero((size_t)s->parse->m->tensors_count, sizeof *index->mapped);
    if (!index->mapped)
        return sgi__no_memory(s->path, err);
    return walk(index, check_entry, err);
}

sgi_status sgi__index_read(struct sgi__source *s, sgi_error *err)
{
    struct index index = { .source = s };
    uint64_t     max = s->parse->header_bytes_max ? s->parse->header_bytes_max : SGI__SAFETENSORS_HEADER_MAX;
    char        *text;
    if (s->id.bytes > max)
        return sgi__refuse(s, err, "the index has %llu bytes, more than the %llu allowed",
                           (unsigned long long)s->id.bytes, (unsigned long long)max);
    sgi_status st = sgi__source_text(s, s->id.bytes, &text, err);
    if (st != SGI_OK)
        return st;
    st = find_map(&index, (struct sgi__span){ text, (size_t)s->id.bytes }, err);
    if (st == SGI_OK)
        st = walk(&index, note_shard, err);
    if (st == SGI_OK && index.shards.count == 0)
        st = sgi__refuse(s, err, "weight_map names no file");
    if (st == SGI_OK)
        st = read_mapped_shards(&index, err);
    s->parse->m->index_id = s->id;
    if (st == SGI_OK && !(s->parse->m->index = sgi__manifest_text(s->parse->m, s->path, strlen(s->path))))
        st = sgi__no_memory(s->path, err);
    sgi__free(index.mapped);
    sgi__names_free(&index.shards);
    sgi__free(text);
    return st;
}
