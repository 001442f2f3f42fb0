/* SPDX-License-Identifier: Apache-2.0 */
#include "load/staging.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "device/image.h"
#include "load/layout.h"

/* Pinned in one call: many small ones cost more, one large one keeps everybody waiting. */
#define PIECE_BYTES (UINT64_C(16) << 20)
enum { BUFFERS_MIN = 4 };

enum gate { GATE_CLOSED, GATE_OPEN, GATE_CLOSING, GATE_FAILED };
enum pin { PIN_NOT, PIN_ON_ITS_WAY, PIN_TRIED }; /* tried: pinned, unless the driver refused */

struct buffer_piece {
    struct sgi__image   *memory;
    struct sgi__buffer  *buffers;
    struct buffer_piece *next;
    enum pin             pin; /* under the mutex */
};

struct sgi__staging {
    struct sgi__device       *device;
    uint64_t                  buffer_bytes;
    uint32_t                  buffers_max, buffers_of_piece;
    struct sgi__image_memory *memory;
    pthread_mutex_t           mutex; /* a leaf; never held across a call of the device */
    pthread_cond_t            changed;
    /* under the mutex */
    enum gate            gate;
    sgi_status           failed;
    sgi_error            error;
    uint64_t             epoch;
    uint32_t             inside;
    struct buffer_piece *pieces;
    struct sgi__buffer  *free;
    uint32_t             buffers_count, free_count;
    bool                 growing; /* somebody makes a piece */
    uint32_t             ahead_count;
};

struct sgi__ahead {
    struct sgi__staging    *staging;
    pthread_t               thread;
    uint32_t                buffers; /* that its load can use */
    bool                    stop;    /* under the staging's mutex */
    struct sgi__touch_times times;   /* the thread's until it has ended */
};

struct sgi__staging *sgi__staging_new(struct sgi__device *device, uint64_t buffer_bytes, uint64_t bytes_max)
{
    struct sgi__staging *s = sgi__alloc_zero(1, sizeof *s);

    if (s)
        s->memory = sgi__image_memory_new(0);
    if (!s || !s->memory || sgi__cond_init(&s->changed)) {
        if (s)
            sgi__image_memory_free(s->memory);
        sgi__free(s);
        return NULL;
    }
    pthread_mutex_init(&s->mutex, NULL);
    s->device = device;
    s->buffer_bytes = sgi__align_up(buffer_bytes, SGI__PLACE_ALIGN);
    s->buffers_max = (uint32_t)(bytes_max / s->buffer_bytes);
    if (s->buffers_max < BUFFERS_MIN)
        s->buffers_max = BUFFERS_MIN;
    s->buffers_of_piece = (uint32_t)(PIECE_BYTES / s->buffer_bytes);
    if (s->buffers_of_piece == 0)
        s->buffers_of_piece = 1;
    return s;
}

struct sgi__device *sgi__staging_device(const struct sgi__staging *s)
{
    return s->device;
}

uint64_t sgi__staging_buffer_bytes(const struct sgi__staging *s)
{
    return s->buffer_bytes;
}

/* ---- the gate ---- */

