/* SPDX-License-Identifier: Apache-2.0 */
/* What the library logs, on stderr. It is held back until what it was about has ended: what a load fails with is logged
 * too, and is to be said once. And what is to be said of a path before the library has it. */
#ifndef SGI_CLI_WARNINGS_H
#define SGI_CLI_WARNINGS_H

/* Before anything else of the library is called. */
void warnings_begin(void);
/* From now on those that have `cause` in them are left out: it has been said. */
void warnings_leave_out(const char *cause);
/* One line for each that came since the last time. */
void warnings_say(void);

/* Whether a model in so many paths, of which this is the first, is a part of one by its name: a shard opens alone as
 * well, unlike one of a split GGUF. Said at once, since packing takes a while. */
void warn_of_shard(const char *path, int paths_count);

#endif
