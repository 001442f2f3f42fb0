/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory there is for us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/runtime.h"

static void it_is_no_more_than_the_machine_has(void **state)
{
    (void)state;
    uint64_t physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t ram = sgi__ram_bytes();
    assert_true(ram > 0 && ram <= physical);
    assert_int_equal(sgi__ram_bytes(), ram);
}

/* What the groups say, read another way: the smallest number in a memory.max of this process' own group. */
static void the_control_groups_limit_holds(void **state)
{
    (void)state;
    char     line[512], path[600], text[64] = "";
    FILE    *file = fopen("/proc/self/cgroup", "r");
    uint64_t limit = UINT64_MAX;

    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) == 0)
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", line + 3);
        else
            continue;
        FILE *max = fopen(path, "r");
        if (max && fgets(text, sizeof text, max))
            sscanf(text, "%lu", &limit);
        if (max)
            fclose(max);
    }
    if (file)
        fclose(file);
    assert_true(sgi__ram_bytes() <= limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_no_more_than_the_machine_has),
        cmocka_unit_test(the_control_groups_limit_holds),
    };
    return cmocka_run_group_tests_name("ram", tests, NULL, NULL);
}
