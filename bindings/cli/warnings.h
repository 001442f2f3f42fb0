/* SPDX-License-Identifier: Apache-2.0 */
/* What the library logs, on stderr. It is held back until what it was about has ended: what a load fails with is logged
 * too, and is to be said once. */
#ifndef SGI_CLI_WARNINGS_H
#define SGI_CLI_WARNINGS_H

/* Before anything else of the library is called. */
void warnings_begin(void);
/* From now on those that have `cause` in them are left out: it has been said. */
void warnings_leave_out(const char *cause);
/* One line for each that came since the last time. */
void warnings_say(void);

#endif
