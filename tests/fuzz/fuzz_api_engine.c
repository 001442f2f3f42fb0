/* SPDX-License-Identifier: Apache-2.0 */
/* The engines of the fuzz target: what the test engine does, and in each callback all that ext.h offers there, with
 * arguments that are good and that are not. On threads of the library: nothing of the input is read here. */
#include "fuzz_api.h"

#include <string.h>

/* The test engine's own callbacks, the same in each. */
static sgi_status (*own_prepare)(void *, const sgi_source *, void **, uint64_t *, sgi_error *);
static sgi_status (*own_prefix_bytes)(void *, const sgi_source *, uint32_t, uint64_t *, sgi_error *);
static sgi_status (*own_call)(void *, void *, const void *, size_t, sgi_reply *, sgi_error *);

enum { FILES_MAX = 4 };

/* Of the last file some bytes of its header; the file may have changed since. */
static void check_reads(const sgi_source *source)
{
    uint32_t   last = source->files_count - 1;
    uint64_t   all = source->files[last].bytes;
    char       bytes[16];
    sgi_error  err = SGI_ERROR_INIT;
    sgi_status st = sgi_source_read(source, last, 0, bytes, sizeof bytes, &err);

    CHECK(st == SGI_OK || st == SGI_E_IO || st == SGI_E_CHANGED || st == SGI_E_CHECK || st == SGI_E_DENIED);
    CHECK(sgi_source_read(source, last, all, NULL, 0, NULL) == SGI_OK);
    CHECK(sgi_source_read(source, last, all - 1, bytes, 2, NULL) == SGI_E_INVALID);
    CHECK(sgi_source_read(source, last, UINT64_MAX, bytes, 2, NULL) == SGI_E_INVALID);
    CHECK(sgi_source_read(source, last, 0, NULL, 1, NULL) == SGI_E_INVALID);
    CHECK(sgi_source_read(source, last + 1, 0, bytes, 1, NULL) == SGI_E_NOT_FOUND);
    CHECK(sgi_source_read(NULL, 0, 0, bytes, 1, NULL) == SGI_E_INVALID);
}

static void ask_source(const sgi_source *source)
{
    sgi_tensor t = { .struct_size = sizeof t }, same = { .struct_size = sizeof same }, unset = { .struct_size = 0 };

    CHECK(source && source->struct_size == sizeof *source && source->name[0] != '\0' && source->format[0] != '\0');
    CHECK(source->files_count >= 1 && source->files_count <= FILES_MAX && source->tensors_count >= 1);
    for (uint32_t n = 0; n < source->files_count; n++)
        CHECK(source->files[n].path[0] == '/' && source->files[n].data_offset <= source->files[n].bytes);
    for (uint64_t n = 0; n < source->tensors_count; n++) {
        CHECK(sgi_source_tensor_at(source, n, &t) == SGI_OK && t.part < source->files_count);
        CHECK(sgi_source_tensor_find(source, t.name, &same) == SGI_OK && strcmp(same.name, t.name) == 0);
        CHECK(same.part == t.part && same.file_offset == t.file_offset && same.bytes == t.bytes);
    }
    CHECK(sgi_source_tensor_at(source, source->tensors_count, &t) == SGI_E_NOT_FOUND);
    CHECK(sgi_source_tensor_at(source, UINT64_MAX, &t) == SGI_E_NOT_FOUND);
    CHECK(sgi_source_tensor_at(source, 0, NULL) == SGI_E_INVALID);
    CHECK(sgi_source_tensor_at(source, 0, &unset) == SGI_E_INVALID);
    CHECK(sgi_source_tensor_at(NULL, 0, &t) == SGI_E_INVALID);
    CHECK(sgi_source_tensor_find(source, "\xff nobody \n", &t) == SGI_E_NOT_FOUND);
    CHECK(sgi_source_tensor_find(source, NULL, &t) == SGI_E_INVALID);
    CHECK(sgi_source_tensor_find(NULL, "w", &t) == SGI_E_INVALID);
    check_reads(source);
}

/* What is wrong is said, with its reason, and at once: nothing has to have arrived for it. */
static void refuses(sgi_status st, sgi_status wanted, sgi_error *err)
{
    CHECK(st == wanted && err->code == st && err->message[0] != '\0');
    *err = (sgi_error)SGI_ERROR_INIT;
}

