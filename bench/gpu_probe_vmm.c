/* SPDX-License-Identifier: Apache-2.0 */
/* Memory by handle: what each call costs, who else can have it, what protects it, what of it the next process sees. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu_probe.h"

enum { REPEATS = 7, PIECES = 8 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------------------------------------------------- vmm */

enum { T_RESERVE, T_CREATE, T_MAP, T_ACCESS, T_UNMAP, T_RELEASE, T_FREE, TIMES };
static const char *const time_names[TIMES] = { "reserve_us", "create_us",  "map_us",         "set_access_us",
                                               "unmap_us",   "release_us", "address_free_us" };

/* One life of `pieces` handles in one reservation, access set once over all. Undoes what it did when a step fails. */
static bool life(struct probe *p, uint64_t bytes, unsigned pieces, double *took)
{
    cu_allocation prop = allocation_on(p, cuda_attribute(p, CU_ATTRIBUTE_POSIX_FD) > 0);
    cu_access     want = { .location = prop.location, .flags = CU_ACCESS_READ_WRITE };
    cu_handle     handles[PIECES] = { 0 };
    cu_ptr        at = 0;
    uint64_t      each = bytes / pieces;
    unsigned      created = 0, mapped = 0;
    double        t = now_us();

#define TOOK(which) (took[which] = now_us() - t, t = now_us())
    if (!CU(p, cuMemAddressReserve, (&at, bytes, 0, 0, 0)))
        return false;
    TOOK(T_RESERVE);
    while (created < pieces && CU(p, cuMemCreate, (&handles[created], each, &prop, 0)))
        created++;
    TOOK(T_CREATE);
    while (mapped < created && CU(p, cuMemMap, (at + mapped * each, each, 0, handles[mapped], 0)))
        mapped++;
    TOOK(T_MAP);
    bool good = mapped == pieces && CU(p, cuMemSetAccess, (at, bytes, &want, 1));
    TOOK(T_ACCESS);
    for (unsigned n = 0; n < mapped; n++)
        good = CU(p, cuMemUnmap, (at + n * each, each)) && good;
    TOOK(T_UNMAP);
    for (unsigned n = 0; n < created; n++)
        good = CU(p, cuMemRelease, (handles[n])) && good;
    TOOK(T_RELEASE);
    good = CU(p, cuMemAddressFree, (at, bytes)) && good;
    TOOK(T_FREE);
#undef TOOK
    return good;
}

static bool lives(struct probe *p, json_t *list, uint64_t bytes, unsigned pieces)
{
    double  took[TIMES], all[TIMES][REPEATS];
    json_t *entry = json_object();

    json_array_append_new(list, entry);
    put_number(entry, "mib", (double)bytes / (double)MIB);
    json_object_set_new(entry, "handles", json_integer(pieces));
    for (int round = -1; round < REPEATS; round++) { /* the first one warms up */
        if (!life(p, bytes, pieces, took)) {
            failure_put(p, entry);
            return false;
        }
        for (int n = 0; n < TIMES && round >= 0; n++)
            all[n][round] = took[n];
    }
    for (int n = 0; n < TIMES; n++)
        put_median(entry, time_names[n], all[n], REPEATS);
    return true;
}

void probe_vmm(struct probe *p, json_t *out)
{
    static const uint64_t sizes[] = { 2 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB, 4 * GIB };
    size_t                bytes = 0;

    step(p, "context");
    if (!cuda_context(p))
        return;
    cu_allocation prop = allocation_on(p, true);
    if (CU(p, cuMemGetAllocationGranularity, (&bytes, &prop, CU_GRANULARITY_MINIMUM)))
        json_object_set_new(out, "granularity_minimum", json_integer((json_int_t)bytes));
    if (CU(p, cuMemGetAllocationGranularity, (&bytes, &prop, CU_GRANULARITY_RECOMMENDED)))
        json_object_set_new(out, "granularity_recommended", json_integer((json_int_t)bytes));
    failure_put(p, out);
    json_t *list = put_array(out, "sizes");
    for (size_t n = 0; n < sizeof sizes / sizeof sizes[0] && sizes[n] <= p->bytes_max; n++) {
        step(p, "size");
        lives(p, list, sizes[n], 1);
        if (sizes[n] >= (uint64_t)PIECES * 2 * MIB)
            lives(p, list, sizes[n], PIECES);
    }
}

