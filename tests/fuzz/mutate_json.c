/* SPDX-License-Identifier: Apache-2.0 */
/* Changes one value of a JSON text: another value, a copy of one elsewhere in it, one more, one less. And safetensors
 * files around such a text: their length fits again, and often their offsets and data too. */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct mutator mutator_new(unsigned seed)
{
    return (struct mutator){ .random = seed + UINT64_C(0x9e3779b97f4a7c15) };
}

uint32_t mutator_below(struct mutator *m, uint32_t n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 32) % n;
}

uint64_t mutator_number(struct mutator *m)
{
    static const uint64_t edges[] = { 0, 1, 2, 8, 32, 64, 1u << 16, UINT32_MAX, INT64_MAX, UINT64_MAX };
    if (mutator_below(m, 2))
        return mutator_below(m, 48);
    return edges[mutator_below(m, sizeof edges / sizeof *edges)] - mutator_below(m, 2);
}

size_t mutate_bytes(uint8_t *data, size_t size, size_t size_max)
{
    return size_max > 0 ? LLVMFuzzerMutate(data, size, size_max) : size; /* which asks for room */
}

/* ------------------------------------------------------------------------------------------------------------- JSON */

/* A value in its object or array; of the root, neither. */
struct slot {
    json_t     *object, *array, *value;
    const char *key;
    size_t      index;
};

/* One of all, each as likely. */
static void choose(struct mutator *m, json_t *value, struct slot at, uint32_t *seen, struct slot *chosen)
{
    const char *key;
    size_t      index;
    json_t     *inner;

    at.value = value;
    if (mutator_below(m, ++*seen) == 0)
        *chosen = at;
    json_object_foreach(value, key, inner) choose(m, inner, (struct slot){ .object = value, .key = key }, seen, chosen);
    json_array_foreach(value, index, inner)
        choose(m, inner, (struct slot){ .array = value, .index = index }, seen, chosen);
}

static struct slot any_slot(struct mutator *m, json_t *root)
{
    struct slot chosen = { 0 };
    choose(m, root, (struct slot){ 0 }, &(uint32_t){ 0 }, &chosen);
    return chosen;
}

static const char *any_word(struct mutator *m)
{
    static const char *const words[] = { "",      "a",     "b",   "c",       "x",      "y",          "w",
                                         "F32",   "U8",    "F4",  "F6_E2M3", "BOOL",   "NEW",        "__metadata__",
                                         "dtype", "shape", "./a", "\u00e9",  "a/../b", "weight_map", "data_offsets" };
    return words[mutator_below(m, sizeof words / sizeof *words)];
}

static json_t *any_value(struct mutator *m, json_t *root)
{
    switch (mutator_below(m, 8)) {
    case 0:
        return json_string(any_word(m));
    case 1:
        return json_null();
    case 2:
        return json_array();
    case 3:
        return json_real(1.5);
    case 4:
    case 5:
        return json_deep_copy(any_slot(m, root).value);
    default:
        return json_integer((json_int_t)mutator_number(m));
    }
}

static void change(struct mutator *m, json_t *root)
{
    struct slot slot = any_slot(m, root);
    json_t     *value = any_value(m, root);
    uint32_t    how = mutator_below(m, 4);

    if (json_is_object(slot.value) && how < 2)
        json_object_set(slot.value, any_word(m), value);
    else if (json_is_array(slot.value) && how < 2)
        json_array_append(slot.value, value);
    else if (slot.object && how == 3)
        json_object_del(slot.object, slot.key);
    else if (slot.object)
        json_object_set(slot.object, slot.key, value);
    else if (slot.array && how == 3)
        json_array_remove(slot.array, slot.index);
    else if (slot.array)
        json_array_set(slot.array, slot.index, value);
    json_decref(value);
}

static size_t put_json(const json_t *root, uint8_t *text, size_t size, size_t size_max)
{
    char  *dump = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t bytes = dump ? strlen(dump) : 0;
    if (bytes > 0 && bytes <= size_max)
        memcpy(text, dump, size = bytes);
    free(dump);
    return size;
}

static json_t *get_json(const uint8_t *text, size_t size)
{
    return size > 0 ? json_loadb((const char *)text, size, JSON_ALLOW_NUL, NULL) : NULL;
}

size_t mutate_json(struct mutator *m, uint8_t *text, size_t size, size_t size_max)
{
    json_t *root = mutator_below(m, 4) ? get_json(text, size) : NULL;
    if (!root)
        return mutate_bytes(text, size, size_max);
    for (uint32_t n = mutator_below(m, 3); n < 3; n++)
        change(m, root);
    size = put_json(root, text, size, size_max);
    json_decref(root);
    return size;
}

/* ------------------------------------------------------------------------------------------------------ safetensors */

/* Tensors one behind the other, each as large as it says. The bytes of all. */
static uint64_t settle_offsets(json_t *root)
{
    const char *name;
    json_t     *tensor;
    uint64_t    at = 0;

    json_object_foreach(root, name, tensor)
    {
        const json_t *offsets = json_object_get(tensor, "data_offsets");
        uint64_t      begin = (uint64_t)json_integer_value(json_array_get(offsets, 0));
        uint64_t      bytes = (uint64_t)json_integer_value(json_array_get(offsets, 1)) - begin;
        if (json_array_size(offsets) != 2 || bytes > 4096)
            continue;
        uint64_t end = at + bytes;
        json_object_set_new(tensor, "data_offsets", json_pack("[I,I]", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    return at;
}

size_t mutate_safetensors(struct mutator *m, uint8_t *file, size_t size, size_t size_max)
{
    uint64_t header;

    if (size < 8 || size_max < 16)
        return mutate_bytes(file, size, size_max);
    memcpy(&header, file, sizeof header);
    if (header > size - 8)
        header = size - 8;
    /* Header and data apart: the header may grow. */
    size_t   data = size - 8 - (size_t)header;
    uint8_t *text = malloc(size_max), *behind = calloc(1, size_max);
    if (!text || !behind)
        abort();
    memcpy(text, file + 8, (size_t)header);
    memcpy(behind, file + 8 + header, data);
    size_t  bytes = mutate_json(m, text, (size_t)header, size_max - 8);
    json_t *root = mutator_below(m, 2) ? get_json(text, bytes) : NULL;
    if (root) {
        uint64_t wanted = settle_offsets(root);
        bytes = put_json(root, text, bytes, size_max - 8);
        data = wanted <= size_max ? (size_t)wanted : data;
        json_decref(root);
    }
    if (data > size_max - 8 - bytes)
        data = size_max - 8 - bytes;
    header = bytes;
    memcpy(file, &header, sizeof header);
    memcpy(file + 8, text, bytes);
    memcpy(file + 8 + bytes, behind, data);
    free(text);
    free(behind);
    return 8 + bytes + data;
}
