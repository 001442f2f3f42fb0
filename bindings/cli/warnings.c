/* SPDX-License-Identifier: Apache-2.0 */
/* The library logs on threads of its own; all else here is of the main thread. */
#include "warnings.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "command.h"

/* A record is 511 bytes at most. Of more than so many the first ones tell what it is about. */
enum { WARNINGS_MAX = 16, WARNING_BYTES = 512 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards `kept`, `count` */
static char            kept[WARNINGS_MAX][WARNING_BYTES];
static uint32_t        count; /* may be more than are kept */
static char            said[WARNING_BYTES];

static void keep(void *user, uint32_t severity, const char *text)
{
    (void)user;
    (void)severity;
    pthread_mutex_lock(&mutex);
    if (count < WARNINGS_MAX)
        snprintf(kept[count], sizeof kept[count], "%s", text);
    if (count < UINT32_MAX)
        count++;
    pthread_mutex_unlock(&mutex);
}

void warnings_begin(void)
{
    sgi_log_set_sink(keep, NULL, SGI_LOG_WARN);
}

void warnings_leave_out(const char *cause)
{
    snprintf(said, sizeof said, "%s", cause);
}

void warnings_say(void)
{
    char more[64];

    pthread_mutex_lock(&mutex);
    for (uint32_t i = 0; i < count && i < WARNINGS_MAX; i++)
        if (!said[0] || !strstr(kept[i], said))
            say_warning(kept[i]);
    if (count > WARNINGS_MAX) {
        snprintf(more, sizeof more, "and %u more", (unsigned)(count - WARNINGS_MAX));
        say_warning(more);
    }
    count = 0;
    pthread_mutex_unlock(&mutex);
}
