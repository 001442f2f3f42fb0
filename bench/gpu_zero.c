/* SPDX-License-Identifier: Apache-2.0 */
/* From the last release, of a model that is to leave at once, to a device without anything of ours: as the library says
 * it, and as NVML sees it, which counts what every process holds. */
#include <string.h>

#include "gpu.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

enum { POLL_US = 500 };

static const double patience_s = 30, slack_mib = 2;

struct zero {
    sgi_runtime    *rt;
    sgi_model       model;
    struct gpu_view view;
    double          before_mib, empty_mib; /* by NVML: before the first load, and between loads */
};

/* Whoever else uses the card moves it too; so only a device of our own is measured by it. */
static double nvml_zero_ms(const struct zero *z, double begin)
{
    if (z->empty_mib < 0)
        return -1;
    while (gpu_view_used_mib(&z->view) > z->empty_mib + slack_mib) {
        if (seconds_now() - begin > patience_s)
            return -1;
        nap_us(POLL_US);
    }
    return (seconds_now() - begin) * 1e3;
}

static json_t *ms_or_null(double ms)
{
    return ms < 0 ? json_null() : json_real(ms);
}

static void once(struct zero *z, bool counted)
{
    sgi_device_info device = { .struct_size = sizeof device };
    double          uncharged = -1;
    sgi_lease       lease = session_acquire(z->rt, z->model, NULL);
    double          held_mib = gpu_view_used_mib(&z->view), begin = seconds_now();

    session_release(z->rt, lease);
    while (sgi_device_query(z->rt, 0, &device) == SGI_OK) {
        if (uncharged < 0 && device.bytes_used == 0)
            uncharged = (seconds_now() - begin) * 1e3;
        if (uncharged >= 0 && device.context != SGI_CONTEXT_OURS && device.context != SGI_CONTEXT_SHARED)
            break;
        if (seconds_now() - begin > patience_s)
            die("after %.0f s %llu bytes are charged", patience_s, (unsigned long long)device.bytes_used);
        nap_us(POLL_US);
    }
    double context = (seconds_now() - begin) * 1e3, nvml = counted ? nvml_zero_ms(z, begin) : -1;
    session_wait_idle(z->rt);
    if (!counted)
        z->empty_mib = gpu_view_settled_mib(&z->view);
    report_line(json_pack("{s:s, s:f, s:f, s:o, s:o, s:o}", "what", "zero", "device_ms", uncharged, "context_ms",
                          context, "nvml_ms", ms_or_null(nvml), "nvml_held_mib",
                          ms_or_null(held_mib < 0 ? -1 : held_mib - z->before_mib), "nvml_left_mib",
                          z->empty_mib < 0 ? json_null() : json_real(z->empty_mib - z->before_mib)));
}

int zero_side_run(void *user)
{
    const struct zero_side *side = user;
    struct turns            turns = { .repeat = side->repeat, .on_line = true };
    struct zero             z = { .before_mib = -1, .empty_mib = -1 };
    sgi_runtime_config      config = session_config("auto", 0);
    sgi_device_config       device;
    unsigned                ordinal;

    config.idle_timeout_ms = SGI_IDLE_NOW;
    config.context_linger_ms = SGI_IDLE_NOW;
    session_on(&config, &device, side->device);
    z.rt = session_open(&config);
    if (gpu_is_cuda(side->device, &ordinal)) {
        struct gpu_driver g;
        gpu_driver_open(&g, ordinal);
        gpu_view_open(&z.view, g.pci);
    }
    z.before_mib = gpu_view_used_mib(&z.view);
    z.model = session_register(z.rt, "zero", side->path, 0);
    while (next_turn(&turns))
        once(&z, turns.done > 1);
    session_close(z.rt);
    return EXIT_GOOD;
}
