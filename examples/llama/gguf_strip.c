/* SPDX-License-Identifier: Apache-2.0 */
/* See gguf_strip.h. Two walks over the source header: the first learns what the second needs to judge each value by
 * (architecture, token count), the second notes which spans to leave out. Writing is then a few long copies. */
#define _POSIX_C_SOURCE 200809L

#include "gguf_strip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 24, /* magic, version, tensor count, value count */
    WINDOW_BYTES = 16384,
    KEY_MAX = 128, /* longer keys are legal, but none that we look for is */
    DIMS_MAX = 8,  /* GGUF allows 4; what a reader makes of 5 is its affair */
    KVS_MAX = 65536,
    TENSORS_MAX = 1 << 20,
    DROPPED_MAX = 64,
    VALUE_MAX = 1 << 30, /* longest string llama.cpp's reader takes: bounds the padding */
};

enum gguf_type {
    T_U8,
    T_I8,
    T_U16,
    T_I16,
    T_U32,
    T_I32,
    T_F32,
    T_BOOL,
    T_STRING,
    T_ARRAY,
    T_U64,
    T_I64,
    T_F64,
    T_COUNT
};

static const uint8_t type_bytes[T_COUNT] = {
    [T_U8] = 1,  [T_I8] = 1,   [T_U16] = 2, [T_I16] = 2, [T_U32] = 4, [T_I32] = 4,
    [T_F32] = 4, [T_BOOL] = 1, [T_U64] = 8, [T_I64] = 8, [T_F64] = 8, /* strings and arrays: 0, their length varies */
};

static const char KEY_ALIGNMENT[] = "general.alignment";
static const char KEY_ARCH[] = "general.architecture";
static const char KEY_MODEL[] = "tokenizer.ggml.model";
static const char KEY_TOKENS[] = "tokenizer.ggml.tokens";
static const char KEY_PADDING[] = "sgi.padding";
static const char MODEL_NONE[] = "none";

struct reader {
    const struct gguf_source *src;
    uint64_t                  at;
    uint64_t                  window_at;
    size_t                    window_bytes;
    char                     *err;
    size_t                    err_bytes;
    uint8_t                   window[WINDOW_BYTES];
};

struct span {
    uint64_t at, bytes;
};

struct kv {
    char        key[KEY_MAX];  /* "" when longer */
    char        text[KEY_MAX]; /* a string value; "" when longer or of another type */
    uint64_t    number;        /* an unsigned 32-bit value, or the length of an array */
    uint32_t    type, item_type;
    struct span span; /* key, type and value */
};

struct plan {
    uint32_t    version;
    uint64_t    n_tensors, n_kvs;
    char        arch[KEY_MAX];
    char        key_vocab_size[KEY_MAX + sizeof ".vocab_size"];
    bool        has_tokens;
    uint64_t    n_tokens;
    uint64_t    alignment;
    struct span dropped[DROPPED_MAX];
    unsigned    n_dropped;
    uint64_t    kvs_end, infos_end; /* offsets in the source */
    uint64_t    bytes;              /* stripped, with padding of length 0 */
};

__attribute__((format(printf, 2, 3))) static int refuse(struct reader *r, const char *format, ...)
{
    va_list args;

    if (r->err_bytes > 0) {
        va_start(args, format);
        vsnprintf(r->err, r->err_bytes, format, args);
        va_end(args);
    }
    return -1;
}

