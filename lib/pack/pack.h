/* SPDX-License-Identifier: Apache-2.0 */
/* What the functions of sgi/pack.h do once their arguments are checked: that header says what. */
#ifndef SGI_PACK_PACK_H
#define SGI_PACK_PACK_H

#include <stdbool.h>

#include <sgi/pack.h>

#include "model/manifest.h"

sgi_status sgi__pack(const char *const *sources, uint32_t sources_count, const char *path,
                     const sgi_pack_options *options, sgi_pack_report *report_out, sgi_error *err);
sgi_status sgi__pack_verify(const char *path, const sgi_files_options *options, sgi_error *err);
sgi_status sgi__unpack(const char *path, const char *folder, const sgi_files_options *options, sgi_error *err);
sgi_status sgi__digest(const char *path, const sgi_files_options *options, sgi_error *err);

/* A packed model with all its metadata, from the real file system; its base is looked for in the folders of `options`
 * too (NULL: there are none). SGI_E_UNSUPPORTED where it is none. */
sgi_status sgi__pack_open(const char *path, const sgi_files_options *options, struct sgi__manifest **manifest_out,
                          sgi_error *err);
/* That, or a model with checks. */
sgi_status sgi__checked_open(const char *path, const sgi_files_options *options, struct sgi__manifest **manifest_out,
                             sgi_error *err);
/* Says that one is done, if somebody wants to know. */
void     sgi__file_done(const sgi_files_options *options, const sgi_file_done *file);
uint32_t sgi__pack_jobs(uint32_t jobs); /* 0: as many as there are cores */

#endif
