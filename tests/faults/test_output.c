/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is there whole or not at all, where it can be written without a name and where it cannot: with a second
 * writer at every call that the first makes, with a kill at each of them, and with folders that do not behave.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults/ledger.h"
#include "io/output.h"
#include "pack/pack_host.h"
#include "support/calls.h"
#include "support/gate.h"

enum { BYTES = 70000, NTH_MAX = 50, EMPTY = 2 /* "." and ".." */ };
static const uint64_t always = UINT64_MAX;

/* ---- writing ---- */

enum mode { UNNAMED, NAMED, MODES };
static const char *const mode_names[] = { "without a name", "with a name" };

static bool can_be_unnamed(void)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static enum mode first_mode(void)
{
    if (can_be_unnamed())
        return UNNAMED;
    print_message("not %s: the file system of $TMPDIR has no O_TMPFILE\n", mode_names[UNNAMED]);
    return NAMED;
}

/* From here on all files are written so, until test_calls_clear(). */
static void set_mode(enum mode mode)
{
    test_call_fail(CALL_OPEN_UNNAMED, mode == NAMED, always, EOPNOTSUPP);
}

static sgi_status fill(const struct sgi__io_output *o, char byte, sgi_error *e)
{
    char part[BYTES / 2];

    memset(part, byte, sizeof part);
    sgi_status st = sgi__io_output_write(o, part, sizeof part, 0, e);
    return st == SGI_OK ? sgi__io_output_write(o, part, sizeof part, sizeof part, e) : st;
}

static sgi_status write_all(const char *path, char byte, sgi_error *e)
{
    struct sgi__io_output o;
    sgi_status            st = sgi__io_output_open(path, NULL, &o, e);

    if (st == SGI_OK)
        st = fill(&o, byte, e);
    if (st == SGI_OK)
        return sgi__io_output_commit(&o, e);
    sgi__io_output_discard(&o);
    return st;
}

/* The byte that all of the file is of; 0: there is none. Anything else is no whole file. */
static char byte_of(const char *path)
{
    char    found[BYTES + 1];
    int     fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count;

    if (fd < 0)
        return 0;
    count = read(fd, found, sizeof found);
    close(fd);
    assert_int_equal(count, BYTES);
    for (size_t n = 1; n < BYTES; n++)
        assert_int_equal(found[n], found[0]);
    return found[0];
}

/* The first name in the folder that begins as one on the way; "" where there is none. */
static const char *hidden_name(void)
{
    static char          name[256];
    const struct dirent *entry;
    DIR                 *names = opendir(".");

    assert_non_null(names);
    name[0] = '\0';
    while (!name[0] && (entry = readdir(names)) != NULL)
        if (strncmp(entry->d_name, ".sgi-", 5) == 0)
            snprintf(name, sizeof name, "%s", entry->d_name);
    closedir(names);
    return name;
}

static void only_these_are_left(const char *const *paths, size_t count, const char *what)
{
    if (count_files(&folder) != EMPTY + count)
        fail_msg("%s: %zu files instead of %zu, %s", what, count_files(&folder) - EMPTY, count, hidden_name());
    for (size_t n = 0; n < count; n++)
        assert_int_equal(unlink(paths[n]), 0);
}

/* ---- two writers of one file ---- */

struct writer {
    pthread_t   thread;
    const char *path;
    char        byte;
    sgi_status  st;
    sgi_error   err;
    atomic_bool ended;
};

static void *run_writer(void *user)
{
    struct writer *w = user;

    w->st = write_all(w->path, w->byte, &w->err);
    atomic_store(&w->ended, true);
    return NULL;
}

static bool is_held_or_ended(void *user)
{
    return test_call_is_held() || atomic_load(&((struct writer *)user)->ended);
}

/* The second writes all of it while the first is at that passing of a call. False: the first has not so many. */
static bool meet_at(enum mode mode, enum test_call call, uint64_t nth)
{
    struct writer first = { .path = "met", .byte = 'a', .err = SGI_ERROR_INIT };
    char          what[64];

    snprintf(what, sizeof what, "met at number %d of call %d, %s", (int)nth, (int)call, mode_names[mode]);
    set_mode(mode);
    test_call_hold(call, nth);
    assert_int_equal(pthread_create(&first.thread, NULL, run_writer, &first), 0);
    test_wait_until(is_held_or_ended, &first, what);
    bool held = test_call_is_held();
    if (held && write_all(first.path, 'b', &err) != SGI_OK)
        fail_msg("%s, the second: %s", what, err.message);
    if (held)
        assert_int_equal(byte_of(first.path), 'b');
    test_calls_clear();
    pthread_join(first.thread, NULL);
    if (first.st != SGI_OK)
        fail_msg("%s, the first: %s", what, first.err.message);
    char stays = byte_of(first.path);
    assert_true(stays == 'a' || (held && stays == 'b' && call == CALL_FSYNC)); /* in place already, all but synced */
    only_these_are_left(&first.path, 1, what);
    return held;
}

