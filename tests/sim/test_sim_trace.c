/* SPDX-License-Identifier: Apache-2.0 */
/* Reading traces: what each format means, and lines that are not as they should be. All of it is made up here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sim/sim_trace.h"

#define GENTD26 "gmt_create,predict_status,exec_time_seconds,checkpoint_model_version_id,num_lora\n"
#define LLM     "TIMESTAMP,ContextTokens,GeneratedTokens\n"
#define F2021   "app,func,end_timestamp,duration\n"
#define S(n)    ((uint64_t)(n)*1000000000u)

static const struct sim_trace_options defaults;
static char                           error[256];

static bool read_bytes(const char *text, size_t bytes, const struct sim_trace_options *options, struct sim_trace *out)
{
    FILE *in = fmemopen((void *)(uintptr_t)text, bytes, "r");
    assert_non_null(in);
    error[0] = '\0';
    bool good = sim_trace_read(in, "t", options, out, error, sizeof error);
    fclose(in);
    return good;
}

static void reads(const char *text, const struct sim_trace_options *options, struct sim_trace *out)
{
    if (!read_bytes(text, strlen(text), options, out))
        fail_msg("%s", error);
}

static void refused_bytes(const char *text, size_t bytes, const char *why)
{
    struct sim_trace trace;
    if (read_bytes(text, bytes, &defaults, &trace))
        fail_msg("was read, and not refused with: %s", why);
    if (strncmp(error, why, strlen(why)) != 0)
        fail_msg("refused with '%s', not '%s'", error, why);
    assert_null(trace.requests);
    assert_null(trace.models);
}

static void refused(const char *text, const char *why)
{
    refused_bytes(text, strlen(text), why);
}

static void request(const struct sim_trace *t, uint32_t n, uint64_t at_ns, uint64_t use_ns, const char *model)
{
    assert_in_range(n, 0, t->count - 1);
    assert_int_equal(t->requests[n].at_ns, at_ns);
    assert_int_equal(t->requests[n].use_ns, use_ns);
    if (model)
        assert_string_equal(t->models[t->requests[n].model], model);
}

/* ---- formats ---- */

static void gentd26_is_by_time_and_lasts_a_second_at_least(void **state)
{
    struct sim_trace t;
    (void)state;
    reads(GENTD26 "2024-12-31 23:59:58,SUCCEED,32.0,M1,0\n"
                  "2025-01-01 00:00:01,SUCCEED,0.0,M2,0\n"
                  "2024-12-31 23:59:57,FAILED,,M1,0\r\n"
                  "2025-01-01 00:00:01,PENDING,2.5,,0", /* the last line has no end */
          &defaults, &t);
    assert_string_equal(t.format, "gentd26");
    assert_false(t.drawn);
    assert_int_equal(t.count, 4);
    assert_int_equal(t.models_count, 3);
    request(&t, 0, 0, S(1), "M1");
    request(&t, 1, S(1), S(32), "M1");
    request(&t, 2, S(4), S(1), "M2");
    request(&t, 3, S(4), S(5) / 2, "(none)");
    sim_trace_fini(&t);
}

static void a_year_has_its_days(void **state)
{
    struct sim_trace t;
    (void)state;
    reads(LLM "2024-02-28 00:00:00,1,1\n2024-03-01 00:00:00,1,1\n2100-02-28 00:00:00,1,1\n2100-03-01 00:00:00,1,1\n",
          &defaults, &t);
    request(&t, 1, S(2 * 86400), t.requests[0].use_ns, NULL);              /* 2024 is a leap year, */
    assert_int_equal(t.requests[3].at_ns - t.requests[2].at_ns, S(86400)); /* and 2100 is none */
    sim_trace_fini(&t);
}

