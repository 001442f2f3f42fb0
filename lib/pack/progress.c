/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/progress.h"

#include "base/clock.h"
#include "base/error.h"
#include "pack/workers.h"

int sgi__progress_beside(void *progress, uint64_t done_bytes, uint64_t total_bytes)
{
    struct sgi__progress *p = progress;

    (void)total_bytes; /* of these alone */
    return p->tell(p->user, p->before + done_bytes, p->total);
}

sgi_status sgi__progress_more(struct sgi__progress *p, uint64_t bytes, sgi_error *err)
{
    uint64_t now = p->tell ? sgi__clock_now_ns() : 0;

    p->before += bytes;
    if (!p->tell || (now < p->next_ns && p->before < p->total))
        return SGI_OK;
    p->next_ns = now + SGI__PROGRESS_EVERY_NS;
    return p->tell(p->user, p->before, p->total) == 0 ? SGI_OK : sgi__error(err, SGI_E_CANCELED, "canceled");
}
