/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside gpu_probe: what its files share.
 *
 * Every process of it is one of three: the one that was called, which never opens the driver; a probe (--only), which
 * measures and writes its object; a role (--role), which does something a probe looks at from outside, stage by stage.
 * All are started as new programs: a process that forks after cuInit has a driver that does not work.
 */
#ifndef GPU_PROBE_H
#define GPU_PROBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "gpu_probe_cuda.h"

#define MIB       ((uint64_t)1 << 20)
#define GIB       ((uint64_t)1 << 30)
#define HUGE_PAGE ((uint64_t)2 << 20)
#define PATTERN   ((uint32_t)0xA5C3F00D)

enum { NOBODY = 65534, STAGE_MS = 90000 };

struct nvml_view {
    struct nvml fn;
    nvml_device device;
    const char *why; /* it cannot be used; NULL when it can */
    bool        opened;
};

/* One of these a process, passed everywhere. */
struct probe {
    int         ordinal;
    uint64_t    bytes_max;
    unsigned    timeout_s; /* of a probe, at most */
    const char *pci;       /* of the device, as the first child found it; NULL: not known */
    const char *arg;       /* a role's variant */
    int         fd;        /* a role's memory, exported by its probe; -1: none */
    int         channel, result;
    bool        lines; /* write `out` at every step, so that what was measured outlives a crash */
    json_t     *out;

    struct cuda cu;
    const char *library;
    cu_device   device;
    cu_context  context;
    cu_module   module;
    char        jit_log[2048];
    const char *call; /* the first call that failed since failure_clear(), and how */
    int         code;

    struct nvml_view nvml;
};

/* ------------------------------------------------------------------------------------------------ gpu_probe_driver */

/* CU(p, cuInit, (0)): true when the driver has the function and it succeeded; else the failure is kept in `p`. */
#define CU_CODE(p, fn, args) ((p)->cu.fn ? (int)(p)->cu.fn args : CU_NO_SYMBOL)
#define CU(p, fn, args)      cu_ended((p), #fn, CU_CODE(p, fn, args))

bool        cu_ended(struct probe *p, const char *call, int code);
const char *cu_name(int code);
json_t     *cu_code_json(int code);                   /* {"code": 700, "name": "..."} */
json_t     *failure_json(const struct probe *p);      /* the same and "call" */
void        failure_put(struct probe *p, json_t *to); /* as "error", and forgets it */
void        failure_clear(struct probe *p);

bool cuda_open(struct probe *p, json_t *reason_to);
bool cuda_init(struct probe *p);    /* opens too */
bool cuda_context(struct probe *p); /* the primary one, current */
bool cuda_module(struct probe *p);
int  cuda_attribute(struct probe *p, int attribute); /* INT32_MIN: the driver does not know it */

/* Starts a kernel of the module; the code of the launch, not of what it did. */
int  kernel_noop(struct probe *p);
int  kernel_trap(struct probe *p);
int  kernel_poke(struct probe *p, cu_ptr at, uint32_t value);
int  kernel_peek(struct probe *p, cu_ptr at, cu_ptr to);
bool kernel_count(struct probe *p, cu_ptr at, uint64_t words, uint32_t value, uint64_t *found);

/* Memory by handle: created, mapped, accessible. */
struct block {
    cu_ptr    at;
    cu_handle handle;
    uint64_t  bytes;
    bool      reserved, created, mapped;
};

cu_allocation allocation_on(const struct probe *p, bool exportable);
uint64_t      granularity(struct probe *p, const cu_allocation *prop);
bool          block_create(struct probe *p, struct block *b, uint64_t bytes, const cu_allocation *prop);
bool          block_import(struct probe *p, struct block *b, uint64_t bytes, int fd);
bool          block_map(struct probe *p, struct block *b, unsigned access);
bool          block_export(struct probe *p, const struct block *b, int *fd);
void          block_free(struct probe *p, struct block *b);

