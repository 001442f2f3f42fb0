/* SPDX-License-Identifier: Apache-2.0 */
/* The shortest useful program: register a model, have it loaded, look at a tensor, let it go.
 *
 *     quickstart [--device NAME] MODEL [TENSOR]
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sgi/sgi.h>

static int failed(const char *what, sgi_status st, const sgi_error *err)
{
    fprintf(stderr, "quickstart: %s: %s (%s)\n", what, err->message[0] ? err->message : sgi_status_text(st),
            sgi_status_name(st));
    return 1;
}

static int no_tensor(const char *path, const char *name)
{
    if (name)
        fprintf(stderr, "quickstart: no tensor '%s' in %s\n", name, path);
    else
        fprintf(stderr, "quickstart: no tensors in %s\n", path);
    return 1;
}

static int use(sgi_runtime *rt, const char *path, const char *name)
{
    sgi_error        err = { .struct_size = sizeof err };
    sgi_tensor       tensor = { .struct_size = sizeof tensor };
    unsigned char    bytes[16];
    sgi_timing       timing = { .struct_size = sizeof timing };
    sgi_model_config config;
    sgi_model        model;
    sgi_lease        lease;
    sgi_status       st;
    uint64_t         count;

    sgi_model_config_init(&config, sizeof config);
    config.name = "quickstart";
    config.path = path;
    st = sgi_model_register(rt, &config, &model, &err); /* reads the header, holds nothing else */
    if (st != SGI_OK)
        return failed("register", st, &err);

    st = name ? sgi_model_tensor_find(rt, model, name, &tensor) : sgi_model_tensor_at(rt, model, 0, &tensor);
    if (st != SGI_OK)
        return no_tensor(path, name);

    st = sgi_model_acquire_wait(rt, model, NULL, &lease, &err); /* loads it, if it is not loaded */
    if (st != SGI_OK)
        return failed("acquire", st, &err);

    count = tensor.bytes < sizeof bytes ? tensor.bytes : sizeof bytes;
    st = sgi_lease_tensor_read(rt, lease, tensor.index, 0, bytes, count, &err); /* from the host or from a GPU */
    if (st == SGI_OK) {
        sgi_lease_timing(rt, lease, &timing);
        printf("loaded %.1f MiB in %.1f ms\n%s, %s, %" PRIu64 " bytes:", (double)timing.bytes / 1048576,
               (double)timing.load_ns / 1e6, tensor.name, tensor.dtype, tensor.bytes);
        for (uint64_t i = 0; i < count; i++)
            printf(" %02x", bytes[i]);
        putchar('\n');
    }
    sgi_lease_release(rt, lease); /* the idle timer starts here */
    return st == SGI_OK ? 0 : failed(tensor.name, st, &err);
}

static int run(const char *path, const char *name, const char *device)
{
    sgi_error          err = { .struct_size = sizeof err };
    sgi_runtime_config config;
    sgi_device_config  where;
    sgi_runtime       *rt;
    sgi_status         st;
    int                rc;

    sgi_device_config_init(&where, sizeof where);
    where.name = device;
    sgi_runtime_config_init(&config, sizeof config);
    config.devices = &where;
    config.devices_count = 1;
    st = sgi_runtime_open(&config, &rt, &err);
    if (st != SGI_OK)
        return failed("open", st, &err);
    rc = use(rt, path, name);
    st = sgi_runtime_close(rt, SGI_FOREVER, &err);
    return st == SGI_OK ? rc : failed("close", st, &err);
}

int main(int argc, char **argv)
{
    static const char          usage[] = "usage: quickstart [--device NAME] MODEL [TENSOR]\n"
                                         "Loads a safetensors or GGUF model and prints the first bytes of a tensor:\n"
                                         "the named one, or the first. The device is host (the default), or cuda:0\n"
                                         "and so on.\n";
    static const struct option options[] = { { "device", required_argument, NULL, 'd' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    const char                *device = "host";
    int                        option, rc = 0;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) == 'd')
        device = optarg;
    if (option == 'h') {
        fputs(usage, stdout);
    } else if (option != -1 || argc - optind < 1 || argc - optind > 2) {
        fputs(usage, stderr);
        return 2;
    } else {
        rc = run(argv[optind], argv[optind + 1], device); /* behind the last there is NULL */
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return rc;
    fprintf(stderr, "quickstart: standard output could not be written: %s\n", strerror(errno));
    return 1;
}