static void tokens_become_time_by_two_rates(void **state)
{
    struct sim_trace_options o = { .tokens_in_per_s = 1000, .tokens_out_per_s = 10, .models = 1 };
    struct sim_trace         t;
    (void)state;
    reads(LLM "2023-11-16 18:17:03.9799600,4000,10\n2023-11-16 18:17:04.0000000,0,0\n", &o, &t);
    assert_string_equal(t.format, "azure-llm");
    assert_true(t.drawn);
    request(&t, 0, 0, S(5), "model-00000");
    request(&t, 1, 20040000, 0, "model-00000");
    sim_trace_fini(&t);
    reads("{\"timestamp\": 7, \"input_length\": 2000, \"output_length\": 5, \"hash_ids\": [0, 1]}\n"
          "{\"timestamp\": 3007, \"input_length\": 0, \"output_length\": 1}\n",
          &o, &t);
    assert_string_equal(t.format, "mooncake");
    request(&t, 0, 0, S(5) / 2, NULL);
    request(&t, 1, S(3), S(1) / 10, NULL);
    sim_trace_fini(&t);
}

static void functions_are_models(void **state)
{
    struct sim_trace t;
    (void)state;
    reads(F2021 "a,f,10.5,0.5\nb,f,3,5\na,f,10.25,0\n", &defaults, &t);
    assert_string_equal(t.format, "azure-2021");
    request(&t, 0, 0, S(5), "b/f"); /* it began 2 s before the trace did */
    request(&t, 1, S(12), S(1) / 2, "a/f");
    request(&t, 2, S(49) / 4, 0, "a/f");
    sim_trace_fini(&t);
}

/* A header and one row of the 2019 format; `count` stands in its second minute. */
static char *minutes(const char *count, uint32_t columns)
{
    char  *text = NULL;
    size_t bytes;
    FILE  *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    fputs("HashOwner,HashApp,HashFunction,Trigger", out);
    for (uint32_t n = 1; n <= columns; n++)
        fprintf(out, ",%u", n);
    fputs("\no,a,f,timer", out);
    for (uint32_t n = 1; n <= columns; n++)
        fprintf(out, ",%s", n == 2 ? count : "0");
    fputs("\n", out);
    fclose(out);
    return text;
}

static void counts_are_spread_over_their_minute(void **state)
{
    struct sim_trace_options o = { .use_ms = 250 };
    struct sim_trace         t;
    char                    *text = minutes("4", 1440);
    (void)state;
    reads(text, &o, &t);
    assert_string_equal(t.format, "azure-2019");
    assert_int_equal(t.count, 4);
    for (uint32_t n = 0; n < 4; n++)
        request(&t, n, S(15 * n), S(1) / 4, "f");
    sim_trace_fini(&t);
    free(text);
}

/* ---- models that are drawn ---- */

static void the_same_seed_draws_the_same_models(void **state)
{
    struct sim_trace_options o = { .models = 20, .seed = 7 };
    struct sim_trace         one, again, other;
    char                    *text = NULL;
    size_t                   bytes;
    uint32_t                 counts[20] = { 0 }, most = 0, differ = 0;
    FILE                    *out = open_memstream(&text, &bytes);
    (void)state;

    assert_non_null(out);
    for (uint32_t n = 0; n < 4000; n++)
        fprintf(out, "{\"timestamp\": %u, \"input_length\": 1, \"output_length\": 1}\n", n);
    fclose(out);
    reads(text, &o, &one);
    reads(text, &o, &again);
    o.seed = 8;
    reads(text, &o, &other);
    for (uint32_t n = 0; n < one.count; n++) {
        assert_int_equal(one.requests[n].model, again.requests[n].model);
        differ += one.requests[n].model != other.requests[n].model;
        counts[one.requests[n].model]++;
    }
    assert_true(differ > 2000);
    for (uint32_t n = 0; n < 20; n++) {
        assert_true(counts[n] > 0);
        most = counts[n] > most ? counts[n] : most;
    }
    assert_in_range(most, 850, 1100); /* 1 of 4.19, the sum of n^-0.9 to 20 */
    sim_trace_fini(&one);
    sim_trace_fini(&again);
    sim_trace_fini(&other);
    free(text);
}

