/* SPDX-License-Identifier: Apache-2.0 */
/* The library logs on threads of its own; all else here is of the main thread. */
#include "warnings.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

static bool take_digits(const char *text, unsigned *value_out)
{
    enum { DIGITS = 5 };
    if (strspn(text, "0123456789") < DIGITS)
        return false;
    *value_out = 0;
    for (int n = 0; n < DIGITS; n++)
        *value_out = 10 * *value_out + (unsigned)(text[n] - '0');
    return true;
}

void warn_of_shard(const char *path, int paths_count)
{
    static const char form[] = "-00001-of-00003.safetensors";
    struct stat       st;
    char              text[WARNING_BYTES];
    unsigned          number = 0, all = 0;
    size_t            bytes = strlen(path);
    const char       *end = bytes > strlen(form) ? path + bytes - strlen(form) : "";

    if (end[0] != '-' || !take_digits(end + 1, &number) || memcmp(end + 6, form + 6, 4) != 0 ||
        !take_digits(end + 10, &all) || strcmp(end + 15, form + 15) != 0)
        return;
    if (number < 1 || number > all || all <= (unsigned)paths_count || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    snprintf(text, sizeof text, "%s: by its name one of %u files of a model; its folder, or their index, opens all",
             name, all);
    say_warning(text);
}
