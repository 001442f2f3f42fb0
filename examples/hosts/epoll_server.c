/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a single thread, around the loop in epoll_loop.c.
 *
 *     epoll_server            test itself: many clients in threads of their own, every answer checked
 *     epoll_server SOCKET     serve four generated models until SIGINT or SIGTERM
 *
 * A client sends one line, "MODEL TENSOR PAUSE_MS REPEAT TEXT", and reads the answer that toy_engine.h describes:
 *
 *     echo 'model-01 t0 100 5 hello' | socat -t 60 - UNIX-CONNECT:SOCKET,shut-none
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "epoll_client.h"
#include "epoll_loop.h"
#include "make_model.h"
#include "toy_engine.h"

enum { MODELS = 4, MODEL_BYTES = 2 << 20 };

static int fail(const char *what, const sgi_error *err)
{
    fprintf(stderr, "epoll_server: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
    return 1;
}

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
        return fail("requests are left after the last client", NULL);
    return atomic_load(&all->failed) ? fail("wrong answers", NULL) : 0;
}

/* After the close, nothing may be left of the engine's. */
static int check_engine(const clients *all, const toy_counts *counts)
{
    if (atomic_load(&counts->started) != atomic_load(&counts->stopped) ||
        atomic_load(&counts->prepared) != atomic_load(&counts->discarded))
        return fail("an instance was not taken down", NULL);
    printf("%u answered, %u refused, %u abandoned, %u of them in the middle; models were started %u times\n",
           atomic_load(&all->answered), atomic_load(&all->refused), atomic_load(&all->abandoned),
           atomic_load(&counts->canceled), atomic_load(&counts->started));
    return 0;
}

static int run(const char *path, const model_folder *models, int self_test)
{
    static clients    all;
    static toy_counts counts;
    sgi_runtime      *rt;
    sgi_error         err = SGI_ERROR_INIT;
    int               listener = client_listen(path);
    int               rc = 0;

    if (listener < 0)
        return fail(path, NULL);
    if (open_runtime(&rt, &err) != SGI_OK)
        return fail("open", &err);
    if (toy_register(rt, models, &counts, &err) != SGI_OK)
        rc = fail("register", &err);
    if (rc == 0 && self_test && clients_start(&all, path, models) != 0)
        rc = fail("no threads for the clients", NULL);
    if (rc == 0 && epoll_loop(rt, listener) != 0)
        rc = fail("no epoll", NULL);
    if (rc == 0 && self_test)
        clients_join(&all);
    close(listener);
    if (rc == 0)
        rc = check(rt, &all);
    if (sgi_runtime_close(rt, 5000, &err) != SGI_OK)
        return fail("close", &err);
    return rc ? rc : check_engine(&all, &counts);
}

int main(int argc, char **argv)
{
    model_folder models;
    sigset_t     stop_signals;
    char         path[128];
    int          rc;

    if (argc > 2) {
        fprintf(stderr, "usage: epoll_server [SOCKET]\n");
        return 2;
    }
    /* Before the first thread, those of the library included: a thread takes the mask of the one that made it. */
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGINT);
    sigaddset(&stop_signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop_signals, NULL);

    if (model_folder_make(&models, MODELS, MODEL_BYTES) != 0)
        return fail("the models cannot be written", NULL);
    if (argc == 2)
        snprintf(path, sizeof path, "%s", argv[1]);
    else /* not beside the models: what TMPDIR says may be too long for the name of a socket */
        snprintf(path, sizeof path, "/tmp/sgi-epoll-%ld", (long)getpid());
    rc = run(path, &models, argc == 1);
    unlink(path);
    model_folder_remove(&models);
    return rc;
}