static void the_first_are_the_first_by_time(void **state)
{
    struct sim_trace_options o = { .requests = 1 };
    struct sim_trace         t;
    (void)state;
    reads(F2021 "a,late,10,1\na,early,5,1\n", &o, &t);
    assert_int_equal(t.count, 1);
    request(&t, 0, 0, S(1), "a/early");
    sim_trace_fini(&t);
}

/* ---- what is refused ---- */

static void a_bad_line_is_refused_with_its_number(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "\n", "t:1: an empty line" },
        { "a,b,c\n1,2,3\n", "t:1: the first line is of no trace" },
        { "\"app\",func,end_timestamp,duration\n", "t:1: quoted fields" },
        { F2021, "t:1: no requests" },
        { F2021 "a,f,1,1\n\na,f,1,1\n", "t:3: an empty line" },
        { F2021 "a,f,1\n", "t:2: 3 fields, and the first line has 4" },
        { F2021 "a,f,1,1,1\n", "t:2: 5 fields" },
        { F2021 "a,f,1,\"1\"\n", "t:2: quoted fields" },
        { F2021 "a,f,1,-1\n", "t:2: duration is not a number: '-1'" },
        { F2021 "a,f,1,nan\n", "t:2: duration is not a number" },
        { F2021 "a,f,1,inf\n", "t:2: duration is not a number" },
        { F2021 "a,f,1,0x10\n", "t:2: duration is not a number" },
        { F2021 "a,f,1,1e\n", "t:2: duration is not a number" },
        { F2021 "a,f,1,1.2.3\n", "t:2: duration is not a number" },
        { F2021 "a,f,1, 1\n", "t:2: duration is not a number" },
        { F2021 "a,f,,1\n", "t:2: end_timestamp is not a number: ''" },
        { F2021 "a,f,1e300,1\n", "t:2: end_timestamp is past 1000000000" },
        { F2021 "a,f,1e999,1\n", "t:2: end_timestamp is past 1000000000" },
        { F2021 ",f,1,1\n", "t:2: no app or no func" },
        { GENTD26 "2024-11-15 16:57:50,S,1,M,0\n2024-11-15,S,1,M,0\n", "t:3: not a time: '2024-11-15'" },
        { GENTD26 "2024-11-15 16:57:60,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "2024-11-15 16:57:50.,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "2024-11-15 16:57:50.1234567890,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "2024-11-15 16:57:50 ,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "2024-11-15T16:57:50,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "2024-13-15 16:57:50,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "2024-04-31 16:57:50,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "1024-11-15 16:57:50,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 "9999-11-15 16:57:50,S,1,M,0\n", "t:2: not a time" },
        { GENTD26 ",S,1,M,0\n", "t:2: not a time: ''" },
        { LLM "2023-11-16 18:17:03,-1,1\n", "t:2: ContextTokens is not a number" },
        { LLM "2023-11-16 18:17:03,1,99999999999\n", "t:2: GeneratedTokens is past" },
        { "{\n", "t:1: not JSON" },
        { "{}\n", "t:1: timestamp is not a whole number, or not there" },
        { "{\"timestamp\": 1, \"timestamp\": 1}\n", "t:1: not JSON: duplicate" },
        { "{\"timestamp\": 1.5, \"input_length\": 1, \"output_length\": 1}\n", "t:1: timestamp is not a whole" },
        { "{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}\n", "t:1: timestamp is not between" },
        { "{\"timestamp\": 1, \"input_length\": \"1\", \"output_length\": 1}\n", "t:1: input_length is not a whole" },
        { "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1}\n[]\n", "t:2: timestamp is not" },
        { "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1} x\n", "t:1: not JSON" },
    };
    (void)state;
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++)
        refused(bad[n].text, bad[n].why);
    refused_bytes(F2021 "a,f\0x,1,1\n", sizeof F2021 "a,f\0x,1,1\n" - 1, "t:2: a zero byte");
}

