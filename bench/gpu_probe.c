/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a GPU, its driver and this machine do, measured: one JSON object on stdout. No code of the library is in it, and
 * nothing of CUDA is needed to build it.
 *
 *     gpu_probe [--only NAME]... [--device N] [--bytes MAX] [--timeout SECONDS] [--list]
 *
 * One --only runs that probe in this process and prints its object alone; none, or several, run each in a process of
 * its own, under a timeout. Exit: 0 the report is complete, whatever is in it; 2 usage; 3 no driver or no device (the
 * JSON is complete all the same and has "reason"); 1 the report could not be written.
 *
 * In a probe's object "skipped" says why it was not made, "error" which call of the driver failed, "ended" that its
 * process did not come to its end ("timeout", "signal 11"); "step" is then the last thing it was at.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "gpu_probe.h"

static const struct {
    const char *name;
    probe_fn    run;
    unsigned    timeout_s;
    const char *what;
} probes[] = {
    { "driver", probe_driver, 120, "driver, device and its attributes" },
    { "start", probe_start, 300, "cuInit, primary context, first launch, exit; all GPUs visible, and one" },
    { "context", probe_context, 120, "what a context holds, and what is left after its release and after exit" },
    { "contextless", probe_contextless, 120, "cuMemCreate without a context, and who sees it" },
    { "syscalls", probe_syscalls, 240, "what cuInit asks of the kernel" },
    { "vmm", probe_vmm, 120, "create, map, access, unmap against size" },
    { "import", probe_import, 180, "memory handed as an fd to a process of another user" },
    { "readonly", probe_readonly, 300, "writes to a read-only mapping" },
    { "scrub", probe_scrub, 300, "bytes of one process seen by the next" },
    { "h2d", probe_h2d, 240, "host to device: chunk size, streams, kinds of memory" },
    { "pin", probe_pin, 240, "pinning host memory, by kind of page" },
    { "pin_release", probe_pin_release, 120, "pinned memory across a release of the primary context" },
    { "host_numa", probe_host_numa, 180, "host memory by cuMemCreate: touched, copied from, shared" },
    { "sticky", probe_sticky, 300, "what a faulting kernel leaves usable" },
    { "checkpoint", probe_checkpoint, 400, "checkpoint and restore, of a child and of itself" },
};
enum { PROBES = sizeof probes / sizeof probes[0], TIMEOUT_MAX = 86400 };

static const struct {
    const char *name;
    void (*run)(struct probe *p);
} roles[] = {
    { "starter", role_starter },
    { "lifecycle", role_lifecycle },
    { "importer", role_importer },
    { "writer", role_writer },
    { "reader", role_reader },
    { "numa", role_numa },
    { "faulty", role_faulty },
    { "bystander", role_bystander },
    { "target", role_target },
    { "self", role_self },
    { "checkpointer", role_checkpointer },
};

struct options {
    bool        only[PROBES], restricted, list;
    unsigned    only_count;
    const char *role;
};

/* -------------------------------------------------------------------------------------------------- what is shared */

double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static bool write_json(int fd, const json_t *object, size_t flags)
{
    char  *text = json_dumps(object, flags | JSON_REAL_PRECISION(12));
    size_t length = text ? strlen(text) : 0, done = 0;
    if (text)
        text[length++] = '\n'; /* where the end of the string was: it is written by length */
    while (text && done < length) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    free(text);
    return length > 0 && done == length;
}

void step(struct probe *p, const char *name)
{
    if (!p->lines)
        return;
    put_text(p->out, "step", name);
    write_json(p->result, p->out, JSON_COMPACT);
}

json_t *put_object(json_t *to, const char *key)
{
    json_t *object = json_object();
    json_object_set_new(to, key, object);
    return object;
}

json_t *put_array(json_t *to, const char *key)
{
    json_t *array = json_array();
    json_object_set_new(to, key, array);
    return array;
}

void put_number(json_t *to, const char *key, double value)
{
    double scaled = value * 1000;
    if (scaled > -9e15 && scaled < 9e15)
        value = (double)(int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5)) / 1000;
    json_object_set_new(to, key, json_real(value));
}

