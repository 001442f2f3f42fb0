/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void names_free(struct names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
    free(names->lines);
    *names = (struct names){ 0 };
}

bool names_add(struct names *names, const char *text, size_t bytes, uint32_t line)
{
    if ((names->count & (names->count - 1)) == 0) { /* full at every power of two */
        size_t    room = names->count ? 2 * (size_t)names->count : 1;
        char    **grown = reallocarray(names->list, room, sizeof *grown);
        uint32_t *lines = grown ? reallocarray(names->lines, room, sizeof *lines) : NULL;
        if (grown)
            names->list = grown;
        if (!lines)
            return false;
        names->lines = lines;
    }
    char *name = malloc(bytes + 1);
    if (!name)
        return false;
    memcpy(name, text, bytes);
    name[bytes] = '\0';
    names->lines[names->count] = line;
    names->list[names->count++] = name;
    return true;
}

bool names_add_path(struct names *names, const char *folder, size_t folder_bytes, const char *name, const char *end)
{
    size_t room = folder_bytes + strlen(name) + strlen(end) + 2;
    char  *path = malloc(room);
    bool   slash = folder_bytes > 0 && folder[folder_bytes - 1] != '/';
    if (!path)
        return false;
    snprintf(path, room, "%.*s%s%s%s", (int)folder_bytes, folder, slash ? "/" : "", name, end);
    bool added = names_add(names, path, strlen(path), 0);
    free(path);
    return added;
}
