/* SPDX-License-Identifier: Apache-2.0 */
/* Models made from the real one, in the current folder. On failure each of these ends the program. */
#ifndef TESTS_EXAMPLES_LLAMA_FILES_H
#define TESTS_EXAMPLES_LLAMA_FILES_H

#include <stdbool.h>

/* A copy in which `find` has become `put`, which is as long: in the value of `key`, or once anywhere in the header
 * where `key` is NULL. For remove_model(). */
char *patched_model(const char *path, const char *key, const char *find, const char *put);
void  remove_model(char *path); /* the file, and frees the path */

/* The model as STEM-00001-of-0000N.gguf, N being `files`, written with llama.cpp's own functions as its gguf-split
 * does; the first without tensors where `first_empty`. Returns the first one's path, for split_remove(). */
char *split_model(const char *path, const char *stem, unsigned files, bool first_empty);
void  split_remove(char *first, const char *stem, unsigned files);

/* The path of file `number`, from 1; to be freed. */
char *split_path(const char *stem, unsigned number, unsigned files);

#endif
