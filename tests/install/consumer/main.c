/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody writes who has nothing but the installed tree. */
#include <sgi/ext.h>
#include <stdio.h>

int main(void)
{
    sgi_error    err = { .struct_size = sizeof err };
    sgi_runtime *rt = NULL;

    if (sgi_version() != SGI_VERSION) {
        fprintf(stderr, "headers are %d, the library is %u\n", SGI_VERSION, sgi_version());
        return 1;
    }
    if (sgi_runtime_open(NULL, &rt, &err) != SGI_OK) {
        fprintf(stderr, "open: %s\n", err.message);
        return 1;
    }
    sgi_runtime_info info = { .struct_size = sizeof info };
    if (sgi_runtime_query(rt, &info) != SGI_OK || info.devices_count != 1 || info.device_bytes != 0)
        return 1;
    if (sgi_runtime_close(rt, 10000, &err) != SGI_OK) {
        fprintf(stderr, "close: %s\n", err.message);
        return 1;
    }
    printf("libsgi %u, reading with %s\n", sgi_version(), info.io_engine);
    return 0;
}
