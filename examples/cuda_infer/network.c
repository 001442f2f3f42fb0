/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sgi/ext.h>

const char *const network_embedding_names[EMBEDDING_TENSORS] = {
    [WORDS] = "embeddings.word_embeddings.weight",       [POSITIONS] = "embeddings.position_embeddings.weight",
    [TYPES] = "embeddings.token_type_embeddings.weight", [FIRST_GAIN] = "embeddings.LayerNorm.weight",
    [FIRST_BIAS] = "embeddings.LayerNorm.bias",
};

const char *const network_layer_names[LAYER_TENSORS] = {
    [QUERY] = "attention.self.query.weight",
    [QUERY_BIAS] = "attention.self.query.bias",
    [KEY] = "attention.self.key.weight",
    [KEY_BIAS] = "attention.self.key.bias",
    [VALUE] = "attention.self.value.weight",
    [VALUE_BIAS] = "attention.self.value.bias",
    [ATTENDED] = "attention.output.dense.weight",
    [ATTENDED_BIAS] = "attention.output.dense.bias",
    [ATTENTION_GAIN] = "attention.output.LayerNorm.weight",
    [ATTENTION_BIAS] = "attention.output.LayerNorm.bias",
    [INNER] = "intermediate.dense.weight",
    [INNER_BIAS] = "intermediate.dense.bias",
    [OUTER] = "output.dense.weight",
    [OUTER_BIAS] = "output.dense.bias",
    [OUTPUT_GAIN] = "output.LayerNorm.weight",
    [OUTPUT_BIAS] = "output.LayerNorm.bias",
};

static sgi_status refuse(sgi_error *err, const char *name, const char *why)
{
    char text[160];

    snprintf(text, sizeof text, "'%.80s' %s", name, why);
    return sgi_error_set(err, SGI_E_UNSUPPORTED, text);
}

/* One that is F32 and has rows * columns elements, in this order. columns 0: it is a vector of `rows`. */
static sgi_status find_one(network_find_fn find, const void *from, const char *name, uint64_t rows, uint64_t columns,
                           uint64_t *index_out, sgi_error *err)
{
    sgi_tensor t = { .struct_size = sizeof t };

    if (find(from, name, &t) != SGI_OK)
        return refuse(err, name, "is missing: not a BERT encoder");
    if (strcmp(t.dtype, "F32") != 0)
        return refuse(err, name, "is not F32, which is all that this example computes with");
    if (t.rank != (columns ? 2u : 1u) || t.shape[0] != rows || (columns && t.shape[1] != columns))
        return refuse(err, name, "has another shape than the rest of the model has");
    *index_out = t.index;
    return SGI_OK;
}

/* How many rows a matrix has, and how many columns. */
static sgi_status shape_of(network_find_fn find, const void *from, const char *name, unsigned *rows, unsigned *columns,
                           sgi_error *err)
{
    sgi_tensor t = { .struct_size = sizeof t };

    if (find(from, name, &t) != SGI_OK)
        return refuse(err, name, "is missing: not a BERT encoder");
    if (t.rank != 2 || t.shape[0] < 1 || t.shape[0] > 1u << 24 || t.shape[1] < 1 || t.shape[1] > 1u << 16)
        return refuse(err, name, "is no matrix of a size that this example takes");
    *rows = (unsigned)t.shape[0];
    *columns = (unsigned)t.shape[1];
    return SGI_OK;
}

static sgi_status find_sizes(network *net, network_find_fn find, const void *from, sgi_error *err)
{
    const char *const words = network_embedding_names[WORDS], *const inner =
                                                                  "encoder.layer.0.intermediate.dense.weight";
    unsigned   columns;
    sgi_status st = shape_of(find, from, words, &net->vocabulary, &net->width, err);

    if (st == SGI_OK)
        st = shape_of(find, from, network_embedding_names[POSITIONS], &net->positions, &columns, err);
    if (st == SGI_OK)
        st = shape_of(find, from, inner, &net->inner, &columns, err);
    if (st != SGI_OK)
        return st;
    /* The file does not say how many heads there are. */
    if (net->width % HEAD_WIDTH != 0 || net->width > WIDTH_MAX)
        return refuse(err, words, "has rows of another width than heads of 32 need");
    return SGI_OK;
}

static sgi_status find_embedding(network *net, network_find_fn find, const void *from, sgi_error *err)
{
    const uint64_t shapes[EMBEDDING_TENSORS][2] = {
        [WORDS] = { net->vocabulary, net->width },
        [POSITIONS] = { net->positions, net->width },
        [TYPES] = { 2, net->width },
        [FIRST_GAIN] = { net->width, 0 },
        [FIRST_BIAS] = { net->width, 0 },
    };
    sgi_status st = SGI_OK;

    for (unsigned t = 0; t < EMBEDDING_TENSORS && st == SGI_OK; t++)
        st = find_one(find, from, network_embedding_names[t], shapes[t][0], shapes[t][1], &net->embedding[t], err);
    return st;
}

static sgi_status find_layer(network *net, unsigned layer, network_find_fn find, const void *from, sgi_error *err)
{
    sgi_status st = SGI_OK;
    char       name[96];

    for (unsigned t = 0; t < LAYER_TENSORS && st == SGI_OK; t++) {
        uint64_t rows = t == INNER || t == INNER_BIAS ? net->inner : net->width;
        uint64_t columns = t == OUTER ? net->inner : net->width;

        if (strstr(network_layer_names[t], ".bias") || t == ATTENTION_GAIN || t == OUTPUT_GAIN)
            columns = 0;
        snprintf(name, sizeof name, "encoder.layer.%u.%s", layer, network_layer_names[t]);
        st = find_one(find, from, name, rows, columns, &net->layers[layer][t], err);
    }
    return st;
}

sgi_status network_find(network *net, network_find_fn find, const void *from, sgi_error *err)
{
    sgi_tensor next = { .struct_size = sizeof next };
    char       name[96];
    sgi_status st;

    *net = (network){ 0 };
    st = find_sizes(net, find, from, err);
    if (st == SGI_OK)
        st = find_embedding(net, find, from, err);
    while (st == SGI_OK && net->layers_count < LAYERS_MAX) {
        snprintf(name, sizeof name, "encoder.layer.%u.%s", net->layers_count, network_layer_names[QUERY]);
        if (net->layers_count > 0 && find(from, name, &next) != SGI_OK)
            break;
        st = find_layer(net, net->layers_count, find, from, err);
        net->layers_count++;
    }
    return st;
}
