/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of sgi_inspect_config() has one line for each file, tensor and key of the metadata, and one for each member
 * behind those. A raw quote or line break never stands within one of its strings, so what is looked for is found by its
 * text, without any of the rest being understood.
 */
#include "described.h"

#include <stdlib.h>
#include <string.h>

/* A file's line has a name and a path, each byte of which may be six. Longer lines are of no interest. */
enum { LINE_BYTES = 64 << 10 };

struct reading {
    struct described *to;
    bool              files, failed; /* within "files"; out of memory */
    size_t            used;          /* past LINE_BYTES: the line is too long */
    char              line[LINE_BYTES];
};

static const char *behind(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    return at ? at + strlen(key) : NULL;
}

static uint64_t number(const char *line, const char *key)
{
    const char *text = behind(line, key);
    return text ? strtoull(text, NULL, 10) : 0;
}

/* What stands for one character of a string: how many bytes of it. */
static size_t take_escape(const char *text, char **to)
{
    unsigned long code;
    char          digits[5] = "";

    if (text[1] != 'u') {
        *(*to)++ = (char)(text[1] == 'n' ? '\n' : text[1] == 't' ? '\t' : text[1]);
        return 2;
    }
    memcpy(digits, text + 2, strnlen(text + 2, 4));
    code = strtoul(digits, NULL, 16);
    *(*to)++ = code < 0x80 ? (char)code : '?'; /* U+FFFD: a byte that was no UTF-8 */
    return 2 + strlen(digits);
}

/* In place of itself: the string whose first character it is. */
static char *unescape(char *text)
{
    char *to = text;
    for (const char *at = text; *at && *at != '"';)
        if (*at == '\\' && at[1])
            at += take_escape(at, &to);
        else
            *to++ = *at++;
    *to = '\0';
    return text;
}

static void take_file(struct reading *r)
{
    static const char key[] = "    {\"name\": \"";
    if (strncmp(r->line, key, strlen(key)) != 0)
        return;
    const char *name = unescape(r->line + strlen(key));
    r->failed = r->failed || !names_add(&r->to->files, name, strlen(name), 0);
}

static void take_packed(struct reading *r)
{
    r->to->chunks = r->to->checked = number(r->line, "\"chunks\": ");
    r->to->base_bytes = number(r->line, "\"base_bytes\": ");
    char *base = strstr(r->line, "\"base\": \"");
    if (base && !r->to->base) {
        r->to->base = strdup(unescape(base + strlen("\"base\": \"")));
        r->failed = r->failed || !r->to->base;
    }
}

static void take_line(struct reading *r)
{
    if (strncmp(r->line, "  \"files\": [", 12) == 0) {
        r->files = true;
    } else if (strncmp(r->line, "  ]", 3) == 0) {
        r->files = false;
    } else if (r->files) {
        take_file(r);
    } else if (strncmp(r->line, "  \"packed\": {", 13) == 0) {
        take_packed(r);
    } else if (strncmp(r->line, "  \"checks\": {", 13) == 0) {
        r->to->chunks = number(r->line, "\"chunks\": ");
        r->to->checked = number(r->line, "\"checked\": ");
    }
}

static int take(void *user, const char *text, size_t bytes)
{
    struct reading *r = user;
    for (size_t n = 0; n < bytes && !r->failed; n++) {
        if (text[n] != '\n') {
            if (r->used < LINE_BYTES)
                r->line[r->used++] = text[n];
            continue;
        }
        if (r->used < LINE_BYTES) {
            r->line[r->used] = '\0';
            take_line(r);
        }
        r->used = 0;
    }
    return r->failed;
}

sgi_status describe(const sgi_model_config *config, struct described *described_out, sgi_error *err)
{
    struct reading *r = calloc(1, sizeof *r);

    *described_out = (struct described){ .base = NULL };
    if (!r)
        return SGI_E_NO_MEMORY;
    r->to = described_out;
    sgi_status st = sgi_inspect_config(config, SGI_INSPECT_JSON, take, r, err);
    if (r->failed) {
        *err = (sgi_error){ .struct_size = sizeof *err };
        st = SGI_E_NO_MEMORY;
    }
    free(r);
    if (st != SGI_OK)
        described_free(described_out);
    return st;
}

void described_free(struct described *described)
{
    names_free(&described->files);
    free(described->base);
    described->base = NULL;
}