static void ask_stage(void *user, sgi_stage *stage)
{
    const struct world *w = user;
    const sgi_source   *source = sgi_stage_source(stage);
    sgi_image           image = { .struct_size = sizeof image, .fd = -7 };
    sgi_view            view = { .struct_size = sizeof view };
    sgi_error           err = SGI_ERROR_INIT;
    void               *memory = &view;
    int                 canceled = sgi_stage_canceled(stage);

    ask_source(source);
    CHECK(sgi_stage_device(stage) >= 0 && sgi_stage_device(stage) < (int32_t)w->devices_count);
    CHECK(sgi_stage_stream(stage) == NULL && (canceled == 0 || canceled == 1));
    refuses(sgi_stage_image(stage, source->files_count, &image, &err), SGI_E_NOT_FOUND, &err);
    refuses(sgi_stage_image(stage, UINT32_MAX, &image, &err), SGI_E_NOT_FOUND, &err);
    refuses(sgi_stage_image(stage, 0, NULL, &err), SGI_E_INVALID, &err);
    refuses(sgi_stage_tensor(stage, source->tensors_count, &view, &err), SGI_E_NOT_FOUND, &err);
    refuses(sgi_stage_tensor(stage, UINT64_MAX, &view, &err), SGI_E_NOT_FOUND, &err);
    refuses(sgi_stage_tensor(stage, 0, NULL, &err), SGI_E_INVALID, &err);
    refuses(sgi_stage_tensor_on(stage, source->tensors_count, NULL, &view, &err), SGI_E_NOT_FOUND, &err);
    refuses(sgi_stage_tensor_on(stage, 0, NULL, NULL, &err), SGI_E_INVALID, &err);
    CHECK(image.fd == -7 && image.base == NULL && view.data == NULL);
    refuses(sgi_stage_alloc(stage, 0, &memory, &err), SGI_E_INVALID, &err);
    refuses(sgi_stage_alloc(stage, UINT64_MAX, &memory, &err), SGI_E_INVALID, &err);
    refuses(sgi_stage_alloc(stage, 1, NULL, &err), SGI_E_INVALID, &err);
    refuses(sgi_stage_report_bytes(stage, UINT64_MAX, &err), SGI_E_INVALID, &err);
    refuses(sgi_stage_alloc(stage, UINT64_C(1) << 40, &memory, &err), SGI_E_DEVICE_MEMORY, &err);
    refuses(sgi_stage_report_bytes(stage, UINT64_C(1) << 40, &err), SGI_E_DEVICE_MEMORY, &err);
    CHECK(memory == &view && sgi_stage_alloc(stage, UINT64_C(1) << 40, &memory, NULL) == SGI_E_DEVICE_MEMORY);
}

/* What an engine says is text of the host's: a log record is one line all the same. */
static sgi_status with_hostile_words(sgi_status st, sgi_error *err)
{
    CHECK(err != NULL && sgi_error_set(NULL, st, "nobody hears") == st);
    return st == SGI_OK ? st : sgi_error_set(err, st, "two\nlines, \x1b[2J, and \xff");
}

static sgi_status prepare(void *user, const sgi_source *source, void **prepared, uint64_t *bytes, sgi_error *err)
{
    ask_source(source);
    return with_hostile_words(own_prepare(user, source, prepared, bytes, err), err);
}

static sgi_status prefix_bytes(void *user, const sgi_source *source, uint32_t part, uint64_t *bytes, sgi_error *err)
{
    ask_source(source);
    CHECK(part < source->files_count);
    return with_hostile_words(own_prefix_bytes(user, source, part, bytes, err), err);
}

static sgi_status call(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err)
{
    int        canceled = sgi_reply_canceled(reply);
    sgi_status empty = sgi_reply_emit(reply, NULL, 0);

    CHECK(sgi_reply_emit(reply, NULL, 1) == SGI_E_INVALID);
    CHECK(canceled == 0 || canceled == 1);
    CHECK(empty == SGI_OK || empty == SGI_E_CANCELED);
    CHECK(empty == SGI_OK || sgi_reply_canceled(reply) == 1);
    return with_hostile_words(own_call(user, instance, request, bytes, reply, err), err);
}

void fuzz_api_engine(struct world *w, struct test_engine *e)
{
    own_call = e->table.call;
    e->table.call = call;
    if (e->table.prepare) {
        own_prepare = e->table.prepare;
        e->table.prepare = prepare;
    }
    if (e->table.prefix_bytes) {
        own_prefix_bytes = e->table.prefix_bytes;
        e->table.prefix_bytes = prefix_bytes;
    }
    e->in_start = ask_stage;
    e->user = w;
}
