/* SPDX-License-Identifier: Apache-2.0 */
/* Opening source files and the file system table, over real paths of every kind. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"
#include "io/io.h"

enum { NOBODY = 65534 };

/* ------------------------------------------------------------------ fixture */

static char folder[PATH_MAX]; /* resolved; the working folder of every test */

static void write_file(const char *name, const void *data, size_t bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    close(fd);
}

static void make_socket(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static int make_folder(void **state)
{
    (void)state;
    const char *where = getenv("TMPDIR");
    char        name[PATH_MAX];
    snprintf(name, sizeof name, "%s/sgi_file_XXXXXX", where ? where : "/tmp");
    if (!mkdtemp(name) || !realpath(name, folder) || chdir(folder) != 0 || chmod(folder, 0755) != 0)
        return -1;
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return chdir("/") || system(command);
}

static uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* ------------------------------------------------------------------ opening */

static void a_regular_file_opens_cached_and_direct_with_the_same_identity(void **state)
{
    (void)state;
    write_file("plain", "0123456789", 10);
    struct sgi__io_file file;
    struct stat         st;
    assert_int_equal(sgi__io_file_open("plain", NULL, true, &file, NULL), SGI_OK);
    assert_int_equal(stat("plain", &st), 0);
    assert_int_equal(file.id.bytes, 10);
    assert_int_equal(file.id.inode, st.st_ino);
    assert_int_equal(file.id.device, st.st_dev);
    assert_int_equal(file.id.mtime_sec, st.st_mtim.tv_sec);
    assert_int_equal(file.id.mtime_nsec, st.st_mtim.tv_nsec);
    /* Neither blocks later reads nor leaks into a child. */
    assert_int_equal(fcntl(file.cached_fd, F_GETFL) & (O_NONBLOCK | O_DIRECT), 0);
    assert_int_equal(fcntl(file.cached_fd, F_GETFD), FD_CLOEXEC);
    if (file.direct_fd >= 0) {
        assert_null(file.direct_refused);
        assert_int_equal(fcntl(file.direct_fd, F_GETFL) & (O_NONBLOCK | O_DIRECT), O_DIRECT);
        assert_int_equal(fcntl(file.direct_fd, F_GETFD), FD_CLOEXEC);
        assert_true(file.direct_align >= 512 && (file.direct_align & (file.direct_align - 1)) == 0);
        void *block = aligned_alloc(file.direct_align, file.direct_align);
        assert_int_equal(pread(file.direct_fd, block, file.direct_align, 0), 10); /* the stated alignment is enough */
        free(block);
    } else {
        assert_non_null(file.direct_refused);
    }
    sgi__io_file_close(&file);
    assert_int_equal(file.cached_fd, -1);
    assert_int_equal(file.direct_fd, -1);
    sgi__io_file_close(&file); /* closing what is closed does nothing */
}

static void direct_is_left_out_when_not_asked_for_or_not_there(void **state)
{
    (void)state;
    struct sgi__io_file file;
    write_file("plain", "0123456789", 10);
    assert_int_equal(sgi__io_file_open("plain", NULL, false, &file, NULL), SGI_OK);
    assert_int_equal(file.direct_fd, -1);
    assert_string_equal(file.direct_refused, "not asked for");
    sgi__io_file_close(&file);

    /* A regular file on a file system that refuses O_DIRECT. */
    assert_int_equal(sgi__io_file_open("/proc/self/status", NULL, true, &file, NULL), SGI_OK);
    assert_int_equal(file.direct_fd, -1);
    assert_non_null(strstr(file.direct_refused, "O_DIRECT"));
    sgi__io_file_close(&file);
}

static void without_a_stated_alignment_one_real_read_decides(void **state)
{
    (void)state;
    static const char   name[] = "/dev/shm/sgi_file_test";
    struct sgi__io_file file;
    int                 fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        print_message("skipped: no tmpfs at /dev/shm\n");
        skip();
    }
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    sgi_status status = sgi__io_file_open(name, NULL, true, &file, NULL);
    unlink(name);
    assert_int_equal(status, SGI_OK);
    if (file.direct_fd >= 0)
        assert_int_equal(file.direct_align, 4096);
    else
        assert_non_null(file.direct_refused);
    sgi__io_file_close(&file);
}

