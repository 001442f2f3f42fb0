/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory there is for us: what the machine has, or what the control group allows if that is less. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/runtime.h"

static uint64_t read_limit(const char *path)
{
    char  text[64] = "";
    FILE *file = fopen(path, "re");
    if (!file)
        return UINT64_MAX;
    char *line = fgets(text, sizeof text, file);
    fclose(file);
    if (!line || strncmp(text, "max", 3) == 0)
        return UINT64_MAX;
    char    *end;
    uint64_t value = strtoull(text, &end, 10);
    return end == text ? UINT64_MAX : value;
}

/* The group of this process and all above it: the smallest limit on the way holds. `mount` is where the hierarchy
 * is. */
static uint64_t limit_along(const char *mount, const char *group, const char *file)
{
    char     path[512];
    uint64_t limit = UINT64_MAX;
    size_t   bytes = strlen(group);

    for (;;) {
        int n = snprintf(path, sizeof path, "%s%.*s/%s", mount, (int)bytes, group, file);
        if (n > 0 && (size_t)n < sizeof path) {
            uint64_t here = read_limit(path);
            if (here < limit)
                limit = here;
        }
        if (bytes == 0)
            return limit;
        while (bytes > 0 && group[--bytes] != '/') { /* one component up */
        }
    }
}

static uint64_t cgroup_limit(void)
{
    char     line[512];
    uint64_t limit = UINT64_MAX;
    FILE    *file = fopen("/proc/self/cgroup", "re");

    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        uint64_t here = UINT64_MAX;
        if (*controllers == '\0')
            here = limit_along("/sys/fs/cgroup", group, "memory.max");
        else if (strstr(controllers, "memory"))
            here = limit_along("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        if (here < limit)
            limit = here;
    }
    if (file)
        fclose(file);
    return limit;
}

uint64_t sgi__ram_bytes(void)
{
    long     pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t physical = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 30;
    uint64_t limit = cgroup_limit();
    return limit < physical ? limit : physical;
}
