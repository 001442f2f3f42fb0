/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other processes of the fake's tests: how they are started, and what each does. A role writes a byte to stdout where
 * the test waits for it (reached) and reads one from stdin where it waits for the test (go); its exit status is its
 * answer: 0 is what the role expects.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test_fake.h"

enum { UNIT = 2 * MIB, VARIABLES_MAX = 512 };

/* ------------------------------------------------------------------------------------------------- the test's side */

/* With `variable` before all others: of two of one name the first counts. */
static void variables(char **to, char *variable)
{
    size_t count = 0, length = variable ? strcspn(variable, "=") + 1 : 0;
    if (variable)
        to[count++] = variable;
    for (char **old = environ; *old && count < VARIABLES_MAX - 1; old++) {
        if (!variable || strncmp(*old, variable, length) != 0)
            to[count++] = *old;
    }
    to[count] = NULL;
}

void role_start(struct role *role, const char *name, const char *variable)
{
    int                        in[2], out[2], err[2];
    char                       words[3][64] = { "/proc/self/exe", "--role", "" }, own[256] = "";
    char                      *argv[] = { words[0], words[1], words[2], NULL }, *environment[VARIABLES_MAX];
    posix_spawn_file_actions_t actions;
    snprintf(words[2], sizeof words[2], "%s", name);
    snprintf(own, sizeof own, "%s", variable ? variable : "");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in), 0); /* carries descriptors too */
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    variables(environment, variable ? own : NULL);
    assert_int_equal(posix_spawn(&role->pid, argv[0], &actions, NULL, argv, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    role->to = in[1];
    role->from = out[0];
    role->errors = err[0];
}

void role_go(struct role *role)
{
    assert_int_equal(write(role->to, "g", 1), 1);
}

void role_reached(struct role *role)
{
    char byte = 0;
    assert_int_equal(read(role->from, &byte, 1), 1);
    assert_int_equal(byte, 'r');
}

bool role_says_nothing(struct role *role, int ms)
{
    struct pollfd look = { .fd = role->from, .events = POLLIN };
    return poll(&look, 1, ms) == 0;
}

int role_end(struct role *role, char *errors, size_t room)
{
    char   ignored[4096];
    size_t length = 0;
    int    status = -1;
    close(role->to);
    for (ssize_t got = 1; got > 0;) {
        bool fits = errors && length + 1 < room;
        got = read(role->errors, fits ? errors + length : ignored, fits ? room - 1 - length : sizeof ignored);
        length += fits && got > 0 ? (size_t)got : 0;
    }
    if (errors)
        errors[length] = '\0';
    while (waitpid(role->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(role->from);
    close(role->errors);
    return status;
}

int role_run(const char *name, const char *variable, char *errors, size_t room)
{
    struct role role;
    role_start(&role, name, variable);
    return role_end(&role, errors, room);
}

/* ------------------------------------------------------------------------------------------------- the role's side */

#define NEED(condition)                                                           \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition); \
            return 1;                                                             \
        }                                                                         \
    } while (0)
#define GOOD(call) NEED((call) == CU_OK)

static void reached(void)
{
    if (write(1, "r", 1) != 1)
        _exit(2);
}

static void wait_for_go(void)
{
    char byte;
    if (read(0, &byte, 1) < 0)
        _exit(2);
}

static cu_context    context;
static cu_stream     stream;
static cu_ptr        device_at;
static unsigned char buffer[64 * KIB] __attribute__((aligned(4096)));

static int begin(void)
{
    cu_access     access = { .location = { .type = CU_LOCATION_DEVICE }, .flags = CU_ACCESS_READ_WRITE };
    cu_handle     handle = 0;
    cu_allocation prop = property();
    GOOD(cu.cuInit(0));
    GOOD(cu.cuDevicePrimaryCtxRetain(&context, 0));
    GOOD(cu.cuCtxPushCurrent_v2(context));
    GOOD(cu.cuStreamCreate(&stream, CU_STREAM_DOES_NOT_BLOCK));
    GOOD(cu.cuMemAddressReserve(&device_at, UNIT, 0, 0, 0));
    GOOD(cu.cuMemCreate(&handle, UNIT, &prop, 0));
    GOOD(cu.cuMemMap(device_at, UNIT, 0, handle, 0));
    GOOD(cu.cuMemRelease(handle));
    GOOD(cu.cuMemSetAccess(device_at, UNIT, &access, 1));
    GOOD(cu.cuMemHostRegister_v2(buffer, sizeof buffer, CU_HOST_PORTABLE));
    return 0;
}

static int end(void)
{
    GOOD(cu.cuCtxSynchronize());
    GOOD(cu.cuMemHostUnregister(buffer));
    GOOD(cu.cuMemUnmap(device_at, UNIT));
    GOOD(cu.cuMemAddressFree(device_at, UNIT));
    GOOD(cu.cuStreamDestroy_v2(stream));
    GOOD(cu.cuCtxPopCurrent_v2(NULL));
    GOOD(cu.cuDevicePrimaryCtxRelease_v2(0));
    return 0;
}

/* A slot filled again while its copy is queued: what arrives is the later content. */
static int reuse(void)
{
    unsigned char back[16];
    if (begin())
        return 1;
    memset(buffer, 1, sizeof buffer);
    fake.fakecuda_hold();
    GOOD(cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream));
    memset(buffer, 2, sizeof buffer); /* too early */
    fake.fakecuda_go();
    GOOD(cu.cuStreamSynchronize(stream));
    GOOD(cu.cuMemcpyDtoH_v2(back, device_at, sizeof back));
    NEED(back[0] == 2);
    return end();
}