/* Names of devices and messages of a JIT compiler are not ours: what is not UTF-8 is told by its length only. */
void put_text(json_t *to, const char *key, const char *text)
{
    json_t *string = json_string(text);
    if (!string)
        string = json_pack("{s:I}", "not_utf8_bytes", (json_int_t)strlen(text));
    json_object_set_new(to, key, string);
}

void put_code(json_t *to, const char *key, int code)
{
    json_object_set_new(to, key, cu_code_json(code));
}

static int by_value(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

void put_median(json_t *to, const char *key, double *values, size_t count)
{
    if (count == 0)
        return;
    qsort(values, count, sizeof *values, by_value);
    put_number(to, key, count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2);
}

void skip(json_t *to, const char *reason)
{
    put_text(to, "skipped", reason);
}

static uint64_t field_of(const char *path, const char *field)
{
    char     line[512];
    uint64_t value = 0;
    FILE    *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, field, strlen(field)) == 0) {
            value = strtoull(line + strlen(field), NULL, 10);
            break;
        }
    }
    if (f)
        fclose(f);
    return value;
}

uint64_t proc_kib(pid_t pid, const char *file, const char *field)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    return field_of(path, field);
}

/* A whole file that is a number; "max" and no such file are no limit. */
static uint64_t limit_of(const char *path)
{
    uint64_t value = field_of(path, "");
    return value > 0 ? value : UINT64_MAX;
}

