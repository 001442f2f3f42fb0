/* SPDX-License-Identifier: Apache-2.0 */
#include "format/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static int wrong(struct sgi__json *json, const char *what)
{
    json->wrong = what;
    return -1;
}

/* The next byte that is not white space, not taken; 0 at the end (a 0 in the text is no JSON either). */
static char next_byte(struct sgi__json *json)
{
    const struct sgi__span *whole = &json->whole;
    while (json->at < whole->bytes) {
        char c = whole->text[json->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return c;
        json->at++;
    }
    return '\0';
}

/* From its opening quote past its closing one. */
static int skip_string(struct sgi__json *json)
{
    const struct sgi__span *whole = &json->whole;
    for (size_t i = json->at + 1; i < whole->bytes; i++) {
        if (whole->text[i] == '\\') {
            i++;
        } else if (whole->text[i] == '"') {
            json->at = i + 1;
            return 0;
        }
    }
    return wrong(json, "ends within a string");
}

/* Up to the comma or brace that ends the value. */
static int skip_value(struct sgi__json *json)
{
    const struct sgi__span *whole = &json->whole;
    unsigned                depth = 0;
    while (json->at < whole->bytes) {
        switch (whole->text[json->at]) {
        case '"':
            if (skip_string(json) != 0)
                return -1;
            continue;
        case '{':
        case '[':
            if (++depth > SGI__JSON_DEPTH_MAX)
                return wrong(json, "is nested too deeply");
            break;
        case '}':
        case ']':
            if (depth == 0)
                return 0;
            depth--;
            break;
        case ',':
            if (depth == 0)
                return 0;
            break;
        default:
            break;
        }
        json->at++;
    }
    return wrong(json, "ends early");
}

int sgi__json_begin(struct sgi__json *json, struct sgi__span whole)
{
    *json = (struct sgi__json){ .whole = whole };
    if (next_byte(json) != '{')
        return wrong(json, "is not a JSON object");
    json->at++;
    return 0;
}

static int finish(struct sgi__json *json)
{
    json->at++; /* the closing brace */
    next_byte(json);
    return json->at == json->whole.bytes ? 0 : wrong(json, "goes on after its closing brace");
}

int sgi__json_next(struct sgi__json *json, struct sgi__span *key_out, struct sgi__span *value_out)
{
    char c = next_byte(json);
    if (c == '}')
        return finish(json);
    if (json->begun) {
        if (c != ',')
            return wrong(json, "has no comma between two members");
        json->at++;
        c = next_byte(json);
    }
    if (c != '"')
        return wrong(json, json->at == json->whole.bytes ? "ends early" : "has a member without a name");
    size_t key_at = json->at;
    if (skip_string(json) != 0)
        return -1;
    *key_out = (struct sgi__span){ json->whole.text + key_at, json->at - key_at };
    if (next_byte(json) != ':')
        return wrong(json, "has a member without a value");
    size_t value_at = ++json->at;
    if (skip_value(json) != 0)
        return -1;
    *value_out = (struct sgi__span){ json->whole.text + value_at, json->at - value_at };
    json->begun = true;
    return 1;
}

sgi_status sgi__json_load(const struct sgi__source *s, struct sgi__span piece, const char *part, const char *name,
                          json_t **value_out, sgi_error *err)
{
    struct sgi__shown shown, cause;
    json_error_t      why = { .line = 0 };
    json_t           *value = json_loadb(piece.text, piece.bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (value) {
        *value_out = value;
        return SGI_OK;
    }
    /* jansson gives no text when it is short of memory; within a string it reports an invalid token all the same. */
    if (json_error_code(&why) == json_error_out_of_memory || why.text[0] == '\0')
        return sgi__no_memory(s->path, err);
    sgi__show_name(&cause, why.text);
    if (!name)
        return sgi__refuse(s, err, "%s is not valid JSON: %s", part, cause.text);
    return sgi__refuse(s, err, "%s '%s' is not valid JSON: %s", part, sgi__show_name(&shown, name), cause.text);
}

/* Bytes of the UTF-8 for the four digits behind "\u"; a first surrogate stands for its pair. */
static size_t escape_bytes(const char *digits)
{
    char hex[5] = { digits[0], digits[1], digits[2], digits[3], '\0' };
    long code = strtol(hex, NULL, 16);
    if (code >= 0xd800 && code <= 0xdbff)
        return 4;
    return code < 0x80 ? 1 : code < 0x800 ? 2 : 3;
}

/* How long a string is that jansson has accepted. */
static size_t decoded_bytes(struct sgi__span piece)
{
    const char *at = memchr(piece.text, '"', piece.bytes), *end = piece.text + piece.bytes;
    size_t      bytes = 0;
    for (at = at ? at + 1 : end; at < end && *at != '"';) {
        if (*at != '\\') {
            bytes++;
            at++;
        } else if (end - at >= 6 && at[1] == 'u') {
            size_t escaped = escape_bytes(at + 2);
            bytes += escaped;
            at += escaped == 4 ? 12 : 6;
        } else {
            bytes++;
            at += 2;
        }
    }
    return bytes;
}

/* jansson (2.14, lex_save) leaves a character out of a string for which it finds no memory, and says nothing: a name
 * that is shorter than its text would be another tensor's. */
sgi_status sgi__json_load_text(const struct sgi__source *s, struct sgi__span piece, const char *part, const char *name,
                               json_t **value_out, sgi_error *err)
{
    struct sgi__shown shown;
    sgi_status        st = sgi__json_load(s, piece, part, name, value_out, err);
    if (st != SGI_OK)
        return st;
    bool text = json_is_string(*value_out);
    if (text && json_string_length(*value_out) == decoded_bytes(piece))
        return SGI_OK;
    json_decref(*value_out);
    *value_out = NULL;
    if (text)
        return sgi__no_memory(s->path, err);
    assert(name); /* a piece without one is a key, which begins with a quote */
    return sgi__refuse(s, err, "%s '%s' is not a string", part, sgi__show_name(&shown, name));
}
