/* SPDX-License-Identifier: Apache-2.0 */
#include "format/pack.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/text.h"

enum {
    VERSION = 1,
    FEATURE_BASE = 1,
    KNOWN_FEATURES = FEATURE_BASE,
    ZEROS_AT = 96,
    CHECK_AT = SGI__PACK_HEAD_BYTES - 8,
};

static const uint8_t magic[SGI__PACK_MAGIC_BYTES] = { 0x89, 'S', 'G', 'I', '\r', '\n', 0x1a, '\n' };

bool sgi__pack_begins(const void *bytes, size_t count)
{
    return count >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n++)
        at[n] = (uint8_t)(value >> (8 * n));
}

void sgi__pack_head_put(const struct sgi__pack_head *head, uint8_t *bytes)
{
    memset(bytes, 0, SGI__PACK_HEAD_BYTES);
    memcpy(bytes, magic, sizeof magic);
    put(bytes + 8, VERSION, 4);
    put(bytes + 12, SGI__PACK_HEAD_BYTES, 4);
    put(bytes + 16, head->based ? FEATURE_BASE : 0, 8);
    put(bytes + 32, head->bytes, 8);
    put(bytes + 40, head->manifest_at, 8);
    put(bytes + 48, head->manifest_bytes, 8);
    put(bytes + 56, head->manifest_check, 8);
    put(bytes + CHECK_AT, sgi__hash(bytes, CHECK_AT), 8);
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    for (size_t n = 0; n < count; n++)
        if (bytes[n] != 0)
            return false;
    return true;
}

static sgi_status check(const char *path, const uint8_t *bytes, sgi_error *err)
{
    struct sgi__shown  shown;
    struct sgi__cursor c;

    sgi__cursor_init(&c, bytes + CHECK_AT, 8);
    if (sgi__cursor_u64(&c) != sgi__hash(bytes, CHECK_AT))
        return sgi__error(err, SGI_E_CHECK, "%s: the head of this packed file is damaged",
                          sgi__show_path(&shown, path));
    sgi__cursor_init(&c, bytes + sizeof magic, 16);
    uint32_t version = sgi__cursor_u32(&c), head_bytes = sgi__cursor_u32(&c);
    uint64_t features = sgi__cursor_u64(&c), unknown = features & ~(uint64_t)KNOWN_FEATURES;
    if (version != VERSION)
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s: packed in version %u of the format; version %d is known here",
                          sgi__show_path(&shown, path), version, (int)VERSION);
    if (unknown != 0)
        return sgi__error(err, SGI_E_UNSUPPORTED,
                          "%s: packed with features that are not known here (bits %#llx): a newer library reads it",
                          sgi__show_path(&shown, path), (unsigned long long)unknown);
    if (head_bytes != SGI__PACK_HEAD_BYTES || !all_zero(bytes + ZEROS_AT, CHECK_AT - ZEROS_AT))
        return sgi__refuse_path(path, err, "the head of this packed file is not as it should be");
    return SGI_OK;
}

sgi_status sgi__pack_head_take(const char *path, const uint8_t *bytes, struct sgi__pack_head *head_out, sgi_error *err)
{
    struct sgi__cursor c;

    sgi_status st = check(path, bytes, err);
    if (st != SGI_OK)
        return st;
    sgi__cursor_init(&c, bytes + 16, 48);
    head_out->based = sgi__cursor_u64(&c) & FEATURE_BASE;
    sgi__cursor_u64(&c); /* what may be known */
    head_out->bytes = sgi__cursor_u64(&c);
    head_out->manifest_at = sgi__cursor_u64(&c);
    head_out->manifest_bytes = sgi__cursor_u64(&c);
    head_out->manifest_check = sgi__cursor_u64(&c);
    return SGI_OK;
}
