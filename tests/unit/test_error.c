/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: filled once, for callers of any age. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sgi/ext.h>

#include "base/error.h"
#include "base/log.h"

static sgi_error new_error(void)
{
    sgi_error err;
    sgi__error_init(&err);
    return err;
}

static void it_carries_code_errno_and_text(void **state)
{
    (void)state;
    sgi_error err = new_error();
    err.driver_code = 7;
    err.step = SGI_STEP_READ;
    assert_int_equal(sgi__error_sys(&err, SGI_E_IO, ENOENT, "open %s", "/x"), SGI_E_IO);
    assert_int_equal(err.code, SGI_E_IO);
    assert_int_equal(err.os_errno, ENOENT);
    assert_int_equal(err.driver_code, 0); /* of an earlier use of the struct */
    assert_int_equal(err.step, SGI_STEP_NONE);
    assert_string_equal(err.message, "open /x: No such file or directory");
    assert_int_equal(sgi__error(NULL, SGI_E_BUSY, "nobody asks"), SGI_E_BUSY);
}

static void the_first_step_stays(void **state)
{
    (void)state;
    sgi_error err = new_error();
    sgi__error(&err, SGI_E_IO, "x");
    assert_int_equal(sgi__error_step(&err, SGI_E_IO, SGI_STEP_OPEN), SGI_E_IO);
    sgi__error_step(&err, SGI_E_IO, SGI_STEP_READ);
    assert_int_equal(err.step, SGI_STEP_OPEN);
    assert_int_equal(sgi__error_step(NULL, SGI_E_IO, SGI_STEP_READ), SGI_E_IO);
}

static void a_long_message_is_cut_and_ends(void **state)
{
    (void)state;
    sgi_error err = new_error();
    char      text[400];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    sgi__error_sys(&err, SGI_E_IO, EIO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    sgi__error_name_model(&err, "m");
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_memory_equal(err.message, "model 'm': aaa", 14);
}

static void the_model_is_named_once(void **state)
{
    (void)state;
    sgi_error err = new_error();
    sgi__error(&err, SGI_E_ENGINE, "out of tokens");
    sgi__error_name_model(&err, "llama");
    assert_string_equal(err.message, "model 'llama': out of tokens");
    sgi__error_name_model(&err, "llama");
    assert_string_equal(err.message, "model 'llama': out of tokens");
    sgi__error_name_model(NULL, "llama");
}

/* The caller was compiled when the struct ended before `step`. */
static void nothing_is_written_past_an_older_struct(void **state)
{
    (void)state;
    union {
        sgi_error now;
        struct {
            uint32_t struct_size;
            int32_t  code, os_errno, driver_code;
            uint8_t  after[64];
        } old;
    } e;

    memset(&e, 0x5a, sizeof e);
    e.old.struct_size = offsetof(sgi_error, step);
    sgi__error_sys(&e.now, SGI_E_IO, EIO, "open %s", "/x");
    sgi__error_step(&e.now, SGI_E_IO, SGI_STEP_READ);
    sgi__error_name_model(&e.now, "m");
    assert_int_equal(e.old.code, SGI_E_IO);
    assert_int_equal(e.old.os_errno, EIO);
    assert_int_equal(e.old.struct_size, offsetof(sgi_error, step));
    for (size_t n = 0; n < sizeof e.old.after; n++)
        assert_int_equal(e.old.after[n], 0x5a);

    sgi_error src = new_error();
    sgi__error(&src, SGI_E_BUSY, "copied");
    src.step = SGI_STEP_OPEN;
    sgi__error_copy(&e.now, &src);
    assert_int_equal(e.old.code, SGI_E_BUSY);
    for (size_t n = 0; n < sizeof e.old.after; n++)
        assert_int_equal(e.old.after[n], 0x5a);
}

static void a_copy_into_a_short_message_is_terminated(void **state)
{
    (void)state;
    sgi_error src = new_error(), dst;
    sgi__error(&src, SGI_E_BUSY, "a sentence that is longer than ten bytes");
    memset(&dst, 0x5a, sizeof dst);
    dst.struct_size = offsetof(sgi_error, message) + 10;
    sgi__error_copy(&dst, &src);
    assert_string_equal(dst.message, "a sentenc");
    assert_int_equal(dst.message[10], 0x5a);
    sgi__error_copy(NULL, &src);
    sgi__error_copy(&dst, NULL);
}

static void an_empty_one_reads_as_its_status(void **state)
{
    (void)state;
    sgi_error err = new_error();
    assert_string_equal(sgi__error_message(&err, SGI_E_STALE), sgi_status_text(SGI_E_STALE));
    assert_string_equal(sgi__error_message(NULL, SGI_E_BUSY), sgi_status_text(SGI_E_BUSY));
    sgi_error_set(&err, SGI_E_BUSY, "its own");
    assert_string_equal(sgi__error_message(&err, SGI_E_BUSY), "its own");
    assert_int_equal(sgi_error_set(NULL, SGI_E_BUSY, "x"), SGI_E_BUSY);
    assert_int_equal(sgi_error_set(&err, SGI_E_BUSY, NULL), SGI_E_BUSY);
    assert_string_equal(err.message, "");
    sgi_error_set(&err, SGI_E_BUSY, "100%s"); /* text, not a format */
    assert_string_equal(err.message, "100%s");
}

static void keep_record(void *user, uint32_t severity, const char *text)
{
    assert_int_equal(severity, SGI_LOG_WARN);
    snprintf(user, 600, "%s", text);
}

static void a_log_record_is_one_line_whatever_an_error_says(void **state)
{
    (void)state;
    char record[600] = "", long_text[700];

    memset(long_text, '\n', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    sgi_log_set_sink(keep_record, record, SGI_LOG_WARN);
    sgi__log(SGI_LOG_WARN, "start: %s (%d)", "two\nlines, \x1b[2J\r\x7f, gr\xc3\xbc\xc3\x9f", 7);
    assert_string_equal(record, "start: two?lines, ?[2J??, gr\xc3\xbc\xc3\x9f (7)");
    sgi__log(SGI_LOG_WARN, "%s", long_text);
    assert_int_equal(strlen(record), 511);
    assert_int_equal(strspn(record, "?"), 511);
    sgi_log_set_sink(NULL, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_carries_code_errno_and_text),
        cmocka_unit_test(the_first_step_stays),
        cmocka_unit_test(a_long_message_is_cut_and_ends),
        cmocka_unit_test(the_model_is_named_once),
        cmocka_unit_test(nothing_is_written_past_an_older_struct),
        cmocka_unit_test(a_copy_into_a_short_message_is_terminated),
        cmocka_unit_test(an_empty_one_reads_as_its_status),
        cmocka_unit_test(a_log_record_is_one_line_whatever_an_error_says),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