/* The same with the wait in its place. */
static int wait_and_reuse(void)
{
    cu_event      event;
    unsigned char back[16];
    if (begin())
        return 1;
    GOOD(cu.cuEventCreate(&event, CU_EVENT_NO_TIMING));
    for (unsigned char round = 1; round < 20; round++) {
        memset(buffer, round, sizeof buffer);
        GOOD(cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream));
        GOOD(cu.cuEventRecord(event, stream));
        if (round % 2 == 0)
            GOOD(cu.cuEventSynchronize(event));
        else
            while (cu.cuEventQuery(event) != CU_OK) {
            }
        GOOD(cu.cuMemcpyDtoH_v2(back, device_at, sizeof back));
        NEED(back[0] == round);
    }
    GOOD(cu.cuEventDestroy_v2(event));
    return end();
}

static int        plain;
static atomic_int written;

static void *write_plain(void *user)
{
    int version;
    (void)user;
    plain = 7;
    cu.cuDriverGetVersion(&version); /* takes the driver's lock, and that is no order */
    atomic_store_explicit(&written, 1, memory_order_relaxed);
    return NULL;
}

/* Two threads that only a lock of the driver seems to order. */
static int unordered(void)
{
    pthread_t thread;
    int       version, seen;
    NEED(pthread_create(&thread, NULL, write_plain, NULL) == 0);
    while (!atomic_load_explicit(&written, memory_order_relaxed)) {
    }
    cu.cuDriverGetVersion(&version);
    seen = plain;
    pthread_join(thread, NULL);
    return seen == 7 ? 0 : 1;
}

static int after_fork(void)
{
    int count, status = 0;
    GOOD(cu.cuInit(0));
    pid_t pid = fork();
    if (pid == 0)
        _exit(cu.cuInit(0) == CU_NOT_INITIALIZED && cu.cuDeviceGetCount(&count) == CU_NOT_INITIALIZED ? 0 : 1);
    NEED(waitpid(pid, &status, 0) == pid && status == 0);
    GOOD(cu.cuDeviceGetCount(&count));
    return 0;
}

/* Before cuInit a fork is no harm. */
static int fork_first(void)
{
    int status = 0, version;
    GOOD(cu.cuDriverGetVersion(&version));
    pid_t pid = fork();
    if (pid == 0)
        _exit(cu.cuInit(0) == CU_OK ? 0 : 1);
    NEED(waitpid(pid, &status, 0) == pid && status == 0);
    return 0;
}

