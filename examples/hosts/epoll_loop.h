/* SPDX-License-Identifier: Apache-2.0 */
/* One thread, one epoll set: clients of a Unix socket, their requests and calls, and nothing that ever waits.
 *
 * A client sends one line, "MODEL REQUEST", and reads what the model's engine answers until the server closes. The
 * last line is "ok" or the name of a status. Closing early cancels what the server does for it.
 */
#ifndef EPOLL_LOOP_H
#define EPOLL_LOOP_H

#include <sgi/sgi.h>

/* Serve until SIGINT or SIGTERM, which every thread must have blocked, has come and the clients of that time are
 * served. `listener` does not block. 0, or -1 with errno. */
int epoll_loop(sgi_runtime *rt, int listener);

#endif
