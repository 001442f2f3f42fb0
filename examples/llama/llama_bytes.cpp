/* SPDX-License-Identifier: Apache-2.0 */
/* The one thing that llama.cpp tells only in C++. */
#include <llama-ext.h>

#include <cstdint>

extern "C" uint64_t llama_context_bytes(const struct llama_context *context);

extern "C" uint64_t llama_context_bytes(const struct llama_context *context)
{
    uint64_t bytes = 0;

    for (const auto &device : llama_get_memory_breakdown(context))
        bytes += device.second.context + device.second.compute;
    return bytes;
}
