/*
 * kernels.c: which kernels this processor can run, and what is the same for all of them.
 */
#include "kernels.h"

#include "inference/kernels/scalar/scalar.h"
#ifdef FG_HAVE_AVX2
#include "inference/kernels/avx2/avx2.h"
#endif

static const struct fg_kernels scalar_kernels = {
    .name = "scalar",
    .matmul =
        {
            [FG_WEIGHT_F32] = fg_matmul_f32_scalar,
            [FG_WEIGHT_F16] = fg_matmul_f16_scalar,
            [FG_WEIGHT_BF16] = fg_matmul_bf16_scalar,
            [FG_WEIGHT_Q8_0] = fg_matmul_q8_0_scalar,
            [FG_WEIGHT_Q4_0] = fg_matmul_q4_0_scalar,
        },
    .quantise = fg_quantise_scalar,
    .rmsnorm = fg_rmsnorm_scalar,
    .rope_halves = fg_rope_halves_scalar,
    .rope_pairs = fg_rope_pairs_scalar,
    .swiglu = fg_swiglu_scalar,
    .add = fg_add_scalar,
    .f32_to_f16 = fg_f32_to_f16_scalar,
    .attention = fg_attention_scalar,
};

#ifdef FG_HAVE_AVX2
static const struct fg_kernels avx2_kernels = {
    .name = "avx2",
    .matmul =
        {
            [FG_WEIGHT_F32] = fg_matmul_f32_avx2,
            [FG_WEIGHT_F16] = fg_matmul_f16_avx2,
            [FG_WEIGHT_BF16] = fg_matmul_bf16_avx2,
            [FG_WEIGHT_Q8_0] = fg_matmul_q8_0_avx2,
            [FG_WEIGHT_Q4_0] = fg_matmul_q4_0_avx2,
        },
    .quantise = fg_quantise_avx2,
    .rmsnorm = fg_rmsnorm_avx2,
    .rope_halves = fg_rope_halves_avx2,
    .rope_pairs = fg_rope_pairs_avx2,
    .swiglu = fg_swiglu_avx2,
    .add = fg_add_avx2,
    .f32_to_f16 = fg_f32_to_f16_avx2,
    .attention = fg_attention_avx2,
};
#endif

const struct fg_kernels *fg_kernels_scalar(void)
{
    return &scalar_kernels;
}

const struct fg_kernels *fg_kernels_avx2(void)
{
#ifdef FG_HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && fg_cpu_has_f16c())
        return &avx2_kernels;
#endif
    return NULL;
}

const struct fg_kernels *fg_kernels_best(void)
{
    const struct fg_kernels *avx2 = fg_kernels_avx2();
    return avx2 != NULL ? avx2 : &scalar_kernels;
}

bool fg_weight_wants_q8(enum fg_weight_type type)
{
    return type == FG_WEIGHT_Q8_0 || type == FG_WEIGHT_Q4_0;
}