/* A container's limit counts too: who goes over it is killed, and what was measured with him. */
uint64_t host_available(void)
{
    uint64_t bytes = field_of("/proc/meminfo", "MemAvailable:") * 1024;
    uint64_t v2 = limit_of("/sys/fs/cgroup/memory.max"), v1 = limit_of("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    if (v2 < bytes)
        bytes = v2;
    if (v1 < bytes)
        bytes = v1;
    return bytes / 4 / HUGE_PAGE * HUGE_PAGE;
}

/* ----------------------------------------------------------------------------------------------------- the machine */

static void put_line(json_t *to, const char *key, const char *path)
{
    char  line[512] = "";
    FILE *f = fopen(path, "re");
    if (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        put_text(to, key, line);
    }
    if (f)
        fclose(f);
}

static void put_variable(json_t *to, const char *name)
{
    if (getenv(name))
        put_text(to, name, getenv(name));
}

static json_t *machine(void)
{
    json_t        *m = json_object();
    struct utsname u;
    struct rlimit  memlock;

    if (uname(&u) == 0) {
        put_text(m, "kernel", u.release);
        put_text(m, "architecture", u.machine);
    }
    json_object_set_new(m, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    put_number(m, "memory_mib", (double)field_of("/proc/meminfo", "MemTotal:") / 1024.0);
    json_object_set_new(m, "uid", json_integer(geteuid()));
    if (getrlimit(RLIMIT_MEMLOCK, &memlock) == 0)
        put_number(m, "memlock_mib", memlock.rlim_cur == RLIM_INFINITY ? -1 : (double)memlock.rlim_cur / (double)MIB);
    put_line(m, "kernel_module", "/proc/driver/nvidia/version");
    put_line(m, "thp", "/sys/kernel/mm/transparent_hugepage/enabled");
    put_line(m, "ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope");
    put_variable(m, "CUDA_VISIBLE_DEVICES");
    put_variable(m, "NVIDIA_VISIBLE_DEVICES");
    put_variable(m, "CUDA_DEVICE_ORDER");
    put_variable(m, "CUDA_MODULE_LOADING");
    return m;
}

/* ------------------------------------------------------------------------------------------------------------ runs */

static unsigned timeout_of(const struct probe *p, size_t n)
{
    return probes[n].timeout_s < p->timeout_s ? probes[n].timeout_s : p->timeout_s;
}

/* Asks a child, so that this process stays without a driver. The text lives as long as the object. */
static const char *look_at_driver(struct probe *p, json_t **driver)
{
    *driver = probe_child(p, "driver", (int)timeout_of(p, 0));
    p->pci = json_string_value(json_object_get(json_object_get(*driver, "device"), "pci"));
    const char *reason = json_string_value(json_object_get(*driver, "reason"));
    const char *ended = json_string_value(json_object_get(*driver, "ended"));
    const char *at = json_string_value(json_object_get(*driver, "step"));
    if (!reason && !json_object_get(*driver, "device")) {
        char text[256];
        snprintf(text, sizeof text, "whoever asked the driver did not answer: %s, at %s", ended ? ended : "no object",
                 at ? at : "its start");
        put_text(*driver, "reason", text);
        reason = json_string_value(json_object_get(*driver, "reason"));
    }
    return reason;
}

static int run_all(struct probe *p, const struct options *o)
{
    json_t *report = json_object(), *driver;
    json_object_set_new(report, "machine", machine());
    const char *reason = look_at_driver(p, &driver);
    if (reason) {
        json_object_set_new(report, "driver", json_null());
        put_text(report, "reason", reason);
        json_object_set_new(report, "found", driver);
    } else {
        json_object_set_new(report, "driver", driver);
    }
    json_t *made = put_object(report, "probes");
    for (size_t n = 1; n < PROBES && !reason; n++) {
        if (o->only_count > 0 && !o->only[n])
            continue;
        fprintf(stderr, "gpu_probe: %s\n", probes[n].name);
        json_object_set_new(made, probes[n].name, probe_child(p, probes[n].name, (int)timeout_of(p, n)));
    }
    bool written = write_json(STDOUT_FILENO, report, JSON_INDENT(2));
    json_decref(report);
    return !written ? 1 : reason ? 3 : 0;
}

/* Libraries that write to stdout must not write into the result. */
static void keep_result(struct probe *p)
{
    p->result = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    dup2(STDERR_FILENO, STDOUT_FILENO);
}

static int run_one(struct probe *p, size_t n)
{
    json_t     *driver = NULL;
    const char *reason = NULL;
    int         exit_code = 0;

    if (p->lines)
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    else if (n != 0)
        reason = look_at_driver(p, &driver);
    keep_result(p);
    alarm(timeout_of(p, n) + 30); /* whoever waits gives up before */
    if (reason) {
        skip(p->out, reason);
        exit_code = 3;
    } else {
        step(p, "begin");
        probes[n].run(p, p->out);
    }
    failure_put(p, p->out);
    if (json_object_get(p->out, "reason"))
        exit_code = 3;
    json_object_del(p->out, "step");
    bool written = write_json(p->result, p->out, p->lines ? JSON_COMPACT : JSON_INDENT(2));
    json_decref(driver);
    return written ? exit_code : 1;
}

/* What lies in /proc of a process that has changed its user stays root's until it is made dumpable, and the driver
 * opens some of its own. */
static void restrict_user(void)
{
    if (geteuid() != 0)
        return;
    if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)
        fprintf(stderr, "gpu_probe: stays root: %s\n", strerror(errno)); /* "uid" of the stages says so too */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int run_role(struct probe *p, const struct options *o)
{
    p->channel = 3;
    fcntl(p->channel, F_SETFD, FD_CLOEXEC);
    if (p->fd >= 0)
        fcntl(p->fd, F_SETFD, FD_CLOEXEC);
    if (o->restricted)
        restrict_user();
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* after the user: changing it forgets this */
    for (size_t n = 0; n < sizeof roles / sizeof roles[0]; n++) {
        if (strcmp(roles[n].name, o->role) == 0) {
            roles[n].run(p);
            return 0;
        }
    }
    return 2;
}

/* --------------------------------------------------------------------------------------------------------- options */

static _Noreturn void usage(FILE *to, int exit_code)
{
    fputs("usage: gpu_probe [--only NAME]... [--device N] [--bytes MAX[K|M|G]] [--timeout SECONDS] [--list] [-h]\n\n"
          "Measures what the GPU, its driver and this machine do; one JSON object on stdout.\n"
          "  --only NAME   this probe alone, in this process: prints its object; several: those, each in its own\n"
          "  --device N    as CUDA counts them (0)\n"
          "  --bytes MAX   most memory a probe takes, on the device or of the host (4G)\n"
          "  --timeout S   a probe is ended after so many seconds, or after its own time where that is less\n"
          "  --list        names the probes\n"
          "Exit: 0 the report is complete, 1 it could not be written, 2 usage, 3 no driver or no device (says why).\n",
          to);
    exit(exit_code);
}

static _Noreturn void list_probes(void)
{
    for (size_t n = 0; n < PROBES; n++)
        printf("%-12s %s\n", probes[n].name, probes[n].what);
    exit(0);
}

static uint64_t number(const char *text, uint64_t max, bool units)
{
    char    *end;
    uint64_t unit = 1;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (units && *end && strchr("KMG", *end))
        unit = *end == 'K' ? 1024 : *end == 'M' ? MIB : GIB, end++;
    if (text[0] < '0' || text[0] > '9' || *end || errno || value > max / unit) {
        fprintf(stderr, "gpu_probe: '%s' is not a number that can be used\n", text);
        exit(2);
    }
    return value * unit;
}

static void choose(struct options *o, const char *name)
{
    for (size_t n = 0; n < PROBES; n++) {
        if (strcmp(probes[n].name, name) == 0) {
            o->only_count += !o->only[n];
            o->only[n] = true;
            return;
        }
    }
    fprintf(stderr, "gpu_probe: no probe is named '%s'; see --list\n", name);
    exit(2);
}

static void parse(int argc, char **argv, struct probe *p, struct options *o)
{
    for (int n = 1; n < argc; n++) {
        const char *arg = argv[n], *value = n + 1 < argc ? argv[n + 1] : NULL;
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)
            usage(stdout, 0);
        else if (strcmp(arg, "--list") == 0)
            o->list = true;
        else if (strcmp(arg, "--lines") == 0)
            p->lines = true;
        else if (strcmp(arg, "--restricted") == 0)
            o->restricted = true;
        else if (strcmp(arg, "--fd") == 0)
            p->fd = 4;
        else if (!value)
            usage(stderr, 2);
        else if (strcmp(arg, "--only") == 0)
            choose(o, argv[++n]);
        else if (strcmp(arg, "--device") == 0)
            p->ordinal = (int)number(argv[++n], 1023, false);
        else if (strcmp(arg, "--bytes") == 0)
            p->bytes_max = number(argv[++n], UINT64_C(1) << 46, true);
        else if (strcmp(arg, "--timeout") == 0)
            p->timeout_s = (unsigned)number(argv[++n], TIMEOUT_MAX, false);
        else if (strcmp(arg, "--pci") == 0)
            p->pci = argv[++n];
        else if (strcmp(arg, "--role") == 0)
            o->role = argv[++n];
        else if (strcmp(arg, "--arg") == 0)
            p->arg = argv[++n];
        else
            usage(stderr, 2);
    }
}

static size_t first_chosen(const struct options *o)
{
    size_t n = 0;
    while (!o->only[n])
        n++;
    return n;
}

int main(int argc, char **argv)
{
    struct options o = { .only_count = 0 };
    struct probe   p = { .fd = -1, .channel = -1, .result = STDOUT_FILENO };
    int            exit_code;

    p.bytes_max = 4 * GIB;
    p.timeout_s = TIMEOUT_MAX;
    parse(argc, argv, &p, &o);
    if (o.list)
        list_probes();
    if (!o.role && p.bytes_max < 16 * MIB) {
        fprintf(stderr, "gpu_probe: --bytes: 16M at least\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }); /* some are meant to crash, and hold gigabytes */
    p.out = json_object();
    if (o.role)
        exit_code = run_role(&p, &o);
    else if (o.only_count == 1)
        exit_code = run_one(&p, first_chosen(&o));
    else
        exit_code = run_all(&p, &o);
    json_decref(p.out);
    return exit_code;
}