static int read_exact(struct reader *r, void *dst, uint64_t bytes, uint64_t offset)
{
    uint8_t *to = dst;

    while (bytes > 0) {
        size_t  ask = bytes < (1 << 20) ? (size_t)bytes : (1 << 20);
        int64_t n = r->src->read_at(r->src->user, to, ask, offset);

        if (n < 0)
            return refuse(r, "reading the GGUF header at byte %" PRIu64 ": %s", offset, strerror((int)-n));
        if (n == 0 || (uint64_t)n > ask)
            return refuse(r, "the GGUF file ends at byte %" PRIu64 " although its size was given as %" PRIu64, offset,
                          r->src->bytes);
        to += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int skip(struct reader *r, uint64_t bytes)
{
    if (bytes > r->src->bytes - r->at)
        return refuse(r, "the GGUF header is damaged: %" PRIu64 " bytes wanted at byte %" PRIu64 " of %" PRIu64, bytes,
                      r->at, r->src->bytes);
    r->at += bytes;
    return 0;
}

/* At most a window's worth: counts, lengths and short strings. */
static int take(struct reader *r, void *dst, size_t bytes)
{
    uint64_t at = r->at, left = r->src->bytes - at;

    if (skip(r, bytes) < 0)
        return -1;
    if (at < r->window_at || at - r->window_at > r->window_bytes || r->window_bytes - (at - r->window_at) < bytes) {
        size_t fresh = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;

        r->window_bytes = 0;
        if (read_exact(r, r->window, fresh, at) < 0)
            return -1;
        r->window_at = at;
        r->window_bytes = fresh;
    }
    memcpy(dst, r->window + (at - r->window_at), bytes);
    return 0;
}

static int take_u32(struct reader *r, uint32_t *out)
{
    uint8_t b[4];

    if (take(r, b, sizeof b) < 0)
        return -1;
    *out = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return 0;
}

static int take_u64(struct reader *r, uint64_t *out)
{
    uint32_t low, high;

    if (take_u32(r, &low) < 0 || take_u32(r, &high) < 0)
        return -1;
    *out = low | (uint64_t)high << 32;
    return 0;
}

/* Past a string; a copy in `text` if it fits there and holds no NUL that would make it look like a shorter one. */
static int take_string(struct reader *r, char *text)
{
    uint64_t bytes;

    if (take_u64(r, &bytes) < 0)
        return -1;
    if (text != NULL)
        text[0] = '\0';
    if (text == NULL || bytes >= KEY_MAX)
        return skip(r, bytes);
    if (take(r, text, (size_t)bytes) < 0)
        return -1;
    text[bytes] = '\0';
    if (strlen(text) != bytes)
        text[0] = '\0';
    return 0;
}

static int next_kv(struct reader *r, struct kv *kv)
{
    uint64_t at = r->at, i;

    kv->text[0] = '\0';
    kv->number = 0;
    kv->item_type = T_COUNT;
    if (take_string(r, kv->key) < 0 || take_u32(r, &kv->type) < 0)
        return -1;

    if (kv->type >= T_COUNT)
        return refuse(r, "GGUF value '%s' has the unknown type %" PRIu32, kv->key, kv->type);
    if (kv->type == T_STRING) {
        if (take_string(r, kv->text) < 0)
            return -1;
    } else if (kv->type == T_U32) {
        uint32_t number;

        if (take_u32(r, &number) < 0)
            return -1;
        kv->number = number;
    } else if (kv->type != T_ARRAY) {
        if (skip(r, type_bytes[kv->type]) < 0)
            return -1;
    } else {
        if (take_u32(r, &kv->item_type) < 0 || take_u64(r, &kv->number) < 0)
            return -1;
        if (kv->item_type >= T_COUNT || kv->item_type == T_ARRAY)
            return refuse(r, "GGUF value '%s' is an array of the unsupported type %" PRIu32, kv->key, kv->item_type);
        if (kv->item_type != T_STRING) {
            if (kv->number > (r->src->bytes - r->at) / type_bytes[kv->item_type])
                return refuse(r, "GGUF value '%s' has %" PRIu64 " items, more than the file holds", kv->key,
                              kv->number);
            r->at += kv->number * type_bytes[kv->item_type];
        } else {
            /* Ends early on a hostile count: every string takes at least its 8 bytes of length. */
            for (i = 0; i < kv->number; i++)
                if (take_string(r, NULL) < 0)
                    return -1;
        }
    }
    kv->span = (struct span){ at, r->at - at };
    return 0;
}

static int open_header(struct reader *r, struct plan *p)
{
    char magic[4];

    if (take(r, magic, sizeof magic) < 0)
        return -1;
    if (memcmp(magic, "GGUF", 4) != 0)
        return refuse(r, "not a GGUF file: it does not begin with 'GGUF'");
    if (take_u32(r, &p->version) < 0 || take_u64(r, &p->n_tensors) < 0 || take_u64(r, &p->n_kvs) < 0)
        return -1;
    if (p->version != 0 && (p->version & 0xffff) == 0)
        return refuse(r, "the GGUF file is big-endian, which is not supported");
    if (p->version != 2 && p->version != 3)
        return refuse(r, "GGUF version %" PRIu32 " is not supported (2 and 3 are)", p->version);
    if (p->n_tensors > TENSORS_MAX || p->n_kvs > KVS_MAX)
        return refuse(r, "the GGUF header claims %" PRIu64 " tensors and %" PRIu64 " values (at most %d and %d)",
                      p->n_tensors, p->n_kvs, TENSORS_MAX, KVS_MAX);
    return 0;
}

static int learn(struct reader *r, struct plan *p)
{
    struct kv kv;
    uint64_t  i;

    p->alignment = 32;
    for (i = 0; i < p->n_kvs; i++) {
        if (next_kv(r, &kv) < 0)
            return -1;
        if (strcmp(kv.key, KEY_ARCH) == 0) {
            memcpy(p->arch, kv.text, sizeof p->arch);
        } else if (strcmp(kv.key, KEY_ALIGNMENT) == 0) {
            if (kv.type != T_U32 || kv.number == 0 || (kv.number & (kv.number - 1)) != 0)
                return refuse(r, "GGUF value '%s' is not a power of two", KEY_ALIGNMENT);
            p->alignment = kv.number;
        } else if (strcmp(kv.key, KEY_TOKENS) == 0) {
            if (kv.type != T_ARRAY || kv.item_type != T_STRING || kv.number > INT32_MAX)
                return refuse(r, "GGUF value '%s' is not a list of tokens", KEY_TOKENS);
            p->has_tokens = true;
            p->n_tokens = kv.number;
        }
    }
    if (p->has_tokens && p->arch[0] == '\0')
        return refuse(r, "the GGUF file has a token list but no usable '%s'", KEY_ARCH);
    snprintf(p->key_vocab_size, sizeof p->key_vocab_size, "%s.vocab_size", p->arch);
    return 0;
}

/* Scalars under `tokenizer.` stay: some describe weights (token_type_count), and none is worth the risk. */
static bool is_dropped(const struct plan *p, const struct kv *kv)
{
    if (strcmp(kv->key, KEY_PADDING) == 0)
        return true;
    if (!p->has_tokens)
        return false;
    if (strcmp(kv->key, KEY_MODEL) == 0 || strcmp(kv->key, p->key_vocab_size) == 0)
        return true;
    return strncmp(kv->key, "tokenizer.", 10) == 0 && (kv->type == T_STRING || kv->type == T_ARRAY);
}

static int skip_tensor(struct reader *r)
{
    uint32_t n_dims;

    if (take_string(r, NULL) < 0 || take_u32(r, &n_dims) < 0)
        return -1;
    if (n_dims > DIMS_MAX)
        return refuse(r, "a tensor in the GGUF header has %" PRIu32 " dimensions", n_dims);
    return skip(r, n_dims * 8 + 4 + 8); /* shape, type, offset */
}

static uint64_t value_bytes(const char *key, uint64_t payload)
{
    return 8 + strlen(key) + 4 + payload;
}

static int make_plan(struct reader *r, struct plan *p)
{
    struct kv kv;
    uint64_t  i;

    memset(p, 0, sizeof *p);
    if (open_header(r, p) < 0 || learn(r, p) < 0)
        return -1;

    r->at = HEADER_BYTES;
    p->bytes = HEADER_BYTES;
    for (i = 0; i < p->n_kvs; i++) {
        if (next_kv(r, &kv) < 0)
            return -1;
        if (!is_dropped(p, &kv)) {
            p->bytes += kv.span.bytes;
            continue;
        }
        if (p->n_dropped == DROPPED_MAX)
            return refuse(r, "the GGUF file has more than %d tokenizer values", DROPPED_MAX);
        p->dropped[p->n_dropped++] = kv.span;
    }
    p->kvs_end = r->at;

    for (i = 0; i < p->n_tensors; i++)
        if (skip_tensor(r) < 0)
            return -1;
    p->infos_end = r->at;

    if (p->has_tokens)
        p->bytes += value_bytes(KEY_MODEL, 8 + strlen(MODEL_NONE)) + value_bytes(p->key_vocab_size, 4);
    p->bytes += value_bytes(KEY_PADDING, 8) + (p->infos_end - p->kvs_end);
    return 0;
}

static uint64_t round_up(uint64_t n, uint64_t power_of_two)
{
    return (n + power_of_two - 1) & ~(power_of_two - 1);
}

/* Both sizes are below 2^63 and the alignment below 2^32, so rounding up cannot wrap. */
static int size_plan(struct reader *r, const struct plan *p, struct gguf_strip_size *size)
{
    size->bytes_min = round_up(p->bytes, p->alignment);
    size->alignment = p->alignment;
    size->data_offset = round_up(p->infos_end, p->alignment);
    if (p->n_tensors > 0 && size->data_offset >= r->src->bytes)
        return refuse(r, "the GGUF file ends before its tensor data at byte %" PRIu64, size->data_offset);
    return 0;
}

static int reader_init(struct reader *r, const struct gguf_source *src, char *err, size_t err_bytes)
{
    r->src = src;
    r->at = 0;
    r->window_at = 0;
    r->window_bytes = 0;
    r->err = err;
    r->err_bytes = err != NULL ? err_bytes : 0;
    if (src->bytes > (uint64_t)INT64_MAX)
        return refuse(r, "the GGUF file's size %" PRIu64 " is not a file size", src->bytes);
    return 0;
}

int gguf_strip_measure(const struct gguf_source *src, struct gguf_strip_size *out, char *err, size_t err_bytes)
{
    struct reader          r;
    struct plan            p;
    struct gguf_strip_size size;

    if (reader_init(&r, src, err, err_bytes) < 0 || make_plan(&r, &p) < 0 || size_plan(&r, &p, &size) < 0)
        return -1;
    *out = size;
    return 0;
}

static uint8_t *put_int(uint8_t *to, uint64_t value, unsigned bytes)
{
    unsigned i;

    for (i = 0; i < bytes; i++)
        *to++ = (uint8_t)(value >> (8 * i));
    return to;
}

static uint8_t *put_string(uint8_t *to, const char *text)
{
    size_t bytes = strlen(text);

    to = put_int(to, bytes, 8);
    memcpy(to, text, bytes);
    return to + bytes;
}

static int copy(struct reader *r, uint8_t **to, uint64_t from, uint64_t end)
{
    if (read_exact(r, *to, end - from, from) < 0)
        return -1;
    *to += end - from;
    return 0;
}

int gguf_strip_fill(const struct gguf_source *src, void *dst, uint64_t bytes, char *err, size_t err_bytes)
{
    struct reader          r;
    struct plan            p;
    struct gguf_strip_size size;
    uint8_t               *to = dst;
    uint64_t               from = HEADER_BYTES, padding;
    unsigned               i;

    if (reader_init(&r, src, err, err_bytes) < 0 || make_plan(&r, &p) < 0 || size_plan(&r, &p, &size) < 0)
        return -1;
    if (bytes < size.bytes_min)
        return refuse(&r, "the stripped header takes %" PRIu64 " bytes, only %" PRIu64 " are there", size.bytes_min,
                      bytes);
    if (bytes % p.alignment != 0)
        return refuse(&r, "a header of %" PRIu64 " bytes breaks the file's alignment of %" PRIu64, bytes, p.alignment);
    padding = bytes - p.bytes;
    if (padding > VALUE_MAX)
        return refuse(&r, "%" PRIu64 " bytes of padding are more than a GGUF value may hold", padding);

    /* From here the lengths add up to `bytes` by construction, whatever the file turns into meanwhile. */
    memcpy(to, "GGUF", 4);
    to = put_int(to + 4, p.version, 4);
    to = put_int(to, p.n_tensors, 8);
    to = put_int(to, p.n_kvs - p.n_dropped + (p.has_tokens ? 2 : 0) + 1, 8);
    for (i = 0; i < p.n_dropped; i++) {
        if (copy(&r, &to, from, p.dropped[i].at) < 0)
            return -1;
        from = p.dropped[i].at + p.dropped[i].bytes;
    }
    if (copy(&r, &to, from, p.kvs_end) < 0)
        return -1;

    if (p.has_tokens) {
        to = put_int(put_string(to, KEY_MODEL), T_STRING, 4);
        to = put_string(to, MODEL_NONE);
        to = put_int(put_string(to, p.key_vocab_size), T_U32, 4);
        to = put_int(to, p.n_tokens, 4);
    }
    to = put_int(put_string(to, KEY_PADDING), T_STRING, 4);
    to = put_int(to, padding, 8);
    memset(to, ' ', (size_t)padding);
    to += padding;

    return copy(&r, &to, p.kvs_end, p.infos_end);
}
