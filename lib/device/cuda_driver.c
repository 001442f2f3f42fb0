/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda_driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"
#include "device/symbol.h"

static const char *const library_name = "libcuda.so.1";

/* Its own cuGetErrorName is not asked: a stub has none, and after a lost device nothing is certain. */
static const struct {
    cu_result   code;
    const char *name;
    bool        over;
} codes[] = {
#define CODE(name, code, over) { (code), "CUDA_ERROR_" #name, (over) },
    SGI__CUDA_CODES(CODE)
#undef CODE
};

const char *sgi__cuda_code_name(cu_result code)
{
    for (size_t n = 0; n < sizeof codes / sizeof codes[0]; n++)
        if (codes[n].code == code)
            return codes[n].name;
    return code == CU_OK ? "CUDA_SUCCESS" : "an unknown CUDA error";
}

bool sgi__cuda_is_over(cu_result code)
{
    for (size_t n = 0; n < sizeof codes / sizeof codes[0]; n++)
        if (codes[n].code == code)
            return codes[n].over;
    return false;
}

static sgi_status status_of(cu_result code)
{
    if (sgi__cuda_is_over(code))
        return SGI_E_DEVICE_LOST;
    return code == CU_OUT_OF_MEMORY ? SGI_E_DEVICE_MEMORY : SGI_E_DEVICE;
}

sgi_status sgi__cuda_failed(sgi_error *err, cu_result code, const char *format, ...)
{
    char    text[160];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sgi__error_driver(err, status_of(code), (int32_t)code, "%s: %s (%u)", text, sgi__cuda_code_name(code),
                             (unsigned)code);
}

/* ---- opening ---- */

/* All that is used, or the name of the first that is missing. */
static const char *find_calls(struct sgi__cuda *cuda, void *library)
{
#define FIND(call, parameters)                                        \
    if (!sgi__symbol(library, #call, &cuda->call, sizeof cuda->call)) \
        return #call;
    SGI__CUDA_CALLS(FIND)
#undef FIND
    return NULL;
}

/* Why there is no CUDA, from what `call` said. */
static sgi_status refused(sgi_error *err, const char *call, cu_result code)
{
    switch (code) {
    case CU_STUB_LIBRARY:
        return sgi__error_driver(err, SGI_E_UNSUPPORTED, (int32_t)code,
                                 "%s is the toolkit's stub, not a driver; the NVIDIA driver is not installed, or "
                                 "the stub is found before it",
                                 library_name);
    case CU_NO_DEVICE:
        return sgi__error_driver(err, SGI_E_UNSUPPORTED, (int32_t)code,
                                 "there is a CUDA driver and no device (or CUDA_VISIBLE_DEVICES hides them)");
    case CU_NOT_INITIALIZED:
        return sgi__error_driver(err, SGI_E_UNSUPPORTED, (int32_t)code,
                                 "%s: %s; a process that was forked by one that has used CUDA cannot", call,
                                 sgi__cuda_code_name(code));
    default:
        return sgi__error_driver(err, SGI_E_UNSUPPORTED, (int32_t)code, "%s: %s (%u)", call, sgi__cuda_code_name(code),
                                 (unsigned)code);
    }
}

/* It is never closed again: the driver has threads and exit handlers of its own. */
sgi_status sgi__cuda_open(struct sgi__cuda *cuda, sgi_error *err)
{
    struct sgi__shown shown;
    void             *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        const char *why = dlerror();
        return sgi__error(err, SGI_E_UNSUPPORTED, "no CUDA driver: %s", sgi__show_path(&shown, why ? why : "dlopen"));
    }
    /* The version first: an old driver would otherwise be told by what it lacks. The stub does not answer; cuInit says
     * that it is one. */
    if (!sgi__symbol(library, "cuDriverGetVersion", &cuda->cuDriverGetVersion, sizeof cuda->cuDriverGetVersion))
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s has no cuDriverGetVersion: not a CUDA driver", library_name);
    cu_result version_code = cuda->cuDriverGetVersion(&cuda->version);
    if (version_code == CU_OK && cuda->version < SGI__CUDA_VERSION_MIN)
        return sgi__error(err, SGI_E_UNSUPPORTED, "the driver is for CUDA %d.%d; 12.4 (driver 550) or newer is needed",
                          cuda->version / 1000, cuda->version % 1000 / 10);
    const char *missing = find_calls(cuda, library);
    if (missing)
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s has no %s; driver 550 or newer is needed", library_name, missing);
    cu_result code = cuda->cuInit(0);
    if (code != CU_OK)
        return refused(err, "cuInit", code);
    if (version_code != CU_OK)
        return refused(err, "cuDriverGetVersion", version_code);
    code = cuda->cuDeviceGetCount(&cuda->devices_count);
    if (code == CU_OK && cuda->devices_count < 1)
        code = CU_NO_DEVICE;
    return code == CU_OK ? SGI_OK : refused(err, "cuDeviceGetCount", code);
}