static bool is_poisoned(cu_result code)
{
    size_t        free_bytes, total;
    int           number_of, version;
    cu_context    current = NULL, again = NULL;
    cu_allocation prop = property();
    cu_handle     handle;
    return cu.cuMemGetInfo_v2(&free_bytes, &total) == code && cu.cuMemUnmap(device_at, UNIT) == code &&
           cu.cuMemHostUnregister(buffer) == code && cu.cuCtxSynchronize() == code &&
           cu.cuMemCreate(&handle, UNIT, &prop, 0) == code && cu.cuDevicePrimaryCtxRetain(&again, 0) == code &&
           cu.cuDriverGetVersion(&version) == CU_OK && cu.cuDeviceGetCount(&number_of) == CU_OK &&
           cu.cuCtxGetCurrent(&current) == CU_OK && current == context && ledger().sticky == code;
}

/* A write to what may only be read: accepted, and it kills. */
static int read_only(void)
{
    cu_access access = { .location = { .type = CU_LOCATION_DEVICE }, .flags = CU_ACCESS_READ };
    if (begin())
        return 1;
    GOOD(cu.cuMemSetAccess(device_at, UNIT, &access, 1));
    GOOD(cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream));
    NEED(cu.cuStreamSynchronize(stream) == CU_ILLEGAL_ADDRESS);
    unsigned char byte = 9;
    NEED(fake.fakecuda_peek(device_at, &byte, 1) == 0 && byte == 0);
    NEED(is_poisoned(CU_ILLEGAL_ADDRESS));
    return 0; /* and nothing of what is held is a leak */
}

static int host_function_ran;

static void note(void *user)
{
    (void)user;
    host_function_ran = 1;
}

static int sticky_copy(void)
{
    cu_event event;
    if (begin())
        return 1;
    NEED(fake.fakecuda_fault("@copy 2 sticky 719") == 0);
    GOOD(cu.cuEventCreate(&event, 0));
    fake.fakecuda_hold();
    GOOD(cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream));
    GOOD(cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream));
    GOOD(cu.cuLaunchHostFunc(stream, note, NULL));
    GOOD(cu.cuEventRecord(event, stream));
    fake.fakecuda_go();
    NEED(cu.cuEventSynchronize(event) == CU_LAUNCH_FAILED);
    NEED(cu.cuEventQuery(event) == CU_LAUNCH_FAILED);
    NEED(cu.cuStreamQuery(stream) == CU_LAUNCH_FAILED);
    fake.fakecuda_idle();
    NEED(host_function_ran == 0); /* not called any more */
    NEED(is_poisoned(CU_LAUNCH_FAILED));
    reached();
    wait_for_go();
    return 0;
}

static int sticky_call(void)
{
    if (begin())
        return 1;
    NEED(fake.fakecuda_fault("cuStreamQuery 1 sticky 214") == 0);
    NEED(cu.cuStreamQuery(stream) == 214);
    NEED(is_poisoned(214));
    return 0;
}

static int bystander(void)
{
    if (begin())
        return 1;
    reached();
    wait_for_go();
    NEED(cu.cuCtxSynchronize() == CU_MPS_CLIENT_TERMINATED);
    NEED(is_poisoned(CU_MPS_CLIENT_TERMINATED));
    return 0;
}

static int create_and(const char *fault)
{
    cu_allocation prop = property();
    cu_handle     handle = 0;
    if (fault && fake.fakecuda_fault(fault) != 0)
        return 1;
    GOOD(cu.cuInit(0));
    reached();
    GOOD(cu.cuMemCreate(&handle, (size_t)256 * MIB, &prop, 0));
    reached();
    wait_for_go();
    GOOD(cu.cuMemRelease(handle));
    return 0;
}

static int holder(void)
{
    return create_and(NULL);
}

static int hangs(void)
{
    return create_and("cuMemCreate 1 hang");
}

static int aborts(void)
{
    return create_and("cuMemCreate 1 abort");
}

static int is_killed(void)
{
    return create_and("cuMemCreate 1 kill");
}

