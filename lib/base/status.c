/* SPDX-License-Identifier: Apache-2.0 */
/* Names and texts of the codes, from the one list of them. Public, and here because every module's errors need them. */
#include <sgi/sgi.h>

const char *sgi_status_name(sgi_status status)
{
    switch (status) {
#define NAME(name, code, text) \
    case code:                 \
        return #name;
        SGI_STATUS_LIST(NAME)
#undef NAME
    default:
        return "SGI_E_?";
    }
}

const char *sgi_status_text(sgi_status status)
{
    switch (status) {
#define TEXT(name, code, text) \
    case code:                 \
        return text;
        SGI_STATUS_LIST(TEXT)
#undef TEXT
    default:
        return "not a status of this library";
    }
}
