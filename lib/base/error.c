/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* A caller compiled against an older header has a smaller struct: nothing past its size is written. */
static int has_field(const sgi_error *err, size_t end)
{
    return err->struct_size == 0 || err->struct_size >= end;
}

#define HAS(err, field) has_field((err), offsetof(sgi_error, field) + sizeof((err)->field))

/* How much of the message the caller's struct has. */
static size_t message_room(const sgi_error *err)
{
    const size_t at = offsetof(sgi_error, message);
    if (err->struct_size == 0 || err->struct_size >= sizeof *err)
        return sizeof err->message;
    return err->struct_size > at ? err->struct_size - at : 0;
}

static void fill(sgi_error *err, sgi_status code, int os_errno, const char *format, va_list args)
{
    if (HAS(err, code))
        err->code = code;
    if (HAS(err, os_errno))
        err->os_errno = os_errno;
    if (HAS(err, driver_code))
        err->driver_code = 0;
    if (HAS(err, step))
        err->step = SGI_STEP_NONE;
    if (HAS(err, retry_after_ms))
        err->retry_after_ms = 0;
    size_t room = message_room(err);
    if (room == 0)
        return;
    int n = vsnprintf(err->message, room, format, args);
    if (os_errno == 0 || n < 0 || (size_t)n + 3 >= room)
        return;
    char text[96];
    /* The GNU form returns the text and need not use the buffer. */
    snprintf(err->message + n, room - (size_t)n, ": %s", strerror_r(os_errno, text, sizeof text));
}

sgi_status sgi__error(sgi_error *err, sgi_status code, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, 0, format, args);
    va_end(args);
    return code;
}

sgi_status sgi__error_sys(sgi_error *err, sgi_status code, int os_errno, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, os_errno, format, args);
    va_end(args);
    return code;
}

sgi_status sgi__error_driver(sgi_error *err, sgi_status code, int32_t driver_code, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, 0, format, args);
    va_end(args);
    if (HAS(err, driver_code))
        err->driver_code = driver_code;
    return code;
}

sgi_status sgi__error_step(sgi_error *err, sgi_status code, uint32_t step)
{
    if (err && HAS(err, step) && err->step == SGI_STEP_NONE)
        err->step = step;
    return code;
}

void sgi__error_prefix(sgi_error *err, const char *subject)
{
    char   said[sizeof err->message];
    size_t length = strlen(subject);

    if (!err || !HAS(err, message) || strncmp(err->message, subject, length) == 0)
        return;
    memcpy(said, err->message, sizeof said);
    snprintf(err->message, sizeof err->message, "%s%s", subject, said);
}

void sgi__error_name_model(sgi_error *err, const char *name)
{
    struct sgi__shown shown;
    char              subject[SGI__SHOWN_NAME_BYTES + 16];

    snprintf(subject, sizeof subject, "model '%s': ", sgi__show_name(&shown, name));
    sgi__error_prefix(err, subject);
}

void sgi__error_init(sgi_error *err)
{
    memset(err, 0, sizeof *err);
    err->struct_size = sizeof *err;
}

void sgi__error_copy(sgi_error *dst, const sgi_error *src)
{
    if (!dst || !src)
        return;
    uint32_t size = dst->struct_size;
    if (size == 0 || size > sizeof *src)
        size = sizeof *src;
    if (size <= sizeof size)
        return;
    memcpy((char *)dst + sizeof size, (const char *)src + sizeof size, size - sizeof size);
    if (size > offsetof(sgi_error, message))
        ((char *)dst)[size - 1] = '\0';
}

const char *sgi__error_message(const sgi_error *err, sgi_status code)
{
    return err && err->message[0] ? err->message : sgi_status_text(code);
}
