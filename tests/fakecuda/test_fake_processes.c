/* SPDX-License-Identifier: Apache-2.0 */
/* The fake between processes: what is shared, what a process's end frees, what ends a process. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_fake.h"

enum { UNIT = 2 * MIB, EXIT_TSAN = 66, EXIT_VIOLATIONS = 86, EXIT_USAGE = 2 };

static void assert_ends_well(const char *role, const char *variable)
{
    char errors[4096];
    int  status = role_run(role, variable, errors, sizeof errors);
    if (status != 0)
        fail_msg("%s ends with %#x: %s", role, (unsigned)status, errors);
}

/* ------------------------------------------------------------------------------------------------- reuse and races */

static void a_slot_filled_too_early_arrives_wrong(void **state)
{
    char errors[16384];
    (void)state;
    int status = role_run("reuse", NULL, errors, sizeof errors);
    if (!has_tsan()) {
        assert_int_equal(status, 0);
        return;
    }
    assert_int_equal(WEXITSTATUS(status), EXIT_TSAN); /* it is a race as well, and seen */
    assert_non_null(strstr(errors, "data race"));
}

static void a_slot_that_was_waited_for_is_none(void **state)
{
    (void)state;
    assert_ends_well("wait_and_reuse", NULL);
}

static void the_driver_s_lock_orders_nobody(void **state)
{
    char errors[16384];
    (void)state;
    int status = role_run("unordered", NULL, errors, sizeof errors);
    assert_int_equal(WEXITSTATUS(status), has_tsan() ? EXIT_TSAN : 0);
}

/* ------------------------------------------------------------------------------------------------------------ fork */

static void a_fork_after_init_is_poisoned(void **state)
{
    (void)state;
    assert_ends_well("after_fork", NULL);
    assert_ends_well("fork_first", NULL);
}

/* ---------------------------------------------------------------------------------------------------------- faults */

static void a_write_to_what_may_be_read_kills_the_context(void **state)
{
    (void)state;
    assert_ends_well("read_only", NULL);
}

static void an_error_stays_until_exit_and_with_its_process(void **state)
{
    struct role role;
    struct lane lane;
    (void)state;
    role_start(&role, "sticky_copy", NULL);
    role_reached(&role);
    lane_open(&lane); /* nobody else has it */
    lane_copy(&lane);
    OK(cu.cuEventSynchronize(lane.event));
    lane_close(&lane);
    role_go(&role);
    assert_int_equal(role_end(&role, NULL, 0), 0);
    assert_ends_well("sticky_call", NULL);
}

/* Under MPS it is everybody's. */
static void a_fault_takes_the_others_along_under_mps(void **state)
{
    struct role other;
    (void)state;
    role_start(&other, "bystander", "FAKECUDA_STICKY=all");
    role_reached(&other);
    assert_ends_well("sticky_call", "FAKECUDA_STICKY=all");
    role_go(&other);
    char errors[4096];
    int  status = role_end(&other, errors, sizeof errors);
    if (status != 0)
        fail_msg("bystander ends with %#x: %s", (unsigned)status, errors);
}

static void a_plan_comes_by_the_environment_too(void **state)
{
    char errors[4096];
    (void)state;
    assert_ends_well("clean", "FAKECUDA_FAULT=cuStreamCreate 2 error 2");
    assert_int_not_equal(role_run("clean", "FAKECUDA_FAULT=cuStreamCreate 1 error 2", errors, sizeof errors), 0);
    assert_non_null(strstr(errors, "cuStreamCreate(&stream"));
    int status = role_run("clean", "FAKECUDA_FAULT=cuStreamCrate 1 error 2", errors, sizeof errors);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE); /* a plan with a slip runs nothing */
    assert_non_null(strstr(errors, "no such call"));
}

static void a_call_hangs_and_aborts_when_told_to(void **state)
{
    struct role role;
    (void)state;
    role_start(&role, "hangs", NULL);
    role_reached(&role);
    assert_true(role_says_nothing(&role, 100));
    kill(role.pid, SIGKILL);
    assert_int_equal(WTERMSIG(role_end(&role, NULL, 0)), SIGKILL);
    assert_int_equal(WTERMSIG(role_run("aborts", NULL, NULL, 0)), SIGABRT);
    assert_int_equal(WTERMSIG(role_run("is_killed", NULL, NULL, 0)), SIGKILL);
}

/* -------------------------------------------------------------------------------------------------------- capacity */

static int pieces_left(void)
{
    int  count = 0;
    DIR *folder = opendir(getenv("FAKECUDA_STATE"));
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] == 'm' || entry->d_name[0] == 'c';
    closedir(folder);
    return count;
}