/* --------------------------------------------------------------------------------------------- handed to a process */

/* Words of device memory that are not the pattern, read back by copying: for memory that has to be right. */
static bool count_wrong(struct probe *p, cu_ptr at, uint64_t bytes, json_t *to)
{
    uint64_t  wrong = 0;
    uint32_t *copy = calloc(1, bytes);
    bool      good = copy && CU(p, cuMemcpyDtoH_v2, (copy, at, bytes));
    for (uint64_t n = 0; good && n < bytes / 4; n++)
        wrong += copy[n] != PATTERN;
    free(copy);
    if (good)
        json_object_set_new(to, "wrong_words", json_integer((json_int_t)wrong));
    return good;
}

static bool exportable_block(struct probe *p, struct block *b, uint64_t bytes, int *fd)
{
    cu_allocation prop = allocation_on(p, true);
    return block_create(p, b, bytes, &prop) && block_map(p, b, CU_ACCESS_READ_WRITE) &&
           CU(p, cuMemsetD32_v2, (b->at, PATTERN, b->bytes / 4)) && CU(p, cuCtxSynchronize, ()) &&
           block_export(p, b, fd);
}

static bool importer_maps(struct probe *p, struct block *b, unsigned access, json_t *facts)
{
    double begin = now_us();
    bool   good = block_import(p, b, p->bytes_max, p->fd);
    put_number(facts, "import_us", now_us() - begin);
    begin = now_us();
    good = good && block_map(p, b, access);
    put_number(facts, "map_us", now_us() - begin);
    return good;
}

/* One write to a mapping that may only be read; what came of it, and where it showed. */
static void write_once(struct probe *p, const struct block *b, const char *how, json_t *facts)
{
    uint32_t value = 0;
    cu_ptr   to = 0;
    int      code = CU_NO_SYMBOL;
    if (strcmp(how, "write_kernel") == 0)
        code = kernel_poke(p, b->at, 1);
    else if (strcmp(how, "write_memset") == 0)
        code = CU_CODE(p, cuMemsetD32_v2, (b->at, 1, 1));
    else if (strcmp(how, "write_copy") == 0)
        code = CU_CODE(p, cuMemcpyHtoD_v2, (b->at, &value, sizeof value));
    else if (CU(p, cuMemAlloc_v2, (&to, sizeof value)))
        code = kernel_peek(p, b->at, to);
    put_code(facts, "call", code);
    put_code(facts, "synchronize", CU_CODE(p, cuCtxSynchronize, ()));
    if (to && CU(p, cuMemcpyDtoH_v2, (&value, to, sizeof value)))
        json_object_set_new(facts, "kernel_read_right", json_boolean(value == PATTERN));
    /* Is the context still good afterwards? */
    put_code(facts, "alloc_after", CU_CODE(p, cuMemAlloc_v2, (&to, MIB)));
}

/* Args: "read", or how to write to what is mapped for reading only. --bytes is the size of the memory, exactly. */
void role_importer(struct probe *p)
{
    struct block b = { .bytes = 0 };
    json_t      *facts = json_object();
    bool         reads = !p->arg || strcmp(p->arg, "read") == 0;
    bool         good = cuda_context(p) && cuda_module(p);

    failure_put(p, facts); /* without kernels memory can still be imported */
    stage(p, "context", facts);
    facts = json_object();
    good = importer_maps(p, &b, reads ? CU_ACCESS_READ_WRITE : CU_ACCESS_READ, facts);
    if (good && reads)
        good = count_wrong(p, b.at, b.bytes, facts);
    else if (good)
        write_once(p, &b, p->arg, facts);
    failure_put(p, facts);
    stage(p, "imported", facts);
    facts = json_object();
    if (good && reads)
        count_wrong(p, b.at, b.bytes, facts);
    failure_put(p, facts);
    stage(p, "again", facts);
    stage(p, "end", NULL);
}

