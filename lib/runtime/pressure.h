/* SPDX-License-Identifier: Apache-2.0 */
/* Listening to the kernel's word that threads wait for memory (PSI), on a thread that sleeps until then. */
#ifndef SGI_RUNTIME_PRESSURE_H
#define SGI_RUNTIME_PRESSURE_H

#include <pthread.h>
#include <stdbool.h>

#include <sgi/sgi.h>

enum { SGI__PRESSURE_WINDOW_MS = 2000 }; /* the least, and its multiples, are for everybody */

/* A descriptor with POLLPRI each time that threads of this process's control group, or where that has none to tell, of
 * the machine, have waited for so long within the window. `root`: before /proc and /sys, for tests.
 * SGI_E_UNSUPPORTED. */
sgi_status sgi__pressure_open(const char *root, uint32_t stall_ms, int *fd_out, sgi_error *err);

struct sgi__pressure {
    pthread_t thread;
    int       fd, stop_fd;
    bool      listens;
    void (*felt)(void *user);
    void *user;
};

/* Calls p->felt each time, no more than once a window. Owns `fd` from here on, whatever comes of it. SGI_E_SYSTEM. */
sgi_status sgi__pressure_listen(struct sgi__pressure *p, int fd, sgi_error *err);
void       sgi__pressure_stop(struct sgi__pressure *p); /* if it listens; `felt` has returned, and comes no more */

#endif
