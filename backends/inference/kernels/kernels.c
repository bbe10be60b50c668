/*
 * kernels.c: which kernels this processor can run, and what is the same for all of them.
 */
#include "kernels.h"

#include "inference/kernels/scalar/scalar.h"
#ifdef FG_HAVE_X86
#include "inference/kernels/avx2/avx2.h"
#include "inference/kernels/avx512/avx512.h"
#endif

/* Columns and bytes of a block of each type. */
static const struct {
    uint32_t cols, bytes;
} weight_blocks[FG_WEIGHT_TYPE_COUNT] = {
    [FG_WEIGHT_F32] = {1, 4},      [FG_WEIGHT_F16] = {1, 2},      [FG_WEIGHT_BF16] = {1, 2},
    [FG_WEIGHT_Q8_0] = {32, 34},   [FG_WEIGHT_Q4_0] = {32, 18},   [FG_WEIGHT_Q4_1] = {32, 20},
    [FG_WEIGHT_Q5_0] = {32, 22},   [FG_WEIGHT_Q5_1] = {32, 24},   [FG_WEIGHT_Q4_K] = {256, 144},
    [FG_WEIGHT_Q5_K] = {256, 176}, [FG_WEIGHT_Q6_K] = {256, 210},
};

/* The products of a table: one function for each float type, one for all block types. */
#define PRODUCTS(f32, f16, bf16, blocks)                                                           \
    {                                                                                              \
        [FG_WEIGHT_F32] = f32, [FG_WEIGHT_F16] = f16, [FG_WEIGHT_BF16] = bf16,                     \
        [FG_WEIGHT_Q8_0] = blocks, [FG_WEIGHT_Q4_0] = blocks, [FG_WEIGHT_Q4_1] = blocks,           \
        [FG_WEIGHT_Q5_0] = blocks, [FG_WEIGHT_Q5_1] = blocks, [FG_WEIGHT_Q4_K] = blocks,           \
        [FG_WEIGHT_Q5_K] = blocks, [FG_WEIGHT_Q6_K] = blocks,                                      \
    }

static const struct fg_kernels scalar_kernels = {
    .name = "scalar",
    .matmul = PRODUCTS(fg_matmul_scalar, fg_matmul_scalar, fg_matmul_scalar, fg_matmul_scalar),
    .quantise = fg_quantise_scalar,
    .rmsnorm = fg_rmsnorm_scalar,
    .rope_halves = fg_rope_halves_scalar,
    .rope_pairs = fg_rope_pairs_scalar,
    .swiglu = fg_swiglu_scalar,
    .add = fg_add_scalar,
    .f32_to_f16 = fg_f32_to_f16_scalar,
    .largest = fg_largest_scalar,
    .weigh = fg_weigh_scalar,
    .attention = fg_attention_scalar,
};

#ifdef FG_HAVE_X86
#define VECTORS_AVX2                                                                               \
    .quantise = fg_quantise_avx2, .rmsnorm = fg_rmsnorm_avx2, .rope_halves = fg_rope_halves_avx2,  \
    .rope_pairs = fg_rope_pairs_avx2, .swiglu = fg_swiglu_avx2, .add = fg_add_avx2,                \
    .f32_to_f16 = fg_f32_to_f16_avx2, .largest = fg_largest_avx2, .weigh = fg_weigh_avx2

static const struct fg_kernels avx2_kernels = {
    .name = "avx2",
    .matmul = PRODUCTS(fg_matmul_f32_avx2, fg_matmul_f16_avx2, fg_matmul_bf16_avx2,
                       fg_matmul_blocks_avx2),
    .attention = fg_attention_avx2,
    VECTORS_AVX2,
};

static const struct fg_kernels avx512_kernels = {
    .name = "avx512",
    .matmul = PRODUCTS(fg_matmul_f32_avx2, fg_matmul_f16_avx2, fg_matmul_bf16_avx2,
                       fg_matmul_blocks_avx512),
    .attention = fg_attention_avx512,
    VECTORS_AVX2,
};
#endif

const struct fg_kernels *fg_kernels_scalar(void)
{
    return &scalar_kernels;
}

const struct fg_kernels *fg_kernels_avx2(void)
{
#ifdef FG_HAVE_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && fg_cpu_has_f16c())
        return &avx2_kernels;
#endif
    return NULL;
}

const struct fg_kernels *fg_kernels_avx512(void)
{
#ifdef FG_HAVE_X86
    if (fg_kernels_avx2() != NULL && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        return &avx512_kernels;
#endif
    return NULL;
}

const struct fg_kernels *fg_kernels_best(void)
{
    if (fg_kernels_avx512() != NULL)
        return fg_kernels_avx512();
    return fg_kernels_avx2() != NULL ? fg_kernels_avx2() : &scalar_kernels;
}

bool fg_weight_wants_q8(enum fg_weight_type type)
{
    return weight_blocks[type].cols > 1;
}

uint32_t fg_weight_block_cols(enum fg_weight_type type)
{
    return weight_blocks[type].cols;
}

uint32_t fg_weight_block_bytes(enum fg_weight_type type)
{
    return weight_blocks[type].bytes;
}