struct odd_path {
    const char *path, *says;
    sgi_status  status;
};

static const struct odd_path odd_paths[] = {
    { "fifo", "fifo is a FIFO", SGI_E_IO },
    { "socket", "socket is a socket", SGI_E_IO },
    { "/dev/null", "/dev/null is a character device", SGI_E_IO },
    { "dangling", "dangling is a symbolic link that leads nowhere", SGI_E_IO },
    { "circle", "circle is a symbolic link that leads nowhere", SGI_E_IO },
    { "missing", "missing: No such file or directory", SGI_E_IO },
    { "plain/below", "plain/below: Not a directory", SGI_E_IO },
    { "to-fifo", "to-fifo is a FIFO", SGI_E_IO },
};

static void make_odd_paths(void)
{
    write_file("plain", "0123456789", 10);
    mkdir("sub", 0755);
    mkfifo("fifo", 0644);
    if (access("socket", F_OK) != 0)
        make_socket("socket");
    (void)!symlink("nowhere", "dangling");
    (void)!symlink("circle", "circle");
    (void)!symlink("fifo", "to-fifo");
    (void)!symlink("plain", "to-plain");
    (void)!symlink("sub", "to-sub");
}

/* A FIFO without a writer blocks an open that is not careful: the test would hang. */
static void what_is_not_a_regular_file_is_refused_by_name(void **state)
{
    (void)state;
    make_odd_paths();
    uint32_t before = open_descriptors();
    for (size_t i = 0; i < sizeof odd_paths / sizeof odd_paths[0]; i++) {
        struct sgi__io_file file = { .cached_fd = 77 };
        sgi_error           err = { .struct_size = sizeof err };
        assert_int_equal(sgi__io_file_open(odd_paths[i].path, NULL, true, &file, &err), odd_paths[i].status);
        if (!strstr(err.message, odd_paths[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.message, odd_paths[i].says);
        assert_int_equal(file.cached_fd, 77); /* written only on success */
    }
    sgi_error           err = { .struct_size = sizeof err };
    struct sgi__io_file file;
    assert_int_equal(sgi__io_file_open("sub", NULL, true, &file, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "sub is a folder, not a regular file"));
    assert_int_equal(sgi__io_file_open("to-plain", NULL, true, &file, &err), SGI_OK);
    assert_int_equal(file.id.bytes, 10);
    sgi__io_file_close(&file);
    assert_int_equal(open_descriptors(), before);
}

static void access_refused_is_denied(void **state)
{
    (void)state;
    write_file("secret", "0123456789", 10);
    assert_int_equal(chmod("secret", 0), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(NOBODY), 0);
    struct sgi__io_file file;
    sgi_error           err = { .struct_size = sizeof err };
    sgi_status          status = sgi__io_file_open("secret", NULL, true, &file, &err);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, SGI_E_DENIED);
    assert_int_equal(err.os_errno, EACCES);
    assert_non_null(strstr(err.message, "secret"));
}

/* ----------------------------------------------------------------- identity */

static struct sgi__file_id id_of(const char *name)
{
    struct sgi__io_file file;
    assert_int_equal(sgi__io_file_open(name, NULL, false, &file, NULL), SGI_OK);
    sgi__io_file_close(&file);
    return file.id;
}

static void assert_changed(const char *name, const struct sgi__file_id *expected, const char *says,
                           const char *says_not)
{
    sgi_error           err = { .struct_size = sizeof err };
    struct sgi__io_file file;
    assert_int_equal(sgi__io_path_check(name, expected, &err), SGI_E_CHANGED);
    assert_non_null(strstr(err.message, name));
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    if (says_not && strstr(err.message, says_not))
        fail_msg("\"%s\" says \"%s\"", err.message, says_not);
    uint32_t before = open_descriptors();
    assert_int_equal(sgi__io_file_open(name, expected, true, &file, NULL), SGI_E_CHANGED);
    assert_int_equal(open_descriptors(), before);
}

static void a_changed_file_is_refused_and_the_message_says_what_differs(void **state)
{
    (void)state;
    write_file("model", "0123456789", 10);
    struct sgi__file_id id = id_of("model");
    struct sgi__io_file file;
    assert_int_equal(sgi__io_path_check("model", &id, NULL), SGI_OK);
    assert_int_equal(sgi__io_file_open("model", &id, true, &file, NULL), SGI_OK);
    assert_int_equal(sgi__io_file_check(&file, "model", &id, NULL), SGI_OK);

    struct timespec same[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = id.mtime_sec, .tv_nsec = id.mtime_nsec } };
    assert_int_equal(truncate("model", 12), 0);
    assert_int_equal(utimensat(AT_FDCWD, "model", same, 0), 0);
    assert_changed("model", &id, "size 10 -> 12", "mtime");
    assert_int_equal(sgi__io_file_check(&file, "model", &id, NULL), SGI_E_CHANGED);
    assert_int_equal(truncate("model", 10), 0);

    struct timespec later[2] = { same[0], same[1] };
    later[1].tv_nsec = (later[1].tv_nsec + 1) % 1000000000;
    assert_int_equal(utimensat(AT_FDCWD, "model", later, 0), 0);
    assert_changed("model", &id, "mtime", "size");
    assert_int_equal(utimensat(AT_FDCWD, "model", same, 0), 0);
    assert_int_equal(sgi__io_file_check(&file, "model", &id, NULL), SGI_OK);

    /* Replaced by rename, size and time alike: only the inode tells. */
    write_file("model.new", "9876543210", 10);
    assert_int_equal(utimensat(AT_FDCWD, "model.new", same, 0), 0);
    assert_int_equal(rename("model.new", "model"), 0);
    assert_changed("model", &id, "inode", "size");
    assert_int_equal(sgi__io_file_check(&file, "model", &id, NULL),
                     SGI_E_CHANGED); /* what was read is no longer what is there */

    assert_int_equal(unlink("model"), 0);
    sgi_error err = { .struct_size = sizeof err };
    assert_int_equal(sgi__io_path_check("model", &id, &err), SGI_E_IO);
    assert_int_equal(err.os_errno, ENOENT);
    assert_int_equal(mkfifo("model", 0644), 0);
    assert_int_equal(sgi__io_path_check("model", &id, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "FIFO"));
    assert_int_equal(unlink("model"), 0);
    sgi__io_file_close(&file);
}

