/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/passing.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/text.h"

void sgi__passing_begin(struct sgi__passing *p, const struct sgi__packed *checks, uint32_t file)
{
    p->checks = checks;
    p->bytes = p->chunk = 0;
    sgi__hash128_begin(&p->digest);
    while (checks && p->chunk < checks->chunks_count && checks->chunks[p->chunk].part != file)
        p->chunk++;
}

static sgi_status end_chunk(const struct sgi__passing *p, const struct sgi__stored_chunk *c, sgi_error *err)
{
    struct sgi__shown shown;

    if (c->unchecked || sgi__hash_so_far(&p->check) == c->check)
        return SGI_OK;
    return sgi__error(err, SGI_E_CHECK,
                      "%s: the %u bytes at offset %" PRIu64 " do not match their check, so this is not packed",
                      sgi__show_path(&shown, p->checks->files[c->file].asked), c->bytes, c->at);
}

static sgi_status check(struct sgi__passing *p, const uint8_t *bytes, size_t count, sgi_error *err)
{
    uint64_t   at = p->bytes;
    sgi_status st = SGI_OK;

    while (count > 0 && st == SGI_OK) {
        const struct sgi__stored_chunk *c = &p->checks->chunks[p->chunk];
        uint64_t                        left = c->at + c->bytes - at;
        size_t                          step = left < count ? (size_t)left : count;
        if (at == c->at)
            sgi__hash_begin(&p->check);
        sgi__hash_more(&p->check, bytes, step);
        bytes += step;
        count -= step;
        at += step;
        if (step < left)
            break;
        st = end_chunk(p, c, err);
        p->chunk++;
    }
    return st;
}

sgi_status sgi__passing_more(struct sgi__passing *p, const void *bytes, size_t count, sgi_error *err)
{
    sgi_status st = p->checks ? check(p, bytes, count, err) : SGI_OK;

    sgi__hash128_more(&p->digest, bytes, count);
    p->bytes += count;
    return st;
}