static void bad_counts_are_refused(void **state)
{
    static const struct {
        const char *count;
        uint32_t    columns;
        const char *why;
    } bad[] = {
        { "1.5", 1440, "t:2: a count that is not whole" },   { "-1", 1440, "t:2: a count is not a number" },
        { "1000001", 1440, "t:2: a count is past 1000000" }, { "1", 1439, "t:1: the first line is of no trace" },
        { "1", 2100, "t:1: more than 2048 fields" },
    };
    (void)state;
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        char *text = minutes(bad[n].count, bad[n].columns);
        refused(text, bad[n].why);
        free(text);
    }
}

static void what_is_too_much_is_refused(void **state)
{
    static const struct sim_trace_options many = { .models = SIM_TRACE_MODELS_MAX + 1 };
    struct sim_trace                      t;
    char                                 *text = NULL;
    size_t                                bytes;
    FILE                                 *out = open_memstream(&text, &bytes);
    (void)state;

    assert_non_null(out);
    fputs(F2021, out);
    for (uint32_t n = 0; n <= SIM_TRACE_MODELS_MAX; n++)
        fprintf(out, "a,f%u,1,1\n", n);
    fclose(out);
    refused(text, "t:16386: more than 16384 models");
    free(text);

    text = malloc(SIM_TRACE_LINE_MAX + 2);
    assert_non_null(text);
    memset(text, 'x', SIM_TRACE_LINE_MAX + 1);
    text[SIM_TRACE_LINE_MAX + 1] = '\0';
    refused(text, "t:1: longer than 1048576 bytes");
    free(text);
    assert_false(read_bytes("{", 1, &many, &t));
}

/* Every beginning of a good file, and every byte of it changed: read or refused, and nothing else. */
static void no_damage_hurts(void **state)
{
    static const char *const good[] = {
        GENTD26 "2024-11-15 16:57:50,S,32.0,M1,0\n2024-11-15 16:57:51,S,1.0,M2,0\n",
        LLM "2023-11-16 18:17:03.9799600,4808,10\n",
        F2021 "a,f,10.5,0.5\nb,f,3,5\n",
        "{\"timestamp\": 7, \"input_length\": 2000, \"output_length\": 5, \"hash_ids\": [0, 1]}\n",
    };
    static const char with[] = { '\0', '\n', ',', '"', '-', '9', '{', (char)0xff };
    struct sim_trace  t;
    (void)state;

    for (size_t n = 0; n < sizeof good / sizeof *good; n++) {
        size_t bytes = strlen(good[n]);
        for (size_t at = 0; at < bytes; at++) {
            char copy[512];
            assert_in_range(bytes, 1, sizeof copy);
            if (at > 0 && read_bytes(good[n], at, &defaults, &t))
                sim_trace_fini(&t);
            for (size_t w = 0; w < sizeof with; w++) {
                memcpy(copy, good[n], bytes);
                copy[at] = with[w];
                if (read_bytes(copy, bytes, &defaults, &t))
                    sim_trace_fini(&t);
                else
                    assert_int_equal(strncmp(error, "t:", 2), 0);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gentd26_is_by_time_and_lasts_a_second_at_least),
        cmocka_unit_test(a_year_has_its_days),
        cmocka_unit_test(tokens_become_time_by_two_rates),
        cmocka_unit_test(functions_are_models),
        cmocka_unit_test(counts_are_spread_over_their_minute),
        cmocka_unit_test(the_same_seed_draws_the_same_models),
        cmocka_unit_test(the_first_are_the_first_by_time),
        cmocka_unit_test(a_bad_line_is_refused_with_its_number),
        cmocka_unit_test(bad_counts_are_refused),
        cmocka_unit_test(what_is_too_much_is_refused),
        cmocka_unit_test(no_damage_hurts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
