/* SPDX-License-Identifier: Apache-2.0 */
/* Names to models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/fault.h"
#include "model/registry.h"

enum { MANY = 1000 };

static struct sgi__registry_entry entries[MANY];
static char                       names[MANY][24];

static void many_names_are_found_and_go_again(void **state)
{
    (void)state;
    struct sgi__registry r = { 0 };

    assert_null(sgi__registry_find(&r, "nothing"));
    for (int n = 0; n < MANY; n++) {
        snprintf(names[n], sizeof names[n], "model-%d", n);
        entries[n].name = names[n];
        assert_int_equal(sgi__registry_add(&r, &entries[n]), SGI_OK);
        struct sgi__registry_entry twin = { .name = names[n] };
        assert_int_equal(sgi__registry_add(&r, &twin), SGI_E_EXISTS);
    }
    assert_int_equal(r.count, MANY);
    for (int n = 0; n < MANY; n++)
        assert_ptr_equal(sgi__registry_find(&r, names[n]), &entries[n]);
    for (int n = 0; n < MANY; n += 2)
        sgi__registry_remove(&r, &entries[n]);
    for (int n = 0; n < MANY; n++)
        assert_ptr_equal(sgi__registry_find(&r, names[n]), n % 2 ? &entries[n] : NULL);
    assert_int_equal(r.count, MANY / 2);
    assert_int_equal(sgi__registry_add(&r, &entries[0]), SGI_OK); /* a name can come back */
    assert_null(sgi__registry_find(&r, "model-"));
    sgi__registry_fini(&r);
    assert_int_equal(r.count, 0);
}

static void without_memory_it_stays_as_it_was(void **state)
{
    (void)state;
    struct sgi__registry       r = { 0 };
    struct sgi__registry_entry e = { .name = "a" };
    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    assert_int_equal(sgi__registry_add(&r, &e), SGI_E_NO_MEMORY);
    assert_null(sgi__registry_find(&r, "a"));
    assert_int_equal(sgi__registry_add(&r, &e), SGI_OK);
    sgi__fault_clear();
    sgi__registry_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_names_are_found_and_go_again),
        cmocka_unit_test(without_memory_it_stays_as_it_was),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
