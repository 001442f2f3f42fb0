/* SPDX-License-Identifier: Apache-2.0 */
/* Names and block sizes as in the Python package `gguf` 0.19 (GGMLQuantizationType, GGML_QUANT_SIZES). */
#include "format/gguf.h"

#include <string.h>

#include "format/readers.h"

enum { TYPES = 42 };

static const struct sgi__dtype types[TYPES] = {
    [0] = { "F32", 1, 4 },
    [1] = { "F16", 1, 2 },
    [2] = { "Q4_0", 32, 18 },
    [3] = { "Q4_1", 32, 20 },
    [6] = { "Q5_0", 32, 22 },
    [7] = { "Q5_1", 32, 24 },
    [8] = { "Q8_0", 32, 34 },
    /* ggml has 36 bytes since 2024, the Python package 40; no file holds it, it is for activations. */
    [9] = { "Q8_1", 32, 40 },
    [10] = { "Q2_K", 256, 84 },
    [11] = { "Q3_K", 256, 110 },
    [12] = { "Q4_K", 256, 144 },
    [13] = { "Q5_K", 256, 176 },
    [14] = { "Q6_K", 256, 210 },
    [15] = { "Q8_K", 256, 292 },
    [16] = { "IQ2_XXS", 256, 66 },
    [17] = { "IQ2_XS", 256, 74 },
    [18] = { "IQ3_XXS", 256, 98 },
    [19] = { "IQ1_S", 256, 50 },
    [20] = { "IQ4_NL", 32, 18 },
    [21] = { "IQ3_S", 256, 110 },
    [22] = { "IQ2_S", 256, 82 },
    [23] = { "IQ4_XS", 256, 136 },
    [24] = { "I8", 1, 1 },
    [25] = { "I16", 1, 2 },
    [26] = { "I32", 1, 4 },
    [27] = { "I64", 1, 8 },
    [28] = { "F64", 1, 8 },
    [29] = { "IQ1_M", 256, 56 },
    [30] = { "BF16", 1, 2 },
    [34] = { "TQ1_0", 256, 54 },
    [35] = { "TQ2_0", 256, 66 },
    [39] = { "MXFP4", 32, 17 },
    [40] = { "NVFP4", 64, 36 },
    [41] = { "Q1_0", 128, 18 },
};

static const char *const removed[TYPES] = {
    [4] = "Q4_2",      [5] = "Q4_3",        [31] = "Q4_0_4_4",   [32] = "Q4_0_4_8",
    [33] = "Q4_0_8_8", [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8",
};

const struct sgi__dtype *sgi__ggml_type(uint32_t number, const char **removed_out)
{
    *removed_out = number < TYPES ? removed[number] : NULL;
    return number < TYPES && types[number].name ? &types[number] : NULL;
}

const struct sgi__dtype *sgi__gguf_dtype(const char *name)
{
    for (uint32_t n = 0; n < TYPES; n++)
        if (types[n].name && strcmp(types[n].name, name) == 0)
            return &types[n];
    return NULL;
}
