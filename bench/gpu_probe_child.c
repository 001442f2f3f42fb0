/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of gpu_probe: probes that are gathered, roles that are watched. Each is this program again, started by
 * posix_spawn and never by fork. Nothing here waits without an end, not even for a process that was killed: one that is
 * stuck in the kernel is said to be so and left behind.
 */
#include <dirent.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu_probe.h"

enum {
    ROLE_CHANNEL = 3,
    ROLE_FD = 4,
    ARGS_MAX = 24,
    ENVIRONMENT_MAX = 1024,
    MESSAGE_MAX = 65536,
    REAP_MS = 5000,
    LINES_MAX = 64 << 20
};

struct command {
    char  *argv[ARGS_MAX];
    size_t count;
    char   ordinal[16], bytes[32], timeout[16], program[4096];
};

static void add(struct command *c, const char *word)
{
    if (c->count < ARGS_MAX - 1)
        c->argv[c->count++] = (char *)(uintptr_t)word; /* posix_spawn does not write to it */
}

/* By the link, so that nobody may start what lies in a folder of root's. By its name where another program runs it: the
 * link would be that program's. */
static void command_begin(struct command *c, const struct probe *p, bool by_name)
{
    snprintf(c->program, sizeof c->program, "/proc/self/exe");
    if (by_name) {
        ssize_t length = readlink("/proc/self/exe", c->program, sizeof c->program - 1);
        c->program[length > 0 ? length : 0] = '\0';
    }
    snprintf(c->ordinal, sizeof c->ordinal, "%d", p->ordinal);
    snprintf(c->bytes, sizeof c->bytes, "%llu", (unsigned long long)p->bytes_max);
    snprintf(c->timeout, sizeof c->timeout, "%u", p->timeout_s);
    add(c, c->program);
    add(c, "--device");
    add(c, c->ordinal);
    add(c, "--bytes");
    add(c, c->bytes);
    add(c, "--timeout");
    add(c, c->timeout);
    if (p->pci) {
        add(c, "--pci");
        add(c, p->pci);
    }
}

/* What is in `added` first: of two of one name the first counts. */
static void environment(char **to, const char *const *added, size_t added_max)
{
    size_t count = 0;
    for (size_t n = 0; n < added_max && added[n]; n++)
        to[count++] = (char *)(uintptr_t)added[n];
    for (char **old = environ; *old && count < ENVIRONMENT_MAX - 1; old++) {
        bool replaced = false;
        for (size_t n = 0; n < added_max && added[n]; n++) {
            size_t name = strcspn(added[n], "=") + 1;
            replaced = replaced || strncmp(*old, added[n], name) == 0;
        }
        if (!replaced)
            to[count++] = *old;
    }
    to[count] = NULL;
}

static int pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Waits until `pid` has ended. A kernel without pidfds, or a sandbox that refuses them, is asked again and again. */
static bool has_ended(pid_t pid, int pidfd, int timeout_ms)
{
    if (pidfd >= 0) {
        struct pollfd poller = { .fd = pidfd, .events = POLLIN };
        return poll(&poller, 1, timeout_ms) == 1;
    }
    double until = now_us() + timeout_ms * 1e3;
    do {
        siginfo_t info = { .si_pid = 0 };
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == pid)
            return true;
        poll(NULL, 0, 1);
    } while (now_us() < until);
    return false;
}

static void put_ended(json_t *to, int status)
{
    char text[64];
    if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
    else
        snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    put_text(to, "ended", text);
}

/* ---------------------------------------------------------------------------------------------- a probe as a child */

struct lines {
    char  *text;
    size_t used, room;
};

