/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of packs and checks share. */
#ifndef TESTS_PACK_PACK_HOST_H
#define TESTS_PACK_PACK_HOST_H

#include <sgi/pack.h>

#include "support/host.h"

extern struct test_folder folder, out; /* out: for what is unpacked */
extern sgi_error          err;

int pack_set_up(void **state);
int pack_tear_down(void **state);

const char *in(const struct test_folder *where, const char *name); /* good for the next three too */

/* checks_path NULL: beside the files; jobs 0: one for each core */
sgi_status verify_one(const char *path, const char *checks_path, uint32_t jobs);
sgi_status unpack_one(const char *path, const char *to, uint32_t jobs);
sgi_status digest_one(const char *path, const char *checks_path, uint32_t jobs);
sgi_status pack_one(const char *source, const char *path, const sgi_pack_options *options, sgi_pack_report *report);

void is_ok(sgi_status st); /* `err` says why not */
void is_error(sgi_status st, sgi_status expected, const char *names);

uint64_t random64(void); /* the same in every run */

void   has_bytes(const char *path, const uint8_t *bytes, size_t count);
size_t count_files(const struct test_folder *where);

/* sgi_verify() with it, and what it was told: "m.safetensors: 1, 77 bytes at 2097152; 3: a b c", or "" */
sgi_status  verify_damage(const char *path, const char *checks_path, uint32_t jobs);
const char *damage_told(void);

/* One bit of the byte at `at` of an open file; what it was. */
uint8_t flip(int fd, uint64_t at);
void    put_back(int fd, uint64_t at, uint8_t was);

#endif
