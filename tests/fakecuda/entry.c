/* SPDX-License-Identifier: Apache-2.0 */
/* The way into every call: configuration, cuInit, and what is refused before it, after a fork, or after a fault. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

struct fc_config               fc_config;
struct fc_state                fc;
_Thread_local struct fc_thread fc_thread;

static bool configured;

#define NAME(name, parameters) #name,
static const char *const names[] = { FAKECUDA_CALLS(NAME) };

const char *fc_call_name(unsigned call)
{
    return call < CALL_COUNT ? names[call] : "";
}

/* --------------------------------------------------------------------------------------------------- configuration */

static unsigned number_of(const char *name, unsigned otherwise)
{
    return (unsigned)fc_bytes_of(getenv(name), otherwise);
}

static bool is_set(const char *name, const char *value)
{
    const char *set = getenv(name);
    return set && strcmp(set, value) == 0;
}

/* By the number of the driver, as users know it, or by that of CUDA. */
static int version_of(const char *driver)
{
    static const struct {
        int driver, version;
    } known[] = { { 535, 12020 }, { 545, 12030 }, { 550, 12040 }, { 555, 12050 }, { 560, 12060 },
                  { 565, 12070 }, { 570, 12080 }, { 575, 12090 }, { 580, 13000 }, { 590, 13010 },
                  { 595, 13020 }, { 610, 13030 }, { 615, 13040 }, { 620, 13050 } };
    int number = driver && *driver ? (int)strtol(driver, NULL, 10) : 580, version = 12020;
    if (number >= 1000)
        return number;
    for (size_t n = 0; n < sizeof known / sizeof known[0]; n++) {
        if (number >= known[n].driver)
            version = known[n].version;
    }
    return version;
}

static void after_fork(void)
{
    fc.forked = fc.initialized;
}

/* Under the lock, at the first call of whatever. */
static void configure(void)
{
    const char *log = getenv("FAKECUDA_LOG"), *poison = getenv("FAKECUDA_POISON");
    configured = true;
    fc_config = (struct fc_config){
        .devices = number_of("FAKECUDA_DEVICES", 1),
        .vram = fc_bytes_of(getenv("FAKECUDA_VRAM"), 1ull << 30),
        .context_bytes = fc_bytes_of(getenv("FAKECUDA_CONTEXT"), 64ull << 20),
        .foreign_bytes = fc_bytes_of(getenv("FAKECUDA_FOREIGN"), 0),
        .pins_max = fc_bytes_of(getenv("FAKECUDA_PINS"), UINT64_MAX),
        .version = version_of(getenv("FAKECUDA_DRIVER")),
        .without = getenv("FAKECUDA_WITHOUT"),
        .stub = is_set("FAKECUDA_STUB", "1"),
        .deaf = is_set("FAKECUDA_STICKY", "ignore"),
        .mps = is_set("FAKECUDA_STICKY", "all"),
        .peers = !is_set("FAKECUDA_PEERS", "none"),
        .strict = is_set("FAKECUDA_STRICT", "1"),
        .count_leaks = !is_set("FAKECUDA_LEAKS", "ignore"),
        .init_ms = number_of("FAKECUDA_INIT_MS", 0),
        .delay_us = number_of("FAKECUDA_DELAY_US", 20),
        .jitter_us = number_of("FAKECUDA_JITTER_US", 80),
        .copy_us = number_of("FAKECUDA_COPY_US", 0),
        .link_mib_s = number_of("FAKECUDA_LINK", 0),
        .seed = fc_bytes_of(getenv("FAKECUDA_SEED"), 1),
        .poison = poison && *poison ? (uint32_t)strtoul(poison, NULL, 16) : 0xA5A5A5A5u,
        .checkpoint = getenv("FAKECUDA_CHECKPOINT"),
        .log = log && *log ? fopen(log, "ae") : NULL,
    };
    if (fc_config.foreign_bytes > fc_config.vram) /* what is free is the difference */
        fc_config.foreign_bytes = fc_config.vram;
    if (fc_config.devices > DEVICES_MAX)
        fc_config.devices = DEVICES_MAX;
    fc_faults_read();
    pthread_atfork(NULL, NULL, after_fork);
}

