/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to standard output: collected, written by write(2), the first error kept, so that no lost byte passes for
 * success. One thread. */
#ifndef SGI_CLI_OUTPUT_H
#define SGI_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUTPUT_BUFFER_BYTES = 64 << 10 };

struct output {
    int    fd;
    int    os_errno; /* of the first write that failed; what comes after it is dropped */
    bool   comma;    /* JSON: a value was written at this level, the next one is separated from it */
    size_t used;
    char   buffer[OUTPUT_BUFFER_BYTES];
};

void output_init(struct output *out, int fd);
void output_bytes(struct output *out, const char *bytes, size_t count);
void output_text(struct output *out, const char *text);
/* Up to 1 KiB. */
void output_format(struct output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void output_flush(struct output *out);

/* Text from outside, on one line and safe for a terminal: '?' for each control character and byte that is no UTF-8. */
void output_shown(struct output *out, const char *text);

/* JSON without white space. Strings are made valid UTF-8: U+FFFD for each byte that is none. */
void put_open(struct output *out, char bracket);
void put_close(struct output *out, char bracket);
void put_key(struct output *out, const char *key);
void put_string(struct output *out, const char *text);
void put_u64(struct output *out, uint64_t value);
void put_decimal(struct output *out, double value, int digits); /* digits behind the point */
void put_hex64(struct output *out, uint64_t value);             /* 16 lower-case digits, as a string */
void put_bool(struct output *out, bool value);
void put_null(struct output *out);
void put_line_end(struct output *out);

/* "86.7 MiB". */
struct size_text {
    char text[24];
};
struct size_text size_text(uint64_t bytes);

/* Length of the well-formed UTF-8 sequence that `text` begins with, or 0; if `shown`, 0 for a control character too. */
size_t utf8_step(const char *text, bool shown);

#endif