static void take(struct lines *l, int fd)
{
    for (;;) {
        if (l->room - l->used < 65536) {
            if (l->room >= LINES_MAX)
                return;
            char *more = realloc(l->text, l->room + (1u << 20));
            if (!more)
                return;
            l->text = more;
            l->room += 1u << 20;
        }
        ssize_t got = read(fd, l->text + l->used, l->room - l->used - 1);
        if (got <= 0)
            return;
        l->used += (size_t)got;
        /* Only the last complete line counts: what is before it is dropped. */
        char *end = memrchr(l->text, '\n', l->used);
        char *begin = end ? memrchr(l->text, '\n', (size_t)(end - l->text)) : NULL;
        if (begin) {
            l->used -= (size_t)(begin + 1 - l->text);
            memmove(l->text, begin + 1, l->used);
        }
    }
}

static json_t *last_object(struct lines *l)
{
    char   *end = l->used > 0 ? memchr(l->text, '\n', l->used) : NULL;
    json_t *object = end ? json_loadb(l->text, (size_t)(end - l->text), 0, NULL) : NULL;
    free(l->text);
    return json_is_object(object) ? object : json_object();
}

static bool read_until_end(struct lines *l, int fd, pid_t pid, int pidfd, int timeout_ms)
{
    double until = now_us() + timeout_ms * 1e3;
    bool   ended = false;
    while (!ended && now_us() < until) {
        struct pollfd poller = { .fd = fd, .events = POLLIN };
        poll(&poller, 1, 20);
        take(l, fd);
        ended = has_ended(pid, pidfd, 0);
        if (poller.revents & POLLHUP) /* it may be about to end: no busy loop meanwhile */
            ended = ended || has_ended(pid, pidfd, 50);
    }
    take(l, fd);
    return ended;
}

static pid_t spawn_probe(const struct probe *p, const char *name, int result)
{
    struct command             c = { .count = 0 };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t          attributes;
    pid_t                      pid = -1;

    command_begin(&c, p, false);
    add(&c, "--lines");
    add(&c, "--only");
    add(&c, name);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, result, STDOUT_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP); /* so that its roles can be killed with it */
    posix_spawnattr_setpgroup(&attributes, 0);
    int code = posix_spawn(&pid, c.program, &files, &attributes, c.argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    errno = code;
    return code == 0 ? pid : -1;
}

json_t *probe_child(const struct probe *p, const char *name, int timeout_s)
{
    struct lines lines = { .text = NULL };
    int          ends[2], status = 0;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return json_pack("{s:s}", "skipped", "no pipe");
    /* The child writes blocking: its end was made non-blocking with ours. */
    fcntl(ends[1], F_SETFL, 0);
    double begin = now_us();
    pid_t  pid = spawn_probe(p, name, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return json_pack("{s:s, s:s}", "skipped", "cannot start itself", "errno", strerror(errno));
    }
    int     pidfd = pidfd_of(pid);
    bool    ended = read_until_end(&lines, ends[0], pid, pidfd, timeout_s * 1000);
    json_t *object;
    kill(-pid, SIGKILL); /* and whatever it left */
    bool gone = has_ended(pid, pidfd, REAP_MS) && waitpid(pid, &status, 0) == pid;
    take(&lines, ends[0]);
    object = last_object(&lines);
    if (!gone)
        put_text(object, "ended", "timeout, and cannot be killed");
    else if (!ended)
        put_text(object, "ended", "timeout");
    else if (WIFSIGNALED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3))
        put_ended(object, status);
    put_number(object, "seconds", (now_us() - begin) / 1e6);
    close(ends[0]);
    if (pidfd >= 0)
        close(pidfd);
    return object;
}

/* ----------------------------------------------------------------------------------------------------------- roles */

static void role_command(struct command *c, const struct probe *p, const struct role_options *o)
{
    command_begin(c, p, o->under != NULL);
    add(c, "--role");
    add(c, o->name);
    if (o->arg) {
        add(c, "--arg");
        add(c, o->arg);
    }
    if (o->restricted)
        add(c, "--restricted");
    if (o->fd >= 0)
        add(c, "--fd");
}

