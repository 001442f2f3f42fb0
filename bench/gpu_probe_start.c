/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to have a driver in a process: time to start, memory that stays, what the kernel is asked for. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu_probe.h"

/* ----------------------------------------------------------------------------------------------------------- start */

static double lap_ms(double *since)
{
    double now = now_us(), ms = (now - *since) / 1e3;
    *since = now;
    return ms;
}

/* Not under "files", the number of them: what they are. */
static void put_links(json_t *to)
{
    char    path[300], target[512];
    DIR    *folder = opendir("/proc/self/fd");
    json_t *counts = put_object(to, "open_files");
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length <= 0)
            continue;
        target[length] = '\0';
        target[strcspn(target, "[")] = '\0'; /* socket:[123] */
        json_int_t before = json_integer_value(json_object_get(counts, target));
        json_object_set_new(counts, target, json_integer(before + 1));
    }
    if (folder)
        closedir(folder);
}

/* Times each step inside the process; nothing is said in between, so that nobody's looking is timed. Arg "init": no
 * further than cuInit. */
void role_starter(struct probe *p)
{
    json_t *facts = json_object();
    bool    init_only = p->arg && strcmp(p->arg, "init") == 0;

    stage(p, "main", NULL);
    double since = now_us();
    bool   good = cuda_open(p, facts);
    put_number(facts, "dlopen_ms", lap_ms(&since));
    good = good && CU(p, cuInit, (0));
    put_number(facts, "init_ms", lap_ms(&since));
    int count = 0;
    if (good && CU_CODE(p, cuDeviceGetCount, (&count)) == CU_OK)
        json_object_set_new(facts, "devices_visible", json_integer(count));
    since = now_us();
    if (good && !init_only) {
        good = cuda_context(p);
        put_number(facts, "retain_ms", lap_ms(&since));
        good = good && cuda_module(p);
        put_number(facts, "module_ms", lap_ms(&since));
        good = good && cu_ended(p, "cuLaunchKernel", kernel_noop(p)) && CU(p, cuCtxSynchronize, ());
        put_number(facts, "first_launch_ms", lap_ms(&since));
        if (good && cu_ended(p, "cuLaunchKernel", kernel_noop(p)))
            CU(p, cuCtxSynchronize, ());
        put_number(facts, "second_launch_ms", lap_ms(&since));
    }
    put_links(facts);
    failure_put(p, facts);
    stage(p, "end", facts);
}

/* The device that --device means, as the only visible one: the Nth of a list that is there already, else N. */
static void only_device(const struct probe *p, char *variable, size_t room)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    int         n = p->ordinal;
    for (; list && *list && n > 0; n--) {
        list += strcspn(list, ",");
        list += *list == ',';
    }
    if (list && *list)
        snprintf(variable, room, "CUDA_VISIBLE_DEVICES=%.*s", (int)strcspn(list, ","), list);
    else
        snprintf(variable, room, "CUDA_VISIBLE_DEVICES=%d", p->ordinal);
}

static void put_medians(json_t *runs, json_t *to)
{
    static const char *const keys[] = { "dlopen_ms", "init_ms",         "retain_ms",
                                        "module_ms", "first_launch_ms", "second_launch_ms" };
    double                   values[8], exits[8];
    size_t                   exits_count = 0;
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        size_t count = 0;
        for (size_t n = 0; n < json_array_size(runs) && n < 8; n++) {
            json_t *end = json_object_get(json_object_get(json_array_get(runs, n), "stages"), "end");
            json_t *value = json_object_get(end, keys[k]);
            if (value)
                values[count++] = json_number_value(value);
        }
        put_median(to, keys[k], values, count);
    }
    for (size_t n = 0; n < json_array_size(runs) && n < 8; n++) {
        json_t *value = json_object_get(json_array_get(runs, n), "exit_ms");
        if (value)
            exits[exits_count++] = json_number_value(value);
    }
    put_median(to, "exit_ms", exits, exits_count);
}

/* Not looked at, unless asked for: NVML keeps the device open, and what is open need not be started. */
static void start_variant(struct probe *p, json_t *out, const char *name, bool observed, const char *visible,
                          const char *more)
{
    struct probe        q = *p;
    struct role_options o = { .name = "starter", .fd = -1, .environment = { visible, visible ? more : NULL } };
    json_t             *to = put_object(out, name), *runs = put_array(to, "runs");
    bool                well = true;
    if (visible)
        q.ordinal = 0; /* it is the first of those it sees */
    if (!observed)
        q.nvml = (struct nvml_view){ .why = "not opened: it would keep the device started", .opened = true };
    for (int n = 0; n < 3 && well; n++) {
        json_t *run = json_object();
        json_array_append_new(runs, run);
        step(p, name);
        well = role_run(&q, &o, run, NULL, NULL);
    }
    put_medians(runs, to);
}

void probe_start(struct probe *p, json_t *out)
{
    char one[1024];
    only_device(p, one, sizeof one);
    put_text(out, "one_is", one);
    start_variant(p, out, "all", false, NULL, NULL);
    start_variant(p, out, "one", false, one, NULL);
    start_variant(p, out, "one_no_preload", false, one, "CUDA_FORCE_PRELOAD_LIBRARIES=0");
    start_variant(p, out, "one_no_jit_cache", false, one, "CUDA_CACHE_DISABLE=1");
    start_variant(p, out, "one_nvml_open", true, one, NULL); /* last: it stays open */
}