/* ------------------------------------------------------------------- cached */

enum { CACHED_BYTES = 4 << 20 };

static void cached_share_follows_the_page_cache(void **state)
{
    (void)state;
    uint8_t *data = malloc(CACHED_BYTES);
    memset(data, 7, CACHED_BYTES);
    write_file("weights", data, CACHED_BYTES);
    struct sgi__io_file file;
    assert_int_equal(sgi__io_file_open("weights", NULL, false, &file, NULL), SGI_OK);
    assert_int_equal(sgi__io_file_cached(&file, 0, CACHED_BYTES), 1000);     /* just written */
    assert_int_equal(sgi__io_file_cached(&file, CACHED_BYTES, 4096), 0);     /* past the end */
    assert_int_equal(sgi__io_file_cached(&file, 0, 3 * CACHED_BYTES), 1000); /* of what there is */
    assert_int_equal(sgi__io_file_cached(&file, 5, 0), 0);
    assert_int_equal(sgi__io_file_cached(&file, CACHED_BYTES - 10, UINT64_MAX), 1000); /* clipped, not overflown */

    assert_int_equal(fsync(file.cached_fd), 0);
    posix_fadvise(file.cached_fd, 0, 0, POSIX_FADV_RANDOM); /* no readahead */
    sgi__io_file_uncache(&file, 0, CACHED_BYTES / 2);
    uint32_t half = sgi__io_file_cached(&file, 0, CACHED_BYTES);
    sgi__io_file_uncache(&file, CACHED_BYTES / 2, CACHED_BYTES / 2);
    if (sgi__io_file_cached(&file, 0, CACHED_BYTES) != 0) {
        print_message("this file system keeps its pages: the cold half is not tested\n");
    } else {
        assert_int_equal(half, 500);
        assert_int_equal(pread(file.cached_fd, data, CACHED_BYTES / 4, 0), CACHED_BYTES / 4);
        assert_int_equal(sgi__io_file_cached(&file, 0, CACHED_BYTES), 250);
        assert_int_equal(sgi__io_file_cached(&file, 0, CACHED_BYTES / 4), 1000);
        assert_int_equal(sgi__io_file_cached(&file, CACHED_BYTES / 2, CACHED_BYTES / 2), 0);
    }
    sgi__io_file_close(&file);
    free(data);
}

