/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, marks and copies of the cuda device. A stream is a CUstream and a mark a CUevent, as they are: nothing of
 * ours is beside them. */
#include "device/cuda.h"

static cu_stream stream_of(struct sgi__stream *stream)
{
    return (cu_stream)(void *)stream;
}

static cu_event event_of(struct sgi__mark *mark)
{
    return (cu_event)(void *)mark;
}

static sgi_status said(struct sgi__device *d, cu_result code, const char *call, sgi_error *err)
{
    return code == CU_OK ? SGI_OK : sgi__cuda_failed(err, code, "%s: %s", d->name, call);
}

/* Not ordered with the default stream, which is everybody's. */
sgi_status sgi__cuda_stream_new(struct sgi__device *d, struct sgi__stream **stream_out, sgi_error *err)
{
    cu_stream stream = NULL;
    cu_result code = sgi__cuda_device(d)->cuda.cuStreamCreate(&stream, CU_STREAM_DOES_NOT_BLOCK);

    if (code == CU_OK)
        *stream_out = (struct sgi__stream *)(void *)stream;
    return said(d, code, "cuStreamCreate", err);
}

void sgi__cuda_stream_free(struct sgi__device *d, struct sgi__stream *stream)
{
    cu_result code;
    if (stream)
        SGI__CUDA_AT_LAST(code, sgi__cuda_device(d)->cuda.cuStreamDestroy_v2(stream_of(stream)));
}

void *sgi__cuda_stream_native(struct sgi__stream *stream)
{
    return stream;
}

/* Whoever waits gives memory back next. Where the call fails, and not for good, what is queued is carried out all the
 * same: then all of the context is waited for. */
sgi_status sgi__cuda_stream_wait(struct sgi__device *d, struct sgi__stream *stream, sgi_error *err)
{
    const struct sgi__cuda *cuda = &sgi__cuda_device(d)->cuda;
    cu_result               code = cuda->cuStreamSynchronize(stream_of(stream));

    if (code != CU_OK && !sgi__cuda_is_over(code))
        cuda->cuCtxSynchronize();
    return said(d, code, "cuStreamSynchronize", err);
}

sgi_status sgi__cuda_copy_in(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, const void *src,
                             uint64_t bytes, sgi_error *err)
{
    cu_result code = sgi__cuda_device(d)->cuda.cuMemcpyHtoDAsync_v2(dst, src, bytes, stream_of(stream));
    if (code == CU_OK)
        return SGI_OK;
    return sgi__cuda_failed(err, code, "%s: cuMemcpyHtoDAsync of %llu bytes", d->name, (unsigned long long)bytes);
}

sgi_status sgi__cuda_copy_out(struct sgi__device *d, struct sgi__stream *stream, void *dst, uint64_t src,
                              uint64_t bytes, sgi_error *err)
{
    cu_result code = sgi__cuda_device(d)->cuda.cuMemcpyDtoHAsync_v2(dst, src, bytes, stream_of(stream));
    if (code == CU_OK)
        return SGI_OK;
    return sgi__cuda_failed(err, code, "%s: cuMemcpyDtoHAsync of %llu bytes", d->name, (unsigned long long)bytes);
}

sgi_status sgi__cuda_copy_over(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t src,
                               uint64_t bytes, sgi_error *err)
{
    cu_result code = sgi__cuda_device(d)->cuda.cuMemcpyDtoDAsync_v2(dst, src, bytes, stream_of(stream));
    if (code == CU_OK)
        return SGI_OK;
    return sgi__cuda_failed(err, code, "%s: cuMemcpyDtoDAsync of %llu bytes", d->name, (unsigned long long)bytes);
}

sgi_status sgi__cuda_zero(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t bytes,
                          sgi_error *err)
{
    return said(d, sgi__cuda_device(d)->cuda.cuMemsetD8Async(dst, 0, bytes, stream_of(stream)), "cuMemsetD8Async", err);
}

/* ---- marks ---- */

/* Who waits for one sleeps. */
sgi_status sgi__cuda_mark_new(struct sgi__device *d, struct sgi__mark **mark_out, sgi_error *err)
{
    cu_event  event = NULL;
    cu_result code = sgi__cuda_device(d)->cuda.cuEventCreate(&event, CU_EVENT_SLEEPS | CU_EVENT_NO_TIMING);

    if (code == CU_OK)
        *mark_out = (struct sgi__mark *)(void *)event;
    return said(d, code, "cuEventCreate", err);
}

void sgi__cuda_mark_free(struct sgi__device *d, struct sgi__mark *mark)
{
    cu_result code;
    if (mark)
        SGI__CUDA_AT_LAST(code, sgi__cuda_device(d)->cuda.cuEventDestroy_v2(event_of(mark)));
}

sgi_status sgi__cuda_mark_set(struct sgi__device *d, struct sgi__mark *mark, struct sgi__stream *stream, sgi_error *err)
{
    cu_result code = sgi__cuda_device(d)->cuda.cuEventRecord(event_of(mark), stream_of(stream));
    return said(d, code, "cuEventRecord", err);
}

sgi_status sgi__cuda_mark_reached(struct sgi__device *d, struct sgi__mark *mark, sgi_error *err)
{
    cu_result code = sgi__cuda_device(d)->cuda.cuEventQuery(event_of(mark));
    return code == CU_NOT_READY ? SGI_E_WOULD_BLOCK : said(d, code, "cuEventQuery", err);
}

sgi_status sgi__cuda_mark_wait(struct sgi__device *d, struct sgi__mark *mark, sgi_error *err)
{
    return said(d, sgi__cuda_device(d)->cuda.cuEventSynchronize(event_of(mark)), "cuEventSynchronize", err);
}

sgi_status sgi__cuda_mark_order(struct sgi__device *d, struct sgi__mark *mark, void *native_stream, sgi_error *err)
{
    cu_result code = sgi__cuda_device(d)->cuda.cuStreamWaitEvent((cu_stream)native_stream, event_of(mark), 0);
    return said(d, code, "cuStreamWaitEvent", err);
}
