/*
 * model_internal.h: the weights of a model as the executor reads them.
 * Thread   immutable once open.
 */
#ifndef FG_INFERENCE_MODEL_INTERNAL_H
#define FG_INFERENCE_MODEL_INTERNAL_H

#include "inference/kernels/kernels.h"
#include "inference/model/model.h"

/* Vectors are copies as floats in fg_model.floats; NULL where the model has none. */
struct fg_layer {
    const float *attn_norm;       /* (width) */
    const float *ff_norm;         /* (width) */
    const float *q_bias;          /* (head_count * head_dim) */
    const float *k_bias;          /* (kv_head_count * head_dim) */
    const float *v_bias;          /* (kv_head_count * head_dim) */
    const float *output_bias;     /* (width) */
    const float *q_norm;          /* (head_dim) */
    const float *k_norm;          /* (head_dim) */
    struct fg_matrix q;           /* (head_count * head_dim, width) */
    struct fg_matrix k;           /* (kv_head_count * head_dim, width) */
    struct fg_matrix v;           /* (kv_head_count * head_dim, width) */
    struct fg_matrix attn_output; /* (width, head_count * head_dim) */
    struct fg_matrix gate;        /* (ff_width, width) */
    struct fg_matrix up;          /* (ff_width, width) */
    struct fg_matrix down;        /* (width, ff_width) */
};

struct fg_model {
    struct fg_gguf *gguf; /* owned; the matrices point into its mapping */
    struct fg_model_shape shape;
    bool rotates_pairs;         /* llama: neighbours; else halves */
    struct fg_matrix embedding; /* (vocab_count, width) */
    struct fg_matrix output;    /* the same matrix when the file ties them */
    const float *output_norm;   /* (width) */
    double *rope_frequencies;   /* (rope_dim / 2) radians a position; owned */
    struct fg_layer *layers;    /* (layer_count); owned */
    float *floats;              /* owned */
    size_t float_count;         /* used so far */
    size_t float_count_max;
};

/* Reads and checks the metadata; fills `shape` but for vocab_count, and *rope_scale, the factor
 * that positions are divided by. */
enum fg_status fg_model_read_shape(const struct fg_gguf *gguf, struct fg_model_shape *shape,
                                   double *rope_scale, struct fg_error *error);

const char *fg_model_arch_name(enum fg_model_arch arch);

#endif