/* cachestat answers EPERM for a file that is neither ours nor writable; mincore would call all of it resident. */
static void another_users_file_is_sampled_and_cold_is_not_called_hot(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: needs root to become somebody else\n");
        skip();
    }
    uint8_t *data = malloc(CACHED_BYTES);
    memset(data, 7, CACHED_BYTES);
    write_file("theirs", data, CACHED_BYTES);
    struct sgi__io_file file;
    assert_int_equal(seteuid(NOBODY), 0);
    sgi_status status = sgi__io_file_open("theirs", NULL, false, &file, NULL);
    uint32_t   hot = sgi__io_file_cached(&file, 0, CACHED_BYTES);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, SGI_OK);
    assert_int_equal(hot, 1000);

    assert_int_equal(fsync(file.cached_fd), 0);
    posix_fadvise(file.cached_fd, 0, 0, POSIX_FADV_DONTNEED);
    assert_int_equal(seteuid(NOBODY), 0);
    uint32_t cold = sgi__io_file_cached(&file, 0, CACHED_BYTES);
    assert_int_equal(seteuid(0), 0);
    if (cold > 500) /* two samples can meet, and the second finds the first one's readahead */
        fail_msg("a cold file is called %u per mille cached", cold);
    sgi__io_file_close(&file);
    free(data);
}

/* ------------------------------------------------------ the table: fs_posix */

