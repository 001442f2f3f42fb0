/* SPDX-License-Identifier: Apache-2.0 */
/* The trace: the last starts, as JSON that a viewer reads whatever a model is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "observe/trace.h"

struct text {
    char  *data;
    size_t bytes, stop_after;
};

static int collect(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    if (t->stop_after > 0 && t->bytes + bytes > t->stop_after)
        return 1;
    t->data = realloc(t->data, t->bytes + bytes + 1);
    memcpy(t->data + t->bytes, text, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
    return 0;
}

static json_t *written(const struct sgi__trace *trace)
{
    struct text  t = { 0 };
    json_error_t error;
    assert_int_equal(sgi__trace_write(trace, collect, &t), SGI_OK);
    json_t *root = json_loads(t.data, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        fail_msg("line %d: %s\n%s", error.line, error.text, t.data);
    free(t.data);
    return root;
}

static size_t spans(const json_t *root, const char *name)
{
    size_t  count = 0, n;
    json_t *event;
    json_array_foreach(json_object_get(root, "traceEvents"), n, event)
    {
        const char *is = json_string_value(json_object_get(event, "name"));
        const char *ph = json_string_value(json_object_get(event, "ph"));
        count += strcmp(ph, "X") == 0 && strcmp(is, name) == 0;
    }
    return count;
}

static void an_empty_one_is_json_too(void **state)
{
    (void)state;
    struct sgi__trace *trace = sgi__trace_new();
    json_t            *root = written(trace);
    assert_int_equal(spans(root, "start"), 0);
    json_decref(root);
    sgi__trace_free(trace);
}

static void steps_that_were_needed_are_spans(void **state)
{
    (void)state;
    struct sgi__trace      *trace = sgi__trace_new();
    struct sgi__trace_start s = {
        .name = "m", .request_ns = 1000000, .grant_ns = 5000500, .bytes = 77, .engine = "uring"
    };

    s.steps[SGI_STEP_READ].start_ns = 2000000;
    s.steps[SGI_STEP_READ].ns = 1234567;
    sgi__trace_add(trace, &s);
    json_t *root = written(trace);
    assert_int_equal(spans(root, "start"), 1);
    assert_int_equal(spans(root, "read"), 1);
    assert_int_equal(spans(root, "verify"), 0);
    size_t  n;
    json_t *event;
    json_array_foreach(json_object_get(root, "traceEvents"), n, event)
    {
        if (strcmp(json_string_value(json_object_get(event, "name")), "read") == 0) {
            assert_true(json_number_value(json_object_get(event, "ts")) == 2000.0);
            assert_true(json_number_value(json_object_get(event, "dur")) == 1234.567);
        }
        if (strcmp(json_string_value(json_object_get(event, "name")), "start") == 0) {
            assert_true(json_number_value(json_object_get(event, "dur")) == 4000.5);
            assert_int_equal(json_integer_value(json_object_get(json_object_get(event, "args"), "bytes")), 77);
        }
    }
    json_decref(root);
    sgi__trace_free(trace);
}

static void names_do_not_break_it(void **state)
{
    (void)state;
    struct sgi__trace      *trace = sgi__trace_new();
    struct sgi__trace_start s = { .request_ns = 1, .grant_ns = 2 };

    memset(s.name, '"', sizeof s.name - 1);
    sgi__trace_add(trace, &s);
    memcpy(s.name, "back\\slash \xc3", 13); /* cut in a character */
    sgi__trace_add(trace, &s);
    json_decref(written(trace));
    sgi__trace_free(trace);
}

static void only_the_last_ones_are_kept(void **state)
{
    (void)state;
    struct sgi__trace      *trace = sgi__trace_new();
    struct sgi__trace_start s = { .name = "m", .request_ns = 1, .grant_ns = 2 };

    for (int n = 0; n < SGI__TRACE_STARTS + 10; n++)
        sgi__trace_add(trace, &s);
    json_t *root = written(trace);
    assert_int_equal(spans(root, "start"), SGI__TRACE_STARTS);
    json_decref(root);
    sgi__trace_free(trace);
}

static void the_reader_can_stop_it(void **state)
{
    (void)state;
    struct sgi__trace      *trace = sgi__trace_new();
    struct sgi__trace_start s = { .name = "m", .request_ns = 1, .grant_ns = 2 };
    struct text             t = { .stop_after = 1 };

    sgi__trace_add(trace, &s);
    assert_int_equal(sgi__trace_write(trace, collect, &t), SGI_E_CANCELED);
    for (t.stop_after = 1; t.stop_after < 400; t.stop_after += 40) {
        t.bytes = 0;
        sgi__trace_write(trace, collect, &t);
        assert_true(t.bytes <= t.stop_after);
    }
    free(t.data);
    sgi__trace_free(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_is_json_too), cmocka_unit_test(steps_that_were_needed_are_spans),
        cmocka_unit_test(names_do_not_break_it),    cmocka_unit_test(only_the_last_ones_are_kept),
        cmocka_unit_test(the_reader_can_stop_it),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
