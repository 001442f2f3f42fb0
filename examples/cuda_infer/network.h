/* SPDX-License-Identifier: Apache-2.0 */
/* A BERT encoder as sentence-transformers/all-MiniLM-L6-v2 has it, in float: which tensors it is made of, and what it
 * comes to on the CPU. Token ids go in, the mean of the last layer's rows comes out, of length 1. */
#ifndef NETWORK_H
#define NETWORK_H

#include <stddef.h>
#include <stdint.h>

#include <sgi/sgi.h>

enum { LAYERS_MAX = 24, HEAD_WIDTH = 32, TOKENS_MAX = 128, WIDTH_MAX = 1024 };

enum { WORDS, POSITIONS, TYPES, FIRST_GAIN, FIRST_BIAS, EMBEDDING_TENSORS };

enum {
    QUERY,
    QUERY_BIAS,
    KEY,
    KEY_BIAS,
    VALUE,
    VALUE_BIAS,
    ATTENDED,
    ATTENDED_BIAS,
    ATTENTION_GAIN,
    ATTENTION_BIAS,
    INNER,
    INNER_BIAS,
    OUTER,
    OUTER_BIAS,
    OUTPUT_GAIN,
    OUTPUT_BIAS,
    LAYER_TENSORS
};

/* Sizes, and the index of each tensor. */
typedef struct network {
    unsigned width, inner, vocabulary, positions, layers_count;
    uint64_t embedding[EMBEDDING_TENSORS];
    uint64_t layers[LAYERS_MAX][LAYER_TENSORS];
} network;

/* Where they lie: in the host's memory, or on a device. */
typedef struct network_weights {
    const float *embedding[EMBEDDING_TENSORS];
    const float *layers[LAYERS_MAX][LAYER_TENSORS];
} network_weights;

/* Names of the file, those of a layer behind "encoder.layer.N.". */
extern const char *const network_embedding_names[EMBEDDING_TENSORS];
extern const char *const network_layer_names[LAYER_TENSORS];

/* sgi_source_tensor_find() and sgi_model_tensor_find() in one form. */
typedef sgi_status (*network_find_fn)(const void *from, const char *name, sgi_tensor *tensor_out);

/* SGI_E_UNSUPPORTED with the reason: another kind of model, or tensors of other shapes than it takes. */
sgi_status network_find(network *net, network_find_fn find, const void *from, sgi_error *err);

/* `out` has room for net->width. The ids are below net->vocabulary, at most TOKENS_MAX of them. 0, or -1: no memory. */
int network_compute(const network *net, const network_weights *weights, const uint32_t *ids, unsigned tokens,
                    float *out);

#endif