/* What comes before the role's own words: a program to run it under. Words are blanks apart. */
static void under(struct command *whole, char *words)
{
    for (char *save, *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
        add(whole, word);
}

static int spawn_role(const struct probe *p, const struct role_options *o, int channel, pid_t *pid)
{
    static char               *vars[ENVIRONMENT_MAX];
    struct command             own = { .count = 0 }, whole = { .count = 0 };
    char                       words[512] = "";
    posix_spawn_file_actions_t files;

    role_command(&own, p, o);
    if (o->under) {
        snprintf(words, sizeof words, "%s", o->under);
        under(&whole, words);
    }
    for (size_t n = 0; n < own.count; n++)
        add(&whole, own.argv[n]);
    environment(vars, o->environment, sizeof o->environment / sizeof o->environment[0]);

    /* High numbers first, so that no dup2 below closes what another one still needs. */
    int high_channel = fcntl(channel, F_DUPFD_CLOEXEC, 64),
        high_fd = o->fd >= 0 ? fcntl(o->fd, F_DUPFD_CLOEXEC, 64) : -1;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, high_channel, ROLE_CHANNEL);
    if (high_fd >= 0)
        posix_spawn_file_actions_adddup2(&files, high_fd, ROLE_FD);
    assert(whole.argv[0]);
    int code = posix_spawnp(pid, whole.argv[0], &files, NULL, whole.argv, vars);
    posix_spawn_file_actions_destroy(&files);
    close(high_channel);
    if (high_fd >= 0)
        close(high_fd);
    return code;
}

bool role_start(struct probe *p, const struct role_options *o, struct role *r, json_t *to)
{
    int ends[2];
    *r = (struct role){ .pid = -1, .channel = -1, .pidfd = -1 };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        put_text(to, "skipped", "no socketpair");
        return false;
    }
    r->spawned_us = now_us();
    int code = spawn_role(p, o, ends[1], &r->pid);
    close(ends[1]);
    if (code != 0) {
        close(ends[0]);
        put_text(to, "skipped", "cannot start a role");
        put_text(to, "errno", strerror(code));
        r->pid = -1;
        return false;
    }
    r->channel = ends[0];
    r->pidfd = pidfd_of(r->pid);
    return true;
}

json_t *role_next(struct role *r, int timeout_ms)
{
    static char   message[MESSAGE_MAX];
    struct pollfd poller = { .fd = r->channel, .events = POLLIN };
    if (r->channel < 0 || poll(&poller, 1, timeout_ms) != 1)
        return NULL;
    ssize_t got = recv(r->channel, message, sizeof message, 0);
    if (got <= 0)
        return NULL;
    json_t *facts = json_loadb(message, (size_t)got, 0, NULL);
    if (!json_is_object(facts)) {
        json_decref(facts);
        return NULL;
    }
    return facts;
}

void role_go(struct role *r)
{
    send(r->channel, "g", 1, MSG_NOSIGNAL);
}

/* A role whose channel is closed ends itself; one that does not is made to. */
bool role_end(struct role *r, json_t *to)
{
    int  status = 0;
    bool killed = false;
    if (r->pid < 0)
        return false;
    double begin = now_us();
    close(r->channel);
    if (!has_ended(r->pid, r->pidfd, 10000)) {
        kill(r->pid, SIGKILL);
        killed = true;
    }
    bool gone = has_ended(r->pid, r->pidfd, REAP_MS) && waitpid(r->pid, &status, 0) == r->pid;
    put_number(to, "exit_ms", (now_us() - begin) / 1e3);
    if (!gone)
        put_text(to, "ended", "timeout, and cannot be killed");
    else if (killed)
        put_text(to, "ended", "timeout");
    else if (status != 0)
        put_ended(to, status);
    if (r->pidfd >= 0)
        close(r->pidfd);
    *r = (struct role){ .pid = -1, .channel = -1, .pidfd = -1 };
    return gone && !killed && status == 0;
}