static void set_gate(struct sgi__staging *s, enum gate gate)
{
    pthread_mutex_lock(&s->mutex);
    s->gate = gate;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

void sgi__staging_opens(struct sgi__staging *s)
{
    set_gate(s, GATE_CLOSED); /* what an attempt before has failed with is over */
}

static void free_pieces(struct sgi__staging *s, struct buffer_piece *pieces)
{
    while (pieces) {
        struct buffer_piece *next = pieces->next;
        sgi__image_free(s->memory, pieces->memory);
        sgi__free(pieces->buffers);
        sgi__free(pieces);
        pieces = next;
    }
}

/* All buffers are back: their memory goes. Under the mutex. */
static struct buffer_piece *take_pieces(struct sgi__staging *s)
{
    struct buffer_piece *pieces = s->pieces;

    assert(s->free_count == s->buffers_count);
    s->pieces = NULL;
    s->free = NULL;
    s->buffers_count = s->free_count = 0;
    return pieces;
}

void sgi__staging_free(struct sgi__staging *s)
{
    if (!s)
        return;
    assert(s->inside == 0);
    free_pieces(s, take_pieces(s)); /* of loads that gave up before the context was open */
    sgi__image_memory_free(s->memory);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    sgi__free(s);
}

/* Without a context nobody comes to close: the last who gives a buffer back clears up. */
static struct buffer_piece *take_unneeded(struct sgi__staging *s)
{
    return s->gate == GATE_FAILED && s->free_count == s->buffers_count ? take_pieces(s) : NULL;
}

void sgi__staging_opened(struct sgi__staging *s, sgi_status status, const sgi_error *err)
{
    pthread_mutex_lock(&s->mutex);
    s->failed = status;
    if (status != SGI_OK)
        sgi__error_copy(&s->error, err);
    s->gate = status == SGI_OK ? GATE_OPEN : GATE_FAILED;
    struct buffer_piece *unneeded = take_unneeded(s);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    free_pieces(s, unneeded);
}

static void count_in(struct sgi__staging *s, int more)
{
    pthread_mutex_lock(&s->mutex);
    s->inside += (uint32_t)more;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

static sgi_status canceled(sgi_error *err)
{
    return sgi__error(err, SGI_E_CANCELED, "the load was canceled");
}

/* What an attempt to open it failed with may be over a moment later; a load that has met it does not wait for the next
 * one. */
static sgi_status wait_open(struct sgi__staging *s, const atomic_bool *stop, sgi_error *err)
{
    sgi_status st = SGI_OK;

    pthread_mutex_lock(&s->mutex);
    while ((s->gate == GATE_CLOSED || s->gate == GATE_CLOSING) && !atomic_load(stop))
        pthread_cond_wait(&s->changed, &s->mutex);
    if (s->gate == GATE_OPEN) {
        s->inside++;
    } else if (s->gate == GATE_FAILED) {
        st = s->failed;
        sgi__error_copy(err, &s->error);
    } else {
        st = canceled(err);
    }
    pthread_mutex_unlock(&s->mutex);
    return st;
}

sgi_status sgi__staging_enter(struct sgi__staging *s, const atomic_bool *stop, struct sgi__device_scope *scope,
                              sgi_error *err)
{
    sgi_status st = wait_open(s, stop, err);

    if (st != SGI_OK)
        return st;
    st = s->device->ops->enter(s->device, scope, err);
    if (st != SGI_OK)
        count_in(s, -1);
    return st;
}

/* Who wants to give something back has nobody to tell that it does not work: it is tried again. */
bool sgi__staging_try_enter(struct sgi__staging *s, struct sgi__device_scope *scope)
{
    const struct sgi__device_ops *ops = s->device->ops;

    pthread_mutex_lock(&s->mutex);
    while (s->gate == GATE_CLOSING)
        pthread_cond_wait(&s->changed, &s->mutex);
    bool open = s->gate == GATE_OPEN;
    s->inside += open;
    pthread_mutex_unlock(&s->mutex);
    if (open && ops->enter(s->device, scope, NULL) != SGI_OK && ops->enter(s->device, scope, NULL) != SGI_OK) {
        count_in(s, -1);
        return false;
    }
    return open;
}

void sgi__staging_leave(struct sgi__staging *s, const struct sgi__device_scope *scope)
{
    s->device->ops->leave(s->device, scope, NULL);
    count_in(s, -1);
}

bool sgi__staging_is_open(struct sgi__staging *s)
{
    pthread_mutex_lock(&s->mutex);
    bool open = s->gate == GATE_OPEN;
    pthread_mutex_unlock(&s->mutex);
    return open;
}

void sgi__staging_wake(struct sgi__staging *s)
{
    pthread_mutex_lock(&s->mutex);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}

uint64_t sgi__staging_epoch(struct sgi__staging *s)
{
    pthread_mutex_lock(&s->mutex);
    uint64_t epoch = s->epoch;
    pthread_mutex_unlock(&s->mutex);
    return epoch;
}

void sgi__staging_shuts(struct sgi__staging *s)
{
    set_gate(s, GATE_CLOSING);
}

/* Those that are there now; others come before them, and none goes meanwhile. */
static void unpin_pieces(struct sgi__staging *s)
{
    pthread_mutex_lock(&s->mutex);
    struct buffer_piece *piece = s->pieces;
    pthread_mutex_unlock(&s->mutex);
    for (; piece; piece = piece->next) {
        s->device->ops->unpin(s->device, piece->memory->parts[0]->base);
        pthread_mutex_lock(&s->mutex);
        piece->pin = PIN_NOT;
        pthread_mutex_unlock(&s->mutex);
    }
}

/* Somebody may read ahead already, for when the context is opened again: those buffers stay. */
void sgi__staging_closes(struct sgi__staging *s)
{
    struct sgi__device_scope scope;

    pthread_mutex_lock(&s->mutex);
    bool open = s->gate == GATE_OPEN || s->gate == GATE_CLOSING;
    s->gate = GATE_CLOSING;
    while (s->inside > 0)
        pthread_cond_wait(&s->changed, &s->mutex);
    s->epoch++; /* what is pinned from now on, is in the next one */
    pthread_mutex_unlock(&s->mutex);

    if (open && s->device->ops->enter(s->device, &scope, NULL) == SGI_OK) {
        unpin_pieces(s);
        s->device->ops->leave(s->device, &scope, NULL);
    }
}

void sgi__staging_closed(struct sgi__staging *s)
{
    pthread_mutex_lock(&s->mutex);
    s->gate = GATE_CLOSED;
    for (struct buffer_piece *piece = s->pieces; piece; piece = piece->next)
        piece->pin = PIN_NOT; /* also where it could not be entered any more */
    struct buffer_piece *pieces = s->free_count == s->buffers_count ? take_pieces(s) : NULL;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    free_pieces(s, pieces);
}

/* ---- buffers ---- */

static struct sgi__buffer *pop(struct sgi__staging *s)
{
    struct sgi__buffer *b = s->free;
    if (b) {
        s->free = b->next;
        s->free_count--;
        if (s->ahead_count > 0)
            pthread_cond_broadcast(&s->changed);
        b->next = NULL;
        b->holds = 0;
        b->copy = 0;
    }
    return b;
}

static void push(struct sgi__staging *s, struct sgi__buffer *b)
{
    b->next = s->free;
    s->free = b;
    s->free_count++;
}

static struct buffer_piece *piece_new(struct sgi__staging *s, uint32_t count)
{
    struct buffer_piece *piece = sgi__alloc_zero(1, sizeof *piece);
    uint64_t             bytes = count * s->buffer_bytes;

    if (piece)
        piece->buffers = sgi__alloc_zero(count, sizeof *piece->buffers);
    if (!piece || !piece->buffers || sgi__image_new(s->memory, &bytes, 1, 0, 0, &piece->memory, NULL) != SGI_OK) {
        if (piece)
            sgi__free(piece->buffers);
        sgi__free(piece);
        return NULL;
    }
    if (sgi__touch_range(piece->memory->parts[0]->base, bytes, NULL) != 0) {
        free_pieces(s, piece);
        return NULL;
    }
    for (uint32_t n = 0; n < count; n++) {
        piece->buffers[n].at = piece->memory->parts[0]->base + n * s->buffer_bytes;
        piece->buffers[n].piece = piece;
    }
    return piece;
}

/* Under the mutex, which it leaves and takes again. */
static void grow(struct sgi__staging *s)
{
    uint32_t count = s->buffers_max - s->buffers_count;

    if (count > s->buffers_of_piece)
        count = s->buffers_of_piece;
    if (count == 0 || s->growing)
        return;
    s->growing = true;
    pthread_mutex_unlock(&s->mutex);
    struct buffer_piece *piece = piece_new(s, count);
    pthread_mutex_lock(&s->mutex);
    s->growing = false;
    if (piece) {
        piece->next = s->pieces;
        s->pieces = piece;
        s->buffers_count += count;
        for (uint32_t n = count; n-- > 0;)
            push(s, &piece->buffers[n]);
    }
    if (piece || s->buffers_count == 0) /* otherwise nobody has anything new to look at */
        pthread_cond_broadcast(&s->changed);
}

/* A page fault costs as much as a read: while one piece is read into, the next is touched. */
static void *run_ahead(void *arg)
{
    struct sgi__ahead   *a = arg;
    struct sgi__staging *s = a->staging;

    a->times.start_ns = sgi__clock_now_ns();
    pthread_mutex_lock(&s->mutex);
    while (!a->stop && s->buffers_count < a->buffers && s->buffers_count < s->buffers_max) {
        uint32_t before = s->buffers_count;
        if (s->free_count >= s->buffers_of_piece || s->growing) {
            pthread_cond_wait(&s->changed, &s->mutex);
            continue;
        }
        uint64_t since = sgi__clock_now_ns();
        grow(s);
        a->times.busy_ns += sgi__clock_now_ns() - since;
        if (s->buffers_count == before) /* no memory: whoever needs a buffer will see */
            break;
    }
    pthread_mutex_unlock(&s->mutex);
    a->times.cpu_ns = sgi__clock_thread_cpu_ns();
    return NULL;
}

static void count_ahead(struct sgi__staging *s, int more)
{
    pthread_mutex_lock(&s->mutex);
    s->ahead_count += (uint32_t)more;
    pthread_mutex_unlock(&s->mutex);
}

struct sgi__ahead *sgi__staging_go_ahead(struct sgi__staging *s, uint64_t bytes)
{
    struct sgi__ahead *a;

    if (bytes / s->buffer_bytes <= s->buffers_of_piece || !(a = sgi__alloc_zero(1, sizeof *a)))
        return NULL;
    a->staging = s;
    a->buffers = (uint32_t)(bytes / s->buffer_bytes < s->buffers_max ? bytes / s->buffer_bytes : s->buffers_max);
    count_ahead(s, 1);
    if (sgi__thread_start(&a->thread, "sgi-touch", run_ahead, a) == 0)
        return a;
    count_ahead(s, -1);
    sgi__free(a);
    return NULL;
}

void sgi__staging_stop_ahead(struct sgi__ahead *a, struct sgi__touch_times *times_out)
{
    *times_out = (struct sgi__touch_times){ 0 };
    if (!a)
        return;
    pthread_mutex_lock(&a->staging->mutex);
    a->stop = true;
    pthread_cond_broadcast(&a->staging->changed);
    pthread_mutex_unlock(&a->staging->mutex);
    pthread_join(a->thread, NULL);
    count_ahead(a->staging, -1);
    *times_out = a->times;
    sgi__free(a);
}

struct sgi__buffer *sgi__staging_take(struct sgi__staging *s)
{
    pthread_mutex_lock(&s->mutex);
    if (!s->free)
        grow(s);
    struct sgi__buffer *b = pop(s);
    pthread_mutex_unlock(&s->mutex);
    return b;
}

sgi_status sgi__staging_take_wait(struct sgi__staging *s, const atomic_bool *stop, struct sgi__buffer **buffer_out,
                                  sgi_error *err)
{
    sgi_status st = SGI_OK;

    pthread_mutex_lock(&s->mutex);
    for (;;) {
        if (!s->free)
            grow(s);
        if (s->free || (s->buffers_count == 0 && !s->growing) || atomic_load(stop))
            break;
        pthread_cond_wait(&s->changed, &s->mutex);
    }
    *buffer_out = pop(s);
    if (!*buffer_out)
        st = atomic_load(stop) ? canceled(err)
                               : sgi__error(err, SGI_E_NO_MEMORY, "%s: no memory to read into", s->device->name);
    pthread_mutex_unlock(&s->mutex);
    return st;
}

void sgi__staging_give(struct sgi__staging *s, struct sgi__buffer *buffer)
{
    pthread_mutex_lock(&s->mutex);
    push(s, buffer);
    struct buffer_piece *unneeded = take_unneeded(s);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    free_pieces(s, unneeded);
}

sgi_status sgi__staging_pin(struct sgi__staging *s, const struct sgi__buffer *buffer, sgi_error *err)
{
    struct buffer_piece      *piece = buffer->piece;
    const struct sgi__region *region = piece->memory->parts[0];
    sgi_status                st = SGI_OK;

    pthread_mutex_lock(&s->mutex);
    while (piece->pin == PIN_ON_ITS_WAY)
        pthread_cond_wait(&s->changed, &s->mutex);
    bool mine = piece->pin == PIN_NOT;
    if (mine)
        piece->pin = PIN_ON_ITS_WAY;
    pthread_mutex_unlock(&s->mutex);
    if (!mine)
        return SGI_OK;
    st = s->device->ops->pin(s->device, region->base, region->bytes, err);
    pthread_mutex_lock(&s->mutex);
    piece->pin = PIN_TRIED;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return st == SGI_E_DEVICE_LOST ? st : SGI_OK;
}
