/*
 * scalar.h: the plain kernels, one for every operation of kernels.h; they define the results.
 * Thread   any.
 */
#ifndef FG_INFERENCE_KERNELS_SCALAR_H
#define FG_INFERENCE_KERNELS_SCALAR_H

#include "inference/kernels/kernels.h"

/* For every weight type. */
void fg_matmul_scalar(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                      const struct fg_activations *x, float *const *out);
void fg_quantise_scalar(const float *x, size_t count, struct fg_q8_block *blocks);
void fg_rmsnorm_scalar(float *out, const float *x, const float *weight, size_t count,
                       float epsilon);
void fg_rope_halves_scalar(float *head, const float *cosines, const float *sines,
                           size_t pair_count);
void fg_rope_pairs_scalar(float *head, const float *cosines, const float *sines, size_t pair_count);
void fg_swiglu_scalar(float *gate, const float *up, size_t count);
void fg_add_scalar(float *x, const float *y, size_t count);
void fg_f32_to_f16_scalar(uint16_t *out, const float *x, size_t count);
uint32_t fg_largest_scalar(const float *x, size_t count);
void fg_weigh_scalar(float *weights, const float *x, size_t count, float peak, float inverse,
                     float least);
void fg_attention_scalar(const struct fg_attention *a);

#endif
