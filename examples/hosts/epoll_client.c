/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "epoll_client.h"
#include "epoll_socket.h"
#include "toy_engine.h"

enum { ANSWER_MAX = 1 << 20 };

static int send_line(const char *path, const char *line)
{
    size_t bytes = strlen(line);
    int    fd = socket_connect(path);

    if (fd >= 0 && send(fd, line, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Read to the end, with a nap before each of the first reads if `slow`, so that the server runs into a full socket. */
static size_t receive_all(int fd, char *answer, size_t capacity, int slow)
{
    struct timespec nap = { .tv_nsec = 5000000 };
    size_t          bytes = 0;
    ssize_t         n = 1;

    for (unsigned i = 0; n > 0 && bytes < capacity - 1; i++) {
        if (slow && i < 10)
            nanosleep(&nap, NULL);
        n = recv(fd, answer + bytes, capacity - 1 - bytes, 0);
        if (n > 0)
            bytes += (size_t)n;
    }
    answer[bytes] = '\0';
    return bytes;
}

/* Ask and compare with what has to come. 0: it did. */
static int ask_and_check(clients *all, const char *line, const char *expected, const char *last_line, int slow)
{
    char  *answer = malloc(ANSWER_MAX);
    size_t head = strlen(expected);
    int    fd = send_line(all->path, line);
    int    rc = -1;

    if (answer && fd >= 0) {
        receive_all(fd, answer, ANSWER_MAX, slow);
        if (strncmp(answer, expected, head) == 0 && answer[head] == '\n' &&
            strncmp(answer + head + 1, last_line, strlen(last_line)) == 0)
            rc = 0;
        else
            fprintf(stderr, "host_epoll: '%.60s' was answered with '%.200s'\n", line, answer);
    }
    if (fd >= 0)
        close(fd);
    free(answer);
    return rc;
}

/* Ask for what never ends and go away: `early` before the answer can have begun, else after its first byte. */
static int ask_and_leave(clients *all, const model_file *model, int early)
{
    char line[128], first;
    int  fd, rc;

    snprintf(line, sizeof line, "%s t0 1 1000000000 never ends\n", model->name);
    fd = send_line(all->path, line);
    if (fd < 0)
        return -1;
    rc = early || recv(fd, &first, 1, 0) == 1 ? 0 : -1;
    close(fd);
    return rc;
}

static int one_request(clients *all, unsigned thread, unsigned i)
{
    const model_file *model = &all->models->files[(thread + i * 7) % all->models->count];
    unsigned          tensor = (thread + i) % MODEL_TENSORS;
    unsigned          kind = (thread + i) % 6;
    unsigned          pause_ms = kind == 1 ? 0 : 2;
    unsigned          repeat = kind == 1 ? 12000 : 10; /* more than the call's buffer and the socket's together */
    char              text[64], line[128];
    char             *expected;
    int               rc;

    if (kind == 2 || kind == 3) {
        atomic_fetch_add(&all->abandoned, 1);
        return ask_and_leave(all, model, kind == 3);
    }
    if (kind == 4 || kind == 5) {
        atomic_fetch_add(&all->refused, 1);
        snprintf(line, sizeof line, "%s no-such-tensor 0 1 x\n", kind == 4 ? "no-such-model" : model->name);
        return ask_and_check(all, line, "", "SGI_E_NOT_FOUND", 0);
    }
    snprintf(text, sizeof text, "thread %u, its request %u of %u", thread, i, CLIENT_REQUESTS);
    snprintf(line, sizeof line, "%s t%u %u %u %s\n", model->name, tensor, pause_ms, repeat, text);
    expected = toy_answer(model->name, model->sums[tensor], repeat, text);
    rc = expected ? ask_and_check(all, line, expected, "ok\n", kind == 1) : -1;
    free(expected);
    atomic_fetch_add(&all->answered, 1);
    return rc;
}

static void *client_thread(void *arg)
{
    clients *all = arg;
    unsigned thread = atomic_fetch_add(&all->next_thread, 1);

    for (unsigned i = 0; i < CLIENT_REQUESTS; i++)
        if (one_request(all, thread, i) != 0)
            atomic_fetch_add(&all->failed, 1);
    if (atomic_fetch_sub(&all->running, 1) == 1)
        kill(getpid(), SIGTERM);
    return NULL;
}

int clients_start(clients *all, const char *path, const model_folder *models)
{
    all->path = path;
    all->models = models;
    atomic_store(&all->running, CLIENT_THREADS);
    for (unsigned i = 0; i < CLIENT_THREADS; i++)
        if (pthread_create(&all->threads[i], NULL, client_thread, all) != 0)
            return -1;
    return 0;
}

void clients_join(clients *all)
{
    for (unsigned i = 0; i < CLIENT_THREADS; i++)
        pthread_join(all->threads[i], NULL);
}
