/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics: histograms that add up, and a text that stays well-formed and bounded whatever a model is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "observe/metrics.h"

#define MS UINT64_C(1000000)

struct text {
    char  *data;
    size_t bytes, pieces, stop_after; /* pieces */
};

static int collect(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    if (t->stop_after > 0 && t->pieces == t->stop_after)
        return 1;
    t->data = realloc(t->data, t->bytes + bytes + 1);
    memcpy(t->data + t->bytes, text, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
    t->pieces++;
    return 0;
}

static struct sgi__metrics_snapshot *new_snapshot(void)
{
    struct sgi__metrics_snapshot *s = calloc(1, sizeof *s);
    s->rows_count = 1;
    s->devices_count = 1;
    memcpy(s->devices[0].name, "host:0", 7);
    return s;
}

/* Of a whole line. */
static void has_line(const struct text *t, const char *line)
{
    const char *at = strstr(t->data, line);
    size_t      bytes = strlen(line);
    while (at && ((at > t->data && at[-1] != '\n') || at[bytes] != '\n'))
        at = strstr(at + 1, line);
    if (!at)
        fail_msg("there is no line '%s' in\n%s", line, t->data);
}

static void a_histogram_counts_up_to_its_bounds(void **state)
{
    (void)state;
    struct sgi__metrics_snapshot *s = new_snapshot();
    struct text                   t = { 0 };
    const uint64_t                ns[] = { 0, MS, MS + 1, 2000 * MS, 300000 * MS, 300001 * MS };

    for (uint32_t n = 0; n < 6; n++)
        sgi__histogram_add(&s->counts.unload, ns[n]);
    assert_int_equal(sgi__metrics_text(s, collect, &t), SGI_OK);
    has_line(&t, "# TYPE sgi_unload_seconds histogram");
    has_line(&t, "sgi_unload_seconds_bucket{le=\"0.0001\"} 1");
    has_line(&t, "sgi_unload_seconds_bucket{le=\"0.001\"} 2"); /* at the bound is below it */
    has_line(&t, "sgi_unload_seconds_bucket{le=\"0.003\"} 3");
    has_line(&t, "sgi_unload_seconds_bucket{le=\"1\"} 3");
    has_line(&t, "sgi_unload_seconds_bucket{le=\"2\"} 4");
    has_line(&t, "sgi_unload_seconds_bucket{le=\"300\"} 5");
    has_line(&t, "sgi_unload_seconds_bucket{le=\"+Inf\"} 6");
    has_line(&t, "sgi_unload_seconds_sum 602.003000001");
    has_line(&t, "sgi_unload_seconds_count 6");
    free(t.data);
    free(s);
}

static void names_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *name, *label;
    } names[] = {
        { "plain", "plain" },
        { "a \"quoted\" name", "a \\\"quoted\\\" name" },
        { "back\\slash\\", "back\\\\slash\\\\" },
        { "two\nlines", "two\\nlines" },
        { "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x88", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x88" },
        { "cut \xc3", "cut \xef\xbf\xbd" },
        { "\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "{le=\"1\"} 5", "{le=\\\"1\\\"} 5" },
    };
    for (uint32_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct sgi__metrics_snapshot *s = new_snapshot();
        struct text                   t = { 0 };
        char                          line[400];

        memcpy(s->rows[0].name, names[n].name, strlen(names[n].name));
        s->rows[0].device_bytes = 77;
        assert_int_equal(sgi__metrics_text(s, collect, &t), SGI_OK);
        snprintf(line, sizeof line, "sgi_resident_bytes{model=\"%s\",tier=\"device\"} 77", names[n].label);
        has_line(&t, line);
        free(t.data);
        free(s);
    }
}

/* The longest there can be: every row, every name as long as allowed, each of its bytes escaped into three. */
static void the_longest_output_is_whole(void **state)
{
    (void)state;
    struct sgi__metrics_snapshot *s = new_snapshot();
    struct text                   t = { 0 };

    s->rows_count = SGI__METRICS_ROWS;
    s->devices_count = SGI__METRICS_DEVICES;
    for (uint32_t n = 0; n < SGI__METRICS_ROWS; n++) {
        memset(s->rows[n].name, 0xff, 255);
        memset(&s->rows[n].counts, 0xff, sizeof s->rows[n].counts);
    }
    assert_int_equal(sgi__metrics_text(s, collect, &t), SGI_OK);
    assert_true(t.bytes < 2000000);
    assert_true(sgi__utf8_valid(t.data, t.bytes));
    assert_int_equal(t.data[t.bytes - 1], '\n');
    for (char *line = t.data, *end; *line; line = end + 1) { /* none was cut: each ends in its value */
        end = strchr(line, '\n');
        assert_non_null(end);
        assert_true(*line == '#' || (end[-1] >= '0' && end[-1] <= '9'));
    }
    free(t.data);
    free(s);
}

static void the_locale_changes_no_number(void **state)
{
    (void)state;
    struct sgi__metrics_snapshot *s = new_snapshot();
    struct text                   plain = { 0 }, local = { 0 };

    sgi__histogram_add(&s->counts.age, 1500 * MS);
    s->dram_max = UINT64_C(1) << 60;
    assert_int_equal(sgi__metrics_text(s, collect, &plain), SGI_OK);
    has_line(&plain, "sgi_age_at_eviction_seconds_sum 1.500000000");
    has_line(&plain, "sgi_dram_limit_bytes 1152921504606846976");
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "de_DE"))
        print_message("no locale with a decimal comma is installed\n");
    assert_int_equal(sgi__metrics_text(s, collect, &local), SGI_OK);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(plain.data, local.data);
    free(plain.data);
    free(local.data);
    free(s);
}

