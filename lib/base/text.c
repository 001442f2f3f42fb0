/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdint.h>
#include <string.h>

/* Table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing past U+10FFFF. */
size_t sgi__utf8_length(const char *text, size_t bytes)
{
    const uint8_t *p = (const uint8_t *)text;
    if (bytes == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t  length;
    uint8_t low = 0x80, high = 0xbf;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        length = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        length = 3;
        low = p[0] == 0xe0 ? 0xa0 : 0x80;
        high = p[0] == 0xed ? 0x9f : 0xbf;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        length = 4;
        low = p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (length > bytes || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return length;
}

bool sgi__utf8_valid(const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t length = sgi__utf8_length(text + at, bytes - at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

/* C0, DEL and C1 controls: a terminal may act on them. */
static bool is_control(const char *text, size_t length)
{
    uint8_t first = (uint8_t)text[0];
    return (length == 1 && (first < 0x20 || first == 0x7f)) ||
           (length == 2 && first == 0xc2 && (uint8_t)text[1] < 0xa0);
}

/* Copies until `room` is used up; returns the bytes written, and in *taken_out the bytes read. */
static size_t copy_shown(char *dst, size_t room, const char *text, size_t bytes, size_t *taken_out)
{
    size_t at = 0, written = 0;
    while (at < bytes) {
        size_t length = sgi__utf8_length(text + at, bytes - at);
        bool   plain = length > 0 && !is_control(text + at, length);
        size_t out = plain ? length : 1;
        if (out > room - written)
            break;
        if (plain)
            memcpy(dst + written, text + at, length);
        else
            dst[written] = '?';
        written += out;
        at += length ? length : 1;
    }
    *taken_out = at;
    return written;
}

const char *sgi__show_bytes(struct sgi__shown *shown, const char *name, size_t bytes)
{
    size_t taken;
    size_t written = copy_shown(shown->text, SGI__SHOWN_NAME_BYTES, name, bytes, &taken);
    if (taken < bytes) {
        written = copy_shown(shown->text, SGI__SHOWN_NAME_BYTES - 3, name, bytes, &taken);
        memcpy(shown->text + written, "...", 3);
        written += 3;
    }
    shown->text[written] = '\0';
    return shown->text;
}

const char *sgi__show_name(struct sgi__shown *shown, const char *name)
{
    return sgi__show_bytes(shown, name, strlen(name));
}

const char *sgi__show_path(struct sgi__shown *shown, const char *path)
{
    size_t bytes = strlen(path), taken;
    size_t room = SGI__SHOWN_PATH_BYTES, written = 0;
    if (bytes > room) {
        path += bytes - (room - 3);
        bytes = room - 3;
        memcpy(shown->text, "...", 3);
        written = 3;
        while (bytes > 0 && ((uint8_t)path[0] & 0xc0) == 0x80) { /* not in the middle of a character */
            path++;
            bytes--;
        }
    }
    written += copy_shown(shown->text + written, room - written, path, bytes, &taken);
    shown->text[written] = '\0';
    return shown->text;
}