/* -------------------------------------------------------------------------------------------------- gpu_probe_nvml */

bool   nvml_open(struct probe *p);
double nvml_used_mib(struct probe *p); /* negative: not known */
void   nvml_put(struct probe *p, json_t *to, pid_t pid);
void   nvml_put_device(struct probe *p, json_t *to);

/* ------------------------------------------------------------------------------------------------- gpu_probe_child */

struct role_options {
    const char *name, *arg;
    bool        restricted;     /* as nobody, when we are root */
    int         fd;             /* for the role; -1: none */
    const char *environment[4]; /* NAME=value, added */
    const char *under;          /* a program that runs it, as a shell command line before ours; NULL: none */
};

struct role {
    pid_t  pid;
    int    channel, pidfd;
    double spawned_us;
};

typedef void (*stage_fn)(struct probe *p, struct role *r, const char *stage, json_t *at, void *user);

/* Runs a role from its start to its end. What it says at each stage is in to["stages"], beside what NVML and the kernel
 * say of it then; `on_stage`, which may be NULL, looks further while the role waits. True: it ended by itself, well. */
bool role_run(struct probe *p, const struct role_options *o, json_t *to, stage_fn on_stage, void *user);

/* The same in pieces, for two at a time. */
bool    role_start(struct probe *p, const struct role_options *o, struct role *r, json_t *to);
json_t *role_next(struct role *r, int timeout_ms); /* the next stage's facts; NULL: it is over, or it is too late */
void    role_go(struct role *r);
bool    role_end(struct role *r, json_t *to); /* reaps it, by force if need be */

/* In the role: says so, and waits until the probe has looked. Takes `facts`. */
void stage(struct probe *p, const char *name, json_t *facts);

/* A probe as a child: its object, always. */
json_t *probe_child(const struct probe *p, const char *name, int timeout_s);

/* ------------------------------------------------------------------------------------------------------- gpu_probe */

double   now_us(void);
void     step(struct probe *p, const char *name);
json_t  *put_object(json_t *to, const char *key);
json_t  *put_array(json_t *to, const char *key);
void     put_number(json_t *to, const char *key, double value); /* three decimals are all that means anything */
void     put_text(json_t *to, const char *key, const char *text);
void     put_code(json_t *to, const char *key, int code);
void     put_median(json_t *to, const char *key, double *values, size_t count); /* sorts them */
void     skip(json_t *to, const char *reason);
uint64_t host_available(void); /* bytes of memory that a probe may take: a quarter */
uint64_t proc_kib(pid_t pid, const char *file, const char *field);

typedef void (*probe_fn)(struct probe *p, json_t *out);

void probe_driver(struct probe *p, json_t *out);
void probe_start(struct probe *p, json_t *out);
void probe_context(struct probe *p, json_t *out);
void probe_contextless(struct probe *p, json_t *out);
void probe_syscalls(struct probe *p, json_t *out);
void probe_vmm(struct probe *p, json_t *out);
void probe_import(struct probe *p, json_t *out);
void probe_readonly(struct probe *p, json_t *out);
void probe_scrub(struct probe *p, json_t *out);
void probe_h2d(struct probe *p, json_t *out);
void probe_pin(struct probe *p, json_t *out);
void probe_pin_release(struct probe *p, json_t *out);
void probe_host_numa(struct probe *p, json_t *out);
void probe_sticky(struct probe *p, json_t *out);
void probe_checkpoint(struct probe *p, json_t *out);

/* A role has no object: what it has to say, it says by stage(). */
void role_starter(struct probe *p);
void role_lifecycle(struct probe *p);
void role_importer(struct probe *p);
void role_writer(struct probe *p);
void role_reader(struct probe *p);
void role_numa(struct probe *p);
void role_faulty(struct probe *p);
void role_bystander(struct probe *p);
void role_target(struct probe *p);
void role_self(struct probe *p);
void role_checkpointer(struct probe *p);

#endif
