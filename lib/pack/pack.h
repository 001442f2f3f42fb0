/* SPDX-License-Identifier: Apache-2.0 */
/* What the functions of sgi/pack.h do once their arguments are checked: that header says what. */
#ifndef SGI_PACK_PACK_H
#define SGI_PACK_PACK_H

#include <stdbool.h>

#include <sgi/pack.h>

#include "model/manifest.h"

sgi_status sgi__pack(const char *const *sources, uint32_t sources_count, const char *path,
                     const sgi_pack_options *options, sgi_pack_report *report_out, sgi_error *err);
sgi_status sgi__pack_verify(const char *path, const char *checks_path, uint32_t jobs, sgi_progress_fn progress,
                            sgi_damage_fn damage, void *user, sgi_error *err);
sgi_status sgi__unpack(const char *path, const char *folder, uint32_t jobs, sgi_progress_fn progress, void *user,
                       sgi_error *err);

sgi_status sgi__digest(const char *path, const char *checks_path, uint32_t jobs, sgi_progress_fn progress, void *user,
                       sgi_error *err);

/* A packed model with all its metadata, from the real file system. SGI_E_UNSUPPORTED where it is none. */
sgi_status sgi__pack_open(const char *path, struct sgi__manifest **manifest_out, sgi_error *err);
/* That, or a model with checks beside it or at `checks_path`. */
sgi_status sgi__checked_open(const char *path, const char *checks_path, struct sgi__manifest **manifest_out,
                             sgi_error *err);
uint32_t   sgi__pack_jobs(uint32_t jobs); /* 0: as many as there are cores */

#endif
