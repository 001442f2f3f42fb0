/* SPDX-License-Identifier: Apache-2.0 */
#include "format/numbered.h"

#include <assert.h>
#include <string.h>

enum { DIGITS = 5 };

static const char of[] = "-of-";

static bool take_digits(const char *text, unsigned *out)
{
    unsigned value = 0;
    for (int i = 0; i < DIGITS; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = 10 * value + (unsigned)(text[i] - '0');
    }
    *out = value;
    return true;
}

bool sgi__numbered_take(const char *name, const char *end, struct sgi__numbered *out)
{
    const size_t numbers = 1 + DIGITS + (sizeof of - 1) + DIGITS, tail = numbers + strlen(end);
    size_t       bytes = strlen(name);
    if (bytes < tail || strcmp(name + bytes - strlen(end), end) != 0)
        return false;
    const char *at = name + bytes - tail;
    out->stem_bytes = bytes - tail;
    return at[0] == '-' && take_digits(at + 1, &out->number) && memcmp(at + 1 + DIGITS, of, sizeof of - 1) == 0 &&
           take_digits(at + DIGITS + sizeof of, &out->count);
}

void sgi__numbered_put(char *name, const struct sgi__numbered *numbered, unsigned number)
{
    char *at = name + numbered->stem_bytes + 1;
    assert(number <= 99999);
    for (int i = DIGITS; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
}
