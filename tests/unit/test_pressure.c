/* SPDX-License-Identifier: Apache-2.0 */
/* Listening to the kernel's word that memory is short: which file, what is asked of it, what comes of an answer. The
 * answers here are a socket's urgent data, which polls as the kernel's word does. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fault.h"
#include "runtime/pressure.h"
#include "runtime/runtime.h"

static char      root[64];
static sem_t     times; /* that memory was said to be short */
static sgi_error err = SGI_ERROR_INIT;

static const char *in_root(const char *path)
{
    static char text[2][256];
    static int  next;
    char       *full = text[next++ % 2];
    snprintf(full, sizeof text[0], "%s%s", root, path);
    return full;
}

static void put(const char *path, const char *content)
{
    FILE *f = fopen(in_root(path), "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static void holds(const char *path, const char *content)
{
    char  found[128] = "";
    FILE *f = fopen(in_root(path), "re");
    assert_non_null(f);
    assert_true(fread(found, 1, sizeof found - 1, f) > 0);
    fclose(f);
    assert_string_equal(found, content);
}

static int make_root(void **state)
{
    static const char *const folders[] = { "/proc",   "/proc/self",     "/proc/pressure",   "/sys",
                                           "/sys/fs", "/sys/fs/cgroup", "/sys/fs/cgroup/a", "/sys/fs/cgroup/a/b" };
    (void)state;
    sem_init(&times, 0, 0);
    snprintf(root, sizeof root, "/tmp/sgi_pressure_XXXXXX");
    if (!mkdtemp(root))
        return -1;
    for (size_t n = 0; n < sizeof folders / sizeof *folders; n++)
        mkdir(in_root(folders[n]), 0700);
    return 0;
}

static int remove_root(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

/* ---- which file ---- */

static void the_group_s_own_word_is_asked_for(void **state)
{
    int fd = -1;
    (void)state;
    put("/proc/self/cgroup", "5:memory:/elsewhere\n0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.pressure", "some avg10=0.00");
    put("/proc/pressure/memory", "some avg10=0.00");
    assert_int_equal(sgi__pressure_open(root, 150, &fd, &err), SGI_OK);
    close(fd);
    holds("/sys/fs/cgroup/a/b/memory.pressure", "some 150000 2000000");
    holds("/proc/pressure/memory", "some avg10=0.00");
}

static void else_the_machine_s(void **state)
{
    int fd = -1;
    (void)state;
    put("/proc/self/cgroup", "0::/a\n"); /* which has no such file */
    put("/proc/pressure/memory", "some avg10=0.00");
    assert_int_equal(sgi__pressure_open(root, 2000, &fd, &err), SGI_OK);
    close(fd);
    holds("/proc/pressure/memory", "some 2000000 2000000");
    unlink(in_root("/proc/self/cgroup"));
    assert_int_equal(sgi__pressure_open(root, 7, &fd, &err), SGI_OK);
    close(fd);
    holds("/proc/pressure/memory", "some 7000 2000000");
}

static void without_either_it_says_so(void **state)
{
    int fd = -1;
    (void)state;
    unlink(in_root("/proc/pressure/memory"));
    assert_int_equal(sgi__pressure_open(root, 7, &fd, &err), SGI_E_UNSUPPORTED);
    assert_int_equal(err.os_errno, ENOENT);
    assert_non_null(strstr(err.message, "/proc/pressure/memory"));
    assert_int_equal(symlink("/dev/full", in_root("/proc/pressure/memory")), 0); /* there, and takes nothing */
    assert_int_equal(sgi__pressure_open(root, 7, &fd, &err), SGI_E_UNSUPPORTED);
    assert_int_equal(err.os_errno, ENOSPC);
    assert_int_equal(fd, -1);
}

/* ---- what comes of it ---- */

static void felt(void *user)
{
    sem_post(user);
}

static void each_word_is_heard(void **state)
{
    struct sgi__pressure p = { .felt = felt, .user = &times };
    int                  ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(sgi__pressure_listen(&p, ends[0], &err), SGI_OK);
    if (send(ends[1], "!", 1, MSG_OOB) < 0) {
        assert_int_equal(errno, EOPNOTSUPP); /* a kernel before 5.15 */
        sgi__pressure_stop(&p);
        skip();
    }
    assert_int_equal(sem_wait(&times), 0);
    sgi__pressure_stop(&p); /* in the middle of its window */
    sgi__pressure_stop(&p); /* nothing any more */
    assert_int_equal(fcntl(ends[0], F_GETFD), -1);
    close(ends[1]);
}

static void a_group_that_goes_says_nothing_any_more(void **state)
{
    struct sgi__pressure p = { .felt = felt, .user = &times };
    int                  ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(sgi__pressure_listen(&p, ends[0], &err), SGI_OK);
    close(ends[1]);
    sgi__pressure_stop(&p);
    assert_int_equal(sem_trywait(&times), -1);
}

static void what_it_needs_may_be_missing(void **state)
{
    static const enum sgi__fault_point points[] = { SGI__FAULT_EVENTFD, SGI__FAULT_THREAD };
    struct sgi__pressure               p = { .felt = felt, .user = &times };
    int                                ends[2];
    (void)state;
    for (int n = 0; n < 2; n++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        sgi__fault_plan(points[n], 1, 1, EMFILE);
        assert_int_equal(sgi__pressure_listen(&p, ends[0], &err), SGI_E_SYSTEM);
        sgi__fault_clear();
        assert_int_equal(fcntl(ends[0], F_GETFD), -1); /* given back */
        sgi__pressure_stop(&p);
        close(ends[1]);
    }
}

/* ---- a runtime ---- */

static void a_runtime_listens_where_the_kernel_speaks(void **state)
{
    sgi_runtime_config config;
    sgi_runtime       *rt = NULL;
    sgi_runtime_info   info = { .struct_size = sizeof info };
    int                fd;
    (void)state;
    sgi_runtime_config_init(&config, sizeof config);
    config.pressure_stall_ms = 2001;
    assert_int_equal(sgi_runtime_open(&config, &rt, &err), SGI_E_INVALID);
    assert_non_null(strstr(err.message, "pressure_stall_ms"));
    config.pressure_stall_ms = 300;
    bool speaks = sgi__pressure_open("", 300, &fd, &err) == SGI_OK;
    if (speaks)
        close(fd);
    sgi_status st = sgi_runtime_open(&config, &rt, &err);
    assert_int_equal(st, speaks ? SGI_OK : SGI_E_UNSUPPORTED);
    if (!speaks) {
        assert_non_null(strstr(err.message, "memory"));
        skip();
    }
    assert_int_equal(sgi_runtime_query(rt, &info), SGI_OK);
    assert_int_equal(info.threads_count, 2);
    sgi__rt_pressure(rt); /* nothing is there that could go */
    assert_int_equal(sgi_runtime_close(rt, SGI_FOREVER, &err), SGI_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_group_s_own_word_is_asked_for),
        cmocka_unit_test(else_the_machine_s),
        cmocka_unit_test(without_either_it_says_so),
        cmocka_unit_test(each_word_is_heard),
        cmocka_unit_test(a_group_that_goes_says_nothing_any_more),
        cmocka_unit_test(what_it_needs_may_be_missing),
        cmocka_unit_test(a_runtime_listens_where_the_kernel_speaks),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
