/* SPDX-License-Identifier: Apache-2.0 */
/* From the last release, of a model that is to leave at once, to nothing: until the device is charged with no byte any
 * more, and until the memory is back with the kernel. Anonymous images and memfds in turn. */
#include <string.h>

#include "commands.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

enum { POLL_US = 500, RSS_SLACK = 2 << 20 };

struct options {
    const char *path, *engine;
    uint64_t    bytes, repeat, rate;
};

/* What this is to be within: 50 ms, and so much for each GiB. */
static const double fixed_ms = 50, per_gib_ms[2] = { 5, 90 };

struct release {
    sgi_runtime   *rt;
    sgi_model      models[2]; /* anonymous, memfd */
    struct summary kinds[2];
    bool           met[2];
};

static void once(struct release *r, int fd)
{
    sgi_device_info device = { .struct_size = sizeof device };
    double          uncharged = 0;
    uint64_t        before = rss_bytes_fast();
    sgi_lease       lease = session_acquire(r->rt, r->models[fd], NULL);
    uint64_t        held = rss_bytes_fast() - before;
    double          gib = (double)session_info(r->rt, r->models[fd]).image_bytes / GIB;

    double begin = seconds_now(), cpu = cpu_seconds();
    session_release(r->rt, lease);
    double call = seconds_now() - begin;
    for (;; nap_us(POLL_US)) {
        if (uncharged == 0 && sgi_device_query(r->rt, 0, &device) == SGI_OK && device.bytes_used == 0)
            uncharged = seconds_now() - begin;
        if (uncharged > 0 && rss_bytes_fast() <= before + RSS_SLACK)
            break;
        if (seconds_now() - begin > 60)
            die("after a minute %llu bytes are charged and %llu resident", (unsigned long long)device.bytes_used,
                (unsigned long long)(rss_bytes_fast() - before));
    }
    double returned = seconds_now() - begin, row = fixed_ms + per_gib_ms[fd] * gib;
    bool   within = uncharged * 1e3 <= row && returned * 1e3 <= row;
    r->met[fd] &= within;
    report_line(json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:b}", "what", "release", "image",
                          fd ? "memfd" : "anonymous", "held_bytes", (json_int_t)held, "call_us", call * 1e6,
                          "device_ms", uncharged * 1e3, "memory_ms", returned * 1e3, "cpu_ms",
                          (cpu_seconds() - cpu) * 1e3, "row_ms", row, "within", within));
    summary_add(&r->kinds[fd], "device_ms", uncharged * 1e3);
    summary_add(&r->kinds[fd], "memory_ms", returned * 1e3);
    summary_add(&r->kinds[fd], "memory_ms_per_gib", returned * 1e3 / gib);
    summary_add(&r->kinds[fd], "row_ms", row);
}

static int run(const struct options *o)
{
    sgi_runtime_config config = session_config(o->engine, o->rate);
    struct release     r = { .met = { true, true } };
    struct summary     none = { 0 };

    config.idle_timeout_ms = SGI_IDLE_NOW;
    config.context_linger_ms = SGI_IDLE_NOW;
    r.rt = session_open(&config);
    for (int fd = 0; fd < 2; fd++)
        r.models[fd] = session_register(r.rt, fd ? "memfd" : "anonymous", o->path, fd ? SGI_IMAGE_FD : 0);
    for (uint64_t n = 0; n < 2 * o->repeat; n++)
        once(&r, (int)(n % 2));
    session_close(r.rt);
    summary_report(&none, "release", o->path,
                   json_pack("{s:o, s:o, s:b, s:b}", "anonymous", summary_json(&r.kinds[0]), "memfd",
                             summary_json(&r.kinds[1]), "anonymous_within", r.met[0], "memfd_within", r.met[1]));
    return EXIT_GOOD;
}

int release_main(int argc, char **argv)
{
    static const struct bench_command command = {
        .name = "release",
        .operands = "[FILE]",
        .operands_max = 1,
        .purpose =
            "From the last release to zero: device_ms until the device is charged with nothing, memory_ms until the\n"
            "process is as small as before the load, of anonymous images and memfds in turn. row_ms is what it has to\n"
            "be within: 50 ms and 5 (anonymous) or 90 (memfd) for each GiB.\n",
    };
    struct options            o = { .engine = "auto", .bytes = UINT64_C(1) << 29, .repeat = 5 };
    const struct bench_option options[] = {
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, session_engines, "how files are read" },
        OPTION_MODEL_BYTES(&o),
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, &o.path);
    if (!o.path)
        o.path = model_file(o.bytes, 16);
    return run(&o);
}
