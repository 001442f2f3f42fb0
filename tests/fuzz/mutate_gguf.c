/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a GGUF file apart into its pairs and its tensors' descriptions, changes one, and puts it together with counts
 * that are true; often with tensors that stand one behind the other too. */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_MAX = 64, COUNTS_BYTES = 4 + 8 + 8, ALIGNMENT = 32, TYPE_STRING = 8, TYPE_ARRAY = 9 };

static const uint8_t scalar_bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

struct item {
    const uint8_t *at;
    size_t         bytes;
};

struct parts {
    const uint8_t *next, *end;
    struct item    pairs[ITEMS_MAX + 1], tensors[ITEMS_MAX + 1]; /* one more for what is added */
    uint64_t       pairs_count, tensors_count;
};

/* ------------------------------------------------------------------------------------------------------- take apart */

static bool skip(struct parts *p, uint64_t bytes)
{
    if (bytes > (uint64_t)(p->end - p->next))
        return false;
    p->next += bytes;
    return true;
}

static bool number(struct parts *p, size_t bytes, uint64_t *out)
{
    const uint8_t *at = p->next;
    *out = 0;
    if (!skip(p, bytes))
        return false;
    memcpy(out, at, bytes);
    return true;
}

static bool skip_text(struct parts *p)
{
    uint64_t bytes;
    return number(p, 8, &bytes) && skip(p, bytes);
}

static bool skip_value(struct parts *p, uint64_t type)
{
    uint64_t count;
    if (type == TYPE_STRING)
        return skip_text(p);
    if (type != TYPE_ARRAY)
        return type < sizeof scalar_bytes && skip(p, scalar_bytes[type]);
    if (!number(p, 4, &type) || !number(p, 8, &count) || type >= sizeof scalar_bytes || type == TYPE_ARRAY ||
        count > (uint64_t)(p->end - p->next))
        return false;
    for (; type == TYPE_STRING && count > 0; count--)
        if (!skip_text(p))
            return false;
    return skip(p, count * scalar_bytes[type]);
}

static bool skip_pair(struct parts *p)
{
    uint64_t type;
    return skip_text(p) && number(p, 4, &type) && skip_value(p, type);
}

static bool skip_tensor(struct parts *p)
{
    uint64_t rank;
    return skip_text(p) && number(p, 4, &rank) && rank <= 8 && skip(p, rank * 8 + 4 + 8);
}

