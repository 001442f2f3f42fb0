/* SPDX-License-Identifier: Apache-2.0 */
/* One thread builds a manifest; after sgi__manifest_finish() nobody changes it. */
#include "model/manifest.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sort.h"
#include "base/text.h"

/* Blocks grow with what is in them already, so that a small model wastes under 1 KiB and a large one few mallocs. */
enum { BLOCK_BYTES_MIN = 1024, BLOCK_BYTES_MAX = 64 * 1024, BLOCK_ALIGN = alignof(max_align_t) };

struct sgi__block {
    struct sgi__block *next;
    uint64_t           used, room;
    max_align_t        bytes[];
};

struct sgi__manifest *sgi__manifest_new(void)
{
    return sgi__alloc_zero(1, sizeof(struct sgi__manifest));
}

void sgi__manifest_free(struct sgi__manifest *m)
{
    if (!m)
        return;
    while (m->text) {
        struct sgi__block *block = m->text;
        m->text = block->next;
        sgi__free(block);
    }
    sgi__free(m->files);
    sgi__free(m->tensors);
    sgi__free(m->shapes);
    sgi__free(m->metadata);
    sgi__free(m->by_name);
    sgi__free(m);
}

/* A new block at the head of the list, or behind it when it is for one large piece: the head's room is still good. */
static struct sgi__block *block_add(struct sgi__manifest *m, uint64_t bytes)
{
    uint64_t room = m->text_bytes / 8;
    if (room < BLOCK_BYTES_MIN)
        room = BLOCK_BYTES_MIN;
    if (room > BLOCK_BYTES_MAX)
        room = BLOCK_BYTES_MAX;
    room -= sizeof(struct sgi__block);
    bool large = bytes > room / 2;
    if (large)
        room = bytes;
    if (room > SIZE_MAX - sizeof(struct sgi__block))
        return NULL;
    struct sgi__block *block = sgi__alloc(sizeof *block + (size_t)room);
    if (!block)
        return NULL;
    block->used = 0;
    block->room = room;
    struct sgi__block **at = large && m->text ? &m->text->next : &m->text;
    block->next = *at;
    *at = block;
    m->text_bytes += sizeof *block + room;
    return block;
}

static void *take(struct sgi__manifest *m, uint64_t bytes, uint64_t align)
{
    struct sgi__block *block = m->text;
    uint64_t           used = block ? (block->used + align - 1) & ~(align - 1) : 0;
    if (!block || used > block->room || bytes > block->room - used) {
        block = block_add(m, bytes);
        if (!block)
            return NULL;
        used = 0;
    }
    block->used = used + bytes;
    return (char *)block->bytes + used;
}

void *sgi__manifest_alloc(struct sgi__manifest *m, uint64_t bytes)
{
    return take(m, bytes, BLOCK_ALIGN);
}

const char *sgi__manifest_text(struct sgi__manifest *m, const char *text, uint64_t bytes)
{
    if (bytes == UINT64_MAX)
        return NULL;
    char *copy = take(m, bytes + 1, 1);
    if (!copy)
        return NULL;
    if (bytes > 0)
        memcpy(copy, text, (size_t)bytes);
    copy[bytes] = '\0';
    return copy;
}

static sgi_status no_memory(sgi_error *err)
{
    return sgi__error(err, SGI_E_NO_MEMORY, "no memory for a model's manifest");
}

static sgi_status refuse_more(const char *path, const char *things, int most, sgi_error *err)
{
    struct sgi__shown shown;
    return sgi__error(err, SGI_E_FORMAT, "%s: the model has more %s than the %d supported",
                      sgi__show_path(&shown, path), things, most);
}

/* Room for `more` items behind `count`. The maxima keep the sums far from overflow. */
static sgi_status grow(void *array_at, uint64_t *room, uint64_t count, uint64_t more, size_t item_bytes, sgi_error *err)
{
    void *array;
    if (count + more <= *room)
        return SGI_OK;
    uint64_t wanted = *room + *room / 2;
    if (wanted < count + more)
        wanted = count + more;
    memcpy(&array, array_at, sizeof array); /* any pointer type: all have one representation here */
    array = sgi__realloc_array(array, (size_t)wanted, item_bytes);
    if (!array)
        return no_memory(err);
    memcpy(array_at, &array, sizeof array);
    *room = wanted;
    return SGI_OK;
}

sgi_status sgi__manifest_add_file(struct sgi__manifest *m, const char *asked, const char *resolved,
                                  const struct sgi__file_id *id, uint32_t *index_out, sgi_error *err)
{
    if (m->files_count >= SGI__FILES_MAX)
        return refuse_more(asked, "files", SGI__FILES_MAX, err);
    sgi_status st = grow(&m->files, &m->files_room, m->files_count, 1, sizeof *m->files, err);
    if (st != SGI_OK)
        return st;
    struct sgi__file file = { .id = *id, .bytes = id->bytes };
    file.path = sgi__manifest_text(m, resolved, strlen(resolved));
    file.asked = sgi__manifest_text(m, asked, strlen(asked));
    if (!file.path || !file.asked)
        return no_memory(err);
    const char *slash = strrchr(file.asked, '/');
    file.name = slash ? slash + 1 : file.asked;
    *index_out = m->files_count;
    m->files[m->files_count++] = file;
    return SGI_OK;
}

