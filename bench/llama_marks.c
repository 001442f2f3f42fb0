/* SPDX-License-Identifier: Apache-2.0 */
#include "llama_marks.h"

#include <sys/resource.h>

#include <llama.h>

#include "measure.h"

static struct llama_marks marks;

void llama_marks_clear(void)
{
    marks = (struct llama_marks){ 0 };
}

struct llama_marks llama_marks_read(void)
{
    return marks;
}

static uint64_t faults(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)used.ru_minflt;
}

static void begin(struct llama_mark *mark)
{
    mark->faults = faults();
    mark->begin = seconds_now();
}

static void end(struct llama_mark *mark)
{
    mark->end = seconds_now();
    mark->faults = faults() - mark->faults;
}

struct llama_model   *__real_llama_model_load_from_file(const char *path, struct llama_model_params params);
struct llama_model   *__wrap_llama_model_load_from_file(const char *path, struct llama_model_params params);
struct llama_context *__real_llama_init_from_model(struct llama_model *model, struct llama_context_params params);
struct llama_context *__wrap_llama_init_from_model(struct llama_model *model, struct llama_context_params params);
int32_t               __real_llama_decode(struct llama_context *context, struct llama_batch batch);
int32_t               __wrap_llama_decode(struct llama_context *context, struct llama_batch batch);

struct llama_model *__wrap_llama_model_load_from_file(const char *path, struct llama_model_params params)
{
    begin(&marks.open);
    struct llama_model *model = __real_llama_model_load_from_file(path, params);
    end(&marks.open);
    return model;
}

struct llama_context *__wrap_llama_init_from_model(struct llama_model *model, struct llama_context_params params)
{
    begin(&marks.context);
    struct llama_context *context = __real_llama_init_from_model(model, params);
    end(&marks.context);
    return context;
}

int32_t __wrap_llama_decode(struct llama_context *context, struct llama_batch batch)
{
    begin(&marks.decode);
    int32_t rc = __real_llama_decode(context, batch);
    end(&marks.decode);
    return rc;
}
