/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "epoll_socket.h"

/* An address holds about a hundred bytes. Cut to that, a path would name something else; and an empty one would bind a
 * name of the kernel's own, which no client of ours could find. */
static int address_of(const char *path, struct sockaddr_un *address)
{
    size_t length = strlen(path);

    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length == 0 || length >= sizeof address->sun_path) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return -1;
    }
    memcpy(address->sun_path, path, length);
    return 0;
}

static int close_failed(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
    return -1;
}

int socket_listen(const char *path, socket_file *file_out)
{
    struct sockaddr_un address;
    struct stat        made;
    int                fd;

    if (address_of(path, &address) != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) /* EADDRINUSE for any file that is there */
        return close_failed(fd);
    if (lstat(path, &made) != 0) /* fstat of a socket knows nothing of its file */
        return close_failed(fd);
    *file_out = (socket_file){ .path = path, .device = made.st_dev, .inode = made.st_ino };
    if (listen(fd, 128) != 0) {
        close_failed(fd);
        socket_remove(file_out);
        return -1;
    }
    return fd;
}

int socket_connect(const char *path)
{
    struct sockaddr_un address;
    int                fd;

    if (address_of(path, &address) != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return close_failed(fd);
    return fd;
}

void socket_remove(const socket_file *file)
{
    struct stat now;
    int         saved = errno;

    if (lstat(file->path, &now) == 0 && S_ISSOCK(now.st_mode) && now.st_dev == file->device &&
        now.st_ino == file->inode)
        unlink(file->path);
    errno = saved;
}