static void of_two_who_meet_anywhere_both_are_good(void **state)
{
    (void)state;
    meet_at(NAMED, CALL_FSYNC, 1); /* a sanitizer has a thread of its own from the first one on */
    struct ledger before = ledger_take();
    for (int mode = (int)first_mode(); mode < MODES; mode++)
        for (int call = 0; call < CALL_COUNT; call++)
            for (uint64_t nth = 1; call != CALL_OPEN_UNNAMED && meet_at((enum mode)mode, (enum test_call)call, nth);
                 nth++)
                assert_true(nth < NTH_MAX);
    ledger_compare(&before, "two writers of one file");
}

enum { CROWD = 4, ROUNDS = 20 };

static void *write_often(void *user)
{
    struct writer *w = user;

    for (int round = 0; round < ROUNDS && w->st == SGI_OK; round++)
        w->st = write_all(w->path, w->byte, &w->err);
    atomic_store(&w->ended, true);
    return NULL;
}

static void in_a_crowd_all_are_good(void **state)
{
    (void)state;
    for (int mode = (int)first_mode(); mode < MODES; mode++) {
        struct writer crowd[CROWD];
        const char   *path = "crowded";
        set_mode((enum mode)mode);
        for (int n = 0; n < CROWD; n++) {
            crowd[n] = (struct writer){ .path = path, .byte = (char)('a' + n), .err = SGI_ERROR_INIT };
            assert_int_equal(pthread_create(&crowd[n].thread, NULL, write_often, &crowd[n]), 0);
        }
        for (int n = 0; n < CROWD; n++)
            while (!atomic_load(&crowd[n].ended))
                byte_of(path); /* whole, whenever it is looked at */
        for (int n = 0; n < CROWD; n++)
            pthread_join(crowd[n].thread, NULL);
        for (int n = 0; n < CROWD; n++)
            if (crowd[n].st != SGI_OK)
                fail_msg("%s: %s", mode_names[mode], crowd[n].err.message);
        test_calls_clear();
        assert_true(byte_of(path) >= 'a');
        only_these_are_left(&path, 1, mode_names[mode]);
    }
}

