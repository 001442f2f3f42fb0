/* SPDX-License-Identifier: Apache-2.0 */
#include "pack_host.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct test_folder folder, out;
sgi_error          err = SGI_ERROR_INIT;

int pack_set_up(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_folder_make(&out);
    return 0;
}

int pack_tear_down(void **state)
{
    (void)state;
    test_folder_remove(&folder);
    test_folder_remove(&out);
    return 0;
}

const char *in(const struct test_folder *where, const char *name)
{
    static char paths[4][512];
    static int  next;
    char       *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", where->path, name);
    return path;
}

void is_ok(sgi_status st)
{
    if (st != SGI_OK)
        fail_msg("%s: %s", sgi_status_name(st), err.message);
}

void is_error(sgi_status st, sgi_status expected, const char *names)
{
    if (st != expected)
        fail_msg("%s instead of %s: %s", sgi_status_name(st), sgi_status_name(expected), err.message);
    if (!strstr(err.message, names))
        fail_msg("'%s' does not name %s", err.message, names);
}

static char damage_text[1024];
static int  damage_calls;

static void keep_damage(void *user, const sgi_damage *damage)
{
    const char *slash = strrchr(damage->file, '/');
    int         used;

    assert_ptr_equal(user, damage_text);
    assert_int_equal(damage->struct_size, sizeof *damage);
    assert_int_equal(damage_calls++, 0);
    used = snprintf(damage_text, sizeof damage_text, "%s: %llu, %llu bytes at %llu; %llu:", slash + 1,
                    (unsigned long long)damage->chunk, (unsigned long long)damage->bytes,
                    (unsigned long long)damage->offset, (unsigned long long)damage->tensors_count);
    for (uint32_t n = 0; n < SGI_DAMAGE_TENSORS_MAX; n++)
        if (n < damage->tensors_named)
            used += snprintf(damage_text + used, sizeof damage_text - (size_t)used, " %s", damage->tensors[n]);
        else
            assert_null(damage->tensors[n]);
}

static sgi_files_options options_of(const char *checks_path, uint32_t jobs)
{
    sgi_files_options options;

    assert_int_equal(sgi_files_options_init(&options, sizeof options), SGI_OK);
    options.checks_path = checks_path;
    options.jobs = jobs;
    return options;
}

sgi_status verify_one(const char *path, const char *checks_path, uint32_t jobs)
{
    sgi_files_options options = options_of(checks_path, jobs);
    return sgi_verify(path, &options, &err);
}

sgi_status unpack_one(const char *path, const char *to, uint32_t jobs)
{
    sgi_files_options options = options_of(NULL, jobs);
    return sgi_unpack(path, to, &options, &err);
}

sgi_status digest_one(const char *path, const char *checks_path, uint32_t jobs)
{
    sgi_files_options options = options_of(checks_path, jobs);
    return sgi_digest(path, &options, &err);
}

sgi_status verify_damage(const char *path, const char *checks_path, uint32_t jobs)
{
    sgi_files_options options = options_of(checks_path, jobs);

    options.damage = keep_damage;
    options.user = damage_text;
    damage_text[0] = '\0';
    damage_calls = 0;
    return sgi_verify(path, &options, &err);
}

const char *damage_told(void)
{
    return damage_text;
}

static uint64_t random_state = 88172645463325252u;

uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

void has_bytes(const char *path, const uint8_t *bytes, size_t count)
{
    struct stat st;
    uint8_t    *found = malloc(count + 1);
    int         fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(found && fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, count);
    assert_int_equal(read(fd, found, count + 1), count);
    assert_memory_equal(found, bytes, count);
    close(fd);
    free(found);
}

size_t count_files(const struct test_folder *where)
{
    DIR   *dir = opendir(where->path);
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

sgi_status pack_one(const char *source, const char *path, const sgi_pack_options *options, sgi_pack_report *report)
{
    return sgi_pack(&source, 1, path, options, report, &err);
}

uint8_t flip(int fd, uint64_t at)
{
    uint8_t was, is;

    assert_int_equal(pread(fd, &was, 1, (off_t)at), 1);
    is = was ^ (uint8_t)(1u << random64() % 8);
    assert_int_equal(pwrite(fd, &is, 1, (off_t)at), 1);
    return was;
}

void put_back(int fd, uint64_t at, uint8_t was)
{
    assert_int_equal(pwrite(fd, &was, 1, (off_t)at), 1);
}