static void kind_tells_files_and_folders_and_refuses_the_rest(void **state)
{
    (void)state;
    make_odd_paths();
    struct sgi__fs    fs = sgi__fs_posix_table(NULL);
    enum sgi__fs_kind kind = SGI__FS_FOLDER;
    assert_int_equal(fs.kind(fs.user, "plain", &kind, NULL), SGI_OK);
    assert_int_equal(kind, SGI__FS_FILE);
    assert_int_equal(fs.kind(fs.user, "to-sub", &kind, NULL), SGI_OK);
    assert_int_equal(kind, SGI__FS_FOLDER);
    assert_int_equal(fs.kind(fs.user, "to-plain", &kind, NULL), SGI_OK);
    assert_int_equal(kind, SGI__FS_FILE);
    for (size_t i = 0; i < sizeof odd_paths / sizeof odd_paths[0]; i++) {
        sgi_error err = { .struct_size = sizeof err };
        assert_int_equal(fs.kind(fs.user, odd_paths[i].path, &kind, &err), odd_paths[i].status);
        if (!strstr(err.message, odd_paths[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.message, odd_paths[i].says);
    }
}

struct names {
    char       text[256];
    uint32_t   count;
    sgi_status answer;
};

static sgi_status collect_name(void *user, const char *name, sgi_error *err)
{
    struct names *names = user;
    size_t        used = strlen(names->text);
    snprintf(names->text + used, sizeof names->text - used, "[%s]", name);
    names->count++;
    return names->answer == SGI_OK ? SGI_OK : sgi__error(err, names->answer, "enough");
}

static void list_gives_each_name_once_within_its_bound(void **state)
{
    (void)state;
    mkdir("list", 0755);
    write_file("list/a", "", 0);
    write_file("list/b", "", 0);
    write_file("list/.hidden", "", 0);
    struct sgi__fs fs = sgi__fs_posix_table(NULL);
    struct names   names = { .answer = SGI_OK };
    sgi_error      err = { .struct_size = sizeof err };
    assert_int_equal(fs.list(fs.user, "list", 3, collect_name, &names, &err), SGI_OK);
    assert_int_equal(names.count, 3);
    assert_non_null(strstr(names.text, "[a]"));
    assert_non_null(strstr(names.text, "[b]"));
    assert_non_null(strstr(names.text, "[.hidden]"));

    names = (struct names){ .answer = SGI_OK };
    assert_int_equal(fs.list(fs.user, "list", 2, collect_name, &names, &err), SGI_E_FORMAT);
    assert_int_equal(names.count, 2);
    assert_non_null(strstr(err.message, "list holds more than 2 names"));

    names = (struct names){ .answer = SGI_E_NO_MEMORY };
    assert_int_equal(fs.list(fs.user, "list", 9, collect_name, &names, &err), SGI_E_NO_MEMORY);
    assert_int_equal(names.count, 1);

    make_odd_paths();
    assert_int_equal(fs.list(fs.user, "fifo", 9, collect_name, &names, &err), SGI_E_IO);
    assert_int_equal(fs.list(fs.user, "missing", 9, collect_name, &names, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "missing"));
}

static sgi_status open_and_close(const struct sgi__fs_posix *config, const char *path, char *resolved_out,
                                 sgi_error *err)
{
    struct sgi__fs      fs = sgi__fs_posix_table(config);
    void               *file = NULL;
    struct sgi__file_id id;
    char               *resolved = NULL;
    sgi_status          status = fs.open(fs.user, path, &file, &id, &resolved, err);
    if (status != SGI_OK) {
        assert_null(file);
        assert_null(resolved);
        return status;
    }
    if (resolved_out)
        snprintf(resolved_out, PATH_MAX, "%s", resolved);
    sgi__free(resolved);
    fs.close(fs.user, file);
    return SGI_OK;
}

static void open_resolves_the_path(void **state)
{
    (void)state;
    make_odd_paths();
    write_file("sub/inner", "x", 1);
    char resolved[PATH_MAX], wanted[PATH_MAX + 32];
    assert_int_equal(open_and_close(NULL, "to-sub/../to-sub/inner", resolved, NULL), SGI_OK);
    snprintf(wanted, sizeof wanted, "%s/sub/inner", folder);
    assert_string_equal(resolved, wanted);
    assert_int_equal(open_and_close(NULL, "to-plain", resolved, NULL), SGI_OK);
    snprintf(wanted, sizeof wanted, "%s/plain", folder);
    assert_string_equal(resolved, wanted);
    for (size_t i = 0; i < sizeof odd_paths / sizeof odd_paths[0]; i++)
        assert_int_equal(open_and_close(NULL, odd_paths[i].path, NULL, NULL), odd_paths[i].status);
    /* What a deleted file is called by the kernel is here somebody's name. */
    write_file("sub/odd (deleted)", "x", 1);
    assert_int_equal(open_and_close(NULL, "sub/odd (deleted)", resolved, NULL), SGI_OK);
    assert_non_null(strstr(resolved, "sub/odd (deleted)"));
}

static void roots_are_whole_components_of_the_resolved_path(void **state)
{
    (void)state;
    mkdir("models", 0755);
    mkdir("models2", 0755);
    write_file("models/in", "x", 1);
    write_file("models2/out", "x", 1);
    write_file("single", "x", 1);
    (void)!symlink("../models2/out", "models/escape");
    (void)!symlink("models/in", "way-in");
    (void)!symlink("models2", "models/sub");

    char root[PATH_MAX + 16], with_slash[PATH_MAX + 16], single[PATH_MAX + 16];
    snprintf(root, sizeof root, "%s/models", folder);
    snprintf(with_slash, sizeof with_slash, "%s/models///", folder);
    snprintf(single, sizeof single, "%s/single", folder);
    const char *roots[] = { "/nowhere", root }, *slashed[] = { with_slash }, *all[] = { "/" }, *one[] = { single };
    struct sgi__fs_posix config = { .roots = roots, .roots_count = 2 };
    sgi_error            err = { .struct_size = sizeof err };
    uint32_t             before = open_descriptors();

    assert_int_equal(open_and_close(&config, "models/in", NULL, NULL), SGI_OK);
    assert_int_equal(open_and_close(&config, "models2/../models/in", NULL, NULL), SGI_OK);
    assert_int_equal(open_and_close(&config, "way-in", NULL, NULL), SGI_OK); /* the file counts, not the link */
    assert_int_equal(open_and_close(&config, "models2/out", NULL, &err), SGI_E_DENIED);
    assert_non_null(strstr(err.message, "models2/out is outside the allowed roots"));
    assert_int_equal(open_and_close(&config, "models/escape", NULL, &err), SGI_E_DENIED);
    assert_int_equal(open_and_close(&config, "models/../models2/out", NULL, &err), SGI_E_DENIED);
    assert_int_equal(open_and_close(&config, "single", NULL, &err), SGI_E_DENIED);

    config = (struct sgi__fs_posix){ .roots = slashed, .roots_count = 1 };
    assert_int_equal(open_and_close(&config, "models/in", NULL, NULL), SGI_OK);
    assert_int_equal(open_and_close(&config, "models2/out", NULL, NULL), SGI_E_DENIED);
    config = (struct sgi__fs_posix){ .roots = all, .roots_count = 1 };
    assert_int_equal(open_and_close(&config, "models2/out", NULL, NULL), SGI_OK);
    config = (struct sgi__fs_posix){ .roots = one, .roots_count = 1 };
    assert_int_equal(open_and_close(&config, "single", NULL, NULL), SGI_OK);
    config = (struct sgi__fs_posix){ .roots = all, .roots_count = 0 };
    assert_int_equal(open_and_close(&config, "models/in", NULL, NULL),
                     SGI_E_DENIED); /* no root: nothing is under one */
    assert_int_equal(open_descriptors(), before);
}

/* One thread makes the path lead inside and outside in turn; whatever was opened as allowed must be the inside one. */
struct swapper {
    atomic_bool stop;
    atomic_uint swaps;
};

static void *swap_links(void *user)
{
    struct swapper *s = user;
    while (!atomic_load(&s->stop)) {
        if (rename("race-a", "race-tmp") || rename("race-b", "race-a") || rename("race-tmp", "race-b"))
            break;
        atomic_fetch_add(&s->swaps, 1);
    }
    return NULL;
}

static void a_path_that_changes_under_open_never_leads_outside(void **state)
{
    (void)state;
    mkdir("race-a", 0755);
    mkdir("race-b", 0755);
    mkdir("inside", 0755);
    mkdir("outside", 0755);
    write_file("inside/f", "inside", 6);
    write_file("outside/f", "outsid", 6);
    (void)!symlink("../inside/f", "race-a/f");
    (void)!symlink("../outside/f", "race-b/f");
    char root[PATH_MAX + 16];
    snprintf(root, sizeof root, "%s/inside", folder);
    const char          *roots[] = { root };
    struct sgi__fs_posix config = { .roots = roots, .roots_count = 1 };
    struct sgi__fs       fs = sgi__fs_posix_table(&config);
    struct swapper       s = { .stop = false };
    pthread_t            thread;
    assert_int_equal(pthread_create(&thread, NULL, swap_links, &s), 0);
    uint32_t opened = 0, denied = 0;
    for (int i = 0; i < 200000 && (i < 3000 || opened == 0 || denied == 0); i++) {
        void               *file;
        struct sgi__file_id id;
        char               *resolved, text[7] = "";
        sgi_status          status = fs.open(fs.user, "race-a/f", &file, &id, &resolved, NULL);
        if (status != SGI_OK) {
            denied += status == SGI_E_DENIED;
            continue;
        }
        opened++;
        sgi_status read = fs.read(fs.user, file, 0, text, 6, NULL);
        sgi__free(resolved);
        fs.close(fs.user, file);
        if (read != SGI_OK || strcmp(text, "inside") != 0)
            fail_msg("opened \"%s\"", text);
    }
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    assert_true(opened > 0 && denied > 0);
}

static void read_is_exact_or_an_error(void **state)
{
    (void)state;
    write_file("header", "0123456789", 10);
    struct sgi__fs      fs = sgi__fs_posix_table(NULL);
    void               *file;
    struct sgi__file_id id;
    char               *resolved, text[16] = "";
    sgi_error           err = { .struct_size = sizeof err };
    assert_int_equal(fs.open(fs.user, "header", &file, &id, &resolved, NULL), SGI_OK);
    sgi__free(resolved);
    assert_int_equal(id.bytes, 10);
    assert_int_equal(fs.read(fs.user, file, 3, text, 4, NULL), SGI_OK);
    assert_string_equal(text, "3456");
    assert_int_equal(fs.read(fs.user, file, 10, text, 0, NULL), SGI_OK);
    assert_int_equal(fs.read(fs.user, file, 8, text, 4, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "header ends at 10"));
    assert_int_equal(fs.read(fs.user, file, UINT64_MAX, text, 4, &err), SGI_E_IO);
    assert_int_equal(fs.read(fs.user, file, INT64_MAX, text, 4, &err), SGI_E_IO);
    assert_int_equal(fs.read(fs.user, file, 0, (void *)(uintptr_t)16, 4, &err), SGI_E_IO);
    assert_int_equal(err.os_errno, EFAULT);
    assert_non_null(strstr(err.message, "read header at offset 0"));
    fs.close(fs.user, file);
}

#ifdef SGI_FAULT_POINTS
/* Every point at its every passing: a true status, nothing left open or allocated, and the next open works. */
static void opening_fails_cleanly_at_every_fault_point(void **state)
{
    (void)state;
    static const struct {
        enum sgi__fault_point point;
        int                   value;
        sgi_status            status;
    } faults[] = {
        { SGI__FAULT_ALLOC, 1, SGI_E_NO_MEMORY },
        { SGI__FAULT_OPEN, EIO, SGI_E_IO },
        { SGI__FAULT_OPEN, EACCES, SGI_E_DENIED },
        { SGI__FAULT_HEADER, EIO, SGI_E_IO },
    };
    write_file("header", "0123456789", 10);
    uint32_t before = open_descriptors();
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (uint64_t nth = 1;; nth++) {
            struct sgi__fs      fs = sgi__fs_posix_table(NULL);
            struct sgi__io_file weights;
            void               *file;
            struct sgi__file_id id;
            char               *resolved, text[4];
            sgi_error           err = { .struct_size = sizeof err };
            sgi__fault_plan(faults[f].point, nth, 1, faults[f].value);
            sgi_status status = fs.open(fs.user, "header", &file, &id, &resolved, &err);
            if (status == SGI_OK) {
                sgi__free(resolved);
                status = fs.read(fs.user, file, 0, text, 4, &err);
                fs.close(fs.user, file);
            }
            if (status == SGI_OK) {
                status = sgi__io_file_open("header", NULL, true, &weights, &err);
                if (status == SGI_OK)
                    sgi__io_file_close(&weights);
            }
            uint64_t passed = sgi__fault_passed(faults[f].point);
            sgi__fault_clear();
            assert_int_equal(open_descriptors(), before);
            assert_int_equal(status, passed >= nth ? faults[f].status : SGI_OK);
            if (status != SGI_OK)
                assert_non_null(strstr(err.message, "header"));
            if (passed < nth)
                break;
        }
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_regular_file_opens_cached_and_direct_with_the_same_identity),
        cmocka_unit_test(direct_is_left_out_when_not_asked_for_or_not_there),
        cmocka_unit_test(without_a_stated_alignment_one_real_read_decides),
        cmocka_unit_test(what_is_not_a_regular_file_is_refused_by_name),
        cmocka_unit_test(access_refused_is_denied),
        cmocka_unit_test(a_changed_file_is_refused_and_the_message_says_what_differs),
        cmocka_unit_test(cached_share_follows_the_page_cache),
        cmocka_unit_test(another_users_file_is_sampled_and_cold_is_not_called_hot),
        cmocka_unit_test(kind_tells_files_and_folders_and_refuses_the_rest),
        cmocka_unit_test(list_gives_each_name_once_within_its_bound),
        cmocka_unit_test(open_resolves_the_path),
        cmocka_unit_test(roots_are_whole_components_of_the_resolved_path),
        cmocka_unit_test(a_path_that_changes_under_open_never_leads_outside),
        cmocka_unit_test(read_is_exact_or_an_error),
#ifdef SGI_FAULT_POINTS
        cmocka_unit_test(opening_fails_cleanly_at_every_fault_point),
#endif
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