/* Sends a descriptor of memory that holds its number, and ends, or is ended. */
static int exporter(void)
{
    cu_allocation prop = property();
    cu_access     access = { .location = { .type = CU_LOCATION_DEVICE }, .flags = CU_ACCESS_READ_WRITE };
    cu_handle     handle = 0;
    cu_ptr        at = 0;
    int           fd = -1;
    prop.handle_types = CU_HANDLE_FD;
    GOOD(cu.cuInit(0));
    GOOD(cu.cuDevicePrimaryCtxRetain(&context, 0));
    GOOD(cu.cuCtxPushCurrent_v2(context));
    GOOD(cu.cuMemCreate(&handle, UNIT, &prop, 0));
    GOOD(cu.cuMemAddressReserve(&at, UNIT, 0, 0, 0));
    GOOD(cu.cuMemMap(at, UNIT, 0, handle, 0));
    GOOD(cu.cuMemSetAccess(at, UNIT, &access, 1));
    GOOD(cu.cuMemsetD32_v2(at, 4711, UNIT / 4));
    GOOD(cu.cuCtxSynchronize());
    GOOD(cu.cuMemExportToShareableHandle(&fd, handle, CU_HANDLE_FD, 0));

    char            byte = 'f', control[CMSG_SPACE(sizeof fd)] = "";
    struct iovec    data = { &byte, 1 };
    struct msghdr   message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control };
    struct cmsghdr *head = (struct cmsghdr *)(void *)control;
    message.msg_controllen = sizeof control;
    *head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd) };
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    NEED(sendmsg(0, &message, 0) == 1);
    wait_for_go(); /* killed here */
    return 0;
}

static int leaks(void)
{
    return begin();
}

static int unmaps_early(void)
{
    if (begin())
        return 1;
    fake.fakecuda_hold();
    GOOD(cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream));
    cu.cuMemUnmap(device_at, UNIT);
    return 0;
}

static int forgets_a_pin(void)
{
    if (begin())
        return 1;
    munmap(buffer + 4 * KIB, 4 * KIB);
    cu.cuMemcpyHtoDAsync_v2(device_at, buffer, sizeof buffer, stream);
    cu.cuStreamSynchronize(stream);
    return 0;
}

static int clean(void)
{
    return begin() || end() ? 1 : 0;
}

static int few_pins(void)
{
    if (begin())
        return 1;
    unsigned char *more = host_pages(64 * KIB);
    NEED(cu.cuMemHostRegister_v2(more, 64 * KIB, 0) == CU_OUT_OF_MEMORY);
    GOOD(cu.cuMemHostRegister_v2(more, 16 * KIB, 0));
    GOOD(cu.cuMemHostUnregister(more));
    return end();
}

/* A handler of the program's comes before the driver's end, and may give back what is left. */
static void end_late(void)
{
    if (end() != 0)
        _exit(5);
}

static int late(void)
{
    if (begin())
        return 1;
    NEED(atexit(end_late) == 0);
    return 0;
}

static int no_peers(void)
{
    cu_access there = { .location = { .type = CU_LOCATION_DEVICE, .id = 1 }, .flags = CU_ACCESS_READ };
    int       can = 99;
    if (begin())
        return 1;
    GOOD(cu.cuDeviceCanAccessPeer(&can, 0, 1));
    NEED(can == 0);
    NEED(cu.cuMemSetAccess(device_at, UNIT, &there, 1) == CU_INVALID_DEVICE);
    return end();
}

static int slow_init(void)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    GOOD(cu.cuInit(0));
    clock_gettime(CLOCK_MONOTONIC, &after);
    NEED((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 59);
    return 0;
}

