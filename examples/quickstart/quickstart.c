/* SPDX-License-Identifier: Apache-2.0 */
/* The shortest useful program: register a safetensors model, have it loaded, look at a tensor, let it go.
 *
 *     quickstart model.safetensors [TENSOR]
 */
#include <errno.h>
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

static int use(sgi_runtime *rt, const char *path, const char *name)
{
    sgi_error        err = { .struct_size = sizeof err };
    sgi_tensor       tensor = { .struct_size = sizeof tensor };
    sgi_view         view = { .struct_size = sizeof view };
    sgi_timing       timing = { .struct_size = sizeof timing };
    sgi_model_config config;
    sgi_model        model;
    sgi_lease        lease;
    sgi_status       st;

    sgi_model_config_init(&config, sizeof config);
    config.name = "quickstart";
    config.path = path;
    st = sgi_model_register(rt, &config, &model, &err); /* reads the header, holds nothing else */
    if (st != SGI_OK)
        return failed("register", st, &err);

    st = name ? sgi_model_tensor_find(rt, model, name, &tensor) : sgi_model_tensor_at(rt, model, 0, &tensor);
    if (st != SGI_OK)
        return failed(name ? name : "the first tensor", st, &err);

    st = sgi_model_acquire_wait(rt, model, NULL, &lease, &err); /* loads it, if it is not loaded */
    if (st != SGI_OK)
        return failed("acquire", st, &err);

    st = sgi_lease_tensor(rt, lease, tensor.index, &view, &err);
    if (st == SGI_OK) {
        const unsigned char *bytes = view.data;

        sgi_lease_timing(rt, lease, &timing);
        printf("loaded %.1f MiB in %.1f ms\n%s, %s, %" PRIu64 " bytes:", (double)timing.bytes / 1048576,
               (double)timing.load_ns / 1e6, tensor.name, tensor.dtype, view.bytes);
        for (uint64_t i = 0; i < view.bytes && i < 16; i++)
            printf(" %02x", bytes[i]);
        putchar('\n');
    }
    sgi_lease_release(rt, lease); /* the idle timer starts here; `view` is no longer valid */
    return st == SGI_OK ? 0 : failed(tensor.name, st, &err);
}

static int run(const char *path, const char *name)
{
    sgi_error    err = { .struct_size = sizeof err };
    sgi_runtime *rt;
    sgi_status   st;
    int          rc;

    st = sgi_runtime_open(NULL, &rt, &err);
    if (st != SGI_OK)
        return failed("open", st, &err);
    rc = use(rt, path, name);
    st = sgi_runtime_close(rt, SGI_FOREVER, &err);
    return st == SGI_OK ? rc : failed("close", st, &err);
}

int main(int argc, char **argv)
{
    static const char usage[] = "usage: quickstart MODEL [TENSOR]\n"
                                "Loads a safetensors or GGUF model and prints the first bytes of a tensor: the named\n"
                                "one, or the first.\n";
    int               rc = 0;

    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
    } else if (argc < 2 || argc > 3 || argv[1][0] == '-') {
        fputs(usage, stderr);
        return 2;
    } else {
        rc = run(argv[1], argc == 3 ? argv[2] : NULL);
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return rc;
    fprintf(stderr, "quickstart: standard output could not be written: %s\n", strerror(errno));
    return 1;
}
