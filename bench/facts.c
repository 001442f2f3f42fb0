/* SPDX-License-Identifier: Apache-2.0 */
/* On which machine a number was measured, and what else it was doing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "report.h"

static void set_text(json_t *facts, const char *name, const char *text)
{
    json_object_set_new(facts, name, text && text[0] ? json_string(text) : json_null());
}

/* The first line of a file that begins with `key`, from behind its colon; all of the first line with NULL. */
static void read_line(const char *path, const char *key, char *text, size_t bytes)
{
    char  line[256];
    FILE *file = fopen(path, "re");

    text[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        const char *colon = strchr(line, ':');
        if (!key || (strncmp(line, key, strlen(key)) == 0 && colon)) {
            snprintf(text, bytes, "%s", key ? colon + 1 + strspn(colon + 1, " \t") : line);
            break;
        }
    }
    if (file)
        fclose(file);
}

/* The word in brackets, as /sys marks what is chosen. */
static void set_chosen(json_t *facts, const char *name, const char *path)
{
    char text[128];
    read_line(path, NULL, text, sizeof text);
    char *from = strchr(text, '['), *to = from ? strchr(from, ']') : NULL;
    if (to)
        *to = 0;
    set_text(facts, name, to ? from + 1 : NULL);
}

static void set_file_system(json_t *facts, const char *path)
{
    static const struct {
        uint32_t    magic;
        const char *name;
    } known[] = { { 0xef53, "ext" },         { 0x58465342, "xfs" },   { 0x9123683e, "btrfs" }, { 0x01021994, "tmpfs" },
                  { 0x794c7630, "overlay" }, { 0x2fc12fc1, "zfs" },   { 0x6969, "nfs" },       { 0xf2f52010, "f2fs" },
                  { 0x65735546, "fuse" },    { 0x0bd00bd0, "lustre" } };
    struct statfs fs;
    char          text[32];

    if (!path || statfs(path, &fs) != 0)
        return;
    snprintf(text, sizeof text, "0x%" PRIx32, (uint32_t)fs.f_type);
    for (size_t n = 0; n < sizeof known / sizeof *known; n++)
        if (known[n].magic == (uint32_t)fs.f_type)
            snprintf(text, sizeof text, "%s", known[n].name);
    set_text(facts, "file_system", text);
}

static void set_library(json_t *facts)
{
    uint32_t    version = sgi_version();
    char        text[32];
    sgi_feature feature = { .struct_size = sizeof feature };

    snprintf(text, sizeof text, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, version / 10000, version / 100 % 100,
             version % 100);
    set_text(facts, "library", text);
    for (uint32_t n = 0; sgi_feature_at(n, &feature) == SGI_OK; n++)
        json_object_set_new(facts, feature.name, json_boolean(feature.usable));
}

json_t *machine_facts(const char *path)
{
    json_t        *facts = json_object();
    char           text[256];
    struct utsname kernel;
    struct sysinfo memory;
    double         load[1];

    read_line("/proc/cpuinfo", "model name", text, sizeof text);
    set_text(facts, "cpu", text);
    json_object_set_new(facts, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    if (sysinfo(&memory) == 0)
        json_object_set_new(facts, "memory_bytes", json_integer((json_int_t)memory.totalram * memory.mem_unit));
    if (uname(&kernel) == 0)
        set_text(facts, "kernel", kernel.release);
    json_object_set_new(facts, "page_bytes", json_integer(sysconf(_SC_PAGESIZE)));
    set_chosen(facts, "transparent_huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled");
    set_chosen(facts, "shmem_huge_pages", "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    set_file_system(facts, path);
    set_library(facts);
    if (getloadavg(load, 1) == 1) /* of the last minute, this program in it */
        json_object_set_new(facts, "load_average", json_real(load[0]));
    return facts;
}
