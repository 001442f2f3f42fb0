/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop that every kind of fault goes through: a runtime's whole life, from open to close, and in it the Nth passing
 * of one place fails, for N = 1, 2, ... until a run passes that place fewer than N times. Whatever fails says so truly,
 * nothing is left behind or stuck, and once the cause is gone the next acquire works.
 *
 * A program that uses it has one group of tests, with loop_set_up() and loop_tear_down() around it.
 */
#ifndef TESTS_FAULTS_LOOP_H
#define TESTS_FAULTS_LOOP_H

#include "ledger.h"
#include "life.h"
#include "support/calls.h"

int loop_set_up(void **state); /* files, and what a first runtime leaves in any process */
int loop_tear_down(void **state);
int loop_clear(void **state); /* after each test: no plans */

/* The files of the models in a life, for other tests of the program: two shards behind an index, and one file. */
const struct test_shards *loop_shards(void);
const struct test_file   *loop_file(void);
const sgi_tensor_check   *loop_shards_checks(void); /* of "a" to "d" */
const sgi_tensor_check   *loop_file_checks(void);   /* of "x" and "y" */

/* The group: each of `faults` once and from there on, and further tests beside them. Arguments: --every, and a filter
 * of names. */
int loop_main(int argc, char **argv, const char *group, const struct fault *faults, size_t faults_count,
              const struct CMUnitTest *others, size_t others_count);

#endif