sgi_status sgi__manifest_add_tensor(struct sgi__manifest *m, const struct sgi__tensor *tensor, const uint64_t *shape,
                                    sgi_error *err)
{
    assert(tensor->rank <= SGI_RANK_MAX && tensor->file < m->files_count);
    if (m->tensors_count >= SGI__TENSORS_MAX)
        return refuse_more(m->files[tensor->file].asked, "tensors", SGI__TENSORS_MAX, err);
    sgi_status st = grow(&m->tensors, &m->tensors_room, m->tensors_count, 1, sizeof *m->tensors, err);
    if (st == SGI_OK)
        st = grow(&m->shapes, &m->shapes_room, m->shapes_count, tensor->rank, sizeof *m->shapes, err);
    if (st != SGI_OK)
        return st;
    struct sgi__tensor *added = &m->tensors[m->tensors_count++];
    *added = *tensor;
    added->shape_at = m->shapes_count;
    for (uint32_t i = 0; i < tensor->rank; i++)
        m->shapes[m->shapes_count++] = shape[i];
    return SGI_OK;
}

sgi_status sgi__manifest_add_metadata(struct sgi__manifest *m, const char *key, const struct sgi__value *value,
                                      sgi_error *err)
{
    if (m->metadata_count >= SGI__METADATA_MAX)
        return refuse_more(m->files_count > 0 ? m->files[m->files_count - 1].asked : "", "metadata keys",
                           SGI__METADATA_MAX, err);
    sgi_status st = grow(&m->metadata, &m->metadata_room, m->metadata_count, 1, sizeof *m->metadata, err);
    if (st != SGI_OK)
        return st;
    m->metadata[m->metadata_count++] = (struct sgi__metadata){ .key = key, .value = *value };
    return SGI_OK;
}

/* ----------------------------------------------------------------------------------------------------------- finish */

static int compare_place(const void *a, const void *b)
{
    const struct sgi__tensor *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > 0) - (y->bytes > 0);
}