struct handed {
    struct block b;
    int          fd;
};

static void handed_back(struct probe *p, struct handed *h)
{
    block_free(p, &h->b);
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
}

/* Once the importer has it, the owner lets go: does it live on? */
static void owner_lets_go(struct probe *p, struct role *r, const char *stage_name, json_t *at, void *user)
{
    (void)r;
    if (strcmp(stage_name, "imported") != 0)
        return;
    handed_back(p, user);
    failure_put(p, at);
}

static bool hand_over(struct probe *p, json_t *to, struct handed *h, const char *arg, bool restricted,
                      stage_fn on_stage)
{
    struct probe        q = *p;
    struct role_options o = { .name = "importer", .arg = arg, .restricted = restricted, .fd = h->fd };
    q.bytes_max = h->b.bytes;
    bool well = role_run(&q, &o, to, on_stage, h);
    p->nvml = q.nvml;
    p->call = p->call ? p->call : q.call;
    p->code = p->code ? p->code : q.code;
    return well;
}

void probe_import(struct probe *p, json_t *out)
{
    struct handed h = { .fd = -1 };
    step(p, "owner");
    if (cuda_context(p) && exportable_block(p, &h.b, least(256 * MIB, p->bytes_max), &h.fd)) {
        put_number(out, "mib", (double)h.b.bytes / (double)MIB);
        hand_over(p, put_object(out, "restricted"), &h, "read", true, owner_lets_go);
    }
    failure_put(p, out);
    handed_back(p, &h);
}

void probe_readonly(struct probe *p, json_t *out)
{
    static const char *const ways[] = { "read_kernel", "write_kernel", "write_memset", "write_copy" };
    struct handed            h = { .fd = -1 };
    step(p, "owner");
    if (cuda_context(p) && exportable_block(p, &h.b, HUGE_PAGE, &h.fd)) {
        for (size_t n = 0; n < sizeof ways / sizeof ways[0]; n++) {
            json_t *to = put_object(out, ways[n]);
            step(p, ways[n]);
            hand_over(p, to, &h, ways[n], false, NULL);
            failure_clear(p);
            count_wrong(p, h.b.at, h.b.bytes, put_object(to, "owner_sees"));
            failure_put(p, to);
        }
    }
    failure_put(p, out);
    handed_back(p, &h);
}

/* ----------------------------------------------------------------------------------------------------- contextless */

/* This process is the owner: it never retains a context, so that what NVML says of it is what such an owner costs. */
void probe_contextless(struct probe *p, json_t *out)
{
    struct handed h = { .fd = -1 };
    nvml_put(p, put_object(out, "before"), getpid());
    step(p, "cuInit");
    if (!cuda_init(p))
        return;
    nvml_put(p, put_object(out, "init"), getpid());
    cu_allocation prop = allocation_on(p, true);
    double        begin = now_us();
    bool          good = block_create(p, &h.b, least(GIB, p->bytes_max), &prop);
    put_number(out, "create_us", now_us() - begin);
    put_number(out, "mib", (double)h.b.bytes / (double)MIB);
    nvml_put(p, put_object(out, "created"), getpid());
    good = good && block_export(p, &h.b, &h.fd);
    step(p, "created");
    if (good)
        hand_over(p, put_object(out, "user"), &h, "read", false, NULL); /* fresh: "wrong_words" are all of them */
    failure_put(p, out);
    handed_back(p, &h);
    nvml_put(p, put_object(out, "released"), getpid());
}

/* ----------------------------------------------------------------------------------------------------------- scrub */

struct taken {
    struct block blocks[PIECES];
    unsigned     count;
};

static bool take_one(struct probe *p, struct block *b, uint64_t bytes, bool by_handle)
{
    cu_allocation prop = allocation_on(p, false);
    if (by_handle)
        return block_create(p, b, bytes, &prop) && block_map(p, b, CU_ACCESS_READ_WRITE);
    *b = (struct block){ .bytes = bytes };
    return CU(p, cuMemAlloc_v2, (&b->at, bytes));
}

