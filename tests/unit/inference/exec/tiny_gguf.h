/*
 * tiny_gguf.h: makes small random models in memory, whole or broken in a chosen way.
 */
#ifndef FG_TEST_TINY_GGUF_H
#define FG_TEST_TINY_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inference/model/model.h"

/* What to make; zero leaves an optional key out. */
struct tiny_options {
    const char *arch;
    uint32_t layers, width, heads, kv_heads, head_dim, ff, vocab;
    uint32_t rope_dim;
    float rope_linear_factor;
    bool has_biases;       /* optional in llama; a qwen2 model always has q, k and v */
    bool has_rope_factors; /* rope_freqs.weight */
    bool has_output;       /* output.weight, else tied */

    /* Ways to break it. */
    const char *skip_key;       /* a metadata key that is left out */
    const char *float_key;      /* written as an F32 of float_value */
    double float_value;         /* valid with float_key */
    const char *number_key;     /* written as a U32 of number_value */
    uint32_t number_value;      /* valid with number_key */
    const char *string_key;     /* written as string_value */
    const char *string_value;   /* valid with string_key */
    const char *skip_tensor;    /* left out */
    const char *extra_tensor;   /* added: F32 (1) */
    const char *grown_tensor;   /* its first dimension is one more */
    const char *retyped_tensor; /* has this type */
    uint32_t retyped_to;
    uint32_t token_strings; /* length of tokenizer.ggml.tokens */
};

struct tiny_file {
    unsigned char *bytes;
    size_t byte_count;
    size_t byte_count_max;
    uint64_t random; /* state of the weights' generator */
};

/* The file's bytes; the test fails when memory is short. */
void tiny_file_init(struct tiny_file *file, const struct tiny_options *options);
void tiny_file_fini(struct tiny_file *file);

/* Init and open at once; the model reads from `file`. Fails the test with the message. */
struct fg_model *tiny_model_open(struct tiny_file *file, const struct tiny_options *options);
struct fg_model *tiny_model_open_again(const struct tiny_file *file);

#endif
