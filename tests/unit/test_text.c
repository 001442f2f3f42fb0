/* SPDX-License-Identifier: Apache-2.0 */
/* Text in messages, and the sort. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sort.h"
#include "base/text.h"

static void utf8_is_what_the_standard_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t      length;
    } cases[] = {
        { "a", 1 },
        { "\x7f", 1 },
        { "\xc2\x80", 2 },
        { "\xdf\xbf", 2 },
        { "\xe0\xa0\x80", 3 },
        { "\xed\x9f\xbf", 3 },
        { "\xee\x80\x80", 3 },
        { "\xf0\x90\x80\x80", 4 },
        { "\xf4\x8f\xbf\xbf", 4 },
        { "\x80", 0 },
        { "\xbf", 0 },
        { "\xc0\x80", 0 },
        { "\xc1\xbf", 0 },
        { "\xc2", 0 },
        { "\xc2\x7f", 0 },
        { "\xe0\x9f\xbf", 0 },
        { "\xe1\x80", 0 },
        { "\xed\xa0\x80", 0 },
        { "\xf0\x8f\xbf\xbf", 0 },
        { "\xf4\x90\x80\x80", 0 },
        { "\xf5\x80\x80\x80", 0 },
        { "\xff", 0 },
        { "\xe1\x80\xc0", 0 },
        { "\xf1\x80\x80", 0 },
        { "\xc2\xc0", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (sgi__utf8_length(cases[i].text, strlen(cases[i].text)) != cases[i].length)
            fail_msg("case %zu", i);
    assert_int_equal(sgi__utf8_length("", 0), 0);
    assert_true(sgi__utf8_valid("a\xc3\xbc\0b", 5));
    assert_false(sgi__utf8_valid("a\xc3\xbc\xc3", 4));
    assert_true(sgi__utf8_valid("", 0));
}

static void names_are_shown_from_their_beginning(void **state)
{
    (void)state;
    struct sgi__shown shown;
    char              name[100];
    assert_string_equal(sgi__show_name(&shown, "model.layers.0"), "model.layers.0");
    assert_string_equal(sgi__show_name(&shown, ""), "");
    assert_string_equal(sgi__show_bytes(&shown, "a\0b", 3), "a?b");
    assert_string_equal(sgi__show_name(&shown, "a\x1b[1m\n\x7f\xc2\x9b\xff\xc3\xbc"), "a?[1m\?\?\?\?\xc3\xbc");
    memset(name, 'n', sizeof name);
    name[56] = '\0';
    assert_string_equal(sgi__show_name(&shown, name), name);
    name[56] = 'n';
    name[57] = '\0';
    assert_int_equal(strlen(sgi__show_name(&shown, name)), 56);
    assert_string_equal(shown.text + 53, "...");
    memcpy(name + 52, "\xc3\xbc\xc3\xbc\xc3\xbc", 7); /* the cut falls into a character: it goes as a whole */
    assert_string_equal(sgi__show_name(&shown, name) + 50, "nn...");
}

static void paths_are_shown_to_their_end(void **state)
{
    (void)state;
    struct sgi__shown shown;
    char              path[300];
    assert_string_equal(sgi__show_path(&shown, "/a/b"), "/a/b");
    memset(path, 'p', sizeof path);
    path[119] = '\0';
    assert_string_equal(sgi__show_path(&shown, path), path);
    path[119] = 'p';
    path[120] = '\0';
    assert_int_equal(strlen(sgi__show_path(&shown, path)), 119);
    assert_int_equal(strncmp(shown.text, "...ppp", 6), 0);
    memcpy(path + 3, "\xc3\xbc", 2);
    assert_int_equal(strlen(sgi__show_path(&shown, path)), 118);
    assert_true(sgi__utf8_valid(shown.text, strlen(shown.text)));
}

struct item {
    int key, number;
};

static size_t comparisons;

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    comparisons++;
    return (x->key > y->key) - (x->key < y->key);
}

static void the_sort_is_stable_and_quick(void **state)
{
    (void)state;
    enum { MOST = 1 << 12 };
    static struct item items[MOST];
    static const void *order[MOST], *scratch[MOST];
    for (size_t count = 0; count <= MOST; count = count < 70 ? count + 1 : 2 * count) {
        for (int kind = 0; kind < 4; kind++) { /* rising, falling, few keys, all alike */
            for (size_t i = 0; i < count; i++) {
                int n = (int)i;
                items[i] = (struct item){ kind == 0 ? n : kind == 1 ? -n : kind == 2 ? n * 7919 % 5 : 1, n };
                order[i] = &items[i];
            }
            comparisons = 0;
            sgi__sort(order, scratch, count, compare);
            assert_true(comparisons <= count * 14);
            if (kind == 0 || kind == 3)
                assert_true(comparisons <= count);
            for (size_t i = 1; i < count; i++) {
                const struct item *a = order[i - 1], *b = order[i];
                assert_true(a->key < b->key || (a->key == b->key && a->number < b->number));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_what_the_standard_says),
        cmocka_unit_test(names_are_shown_from_their_beginning),
        cmocka_unit_test(paths_are_shown_to_their_end),
        cmocka_unit_test(the_sort_is_stable_and_quick),
    };
    return cmocka_run_group_tests_name("text and sort", tests, NULL, NULL);
}