/* --------------------------------------------------------------------------------------------------------- context */

static json_t *timed(double begin)
{
    json_t *facts = json_object();
    put_number(facts, "took_ms", (now_us() - begin) / 1e3);
    return facts;
}

static void use(struct probe *p)
{
    if (cuda_module(p) && cu_ended(p, "cuLaunchKernel", kernel_noop(p)))
        CU(p, cuCtxSynchronize, ());
}

static void say(struct probe *p, const char *name, double begin)
{
    json_t *facts = timed(begin);
    failure_put(p, facts);
    stage(p, name, facts);
}

/* Looked at from outside after every step: nothing here but the steps. */
void role_lifecycle(struct probe *p)
{
    double begin = now_us();
    cuda_open(p, p->out);
    say(p, "opened", begin);
    begin = now_us();
    bool good = cuda_init(p);
    say(p, "init", begin);
    for (int round = 0; round < 2 && good; round++) {
        begin = now_us();
        good = cuda_context(p);
        say(p, "retained", begin);
        begin = now_us();
        if (good)
            use(p);
        say(p, "launched", begin);
        begin = now_us();
        CU(p, cuCtxSetCurrent, (NULL));
        CU(p, cuDevicePrimaryCtxRelease_v2, (p->device));
        say(p, "released", begin);
    }
    stage(p, "end", NULL);
}

static double delta_of(json_t *out, const char *stage_name)
{
    return json_number_value(
        json_object_get(json_object_get(json_object_get(out, "stages"), stage_name), "nvml_delta_mib"));
}

void probe_context(struct probe *p, json_t *out)
{
    struct role_options o = { .name = "lifecycle", .fd = -1 };
    bool                well = role_run(p, &o, out, NULL, NULL);
    if (!well || !nvml_open(p))
        return;
    put_number(out, "init_mib", delta_of(out, "init"));
    put_number(out, "context_mib", delta_of(out, "retained") - delta_of(out, "init"));
    put_number(out, "launched_mib", delta_of(out, "launched") - delta_of(out, "init"));
    put_number(out, "left_after_release_mib", delta_of(out, "released"));
    put_number(out, "left_after_second_release_mib", delta_of(out, "released_2"));
}

/* -------------------------------------------------------------------------------------------------------- syscalls */

static bool in_path(const char *program)
{
    char        file[4096];
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)length, path, program);
        if (access(file, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

/* "% time  seconds  usecs/call  calls  [errors]  syscall": the name is last, the calls fourth. */
static void put_counts(FILE *f, json_t *to)
{
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        char     name[128];
        unsigned calls, errors;
        double   share, seconds, each;
        if (sscanf(line, "%lf %lf %lf %u %u %127s", &share, &seconds, &each, &calls, &errors, name) == 6 ||
            sscanf(line, "%lf %lf %lf %u %127s", &share, &seconds, &each, &calls, name) == 5) {
            if (strcmp(name, "total") != 0)
                json_object_set_new(to, name, json_integer(calls));
        }
    }
}

/* 123 openat(AT_FDCWD, "/dev/nvidiactl", O_RDWR) = 3 */
static void put_paths(FILE *f, json_t *to)
{
    char line[4096];
    while (fgets(line, sizeof line, f) && json_object_size(to) < 256) {
        char *path = strchr(line, '"'), *end = path ? strchr(path + 1, '"') : NULL;
        char *result = end ? strstr(end + 1, " = ") : NULL;
        if (!result)
            continue;
        path++;
        *end = '\0';
        result[strcspn(result, "\n")] = '\0';
        if (strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0)
            put_text(to, path, result[3] == '-' ? result + 3 : "ok");
    }
}

static void traced(struct probe *p, json_t *out, const char *key, const char *how, void (*put)(FILE *f, json_t *to))
{
    const char         *folder = getenv("TMPDIR");
    char                file[512], under[700];
    struct role_options o = { .name = "starter", .arg = "init", .fd = -1, .under = under };
    json_t             *to = put_object(out, key);

    snprintf(file, sizeof file, "%s/gpu_probe.XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(file);
    if (fd < 0) {
        skip(to, "no file for strace to write to");
        return;
    }
    snprintf(under, sizeof under, "strace -f %s -o %s --", how, file);
    step(p, key);
    role_run(p, &o, put_object(to, "run"), NULL, NULL);
    FILE *f = fdopen(fd, "r");
    if (f) {
        put(f, put_object(to, "seen"));
        fclose(f);
    }
    unlink(file);
}

void probe_syscalls(struct probe *p, json_t *out)
{
    struct role_options o = { .name = "starter", .arg = "init", .fd = -1 };
    role_run(p, &o, put_object(out, "untraced"), NULL, NULL); /* its open files say which devices it keeps */
    if (!in_path("strace")) {
        put_text(out, "strace", "no strace");
        return;
    }
    traced(p, out, "calls", "-c", put_counts);
    traced(p, out, "opened", "-e trace=?open,openat,?openat2", put_paths);
}
