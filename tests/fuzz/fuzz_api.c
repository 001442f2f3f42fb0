/* SPDX-License-Identifier: Apache-2.0 */
/* The input is how a runtime is opened, how three engines are, and what is then called, with which ids and arguments.
 * Files are made once, and what each call may say is what sgi.h lists. Threads of the library make two runs of one
 * input differ; nothing here waits for longer than a few milliseconds of its own accord. */
#include "fuzz_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/model_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    bool               made;
    struct test_folder folder, made_here;
    struct test_file   small, large, odd, broken;
    struct test_shards shards;
    char               nothing[sizeof((struct test_folder *)0)->path + 16];
} files;

static void remove_files(void)
{
    test_file_free(&files.small);
    test_file_free(&files.large);
    test_file_free(&files.odd);
    test_file_free(&files.broken);
    test_shards_free(&files.shards);
    test_folder_remove(&files.folder);
    test_folder_remove(&files.made_here);
}

static void *return_at_once(void *user)
{
    return user;
}

/* With the first thread of a process ThreadSanitizer starts one of its own: not to be counted among the library's. */
static void start_a_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, return_at_once, NULL) || pthread_join(thread, NULL))
        abort();
}

static void make_files(void)
{
    const struct test_tensor large[] = { { "a", 60000 }, { "b", 0 }, { "c", 70001 } };
    const struct test_tensor odd[] = { { "x", 9999 }, { "y", 3 } };

    if (files.made)
        return;
    files.made = true;
    start_a_thread();
    test_folder_make(&files.folder);
    test_folder_make(&files.made_here);
    test_file_make_one(&files.small, &files.folder, "small", 5000);
    test_file_make(&files.large, &files.folder, "large", 0, large, 3);
    test_file_make(&files.odd, &files.folder, "odd", 3, odd, 2);
    test_file_make_one(&files.broken, &files.folder, "broken", 100);
    files.broken.data[9] = '?';
    test_file_write(&files.broken);
    test_shards_make(&files.shards, &files.folder, 20000);
    snprintf(files.nothing, sizeof files.nothing, "%s/nothing", files.folder.path);
    atexit(remove_files);
}

const char *fuzz_api_path(uint32_t n)
{
    const char *const paths[PATHS] = { files.small.path,  files.large.path,  files.odd.path, files.shards.path,
                                       files.broken.path, files.folder.path, files.nothing };
    return paths[n % PATHS];
}

const char *fuzz_api_folder(void)
{
    return files.made_here.path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = malloc(sizeof *w);

    if (!w)
        abort();
    make_files();
    world_begin(w, data, size);
    for (uint32_t n = 0; n < OPS_MAX && w->at < w->end && w->rt; n++) {
        uint8_t which = take(w);
        if (which >= 224)
            fuzz_api_asks(w);
        else if (which % 2)
            fuzz_api_models(w);
        else
            fuzz_api_leases(w);
        if (w->rt)
            world_check(w);
    }
    world_end(w);
    free(w);
    return 0;
}