/* Whoever sweeps has the lock of a file that has just been made: it is not his to keep, and not the writer's to use. */
static void what_a_sweeper_holds_is_made_again(void **state)
{
    struct writer w = { .path = "swept", .byte = 'a', .err = SGI_ERROR_INIT };

    (void)state;
    set_mode(NAMED);
    test_call_hold(CALL_FLOCK, 1);
    assert_int_equal(pthread_create(&w.thread, NULL, run_writer, &w), 0);
    test_call_wait_held();
    int fd = open(hidden_name(), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    test_call_let_go();
    pthread_join(w.thread, NULL);
    test_calls_clear();
    close(fd);
    if (w.st != SGI_OK)
        fail_msg("%s", w.err.message);
    assert_int_equal(byte_of(w.path), 'a');
    only_these_are_left(&w.path, 1, "after it was swept");
}

/* ---- killed ---- */

/* Writes in a process of its own. True: it was killed at that passing of a call. */
static bool is_killed_at(enum mode mode, const char *path, char byte, enum test_call call, uint64_t nth)
{
    int   status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        set_mode(mode);
        test_call_kill(call, nth);
        _exit(write_all(path, byte, NULL) == SGI_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

/* What was there or what was to come is there, and nothing else once somebody has written anything there. `left_out`
 * counts the files that had to be taken away. */
static bool kill_at(enum mode mode, bool is_there, enum test_call call, uint64_t nth, size_t *left_out)
{
    const char *paths[] = { "other", "killed" };
    char        what[64];

    snprintf(what, sizeof what, "killed at number %d of call %d, %s", (int)nth, (int)call, mode_names[mode]);
    if (is_there)
        is_ok(write_all(paths[1], 'a', &err));
    bool   killed = is_killed_at(mode, paths[1], 'b', call, nth);
    char   found = byte_of(paths[1]);
    size_t left = count_files(&folder) - EMPTY - (found ? 1 : 0);
    assert_true(found == 'b' || (killed && found == (is_there ? 'a' : 0)));
    assert_true(left <= 1);
    if (left && mode == UNNAMED && !is_there)
        fail_msg("%s: %s is left", what, hidden_name());
    is_ok(write_all(paths[0], 'o', &err));
    only_these_are_left(paths, found ? 2 : 1, what);
    *left_out += left;
    return killed;
}

static void a_kill_at_any_call_leaves_the_old_file_or_the_new_one(void **state)
{
    (void)state;
    for (int mode = (int)first_mode(); mode < MODES; mode++)
        for (int is_there = 0; is_there < 2; is_there++) {
            size_t kills = 0, left = 0;
            set_mode((enum mode)mode);
            for (int call = 0; call < CALL_COUNT; call++)
                for (uint64_t nth = 1; kill_at((enum mode)mode, is_there, (enum test_call)call, nth, &left);
                     nth++, kills++)
                    assert_true(nth < NTH_MAX);
            test_calls_clear();
            assert_true(kills > 10); /* each call that a writer makes */
            assert_true((left > 0) == (mode == NAMED || is_there));
        }
}

/* ---- what goes and what stays ---- */

static void make_empty(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static const char left_name[] = ".sgi-00000001-0123456789abcdef.tmp";

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0;
}

static void only_what_was_left_behind_is_swept(void **state)
{
    static const char *const similar[] = {
        ".sgi-00000001-0123456789abcdeF.tmp",  ".sgi-00000001-0123456789abcdeg.tmp",
        ".sgi-00000001-0123456789abcde.tmp",   ".sgi-00000001-0123456789abcdef0.tmp",
        ".sgi-00000001-0123456789abcdef.tmp~", ".sgi-00000001-0123456789abcdef.sgi",
        ".sgi-00000001_0123456789abcdef.tmp",  "sgi-00000001-0123456789abcdef.tmp",
        ".sgi-00000001-0123456789abcdef",      ".sgi-.tmp",
    };
    static const char folder_name[] = ".sgi-00000002-0123456789abcdef.tmp",
                      link_name[] = ".sgi-00000003-0123456789abcdef.tmp",
                      fifo_name[] = ".sgi-00000004-0123456789abcdef.tmp",
                      locked_name[] = ".sgi-00000005-0123456789abcdef.tmp";
    enum { SIMILAR = sizeof similar / sizeof *similar };
    const char *path = "written";

    (void)state;
    for (size_t n = 0; n < SIMILAR; n++)
        make_empty(similar[n]);
    make_empty(left_name);
    assert_int_equal(mkdir(folder_name, 0700), 0);
    assert_int_equal(symlink(similar[0], link_name), 0);
    assert_int_equal(mkfifo(fifo_name, 0600), 0);
    make_empty(locked_name);
    int fd = open(locked_name, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);

    is_ok(write_all(path, 'a', &err));
    assert_false(is_there(left_name));
    assert_true(is_there(locked_name));
    close(fd);
    is_ok(write_all(path, 'b', &err));
    assert_false(is_there(locked_name));

    assert_int_equal(unlink(link_name), 0);
    assert_int_equal(unlink(fifo_name), 0);
    assert_int_equal(rmdir(folder_name), 0);
    for (size_t n = 0; n < SIMILAR; n++)
        assert_int_equal(unlink(similar[n]), 0);
    only_these_are_left(&path, 1, "beside what stays");
    /* What would be swept is no name to write to. */
    is_error(write_all(left_name, 'a', &err), SGI_E_INVALID, "no name for a file");
}

/* One who is at it is no left-over, whichever file is written meanwhile. */
static void what_is_being_written_is_not_swept(void **state)
{
    const char           *paths[] = { "one", "other" };
    struct sgi__io_output o;

    (void)state;
    set_mode(NAMED);
    is_ok(sgi__io_output_open(paths[0], NULL, &o, &err));
    is_ok(write_all(paths[1], 'b', &err));
    is_ok(write_all(paths[0], 'b', &err));
    is_ok(fill(&o, 'a', &err));
    is_ok(sgi__io_output_commit(&o, &err));
    test_calls_clear();
    assert_int_equal(byte_of(paths[0]), 'a');
    only_these_are_left(paths, 2, "one and another");
}

/* Between a sweeper's look and its lock the name has become another's. */
static void what_took_the_name_of_one_that_was_left_is_not_swept(void **state)
{
    struct writer w = { .path = "sweeper", .byte = 'a', .err = SGI_ERROR_INIT };
    const char   *paths[] = { w.path, left_name };

    (void)state;
    make_empty(left_name);
    test_call_hold(CALL_FLOCK, 1);
    assert_int_equal(pthread_create(&w.thread, NULL, run_writer, &w), 0);
    test_call_wait_held();
    assert_int_equal(rename(left_name, "out of the way"), 0);
    make_empty(left_name);
    assert_int_equal(unlink("out of the way"), 0);
    test_call_let_go();
    pthread_join(w.thread, NULL);
    test_calls_clear();
    assert_int_equal(w.st, SGI_OK);
    only_these_are_left(paths, 2, "a name that was taken");
}

static uint64_t calls_of_a_sweep(const char *path)
{
    static const enum test_call calls[] = { CALL_OPENAT, CALL_FSTATAT, CALL_FSTAT, CALL_FLOCK };
    uint64_t                    passed = 0;

    for (size_t n = 0; n < sizeof calls / sizeof *calls; n++)
        test_call_fail(calls[n], 0, 0, 0);
    is_ok(write_all(path, 'a', &err));
    for (size_t n = 0; n < sizeof calls / sizeof *calls; n++)
        passed += test_call_passed(calls[n]);
    return passed;
}

static void of_many_other_files_the_names_are_read_and_no_more(void **state)
{
    enum { MANY = 2000 };
    const char *path = "among many";
    char        name[32];

    (void)state;
    is_ok(write_all(path, 'a', &err));
    uint64_t alone = calls_of_a_sweep(path);
    for (int n = 0; n < MANY; n++) {
        snprintf(name, sizeof name, ".sgi-other-%d.tmp", n);
        make_empty(name);
    }
    assert_int_equal(calls_of_a_sweep(path), alone);
    for (int n = 0; n < MANY; n++) {
        snprintf(name, sizeof name, ".sgi-other-%d.tmp", n);
        assert_int_equal(unlink(name), 0);
    }
    make_empty(left_name);
    assert_true(calls_of_a_sweep(path) > alone); /* they are counted */
    only_these_are_left(&path, 1, "among many");
}

/* ---- folders that do not behave ---- */

static void a_sweep_that_fails_is_no_error(void **state)
{
    static const struct {
        enum test_call call;
        uint64_t       nth;
        int            os_errno;
    } fails[] = {
        { CALL_OPENAT, 1, EMFILE }, { CALL_OPENAT, 2, EACCES }, { CALL_FDOPENDIR, 1, ENOMEM },
        { CALL_READDIR, 1, EIO },   { CALL_FLOCK, 1, EIO },
    };
    const char *path = "unswept";

    (void)state;
    for (size_t n = 0; n < sizeof fails / sizeof *fails; n++) {
        struct ledger before = ledger_take();
        make_empty(left_name);
        test_call_fail(fails[n].call, fails[n].nth, 1, fails[n].os_errno);
        is_ok(write_all(path, 'a', &err));
        assert_true(test_call_passed(fails[n].call) >= fails[n].nth);
        test_calls_clear();
        assert_int_equal(byte_of(path), 'a');
        assert_true(is_there(left_name)); /* for the next */
        ledger_compare(&before, "a sweep that fails");
        is_ok(write_all(path, 'b', &err));
        only_these_are_left(&path, 1, "the next");
    }
}

static void where_nothing_can_be_locked_nothing_is_swept(void **state)
{
    static const int says[] = { ENOLCK, EOPNOTSUPP, ENOSYS };
    const char      *paths[] = { "unlocked", left_name };

    (void)state;
    for (int mode = (int)first_mode(); mode < MODES; mode++)
        for (size_t n = 0; n < sizeof says / sizeof *says; n++) {
            make_empty(left_name);
            set_mode((enum mode)mode);
            test_call_fail(CALL_FLOCK, 1, always, says[n]);
            is_ok(write_all(paths[0], 'a', &err));
            is_ok(write_all(paths[0], 'b', &err));
            test_calls_clear();
            assert_int_equal(byte_of(paths[0]), 'b');
            only_these_are_left(paths, 2, "without locks");
        }
}

/* Two with the same number, where there is no randomness either. */
static void a_name_that_is_taken_is_not_used(void **state)
{
    const char *path = "taken";

    (void)state;
    for (int mode = (int)first_mode(); mode < MODES; mode++) {
        enum test_call call = mode == NAMED ? CALL_OPENAT : CALL_LINKAT;
        set_mode((enum mode)mode);
        test_call_fail(CALL_GETRANDOM, 1, always, ENOSYS);
        is_ok(write_all(path, 'a', &err));
        test_call_fail(call, 2, 1, EEXIST); /* the first is of the sweep, or of the target */
        is_ok(write_all(path, 'b', &err));
        assert_int_equal(test_call_passed(call), 3);
        test_call_fail(call, 2, always, EEXIST);
        is_error(write_all(path, 'c', &err), SGI_E_IO, path);
        assert_true(test_call_passed(call) < NTH_MAX);
        test_calls_clear();
        assert_int_equal(byte_of(path), 'b');
        only_these_are_left(&path, 1, mode_names[mode]);
    }
}

/* It would be put in place as what was written. */
static void what_others_put_there_is_neither_used_nor_taken_away(void **state)
{
    const char           *path = "mine";
    char                  hidden[256];
    struct sgi__io_output o;

    (void)state;
    is_ok(write_all(path, 'a', &err));
    for (int is_discarded = 0; is_discarded < 2; is_discarded++) {
        set_mode(NAMED);
        is_ok(sgi__io_output_open(path, NULL, &o, &err));
        test_calls_clear();
        is_ok(fill(&o, 'b', &err));
        snprintf(hidden, sizeof hidden, "%s", hidden_name());
        assert_int_equal(unlink(hidden), 0);
        make_empty(hidden);
        if (is_discarded)
            sgi__io_output_discard(&o);
        else
            is_error(sgi__io_output_commit(&o, &err), SGI_E_IO, "find again");
        assert_int_equal(unlink(hidden), 0);
        assert_int_equal(byte_of(path), 'a');
    }
    only_these_are_left(&path, 1, "what others put there");
}

static bool begins_like_ours(const void *bytes, size_t count)
{
    return count >= 1 && *(const char *)bytes == 'a';
}

/* It is looked at when writing begins, and may come to be there later. */
static void what_is_of_another_kind_is_not_replaced_whenever_it_comes(void **state)
{
    static const struct sgi__io_kind ours = { .what = "one of ours", .begins = begins_like_ours };
    char                             path[512];
    struct sgi__io_output            o;

    (void)state;
    snprintf(path, sizeof path, "%s", in(&folder, "kind"));
    for (enum mode mode = first_mode(); mode < MODES; mode++) {
        set_mode(mode);
        is_ok(sgi__io_output_open(path, &ours, &o, &err));
        is_ok(fill(&o, 'a', &err));
        is_ok(write_all(path, 'b', &err)); /* somebody else's */
        is_error(sgi__io_output_commit(&o, &err), SGI_E_INVALID, "kind is there already and is not one of ours");
        is_error(sgi__io_output_open(path, &ours, &o, &err), SGI_E_INVALID, "is not one of ours");
        sgi__io_output_discard(&o);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(count_files(&folder), EMPTY);
        test_calls_clear();
    }
}

/* Without /proc a file without a name could not get one, and would be lost in the end. */
static void where_there_is_no_proc_it_has_a_name_at_once(void **state)
{
    const char           *path = "no proc";
    struct sgi__io_output o;

    (void)state;
    if (!can_be_unnamed())
        skip(); /* the file system of $TMPDIR has no O_TMPFILE */
    test_call_fail(CALL_LINKAT, 1, always, ENOENT);
    test_call_fail(CALL_FSTATAT, 2, 1, ENOENT); /* behind the target */
    is_ok(sgi__io_output_open(path, NULL, &o, &err));
    assert_string_not_equal(hidden_name(), "");
    is_ok(fill(&o, 'a', &err));
    is_ok(sgi__io_output_commit(&o, &err));
    test_calls_clear();
    assert_int_equal(byte_of(path), 'a');
    only_these_are_left(&path, 1, "without /proc");
}

/* All of it happens in the folder, by names alone. */
static int set_up(void **state)
{
    return pack_set_up(state) || chdir(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_two_who_meet_anywhere_both_are_good),
        cmocka_unit_test(in_a_crowd_all_are_good),
        cmocka_unit_test(what_a_sweeper_holds_is_made_again),
        cmocka_unit_test(a_kill_at_any_call_leaves_the_old_file_or_the_new_one),
        cmocka_unit_test(only_what_was_left_behind_is_swept),
        cmocka_unit_test(what_is_being_written_is_not_swept),
        cmocka_unit_test(what_took_the_name_of_one_that_was_left_is_not_swept),
        cmocka_unit_test(of_many_other_files_the_names_are_read_and_no_more),
        cmocka_unit_test(a_sweep_that_fails_is_no_error),
        cmocka_unit_test(where_nothing_can_be_locked_nothing_is_swept),
        cmocka_unit_test(a_name_that_is_taken_is_not_used),
        cmocka_unit_test(what_others_put_there_is_neither_used_nor_taken_away),
        cmocka_unit_test(what_is_of_another_kind_is_not_replaced_whenever_it_comes),
        cmocka_unit_test(where_there_is_no_proc_it_has_a_name_at_once),
    };
    return cmocka_run_group_tests_name("faults_output", tests, set_up, pack_tear_down);
}
