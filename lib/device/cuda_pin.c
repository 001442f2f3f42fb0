/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory registered with a context. The registration ends with the context, or before: as ours is not always the
 * last reference to it, whoever gives the context up takes all of them off. */
#include "base/alloc.h"
#include "device/cuda.h"

sgi_status sgi__cuda_pin(struct sgi__device *d, void *at, uint64_t bytes, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    struct cuda_pin    *pin = sgi__alloc_zero(1, sizeof *pin);

    if (!pin)
        return sgi__error(err, SGI_E_NO_MEMORY, "%s: out of memory", d->name);
    cu_result code = c->cuda.cuMemHostRegister_v2(at, bytes, CU_HOST_PORTABLE);
    if (code != CU_OK) {
        sgi__free(pin);
        return sgi__cuda_failed(err, code, "%s: cuMemHostRegister of %llu bytes", d->name, (unsigned long long)bytes);
    }
    pin->at = at;
    pthread_mutex_lock(&c->mutex);
    pin->next = c->pins;
    c->pins = pin;
    pthread_mutex_unlock(&c->mutex);
    return SGI_OK;
}

void sgi__cuda_unpin(struct sgi__device *d, void *at)
{
    struct cuda_device *c = sgi__cuda_device(d);
    cu_result           code;

    pthread_mutex_lock(&c->mutex);
    struct cuda_pin **link = &c->pins;
    while (*link && (*link)->at != at)
        link = &(*link)->next;
    struct cuda_pin *pin = *link;
    if (pin)
        *link = pin->next;
    pthread_mutex_unlock(&c->mutex);
    if (pin)
        SGI__CUDA_AT_LAST(code, c->cuda.cuMemHostUnregister(pin->at));
    sgi__free(pin);
}

void sgi__cuda_unpin_all(struct sgi__device *d, bool inside)
{
    struct cuda_device *c = sgi__cuda_device(d);
    cu_result           code;

    pthread_mutex_lock(&c->mutex);
    struct cuda_pin *pins = c->pins;
    c->pins = NULL;
    pthread_mutex_unlock(&c->mutex);
    while (pins) {
        struct cuda_pin *next = pins->next;
        if (inside)
            SGI__CUDA_AT_LAST(code, c->cuda.cuMemHostUnregister(pins->at));
        sgi__free(pins);
        pins = next;
    }
}