static bool take_apart(struct parts *p, const uint8_t *file, size_t size)
{
    *p = (struct parts){ .next = file, .end = file + size };
    if (!skip(p, 4) || !number(p, 8, &p->tensors_count) || !number(p, 8, &p->pairs_count) ||
        p->tensors_count > ITEMS_MAX || p->pairs_count > ITEMS_MAX)
        return false;
    for (uint64_t n = 0; n < p->pairs_count + p->tensors_count; n++) {
        bool         pair = n < p->pairs_count;
        struct item *item = pair ? &p->pairs[n] : &p->tensors[n - p->pairs_count];
        item->at = p->next;
        if (!(pair ? skip_pair(p) : skip_tensor(p)))
            return false;
        item->bytes = (size_t)(p->next - item->at);
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------------------- change */

#define ITEM(text)                                \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }

static const struct item known_pairs[] = {
    ITEM("\x11\0\0\0\0\0\0\0general.alignment\4\0\0\0\x40\0\0\0"),
    ITEM("\x14\0\0\0\0\0\0\0general.architecture\x8\0\0\0\2\0\0\0\0\0\0\0ab"),
    ITEM("\x0b\0\0\0\0\0\0\0split.count\2\0\0\0\2\0"),
    ITEM("\x08\0\0\0\0\0\0\0split.no\2\0\0\0\0\0"),
    ITEM("\x13\0\0\0\0\0\0\0split.tensors.count\5\0\0\0\1\0\0\0"),
    ITEM("\1\0\0\0\0\0\0\0k\x9\0\0\0\x8\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0a\0\0\0\0\0\0\0\0"),
    ITEM("\1\0\0\0\0\0\0\0f\x6\0\0\0\0\0\xc0\x7f"),
};
static const struct item known_tensors[] = {
    ITEM("\1\0\0\0\0\0\0\0a\1\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ITEM("\1\0\0\0\0\0\0\0b\0\0\0\0\x18\0\0\0\x40\0\0\0\0\0\0\0"),
};

/* One is changed in place, comes again, is another's, or goes. `own` holds what is changed; it has to outlive it. */
static void change_item(struct mutator *m, struct item *items, uint64_t *count, const struct item *known,
                        uint32_t known_count, uint8_t *own, size_t own_bytes)
{
    uint32_t     which = *count > 0 ? mutator_below(m, (uint32_t)*count) : 0;
    uint32_t     how = mutator_below(m, 6);
    struct item *item = &items[which];

    if (*count == 0 || how == 0) {
        items[(*count)++] = known[mutator_below(m, known_count)];
    } else if (how == 1) {
        items[*count] = *item;
        ++*count;
    } else if (how == 2) {
        *item = items[--*count];
    } else if (item->bytes <= own_bytes && item->bytes >= 8) {
        memcpy(own, item->at, item->bytes);
        item->at = own;
        if (how == 3) { /* a number near its end: of a value, an offset, a type, a dimension */
            uint64_t value = mutator_number(m);
            size_t   bytes = (size_t)1 << mutator_below(m, 4), steps = item->bytes / bytes;
            memcpy(own + item->bytes - bytes * (1 + mutator_below(m, steps < 4 ? (uint32_t)steps : 4)), &value, bytes);
        } else {
            item->bytes = mutate_bytes(own, item->bytes, how == 4 ? item->bytes : own_bytes);
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- put again */

static size_t put_item(const struct item *item, uint8_t *out, size_t at, size_t size_max)
{
    if (item->bytes > size_max - at)
        return at;
    memcpy(out + at, item->at, item->bytes);
    return at + item->bytes;
}

/* A vector of F32 behind the tensor before it. The description of anything else stays as it is. */
static uint64_t settle_tensor(uint8_t *tensor, size_t bytes, uint64_t at)
{
    static const uint8_t vector[4] = { 1 }, f32[4] = { 0 };
    uint64_t             elements;

    if (bytes < 4 + 8 + 4 + 8 || memcmp(tensor + bytes - 24, vector, 4) != 0 ||
        memcmp(tensor + bytes - 12, f32, 4) != 0)
        return at;
    memcpy(&elements, tensor + bytes - 20, sizeof elements);
    if (elements > 1024)
        return at;
    memcpy(tensor + bytes - 8, &at, sizeof at);
    return at + (elements * 4 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t mutate_gguf(struct mutator *m, uint8_t *file, size_t size, size_t size_max)
{
    struct parts p;
    uint8_t      own[512];

    if (mutator_below(m, 4) == 0 || size_max < COUNTS_BYTES || !take_apart(&p, file, size))
        return mutate_bytes(file, size, size_max);
    if (mutator_below(m, 2))
        change_item(m, p.pairs, &p.pairs_count, known_pairs, sizeof known_pairs / sizeof *known_pairs, own, sizeof own);
    else
        change_item(m, p.tensors, &p.tensors_count, known_tensors, sizeof known_tensors / sizeof *known_tensors, own,
                    sizeof own);
    uint8_t *out = calloc(1, size_max);
    if (!out)
        abort();
    memcpy(out, file, 4);
    memcpy(out + 4, &p.tensors_count, 8);
    memcpy(out + 12, &p.pairs_count, 8);
    size_t   at = COUNTS_BYTES;
    uint64_t data = 0;
    bool     settles = mutator_below(m, 2);
    for (uint64_t n = 0; n < p.pairs_count; n++)
        at = put_item(&p.pairs[n], out, at, size_max);
    for (uint64_t n = 0; n < p.tensors_count; n++) {
        size_t begin = at;
        at = put_item(&p.tensors[n], out, at, size_max);
        if (settles)
            data = settle_tensor(out + begin, at - begin, data);
    }
    if (settles) { /* zeros for the data, and for what pads the header: 4 more bytes stand before it */
        at = (at + 4 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT - 4 + (size_t)data;
        at = at < size_max ? at : size_max;
    } else {
        at = put_item(&(struct item){ p.next, (size_t)(p.end - p.next) }, out, at, size_max);
    }
    memcpy(file, out, at);
    free(out);
    return at;
}
