/*
 * avx512.h: the kernels for x86-64 with AVX-512 F, BW, VL and VNNI; see kernels.h for the
 * arguments. What is not here gains nothing from wider vectors and is taken from avx2/.
 * Thread   any. Call only what fg_kernels_avx512() returned.
 */
#ifndef FG_INFERENCE_KERNELS_AVX512_H
#define FG_INFERENCE_KERNELS_AVX512_H

#include "inference/kernels/kernels.h"

/* For every block-quantised type. */
void fg_matmul_blocks_avx512(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                             const struct fg_activations *x, float *const *out);

void fg_attention_avx512(const struct fg_attention *a);

#endif
