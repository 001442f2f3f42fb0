/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over files, and over all files in folders, given as arguments: the corpus as a plain test, or a
 * crash again in a debugger. A fuzz target that finds something wrong aborts. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int    LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

/* libFuzzer has it for the mutators of targets; here nothing is mutated. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max)
{
    (void)data;
    (void)size_max;
    return size;
}

static unsigned long files;

static int replay_file(const char *path, size_t size)
{
    FILE    *in = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    if (!in || !data || fread(data, 1, size, in) != size) {
        perror(path);
        if (in)
            fclose(in);
        free(data);
        return 1;
    }
    fclose(in);
    fprintf(stderr, "%s\n", path); /* before it runs: an abort is then about this one */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    files++;
    return 0;
}

static int replay(const char *path);

static int replay_folder(const char *path)
{
    struct dirent **names;
    int             wrong = 0, count = scandir(path, &names, NULL, alphasort);
    if (count < 0) {
        perror(path);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char full[4096];
        int  bytes = snprintf(full, sizeof full, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            wrong |= bytes < (int)sizeof full ? replay(full) : 1;
        free(names[i]);
    }
    free(names);
    return wrong;
}

static int replay(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        return 1;
    }
    return S_ISDIR(info.st_mode) ? replay_folder(path) : replay_file(path, (size_t)info.st_size);
}

int main(int argc, char **argv)
{
    int wrong = 0;
    for (int i = 1; i < argc; i++)
        wrong |= replay(argv[i]);
    printf("replayed %lu files\n", files);
    return wrong || files == 0;
}