bool fc_is_without(const char *name)
{
    size_t length = strlen(name);
    for (const char *at = fc_config.without; at && *at; at += strcspn(at, ","), at += *at == ',') {
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

/* ---------------------------------------------------------------------------------------------------------- a call */

static cu_result act_on_fault(enum call call)
{
    int value = 0;
    switch (fc_fault_at(call, &value)) {
    case FAULT_ERROR:
        return (cu_result)value;
    case FAULT_STICKY:
        fc_sticky((cu_result)value, fc_call_name(call));
        return (cu_result)value;
    case FAULT_DELAY:
        fc_unlock();
        fc_sleep_until(fc_now_ns() + (uint64_t)value * 1000000u);
        fc_lock();
        return CU_OK;
    default:
        return CU_OK;
    }
}

static cu_result may_call(enum call call, unsigned need)
{
    cu_result code = act_on_fault(call);
    if (code != CU_OK)
        return code;
    if ((need & NEEDS_INIT) != 0) {
        if (!fc.initialized)
            return CU_NOT_INITIALIZED;
        if (fc.ending) /* streams carry out nothing any more: a thread that outlives main would wait for ever */
            return CU_DEINITIALIZED;
        fc_checkpoint_wait();
        if (fc_process_failed())
            fc_sticky(CU_MPS_CLIENT_TERMINATED, "another client");
    }
    if ((need & SHOWS_STICKY) != 0 && fc.sticky != CU_OK) {
        fc_settle();
        return fc.sticky;
    }
    if ((need & NEEDS_CONTEXT) == NEEDS_CONTEXT && !fc_current())
        return fc_thread.depth == 0 ? CU_INVALID_CONTEXT : CU_CONTEXT_IS_DESTROYED;
    return fc_capture_forbids(call);
}

cu_result fc_enter(enum call call, unsigned need)
{
    if (fc.forked) /* whoever held the lock is not in this process */
        return CU_NOT_INITIALIZED;
    if (fc_thread.in_host_function)
        return CU_NOT_PERMITTED;
    fc_own_begin();
    fc_lock();
    if (!configured)
        configure();
    fc.calls[call]++;
    fc.calls[ANY_CALL]++;
    fc_thread.call = fc_call_name(call);
    cu_result code = fc_config.stub ? CU_STUB_LIBRARY : may_call(call, need);
    return code == CU_OK ? CU_OK : fc_leave(code);
}

cu_result fc_leave(cu_result code)
{
    fc_unlock();
    fc_own_end();
    return code;
}

/* ------------------------------------------------------------------------------------------------ init and version */

/* CUDA_VISIBLE_DEVICES: numbers or UUIDs; the first that is neither ends the list. */
static void see_devices(void)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    fc.visible_count = 0;
    if (!list) {
        for (unsigned n = 0; n < fc_config.devices; n++)
            fc.visible[fc.visible_count++] = (int)n;
        return;
    }
    while (*list && fc.visible_count < DEVICES_MAX) {
        unsigned long number = DEVICES_MAX;
        char          uuid[8];
        if (sscanf(list, "GPU-%2s", uuid) == 1)
            number = strtoul(uuid, NULL, 16) - 0x10;
        else if (*list >= '0' && *list <= '9')
            number = strtoul(list, NULL, 10);
        if (number >= fc_config.devices)
            break;
        fc.visible[fc.visible_count++] = (int)number;
        list += strcspn(list, ",");
        list += *list == ',';
    }
}

cu_result cuInit(unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuInit, NEEDS_NOTHING);
    if (code != CU_OK)
        return code;
    if (flags != 0)
        return fc_leave(CU_INVALID_VALUE);
    if (fc.initialized)
        return fc_leave(CU_OK);
    if (fc_config.init_ms > 0) {
        fc_unlock();
        fc_sleep_until(fc_now_ns() + fc_config.init_ms * 1000000ull);
        fc_lock();
    }
    see_devices();
    if (fc.visible_count == 0)
        return fc_leave(CU_NO_DEVICE);
    fc_ledger_folder();
    if (!fc.process)
        fc_process_open();
    fc.initialized = true;
    return fc_leave(CU_OK);
}