static void the_reader_can_stop_it(void **state)
{
    (void)state;
    struct sgi__metrics_snapshot *s = new_snapshot();

    for (size_t stop = 1; stop < 60; stop++) {
        struct text t = { .stop_after = stop };
        assert_int_equal(sgi__metrics_text(s, collect, &t), SGI_E_CANCELED);
        assert_int_equal(t.pieces, stop);
        free(t.data);
    }
    free(s);
}

struct samples {
    uint32_t count, stop_after;
    double   sum, inf;
    char     family[64];
    uint32_t families;
};

static int each(void *user, const sgi_sample *sample)
{
    struct samples *all = user;

    assert_int_equal(sample->struct_size, sizeof *sample);
    assert_true(sample->labels_count <= SGI_LABELS_MAX);
    assert_true(sample->help[0] != '\0' && sample->type >= SGI_SAMPLE_COUNTER && sample->type <= SGI_SAMPLE_HISTOGRAM);
    assert_int_equal(strncmp(sample->name, sample->family, strlen(sample->family)), 0);
    if (strcmp(all->family, sample->family) != 0) {
        snprintf(all->family, sizeof all->family, "%s", sample->family);
        all->families++;
    }
    if (strcmp(sample->name, "sgi_unload_seconds_sum") == 0)
        all->sum = sample->value;
    if (strcmp(sample->name, "sgi_unload_seconds_bucket") == 0 && strcmp(sample->label_values[0], "+Inf") == 0)
        all->inf = sample->value;
    all->count++;
    return all->count == all->stop_after;
}

static void samples_are_the_lines_of_the_text(void **state)
{
    (void)state;
    struct sgi__metrics_snapshot *s = new_snapshot();
    struct text                   t = { 0 };
    struct samples                all = { 0 };
    uint32_t                      lines = 0, families = 0;

    sgi__histogram_add(&s->counts.unload, 250 * MS);
    assert_int_equal(sgi__metrics_text(s, collect, &t), SGI_OK);
    for (const char *line = t.data; *line; line = strchr(line, '\n') + 1) {
        lines += *line != '#';
        families += strncmp(line, "# TYPE ", 7) == 0;
    }
    assert_int_equal(sgi__metrics_each(s, each, &all), SGI_OK);
    assert_int_equal(all.count, lines);
    assert_int_equal(all.families, families); /* samples of one come together */
    assert_true(all.sum == 0.25 && all.inf == 1.0);
    all = (struct samples){ .stop_after = 5 };
    assert_int_equal(sgi__metrics_each(s, each, &all), SGI_E_CANCELED);
    assert_int_equal(all.count, 5);
    free(t.data);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_histogram_counts_up_to_its_bounds),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(the_longest_output_is_whole),
        cmocka_unit_test(the_locale_changes_no_number),
        cmocka_unit_test(the_reader_can_stop_it),
        cmocka_unit_test(samples_are_the_lines_of_the_text),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
