/* SPDX-License-Identifier: Apache-2.0 */
/* A Unix socket with a name in the file system: made, found, and taken away by who made it. */
#ifndef EPOLL_SOCKET_H
#define EPOLL_SOCKET_H

#include <sys/types.h>

/* The file that socket_listen() made. */
typedef struct socket_file {
    const char *path;
    dev_t       device;
    ino_t       inode;
} socket_file;

/* A listening socket that does not block, at a path where nothing is yet. Writes *file_out, which borrows the path. -1
 * with errno: nothing was made, and nothing that was there before is touched. */
int socket_listen(const char *path, socket_file *file_out);

/* A blocking connection, or -1 with errno. */
int socket_connect(const char *path);

/* Take the file away, unless something else has its name by now. */
void socket_remove(const socket_file *file);

#endif
