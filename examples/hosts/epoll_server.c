/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a single thread, around the loop in epoll_loop.c. Built as host_epoll; --help says how to use it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "epoll_client.h"
#include "epoll_loop.h"
#include "epoll_socket.h"
#include "make_model.h"
#include "program.h"
#include "toy_engine.h"

enum { MODELS = 4, MODEL_BYTES = 2 << 20 };

static const program host = {
    .name = "host_epoll",
    .usage = "usage: host_epoll [SOCKET]\n"
             "\n"
             "A server with one thread and one epoll set, over four small models of which the device holds two.\n"
             "\n"
             "Without an argument it tests itself: eight clients ask it, leave early, ask for what is not there;\n"
             "every answer is checked, and that nothing is left of them. Some are meant to be refused and abandoned.\n"
             "\n"
             "With SOCKET, a path where nothing is yet, it serves until SIGINT or SIGTERM. A client sends one line,\n"
             "\"MODEL TENSOR PAUSE_MS REPEAT TEXT\": model-00 to model-03, t0 to t2. Its answer is the model's name\n"
             "and the tensor's sum, then TEXT as often as REPEAT says, then ok:\n"
             "\n"
             "  echo 'model-01 t0 100 5 hello' | socat -t 60 - UNIX-CONNECT:SOCKET,shut-none\n",
};

/* Room for two of the four models, so that requests queue for the device as well as for an instance. */
static sgi_status open_runtime(sgi_runtime **rt_out, sgi_error *err)
{
    sgi_device_config  device;
    sgi_runtime_config config;

    sgi_device_config_init(&device, sizeof device);
    device.name = "host";
    device.bytes_max = MODEL_BYTES * 5 / 2;
    sgi_runtime_config_init(&config, sizeof config);
    config.devices = &device;
    config.devices_count = 1;
    config.idle_timeout_ms = 50;
    return sgi_runtime_open(&config, rt_out, err);
}

/* After the last client, nothing may be left of what they asked for. */
static int check(sgi_runtime *rt, const clients *all)
{
    sgi_runtime_info info = { .struct_size = sizeof info };

    if (sgi_runtime_query(rt, &info) != SGI_OK || info.leases_count || info.calls_count || info.requests_waiting)
        return program_fail(&host, "requests are left after the last client");
    return atomic_load(&all->failed) ? program_fail(&host, "wrong answers") : 0;
}

/* After the close, nothing may be left of the engine's. */
static int check_engine(const clients *all, const toy_counts *counts)
{
    if (atomic_load(&counts->started) != atomic_load(&counts->stopped) ||
        atomic_load(&counts->prepared) != atomic_load(&counts->discarded))
        return program_fail(&host, "an instance was not taken down");
    printf("%u answered, %u refused, %u abandoned, %u of them in the middle; models were started %u times\n",
           atomic_load(&all->answered), atomic_load(&all->refused), atomic_load(&all->abandoned),
           atomic_load(&counts->canceled), atomic_load(&counts->started));
    return 0;
}

static int run(const char *path, int listener, const model_folder *models, int self_test)
{
    static clients    all;
    static toy_counts counts;
    sgi_runtime      *rt;
    sgi_error         err = SGI_ERROR_INIT;
    int               rc = 0;

    if (open_runtime(&rt, &err) != SGI_OK)
        return program_fail(&host, "open: %s", err.message);
    if (toy_register(rt, models, &counts, &err) != SGI_OK)
        rc = program_fail(&host, "register: %s", err.message);
    if (rc == 0 && self_test && clients_start(&all, path, models) != 0)
        rc = program_fail(&host, "no threads for the clients");
    if (rc == 0 && !self_test) {
        printf("serving model-00 to model-%02d at %s until SIGINT or SIGTERM\n", MODELS - 1, path);
        fflush(stdout); /* somebody may wait for it */
    }
    if (rc == 0 && epoll_loop(rt, listener) != 0)
        rc = program_fail(&host, "no epoll: %s", strerror(errno));
    if (rc == 0 && self_test)
        clients_join(&all);
    if (rc == 0)
        rc = check(rt, &all);
    if (sgi_runtime_close(rt, 5000, &err) != SGI_OK)
        return program_fail(&host, "close: %s", err.message);
    return rc ? rc : check_engine(&all, &counts);
}

static int listen_failed(const char *path)
{
    if (errno == EADDRINUSE)
        return program_fail(&host, "there is a file at '%s' already, and a server's socket is a new one", path);
    if (errno == ENAMETOOLONG)
        return program_fail(&host, "the path of a socket has at most 107 bytes, and '%s' has %zu", path, strlen(path));
    if (*path == '\0')
        return program_fail(&host, "the path of the socket is empty");
    return program_fail(&host, "cannot listen at '%s': %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
    const char  *path = program_argument(&host, argc, argv);
    char         own_path[64];
    socket_file  file;
    model_folder models;
    sigset_t     stop_signals;
    int          listener, rc;

    /* Not beside the models: what TMPDIR says may be too long for the name of a socket. */
    snprintf(own_path, sizeof own_path, "/tmp/sgi-epoll-%ld", (long)getpid());

    /* Before the first thread, those of the library included: a thread takes the mask of the one that made it. */
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGINT);
    sigaddset(&stop_signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop_signals, NULL);

    listener = socket_listen(path ? path : own_path, &file);
    if (listener < 0)
        return listen_failed(path ? path : own_path);
    if (model_folder_make(&models, MODELS, MODEL_BYTES) != 0) {
        rc = program_fail(&host, "the models cannot be written into %s: %s", model_folder_place(), strerror(errno));
    } else {
        rc = run(file.path, listener, &models, !path);
        model_folder_remove(&models);
    }
    close(listener);
    socket_remove(&file);
    return program_end(&host, rc);
}