static void what_another_process_holds_is_taken_until_it_ends(void **state)
{
    struct role   role;
    cu_allocation prop = property();
    cu_handle     handle = 0;
    size_t        free_bytes, total;
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        role_start(&role, "holder", NULL);
        role_reached(&role);
        role_reached(&role);
        assert_int_equal(fake.fakecuda_used(0), (size_t)256 * MIB);
        enter();
        OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
        assert_int_equal(free_bytes, (size_t)(1024 - 256 - 64) * MIB);
        assert_int_equal(cu.cuMemCreate(&handle, (size_t)800 * MIB, &prop, 0), CU_OUT_OF_MEMORY);
        if (killed)
            kill(role.pid, SIGKILL);
        else
            role_go(&role);
        assert_int_equal(role_end(&role, NULL, 0), killed ? SIGKILL : 0);
        OK(cu.cuMemCreate(&handle, (size_t)800 * MIB, &prop, 0));
        OK(cu.cuMemRelease(handle));
        leave();
        assert_int_equal(fake.fakecuda_used(0), 0);
        assert_int_equal(pieces_left(), 0); /* nor does the host hold it for them */
    }
}

static int receive(int from)
{
    char          byte = 0, control[CMSG_SPACE(sizeof(int))];
    int           fd = -1;
    struct iovec  data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control };
    message.msg_controllen = sizeof control;
    assert_int_equal(recvmsg(from, &message, MSG_CMSG_CLOEXEC), 1);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    assert_non_null(head);
    memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

static void memory_goes_to_another_process_and_outlives_its_maker(void **state)
{
    struct role role;
    cu_handle   handle = 0;
    cu_ptr      at = 0;
    uint32_t    word = 0;
    (void)state;
    role_start(&role, "exporter", NULL);
    int fd = receive(role.to);
    kill(role.pid, SIGKILL);
    assert_int_equal(role_end(&role, NULL, 0), SIGKILL);
    assert_int_equal(fake.fakecuda_used(0), UNIT); /* the descriptor holds it, the context is gone */
    enter();
    OK(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)fd, CU_HANDLE_FD));
    close(fd);
    OK(cu.cuMemAddressReserve(&at, UNIT, 0, 0, 0));
    OK(cu.cuMemMap(at, UNIT, 0, handle, 0));
    OK(cu.cuMemRelease(handle));
    OK(set_access(at, UNIT, CU_ACCESS_READ));
    OK(cu.cuMemcpyDtoH_v2(&word, at + UNIT - 4, sizeof word));
    assert_int_equal(word, 4711);
    arena_free(at, UNIT);
    leave();
    assert_int_equal(fake.fakecuda_used(0), 0);
    assert_int_equal(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)0, CU_HANDLE_FD), CU_INVALID_VALUE);
}

/* -------------------------------------------------------------------------------------------- the end of a process */

static void who_leaves_something_ends_badly_and_is_told_what(void **state)
{
    char errors[4096];
    (void)state;
    assert_ends_well("clean", NULL);
    assert_int_equal(WEXITSTATUS(role_run("leaks", NULL, errors, sizeof errors)), EXIT_VIOLATIONS);
    static const char *const said[] = { "1 contexts\n",
                                        "1 references to primary contexts\n",
                                        "1 streams\n",
                                        "1 mappings of 2097152 bytes\n",
                                        "1 address reservations of 2097152 bytes\n",
                                        "1 pins of 65536 bytes\n" };
    for (size_t n = 0; n < sizeof said / sizeof said[0]; n++)
        assert_non_null(strstr(errors, said[n]));
    assert_null(strstr(errors, "handles"));
    assert_int_equal(WEXITSTATUS(role_run("leaks", "FAKECUDA_LEAKS=ignore", errors, sizeof errors)), 0);
    assert_int_equal(WEXITSTATUS(role_run("leaks", "FAKECUDA_STRICT=0", errors, sizeof errors)), 0);
    assert_non_null(strstr(errors, "1 streams\n"));
}

static void the_driver_ends_after_the_program_s_handlers(void **state)
{
    (void)state;
    assert_ends_well("late", NULL);
}

static void a_violation_ends_the_process_where_it_happens(void **state)
{
    char errors[4096];
    (void)state;
    assert_int_equal(WTERMSIG(role_run("unmaps_early", NULL, errors, sizeof errors)), SIGABRT);
    assert_non_null(strstr(errors, "violation: cuMemUnmap: "));
    assert_int_equal(WTERMSIG(role_run("forgets_a_pin", NULL, errors, sizeof errors)), SIGABRT);
    assert_non_null(strstr(errors, "was unmapped while a copy was under way"));
}

/* ----------------------------------------------------------------------------------------------------------- knobs */

