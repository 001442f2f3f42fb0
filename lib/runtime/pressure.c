/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "runtime/runtime.h"

enum { PATH_BYTES = 512 };

/* Of the hierarchy that has all controllers: "0::/group". False: there is none. */
static bool own_group(const char *root, char *path, size_t bytes)
{
    char  line[PATH_BYTES], name[PATH_BYTES];
    bool  found = false;
    FILE *file;

    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    file = fopen(name, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "0::", 3) == 0;
    }
    if (file)
        fclose(file);
    int n = found ? snprintf(path, bytes, "%s/sys/fs/cgroup%s/memory.pressure", root, line + 3) : -1;
    return n > 0 && (size_t)n < bytes;
}

/* -1: errno says why not. */
static int open_trigger(const char *path, uint32_t stall_ms)
{
    char text[64];
    int  n = snprintf(text, sizeof text, "some %u %u", stall_ms * 1000, SGI__PRESSURE_WINDOW_MS * 1000);
    int  fd = openat(AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || write(fd, text, (size_t)n + 1) == n + 1)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

sgi_status sgi__pressure_open(const char *root, uint32_t stall_ms, int *fd_out, sgi_error *err)
{
    char path[PATH_BYTES];
    int  fd = own_group(root, path, sizeof path) ? open_trigger(path, stall_ms) : -1;

    if (fd < 0) {
        snprintf(path, sizeof path, "%s/proc/pressure/memory", root);
        fd = open_trigger(path, stall_ms);
    }
    if (fd < 0)
        return sgi__error_sys(err, SGI_E_UNSUPPORTED, errno, "the kernel does not say when memory is short: %s", path);
    *fd_out = fd;
    return SGI_OK;
}

/* ---- the thread ---- */

static void *listen_to(void *arg)
{
    struct sgi__pressure *p = arg;
    struct pollfd         both[] = { { .fd = p->stop_fd, .events = POLLIN }, { .fd = p->fd, .events = POLLPRI } };

    sgi__thread_enter_library();
    for (;;) {
        int n = poll(both, 2, -1);
        if (n < 0) /* a signal, at most, and those are blocked here */
            continue;
        if (both[0].revents)
            break;
        if (both[1].revents & (POLLERR | POLLHUP | POLLNVAL)) {
            sgi__log(SGI_LOG_WARN, "nobody says any more when memory is short: the control group is gone");
            poll(both, 1, -1);
            break;
        }
        sgi__log(SGI_LOG_INFO, "threads wait for memory: the DRAM tier gives some back");
        p->felt(p->user);
        if (poll(both, 1, SGI__PRESSURE_WINDOW_MS) != 0)
            break;
    }
    sgi__thread_leave_library();
    return NULL;
}

sgi_status sgi__pressure_listen(struct sgi__pressure *p, int fd, sgi_error *err)
{
    p->fd = fd;
    p->stop_fd = sgi__ready_fd_open(false);
    int e = p->stop_fd < 0 ? errno : sgi__thread_start(&p->thread, "sgi-pressure", listen_to, p);
    p->listens = e == 0;
    if (e == 0)
        return SGI_OK;
    if (p->stop_fd >= 0)
        close(p->stop_fd);
    close(fd);
    return sgi__error_sys(err, SGI_E_SYSTEM, e, "start the thread that listens to memory pressure");
}

void sgi__pressure_stop(struct sgi__pressure *p)
{
    if (!p->listens)
        return;
    sgi__ready_fd_set(p->stop_fd);
    pthread_join(p->thread, NULL);
    close(p->stop_fd);
    close(p->fd);
    p->listens = false;
}