static int compare_name(const void *a, const void *b)
{
    const struct sgi__tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static sgi_status sort_by_place(struct sgi__manifest *m, const void **items, const void **scratch, sgi_error *err)
{
    size_t              count = (size_t)m->tensors_count;
    struct sgi__tensor *sorted = sgi__realloc_array(NULL, count, sizeof *sorted);
    if (!sorted)
        return no_memory(err);
    for (size_t i = 0; i < count; i++)
        items[i] = &m->tensors[i];
    sgi__sort(items, scratch, count, compare_place);
    for (size_t i = 0; i < count; i++)
        sorted[i] = *(const struct sgi__tensor *)items[i];
    sgi__free(m->tensors);
    m->tensors = sorted;
    m->tensors_room = count;
    return SGI_OK;
}

static sgi_status sort_by_name(struct sgi__manifest *m, const void **items, const void **scratch, sgi_error *err)
{
    size_t count = (size_t)m->tensors_count;
    assert(!m->by_name); /* finished once */
    m->by_name = sgi__realloc_array(NULL, count, sizeof *m->by_name);
    if (!m->by_name)
        return no_memory(err);
    for (size_t i = 0; i < count; i++)
        items[i] = &m->tensors[i];
    sgi__sort(items, scratch, count, compare_name);
    for (size_t i = 0; i < count; i++) {
        const struct sgi__tensor *tensor = items[i];
        m->by_name[i] = (uint64_t)(tensor - m->tensors);
        if (i == 0 || compare_name(items[i - 1], tensor) != 0)
            continue;
        struct sgi__shown         name, path, other;
        const struct sgi__tensor *first = items[i - 1];
        sgi__show_path(&path, m->files[tensor->file].asked);
        if (first->file == tensor->file)
            return sgi__error(err, SGI_E_FORMAT, "%s: tensor '%s' is there twice", path.text,
                              sgi__show_name(&name, tensor->name));
        return sgi__error(err, SGI_E_FORMAT, "%s: tensor '%s' is also in %s", path.text,
                          sgi__show_name(&name, tensor->name), sgi__show_path(&other, m->files[first->file].name));
    }
    return SGI_OK;
}

static sgi_status check_places(struct sgi__manifest *m, sgi_error *err)
{
    struct sgi__shown         name, path, other;
    const struct sgi__tensor *before = NULL; /* the tensor with bytes that ends last in this file */
    for (uint64_t i = 0; i < m->tensors_count; i++) {
        const struct sgi__tensor *tensor = &m->tensors[i];
        struct sgi__file         *file = &m->files[tensor->file];
        if (before && before->file != tensor->file)
            before = NULL;
        if (file->tensor_count++ == 0)
            file->tensor_first = i;
        if (tensor->offset < file->data_offset || tensor->offset > file->bytes ||
            tensor->bytes > file->bytes - tensor->offset)
            return sgi__error(err, SGI_E_FORMAT, "%s: tensor '%s' is not within the file's data",
                              sgi__show_path(&path, file->asked), sgi__show_name(&name, tensor->name));
        if (tensor->bytes == 0)
            continue;
        if (before && tensor->offset - before->offset < before->bytes)
            return sgi__error(err, SGI_E_FORMAT, "%s: tensor '%s' overlaps '%s'", sgi__show_path(&path, file->asked),
                              sgi__show_name(&name, tensor->name), sgi__show_name(&other, before->name));
        before = tensor;
    }
    return SGI_OK;
}

/* A refusal to shrink costs memory, nothing else. */
static void trim(void *array_at, uint64_t *room, uint64_t count, size_t item_bytes)
{
    void *array;
    memcpy(&array, array_at, sizeof array);
    if (*room == count || count == 0)
        return;
    array = sgi__realloc_array(array, (size_t)count, item_bytes);
    if (!array)
        return;
    memcpy(array_at, &array, sizeof array);
    *room = count;
}

sgi_status sgi__manifest_finish(struct sgi__manifest *m, sgi_error *err)
{
    size_t       count = (size_t)m->tensors_count;
    const void **items = sgi__realloc_array(NULL, count, 2 * sizeof *items);
    if (!items)
        return no_memory(err);
    for (uint32_t i = 0; i < m->files_count; i++)
        m->files[i].tensor_first = m->files[i].tensor_count = 0;

    sgi_status st = sort_by_place(m, items, items + count, err);
    if (st == SGI_OK)
        st = sort_by_name(m, items, items + count, err);
    if (st == SGI_OK)
        st = check_places(m, err);
    sgi__free(items);
    if (st != SGI_OK)
        return st;

    for (uint32_t i = 1; i < m->files_count; i++) /* a file without tensors has its empty range in the right place */
        if (m->files[i].tensor_count == 0)
            m->files[i].tensor_first = m->files[i - 1].tensor_first + m->files[i - 1].tensor_count;
    trim(&m->files, &m->files_room, m->files_count, sizeof *m->files);
    trim(&m->shapes, &m->shapes_room, m->shapes_count, sizeof *m->shapes);
    trim(&m->metadata, &m->metadata_room, m->metadata_count, sizeof *m->metadata);
    return SGI_OK;
}

/* They are sorted within a part and do not overlap. */
uint64_t sgi__manifest_tensor_at(const struct sgi__manifest *m, uint32_t part, uint64_t offset)
{
    const struct sgi__file *file = &m->files[part];
    uint64_t                low = file->tensor_first, high = low + file->tensor_count;

    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (m->tensors[mid].offset + m->tensors[mid].bytes <= offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int64_t sgi__manifest_find(const struct sgi__manifest *m, const char *name)
{
    uint64_t low = 0, high = m->by_name ? m->tensors_count : 0;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int      order = strcmp(m->tensors[m->by_name[middle]].name, name);
        if (order == 0)
            return (int64_t)m->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

bool sgi__manifest_is_packed(const struct sgi__manifest *m)
{
    return m->packed && !m->packed->plain;
}

uint32_t sgi__manifest_disk_count(const struct sgi__manifest *m)
{
    return m->packed ? m->packed->files_count : m->files_count;
}

struct sgi__on_disk sgi__manifest_on_disk(const struct sgi__manifest *m, uint32_t index)
{
    if (m->packed) {
        const struct sgi__pack_file *f = &m->packed->files[index];
        return (struct sgi__on_disk){ .path = f->path, .asked = f->asked, .id = &f->id };
    }
    const struct sgi__file *f = &m->files[index];
    return (struct sgi__on_disk){ .path = f->path, .asked = f->asked, .id = &f->id };
}

void sgi__stored_summary(const struct sgi__packed *packed, struct sgi__stored_summary *summary_out)
{
    *summary_out = (struct sgi__stored_summary){ .unchecked = 0 };
    for (uint64_t n = 0; n < packed->chunks_count; n++) {
        const struct sgi__stored_chunk *c = &packed->chunks[n];
        bool                            known = c->codec < sizeof summary_out->chunks / sizeof *summary_out->chunks;
        bool                            based = !packed->plain && c->file == SGI__PACK_BASE;
        if (known)
            summary_out->chunks[c->codec]++;
        if (known && based)
            summary_out->base_chunks[c->codec]++;
        summary_out->unchecked += c->unchecked;
        summary_out->bytes += c->bytes;
        summary_out->base_bytes += based ? c->bytes : 0;
    }
}