static void pins_have_a_limit_and_links_a_rate(void **state)
{
    (void)state;
    assert_ends_well("few_pins", "FAKECUDA_PINS=96K");
    assert_ends_well("slow_link", "FAKECUDA_LINK=64");
    assert_ends_well("slow_link", "FAKECUDA_COPY_US=16000");
}

static void devices_may_be_apart_and_init_slow(void **state)
{
    (void)state;
    assert_ends_well("no_peers", "FAKECUDA_PEERS=none");
    assert_ends_well("slow_init", "FAKECUDA_INIT_MS=60");
}

/* ----------------------------------------------------------------------------------------------------- checkpoints */

static void a_checkpointed_process_holds_nothing_and_waits(void **state)
{
    struct role        role;
    cu_lock_args       lock = { .timeout_ms = 10000 };
    cu_checkpoint_args checkpoint;
    cu_restore_args    restore;
    cu_unlock_args     unlock;
    cu_process_state   process = 99;
    (void)state;
    memset(&checkpoint, 0, sizeof checkpoint);
    memset(&restore, 0, sizeof restore);
    memset(&unlock, 0, sizeof unlock);
    role_start(&role, "target", NULL);
    role_reached(&role);
    uint64_t held = fake.fakecuda_used(0);
    assert_int_equal(held, (size_t)66 * MIB);
    assert_int_equal(cu.cuCheckpointProcessCheckpoint(role.pid, &checkpoint), 401);
    OK(cu.cuCheckpointProcessLock(role.pid, &lock));
    assert_int_equal(cu.cuCheckpointProcessLock(role.pid, &lock), 401);
    OK(cu.cuCheckpointProcessCheckpoint(role.pid, &checkpoint));
    OK(cu.cuCheckpointProcessGetState(role.pid, &process));
    assert_int_equal(process, CU_PROCESS_CHECKPOINTED);
    assert_int_equal(fake.fakecuda_used(0), 0);
    role_go(&role);
    role_reached(&role);
    assert_true(role_says_nothing(&role, 50)); /* its call waits */

    cu_allocation prop = property();
    cu_handle     handle = 0;
    OK(cu.cuMemCreate(&handle, (size_t)1000 * MIB, &prop, 0));
    assert_int_equal(cu.cuCheckpointProcessRestore(role.pid, &restore), CU_OUT_OF_MEMORY);
    OK(cu.cuMemRelease(handle));
    OK(cu.cuCheckpointProcessRestore(role.pid, &restore));
    assert_int_equal(fake.fakecuda_used(0), held);
    OK(cu.cuCheckpointProcessUnlock(role.pid, &unlock));
    role_reached(&role);
    role_go(&role);
    assert_int_equal(role_end(&role, NULL, 0), 0);
    assert_int_equal(cu.cuCheckpointProcessGetState(getpid() + 1000000, &process), CU_INVALID_VALUE);
}

static void a_checkpoint_may_be_refused_in_three_ways(void **state)
{
    (void)state;
    assert_ends_well("checkpoints_itself", "FAKECUDA_CHECKPOINT=refused");
    assert_ends_well("checkpoints_itself", "FAKECUDA_CHECKPOINT=lock_timeout");
    assert_ends_well("checkpoints_itself", "FAKECUDA_CHECKPOINT=failed");
}

int fake_process_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_filled_too_early_arrives_wrong),
        cmocka_unit_test(a_slot_that_was_waited_for_is_none),
        cmocka_unit_test(the_driver_s_lock_orders_nobody),
        cmocka_unit_test(a_fork_after_init_is_poisoned),
        cmocka_unit_test(a_write_to_what_may_be_read_kills_the_context),
        cmocka_unit_test(an_error_stays_until_exit_and_with_its_process),
        cmocka_unit_test(a_fault_takes_the_others_along_under_mps),
        cmocka_unit_test(a_plan_comes_by_the_environment_too),
        cmocka_unit_test(a_call_hangs_and_aborts_when_told_to),
        cmocka_unit_test(what_another_process_holds_is_taken_until_it_ends),
        cmocka_unit_test(memory_goes_to_another_process_and_outlives_its_maker),
        cmocka_unit_test(who_leaves_something_ends_badly_and_is_told_what),
        cmocka_unit_test(the_driver_ends_after_the_program_s_handlers),
        cmocka_unit_test(a_violation_ends_the_process_where_it_happens),
        cmocka_unit_test(pins_have_a_limit_and_links_a_rate),
        cmocka_unit_test(devices_may_be_apart_and_init_slow),
        cmocka_unit_test(a_checkpointed_process_holds_nothing_and_waits),
        cmocka_unit_test(a_checkpoint_may_be_refused_in_three_ways),
    };
    return cmocka_run_group_tests_name("processes of the fake", tests, NULL, NULL);
}