static uint64_t open_files(pid_t pid)
{
    char     path[64];
    uint64_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count > 2 ? count - 2 : 0;
}

static void put_process(json_t *to, pid_t pid)
{
    put_number(to, "rss_mib", (double)proc_kib(pid, "status", "VmRSS:") / 1024.0);
    json_object_set_new(to, "threads", json_integer((json_int_t)proc_kib(pid, "status", "Threads:")));
    json_object_set_new(to, "files", json_integer((json_int_t)open_files(pid)));
    json_object_set_new(to, "uid", json_integer((json_int_t)proc_kib(pid, "status", "Uid:")));
}

/* What NVML says when a role has ended. Memory comes back a little later than the process goes. */
static void put_after(struct probe *p, json_t *to, double before_mib)
{
    double begin = now_us(), used;
    do {
        used = nvml_used_mib(p);
        poll(NULL, 0, 5);
    } while (used > before_mib + 1 && now_us() - begin < 1e6);
    if (used < 0 || before_mib < 0)
        return;
    put_number(to, "nvml_after_exit_delta_mib", used - before_mib);
    put_number(to, "nvml_after_exit_ms", (now_us() - begin) / 1e3);
}

static void put_stage(struct probe *p, const struct role *r, json_t *at, double before_mib)
{
    double used = nvml_used_mib(p);
    nvml_put(p, at, r->pid);
    if (used >= 0 && before_mib >= 0)
        put_number(at, "nvml_delta_mib", used - before_mib);
    put_process(at, r->pid);
    put_number(at, "at_ms", (json_number_value(json_object_get(at, "at_us")) - r->spawned_us) / 1e3);
    json_object_del(at, "at_us");
}

/* A name for where the stage is kept: one that comes again gets a number. */
static void stage_key(json_t *stages, const char *stage, char *key, size_t room)
{
    snprintf(key, room, "%s", stage);
    for (unsigned n = 2; json_object_get(stages, key); n++)
        snprintf(key, room, "%s_%u", stage, n);
}

bool role_run(struct probe *p, const struct role_options *o, json_t *to, stage_fn on_stage, void *user)
{
    struct role r;
    json_t     *at;
    char        name[64], key[80];
    bool        complete = false;
    double      before_mib = nvml_used_mib(p);

    if (!role_start(p, o, &r, to))
        return false;
    json_t *stages = put_object(to, "stages");
    while (!complete && (at = role_next(&r, STAGE_MS)) != NULL) {
        const char *said = json_string_value(json_object_get(at, "stage"));
        snprintf(name, sizeof name, "%s", said ? said : "nameless");
        json_object_del(at, "stage");
        stage_key(stages, name, key, sizeof key);
        json_object_set_new(stages, key, at);
        put_stage(p, &r, at, before_mib);
        step(p, name);
        if (on_stage)
            on_stage(p, &r, name, at, user);
        complete = strcmp(name, "end") == 0;
        if (!complete)
            role_go(&r);
    }
    bool ended = role_end(&r, to);
    if (!complete && !json_object_get(to, "ended"))
        put_text(to, "ended", "before its last stage");
    put_after(p, to, before_mib);
    return ended && complete;
}

/* Whoever is not looked at any more ends: its probe has seen enough, or is gone. */
void stage(struct probe *p, const char *name, json_t *facts)
{
    char go;
    if (!facts)
        facts = json_object();
    put_text(facts, "stage", name);
    put_number(facts, "at_us", now_us());
    char *message = json_dumps(facts, JSON_COMPACT);
    json_decref(facts);
    bool sent = message && send(p->channel, message, strlen(message), MSG_NOSIGNAL) > 0;
    free(message);
    if (strcmp(name, "end") == 0) {
        recv(p->channel, &go, 1, 0); /* until the other side has closed: exit is timed from there */
        return;
    }
    if (!sent || recv(p->channel, &go, 1, 0) != 1)
        exit(0);
}