cu_result cuDriverGetVersion(int *version)
{
    cu_result code = fc_enter(CALL_cuDriverGetVersion, NEEDS_NOTHING);
    if (code != CU_OK)
        return code;
    if (!version)
        return fc_leave(CU_INVALID_VALUE);
    *version = fc_config.version;
    return fc_leave(CU_OK);
}

/* ----------------------------------------------------------------------------------------------- functions by name */

struct form {
    const char *name, *base;
    int         since, until;
    void (*function)(void);
};

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a name cannot stand in them */
#define FORM(name, base, since, until) { #name, #base, since, until, (void (*)(void))name },
static const struct form forms[] = { FAKECUDA_SINCE(FORM) };

/* The newest form that the version asked for has; what is in no version is not found, what comes later is too new. */
static cu_found find_form(const char *symbol, int version, const struct form **found)
{
    cu_found status = CU_FOUND_NOT;
    *found = NULL;
    for (size_t n = 0; n < sizeof forms / sizeof forms[0]; n++) {
        const struct form *f = &forms[n];
        if (strcmp(f->base, symbol) != 0 || f->since > fc_config.version || fc_is_without(f->name))
            continue;
        if (f->since > version) {
            status = *found ? status : CU_FOUND_TOO_NEW;
        } else if (f->until == 0 || version < f->until) {
            *found = f;
            status = CU_FOUND;
        }
    }
    return status;
}

cu_result cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, cu_found *status)
{
    const struct form *form;
    cu_result          code = fc_enter(CALL_cuGetProcAddress_v2, NEEDS_NOTHING);
    if (code != CU_OK)
        return code;
    if (!symbol || !found || version > fc_config.version || version < 2000 ||
        flags > (CU_PROC_LEGACY_STREAM | CU_PROC_PER_THREAD_STREAM))
        return fc_leave(CU_INVALID_VALUE);
    cu_found seen = find_form(symbol, version, &form);
    *found = NULL;
    if (form)
        memcpy(found, &form->function, sizeof *found); /* ISO C lets no function be a void * */
    if (status)
        *status = seen;
    return fc_leave(CU_OK);
}

/* ---------------------------------------------------------------------------------------------------------- errors */

#define ERROR(name, code, over) { code, "CUDA_ERROR_" #name },
static const struct {
    cu_result   code;
    const char *name;
} errors[] = { { CU_OK, "CUDA_SUCCESS" }, SGI__CUDA_CODES(ERROR) };

/* The text is the name: the real driver's sentences are nobody's to rely on. */
static cu_result error_text(enum call call, cu_result code, const char **text)
{
    cu_result entered = fc_enter(call, NEEDS_NOTHING);
    if (entered != CU_OK)
        return entered;
    if (!text)
        return fc_leave(CU_INVALID_VALUE);
    *text = NULL;
    for (size_t n = 0; n < sizeof errors / sizeof errors[0] && !*text; n++) {
        if (errors[n].code == code)
            *text = errors[n].name;
    }
    return fc_leave(*text ? CU_OK : CU_INVALID_VALUE);
}

cu_result cuGetErrorName(cu_result code, const char **text)
{
    return error_text(CALL_cuGetErrorName, code, text);
}

cu_result cuGetErrorString(cu_result code, const char **text)
{
    return error_text(CALL_cuGetErrorString, code, text);
}