/* What is left in the end is less than what is free: the driver needs some, and pieces are whole pages. */
static bool take_most(struct probe *p, struct taken *t, bool by_handle)
{
    size_t free_bytes = 0, total = 0;
    t->count = 0;
    if (!CU(p, cuMemGetInfo_v2, (&free_bytes, &total)))
        return false;
    uint64_t each = least(free_bytes / 10 * 9, p->bytes_max) / PIECES / HUGE_PAGE * HUGE_PAGE;
    if (each == 0)
        return cu_ended(p, "cuMemGetInfo_v2: nothing is free", 2);
    while (t->count < PIECES && take_one(p, &t->blocks[t->count], each, by_handle))
        t->count++;
    return t->count == PIECES;
}

static void give_all(struct probe *p, struct taken *t)
{
    for (unsigned n = 0; n < t->count; n++) {
        if (t->blocks[n].created)
            block_free(p, &t->blocks[n]);
        else
            CU(p, cuMemFree_v2, (t->blocks[n].at));
    }
    t->count = 0;
}

static void count_pattern(struct probe *p, const struct taken *t, json_t *facts)
{
    uint64_t words = 0, sum = 0, found;
    for (unsigned n = 0; n < t->count; n++) {
        if (!kernel_count(p, t->blocks[n].at, t->blocks[n].bytes / 4, PATTERN, &found))
            return;
        words += t->blocks[n].bytes / 4;
        sum += found;
    }
    put_number(facts, "mib", (double)words * 4 / (double)MIB);
    put_number(facts, "pattern_mib", (double)sum * 4 / (double)MIB);
}

static bool by_handle(const struct probe *p)
{
    return p->arg && strcmp(p->arg, "create") == 0;
}

static bool fill(struct probe *p, const struct taken *t)
{
    bool good = true;
    for (unsigned n = 0; n < t->count && good; n++)
        good = CU(p, cuMemsetD32_v2, (t->blocks[n].at, PATTERN, t->blocks[n].bytes / 4));
    return good && CU(p, cuCtxSynchronize, ());
}

/* Leaves its pattern behind: it ends without freeing. That it counts all of it itself shows that counting works. */
void role_writer(struct probe *p)
{
    struct taken t = { .count = 0 };
    json_t      *facts = json_object();
    if (cuda_context(p) && cuda_module(p) && take_most(p, &t, by_handle(p)) && fill(p, &t))
        count_pattern(p, &t, facts);
    failure_put(p, facts);
    stage(p, "wrote", facts);
    stage(p, "end", NULL);
}

/* Looks at memory it has just got; then leaves a pattern and looks again at what it gets after giving it back. */
void role_reader(struct probe *p)
{
    struct taken t = { .count = 0 };
    json_t      *facts = json_object();
    bool         good = cuda_context(p) && cuda_module(p) && take_most(p, &t, by_handle(p));
    if (good)
        count_pattern(p, &t, facts);
    failure_put(p, facts);
    stage(p, "read", facts);
    facts = json_object();
    good = good && fill(p, &t);
    give_all(p, &t);
    if (good && take_most(p, &t, by_handle(p)))
        count_pattern(p, &t, facts);
    failure_put(p, facts);
    stage(p, "read_own", facts);
    stage(p, "end", NULL);
}

void probe_scrub(struct probe *p, json_t *out)
{
    static const char *const ways[][3] = { { "alloc_alloc", "alloc", "alloc" },
                                           { "create_create", "create", "create" },
                                           { "alloc_create", "alloc", "create" } };
    for (size_t n = 0; n < sizeof ways / sizeof ways[0]; n++) {
        struct role_options writer = { .name = "writer", .arg = ways[n][1], .fd = -1 };
        struct role_options reader = { .name = "reader", .arg = ways[n][2], .fd = -1 };
        json_t             *to = put_object(out, ways[n][0]);
        step(p, ways[n][0]);
        if (role_run(p, &writer, put_object(to, "writer"), NULL, NULL))
            role_run(p, &reader, put_object(to, "reader"), NULL, NULL);
    }
}