/* 1 MiB at 64 MiB/s is 15.6 ms, twice that on one link, whatever streams it goes by. */
static int slow_link(void)
{
    cu_event  first, last;
    cu_stream second;
    cu_ptr    at = 0;
    float     ms = 0;
    if (begin())
        return 1;
    unsigned char *host = host_pages(MIB);
    GOOD(cu.cuMemHostRegister_v2(host, MIB, 0));
    GOOD(cu.cuStreamCreate(&second, CU_STREAM_DOES_NOT_BLOCK));
    GOOD(cu.cuMemAlloc_v2(&at, 2 * MIB));
    GOOD(cu.cuEventCreate(&first, 0));
    GOOD(cu.cuEventCreate(&last, 0));
    GOOD(cu.cuEventRecord(first, stream));
    GOOD(cu.cuEventSynchronize(first));
    GOOD(cu.cuMemcpyHtoDAsync_v2(at, host, MIB, stream));
    GOOD(cu.cuMemcpyHtoDAsync_v2(at + MIB, host, MIB, second));
    GOOD(cu.cuStreamSynchronize(stream));
    GOOD(cu.cuEventRecord(last, second));
    GOOD(cu.cuEventSynchronize(last));
    GOOD(cu.cuEventElapsedTime(&ms, first, last));
    NEED(ms > 31);
    GOOD(cu.cuEventDestroy_v2(first));
    GOOD(cu.cuEventDestroy_v2(last));
    GOOD(cu.cuMemFree_v2(at));
    GOOD(cu.cuStreamDestroy_v2(second));
    GOOD(cu.cuMemHostUnregister(host));
    return end();
}

/* Is locked, checkpointed and brought back by the test. */
static int target(void)
{
    size_t free_bytes, total;
    if (begin())
        return 1;
    reached();
    wait_for_go();
    reached();
    GOOD(cu.cuMemGetInfo_v2(&free_bytes, &total));
    reached();
    wait_for_go();
    return end();
}

static int checkpoints_itself(void)
{
    cu_lock_args       lock = { .timeout_ms = 1000 };
    cu_checkpoint_args checkpoint;
    cu_process_state   process = 99;
    const char        *mode = getenv("FAKECUDA_CHECKPOINT");
    memset(&checkpoint, 0, sizeof checkpoint);
    if (begin())
        return 1;
    if (strcmp(mode, "lock_timeout") == 0) {
        lock.timeout_ms = 1;
        NEED(cu.cuCheckpointProcessLock(getpid(), &lock) == CU_NOT_READY);
        GOOD(cu.cuCheckpointProcessGetState(getpid(), &process));
        NEED(process == CU_PROCESS_RUNNING);
        return end();
    }
    NEED(cu.cuCheckpointProcessCheckpoint(getpid(), &checkpoint) == CU_ILLEGAL_STATE);
    GOOD(cu.cuCheckpointProcessLock(getpid(), &lock));
    if (strcmp(mode, "failed") == 0) {
        NEED(cu.cuCheckpointProcessCheckpoint(getpid(), &checkpoint) == CU_UNKNOWN);
        GOOD(cu.cuCheckpointProcessGetState(getpid(), &process));
        NEED(process == CU_PROCESS_FAILED);
        _exit(0); /* its calls would wait for ever */
    }
    NEED(cu.cuCheckpointProcessCheckpoint(getpid(), &checkpoint) == CU_NOT_SUPPORTED);
    GOOD(cu.cuCheckpointProcessUnlock(getpid(), NULL));
    return end();
}

int role_main(const char *name)
{
    static const struct {
        const char *name;
        int (*play)(void);
    } roles[] = { { "reuse", reuse },
                  { "wait_and_reuse", wait_and_reuse },
                  { "unordered", unordered },
                  { "after_fork", after_fork },
                  { "fork_first", fork_first },
                  { "read_only", read_only },
                  { "sticky_copy", sticky_copy },
                  { "sticky_call", sticky_call },
                  { "bystander", bystander },
                  { "holder", holder },
                  { "hangs", hangs },
                  { "aborts", aborts },
                  { "is_killed", is_killed },
                  { "exporter", exporter },
                  { "leaks", leaks },
                  { "unmaps_early", unmaps_early },
                  { "forgets_a_pin", forgets_a_pin },
                  { "clean", clean },
                  { "few_pins", few_pins },
                  { "late", late },
                  { "no_peers", no_peers },
                  { "slow_init", slow_init },
                  { "slow_link", slow_link },
                  { "target", target },
                  { "checkpoints_itself", checkpoints_itself } };
    for (size_t n = 0; n < sizeof roles / sizeof roles[0]; n++) {
        if (strcmp(roles[n].name, name) == 0)
            return roles[n].play();
    }
    fprintf(stderr, "no role %s\n", name);
    return 3;
}
