/*
 * avx2.h: the kernels for x86-64 with AVX2, FMA and F16C; see kernels.h for the arguments.
 * Thread   any. Call only what fg_kernels_avx2() returned.
 */
#ifndef FG_INFERENCE_KERNELS_AVX2_H
#define FG_INFERENCE_KERNELS_AVX2_H

#include "inference/kernels/kernels.h"

void fg_matmul_f32_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                        const struct fg_activations *x, float *const *out);
void fg_matmul_f16_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                        const struct fg_activations *x, float *const *out);
void fg_matmul_bf16_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                         const struct fg_activations *x, float *const *out);
/* For every block-quantised type. */
void fg_matmul_blocks_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                           const struct fg_activations *x, float *const *out);
void fg_quantise_avx2(const float *x, size_t count, struct fg_q8_block *blocks);
void fg_rmsnorm_avx2(float *out, const float *x, const float *weight, size_t count, float epsilon);
void fg_rope_halves_avx2(float *head, const float *cosines, const float *sines, size_t pair_count);
void fg_rope_pairs_avx2(float *head, const float *cosines, const float *sines, size_t pair_count);
void fg_swiglu_avx2(float *gate, const float *up, size_t count);
void fg_add_avx2(float *x, const float *y, size_t count);
void fg_f32_to_f16_avx2(uint16_t *out, const float *x, size_t count);
uint32_t fg_largest_avx2(const float *x, size_t count);
void fg_weigh_avx2(float *weights, const float *x, size_t count, float peak, float inverse,
                   float least);
void fg_attention_avx2(const struct fg_attention *a);

/* Does the processor convert half precision? (Not all compilers can be asked.) */
bool fg_cpu_has_f16c(void);

#endif
