/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of epoll_server.c, for its self-test: clients that know what every answer has to be. */
#ifndef EPOLL_CLIENT_H
#define EPOLL_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "make_model.h"

enum { CLIENT_THREADS = 8, CLIENT_REQUESTS = 18 };

typedef struct clients {
    const char         *path;
    const model_folder *models;
    pthread_t           threads[CLIENT_THREADS];
    atomic_uint         next_thread;
    atomic_uint         running;
    atomic_uint         answered, refused, abandoned, failed;
} clients;

/* Start the clients. The last to finish sends SIGTERM to this process, as an operator would. 0, or -1. */
int  clients_start(clients *all, const char *path, const model_folder *models);
void clients_join(clients *all);

#endif
