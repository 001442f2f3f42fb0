/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sgi_log_fn      sink;
static void           *sink_user;
static atomic_uint     limit; /* 0: nobody listens; read without the mutex so that silence is cheap */

void sgi_log_set_sink(sgi_log_fn new_sink, void *user, uint32_t severity_max)
{
    pthread_mutex_lock(&mutex);
    sink = new_sink;
    sink_user = user;
    atomic_store(&limit, new_sink ? severity_max : 0);
    pthread_mutex_unlock(&mutex);
}

void sgi__log(uint32_t severity, const char *format, ...)
{
    if (severity > atomic_load(&limit))
        return;
    char    text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at; at++) /* one line, whatever an engine has said in its error */
        if ((unsigned char)*at < ' ' || *at == '\x7f')
            *at = '?';

    pthread_mutex_lock(&mutex);
    sgi_log_fn to = sink;
    void      *user = sink_user;
    pthread_mutex_unlock(&mutex);
    if (to)
        to(user, severity, text);
}
