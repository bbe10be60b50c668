/*
 * test_kernels.c: each fast kernel against the scalar one, over lengths around the vector width, at
 * odd addresses, with a guard page after the end, and with extreme values.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "inference/kernels/kernels.h"
#include "inference/kernels/scalar/float16.h"

static const uint32_t lengths[] = {0,  1,  2,  3,  5,  7,  8,  9,  11, 13,  15,  16,  17,
                                   23, 31, 32, 33, 47, 63, 64, 65, 97, 127, 128, 129, 251};
#define LENGTH_COUNT (sizeof(lengths) / sizeof(lengths[0]))

/* Kernels under test; the scalar set alone tests the test. */
static const struct fg_kernels *fast_kernels[4];
static size_t fast_count;

static uint64_t random_state = 1;

static uint32_t random_bits(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 32);
}

static float random_float(float spread)
{
    return ((float)(random_bits() >> 8) * 0x1p-23f - 1) * spread;
}

/* ---- memory that ends at a page that cannot be touched ---- */

struct guarded {
    unsigned char *map;
    size_t map_bytes;
    void *data; /* the last `bytes` before the guard page, less `slack` */
};

static struct guarded guarded_make(size_t bytes, size_t slack)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (bytes + slack + page - 1) / page * page + page;
    struct guarded g = {.map_bytes = usable + page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map + usable, page, PROT_NONE), 0);
    g.data = g.map + usable - bytes - slack;
    return g;
}

static void guarded_free(struct guarded *g)
{
    munmap(g->map, g->map_bytes);
}

static struct guarded guarded_floats(size_t count, float spread)
{
    struct guarded g = guarded_make(count * sizeof(float), 0);
    for (size_t i = 0; i < count; i++)
        ((float *)g.data)[i] = random_float(spread);
    return g;
}

static void assert_close(float got, float expected, double bound, const char *what, size_t length)
{
    if (isnan(expected) ? isnan(got) : fabs((double)got - (double)expected) <= bound)
        return;
    if (isinf(expected) && got == expected)
        return;
    fail_msg("%s of length %zu: %.9g, expected %.9g within %g", what, length, (double)got,
             (double)expected, bound);
}

/* ---- products ---- */

static const char *const type_names[FG_WEIGHT_TYPE_COUNT] = {
    "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"};

static size_t row_bytes_of(enum fg_weight_type type, size_t cols)
{
    return cols / fg_weight_block_cols(type) * fg_weight_block_bytes(type);
}

static void put_half(unsigned char *at, float value)
{
    uint16_t half = fg_f32_to_f16_one(value);
    memcpy(at, &half, sizeof(half));
}

/* Any bytes are a block, but for the F16 in them, which must be small numbers. */
static void fill_block(unsigned char *block, enum fg_weight_type type)
{
    size_t bytes = fg_weight_block_bytes(type);
    for (size_t i = 0; i < bytes; i++)
        block[i] = (unsigned char)random_bits(); /* also -128 */
    put_half(type == FG_WEIGHT_Q6_K ? block + bytes - 2 : block, random_float(0.01f));
    if (type == FG_WEIGHT_Q4_1 || type == FG_WEIGHT_Q5_1 || type == FG_WEIGHT_Q4_K ||
        type == FG_WEIGHT_Q5_K)
        put_half(block + 2, random_float(0.01f));
}

static void fill_weights(unsigned char *data, enum fg_weight_type type, size_t bytes)
{
    for (size_t i = 0; fg_weight_wants_q8(type) && i < bytes; i += fg_weight_block_bytes(type))
        fill_block(data + i, type);
    for (size_t i = 0; type == FG_WEIGHT_F32 && i < bytes; i += 4) {
        float value = random_float(1);
        memcpy(data + i, &value, sizeof(value));
    }
    for (size_t i = 0; (type == FG_WEIGHT_F16 || type == FG_WEIGHT_BF16) && i < bytes; i += 2) {
        float value = random_float(1);
        uint16_t half = type == FG_WEIGHT_F16 ? fg_f32_to_f16_one(value)
                                              : (uint16_t)(fg_f32_to_bits(value) >> 16);
        memcpy(data + i, &half, sizeof(half));
    }
}

struct product {
    struct fg_matrix matrix;
    struct fg_activations x;
    struct guarded weights, values, blocks;
};

static struct product product_make(enum fg_weight_type type, uint32_t rows, uint32_t cols,
                                   uint32_t tokens, size_t slack)
{
    struct product p = {.matrix = {.rows = rows, .cols = cols, .type = type}};
    p.matrix.row_bytes = row_bytes_of(type, cols);
    p.weights = guarded_make(rows * p.matrix.row_bytes, slack);
    fill_weights(p.weights.data, type, rows * p.matrix.row_bytes);
    p.matrix.data = p.weights.data;
    size_t count = (size_t)tokens * cols;
    p.values = guarded_floats(count, 2);
    p.blocks = guarded_make(count / 32 * sizeof(struct fg_q8_block), 0);
    if (fg_weight_wants_q8(type))
        fg_kernels_scalar()->quantise(p.values.data, count, p.blocks.data);
    p.x = (struct fg_activations){p.values.data, p.blocks.data, tokens};
    return p;
}

static void product_free(struct product *p)
{
    guarded_free(&p->weights);
    guarded_free(&p->values);
    guarded_free(&p->blocks);
}

/* Sum of |terms| of one element, as the bound of a float sum is scaled by it. */
static double term_sum(const struct product *p, uint32_t row, uint32_t token)
{
    uint32_t cols = p->matrix.cols;
    float *weights = calloc(cols + 1, sizeof(float));
    double sum = 0;
    fg_weight_row_to_f32(p->matrix.type, p->matrix.data + row * p->matrix.row_bytes, cols, weights);
    for (uint32_t i = 0; i < cols; i++)
        sum += fabs((double)weights[i] * (double)p->x.values[(size_t)token * cols + i]);
    free(weights);
    return sum;
}

#define ROWS_MAX 37
#define TOKENS_MAX 16
#define UNTOUCHED 12345.0f

static void run_product(const struct fg_kernels *kernels, const struct product *p,
                        uint32_t row_first, uint32_t row_count, float out[TOKENS_MAX][ROWS_MAX])
{
    float *rows[TOKENS_MAX];
    for (size_t t = 0; t < TOKENS_MAX; t++) {
        rows[t] = out[t];
        for (size_t r = 0; r < ROWS_MAX; r++)
            out[t][r] = UNTOUCHED;
    }
    kernels->matmul[p->matrix.type](&p->matrix, row_first, row_count, &p->x, rows);
}

/* One row and one token at a time must give the bits that the whole gave. */
static void check_alone(const struct fg_kernels *kernels, const struct product *p,
                        float whole[TOKENS_MAX][ROWS_MAX])
{
    uint32_t cols = p->matrix.cols;
    for (uint32_t t = 0; t < p->x.token_count; t++) {
        struct product one = *p;
        float out[TOKENS_MAX][ROWS_MAX];
        one.x.values += (size_t)t * cols;
        one.x.blocks += (size_t)t * (cols / 32);
        one.x.token_count = 1;
        for (uint32_t r = 0; r < p->matrix.rows; r++) {
            run_product(kernels, &one, r, 1, out);
            assert_memory_equal(&out[0][r], &whole[t][r], sizeof(float));
        }
    }
}

static void check_product(const struct fg_kernels *kernels, const struct product *p,
                          const char *what)
{
    float expected[TOKENS_MAX][ROWS_MAX], got[TOKENS_MAX][ROWS_MAX];
    run_product(fg_kernels_scalar(), p, 0, p->matrix.rows, expected);
    run_product(kernels, p, 0, p->matrix.rows, got);
    for (uint32_t t = 0; t < p->x.token_count; t++) {
        for (uint32_t r = 0; r < p->matrix.rows; r++) {
            double bound = FLT_EPSILON * (2 + p->matrix.cols / 4.0) * term_sum(p, r, t);
            assert_close(got[t][r], expected[t][r], bound, what, p->matrix.cols);
        }
    }
    check_alone(kernels, p, got);
    if (p->matrix.rows < 3)
        return;
    run_product(kernels, p, 1, p->matrix.rows - 2, got);
    for (uint32_t t = 0; t < p->x.token_count; t++) {
        assert_true(got[t][0] == UNTOUCHED);
        assert_true(got[t][p->matrix.rows - 1] == UNTOUCHED);
    }
}

/* Block counts of a row for the types of 32 and of 256 columns, about the width of a panel. */
static const uint32_t block_counts[] = {0, 1, 2, 7, 8, 9, 31, 32, 33, 65};
static const uint32_t super_block_counts[] = {0, 1, 2, 3, 4, 5, 8, 9};
static const uint32_t row_counts[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, ROWS_MAX};
static const uint32_t token_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 13, TOKENS_MAX};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The n-th row length for the type; 0 past the last. */
static bool pick_cols(enum fg_weight_type type, size_t n, uint32_t *cols)
{
    uint32_t block = fg_weight_block_cols(type);
    size_t count = block == 1    ? LENGTH_COUNT
                   : block == 32 ? COUNT(block_counts)
                                 : COUNT(super_block_counts);
    if (n >= count)
        return false;
    *cols = block == 1 ? lengths[n] : block * (block == 32 ? block_counts : super_block_counts)[n];
    return true;
}

/* Every row length with a share of the row and token counts, which are all met over the lengths. */
static void products_match_scalar(void **state)
{
    (void)state;
    for (int type = 0; type < FG_WEIGHT_TYPE_COUNT; type++) {
        uint32_t cols;
        for (size_t n = 0; pick_cols((enum fg_weight_type)type, n, &cols); n++) {
            for (size_t i = n % 5; i < COUNT(row_counts) * COUNT(token_counts); i += 5) {
                uint32_t rows = row_counts[i % COUNT(row_counts)];
                uint32_t tokens = token_counts[i / COUNT(row_counts)];
                if (rows * tokens * cols > 32 * 1024 && i % 4 != 0)
                    continue; /* the large ones cost most and show least */
                struct product p =
                    product_make((enum fg_weight_type)type, rows, cols, tokens, i % 2);
                for (size_t k = 0; k < fast_count; k++)
                    check_product(fast_kernels[k], &p, type_names[type]);
                product_free(&p);
            }
        }
    }
}

/* Products of block types are sums in the same order in every fast set: the same bits. */
static void fast_block_products_are_equal(void **state)
{
    (void)state;
    if (fast_count < 3)
        skip();
    for (int type = FG_WEIGHT_Q8_0; type < FG_WEIGHT_TYPE_COUNT; type++) {
        float one[TOKENS_MAX][ROWS_MAX], other[TOKENS_MAX][ROWS_MAX];
        struct product p = product_make((enum fg_weight_type)type, ROWS_MAX, 2304, TOKENS_MAX, 0);
        run_product(fast_kernels[1], &p, 0, ROWS_MAX, one);
        run_product(fast_kernels[2], &p, 0, ROWS_MAX, other);
        assert_memory_equal(one, other, sizeof(one));
        product_free(&p);
    }
}

/* Wide enough for several token blocks of the cache blocking. */
static void long_rows_and_many_tokens_match(void **state)
{
    (void)state;
    for (int type = 0; type < FG_WEIGHT_TYPE_COUNT; type++) {
        struct product p = product_make((enum fg_weight_type)type, 5, 8 * 1024, TOKENS_MAX, 0);
        for (size_t k = 0; k < fast_count; k++)
            check_product(fast_kernels[k], &p, "long rows");
        product_free(&p);
    }
}

/* The largest weights and activations in every place: no sum of int8 products saturates. */
static void integer_products_do_not_saturate(void **state)
{
    (void)state;
    for (int n = 0; n < 4 * FG_WEIGHT_TYPE_COUNT; n++) {
        enum fg_weight_type type = (enum fg_weight_type)(n / 4);
        int sign = n % 2 != 0 ? 1 : -1;
        size_t block_bytes = fg_weight_block_bytes(type);
        if (!fg_weight_wants_q8(type))
            continue;
        struct product p = product_make(type, 4, 256, 3, 0);
        for (size_t at = 0; at < 4 * p.matrix.row_bytes; at += block_bytes) {
            unsigned char *block = (unsigned char *)p.weights.data + at;
            bool is_k = type == FG_WEIGHT_Q4_K || type == FG_WEIGHT_Q5_K;
            memset(block, n % 4 < 2 ? 0xff : type == FG_WEIGHT_Q8_0 ? 0x80 : 0, block_bytes);
            put_half(type == FG_WEIGHT_Q6_K ? block + block_bytes - 2 : block, 1);
            if (is_k || type == FG_WEIGHT_Q4_1 || type == FG_WEIGHT_Q5_1)
                put_half(block + 2, 0);
        }
        for (size_t b = 0; b < 3 * 8; b++) {
            struct fg_q8_block *block = (struct fg_q8_block *)p.blocks.data + b;
            memset(block->q, sign * 127, sizeof(block->q));
            *block = (struct fg_q8_block){.scale = 1, .sums = {sign * 16 * 127, sign * 16 * 127}};
            memset(block->q, sign * 127, sizeof(block->q));
        }
        for (size_t k = 0; k < fast_count; k++) {
            float expected[TOKENS_MAX][ROWS_MAX], out[TOKENS_MAX][ROWS_MAX];
            run_product(fg_kernels_scalar(), &p, 0, 4, expected);
            run_product(fast_kernels[k], &p, 0, 4, out);
            assert_memory_equal(out, expected, sizeof(out)); /* whole numbers below 2^24 */
        }
        product_free(&p);
    }
}

/* One weight of each type, as the format's documents say, by hand. */
static void blocks_mean_what_the_format_says(void **state)
{
    (void)state;
    unsigned char block[256] = {0};
    float out[256];
    put_half(block, 0.5f);
    put_half(block + 2, 4);
    block[4 + 3] = 0x9c; /* Q4_1: weights 3 and 19 */
    fg_weight_row_to_f32(FG_WEIGHT_Q4_1, block, 32, out);
    assert_true(out[3] == 12 * 0.5f + 4);
    assert_true(out[19] == 9 * 0.5f + 4);
    block[4] = 0x08; /* Q5_1: the fifth bit of weight 3 */
    block[8 + 3] = 0x9c;
    fg_weight_row_to_f32(FG_WEIGHT_Q5_1, block, 32, out);
    assert_true(out[3] == (16 + 12) * 0.5f + 4);
    assert_true(out[19] == 9 * 0.5f + 4);
    memset(block + 2, 0, sizeof(block) - 2);
    block[2 + 2] = 0x08; /* Q5_0: the fifth bit of weight 19 */
    block[6 + 3] = 0x9c;
    fg_weight_row_to_f32(FG_WEIGHT_Q5_0, block, 32, out);
    assert_true(out[3] == (12 - 16) * 0.5f);
    assert_true(out[19] == 9 * 0.5f);
    memset(block + 2, 0, sizeof(block) - 2);
    put_half(block + 2, 0.25f);
    block[4 + 1] = 0x80 | 5;   /* Q4_K: scale of part 1; two high bits for part 5 */
    block[4 + 5] = 0x40 | 7;   /* min of part 1; two high bits for part 5 */
    block[4 + 9] = 0x30 | 12;  /* low bits of part 5: min 3, scale 12 */
    block[16 + 4] = 0xa0;      /* part 1, weight 4 */
    block[16 + 64 + 4] = 0x60; /* part 5, weight 4 */
    fg_weight_row_to_f32(FG_WEIGHT_Q4_K, block, 256, out);
    assert_true(out[32 + 4] == 10 * (5 * 0.5f) - 7 * 0.25f);
    assert_true(out[160 + 4] == 6 * ((12 + 32) * 0.5f) - (3 + 16) * 0.25f);
    block[16 + 4] = 0x20; /* Q5_K: the fifth bit of part 5, weight 4 */
    block[48 + 64 + 4] = 0x60;
    fg_weight_row_to_f32(FG_WEIGHT_Q5_K, block, 256, out);
    assert_true(out[160 + 4] == (16 + 6) * ((12 + 32) * 0.5f) - (3 + 16) * 0.25f);
    memset(block, 0, sizeof(block));
    put_half(block + 208, 0.5f);
    block[64 + 32 + 20] = 0xb0;  /* Q6_K: weights 128 + 96 + 20 (high) and 128 + 32 + 20 (low) */
    block[128 + 32 + 20] = 0x80; /* high pair of 128 + 96 + 20 */
    block[192 + 15] = 0xfd;      /* scale -3 of weights 240 .. 255 */
    fg_weight_row_to_f32(FG_WEIGHT_Q6_K, block, 256, out);
    assert_true(out[128 + 96 + 20] == (11 + 32 - 32) * (-3 * 0.5f));
}

static void all_halves_convert(void **state)
{
    (void)state;
    float one = 1, out, *row = &out;
    for (uint32_t bits = 0; bits <= UINT16_MAX; bits++) {
        uint16_t half = (uint16_t)bits;
        struct fg_activations x = {.values = &one, .token_count = 1};
        struct fg_matrix matrix = {(const unsigned char *)&half, 2, 1, 1, FG_WEIGHT_F16};
        float expected = fg_f16_to_f32(half);
        for (size_t k = 0; k < fast_count; k++) {
            fast_kernels[k]->matmul[FG_WEIGHT_F16](&matrix, 0, 1, &x, &row);
            assert_true(isnan(expected) ? isnan(out) : out == expected);
        }
        if (!isnan(expected))
            assert_int_equal(fg_f32_to_f16_one(expected), half);
    }
}

/* ---- conversions ---- */

static void quantised_blocks_are_equal(void **state)
{
    (void)state;
    static const float extremes[] = {0,       -0.0f,    NAN,     INFINITY, -INFINITY,
                                     FLT_MAX, -FLT_MAX, FLT_MIN, 1e-44f,   65504.0f * 127};
    for (size_t round = 0; round < 64; round++) {
        struct guarded x = guarded_floats(96, ldexpf(1, (int)(round % 80) - 40));
        float *values = x.data;
        for (size_t i = 0; round >= 32 && i < 3; i++)
            values[random_bits() % 96] = extremes[random_bits() % 10];
        struct fg_q8_block expected[3];
        fg_kernels_scalar()->quantise(values, 96, expected);
        for (size_t k = 0; k < fast_count; k++) {
            struct guarded blocks = guarded_make(sizeof(expected), 0);
            fast_kernels[k]->quantise(values, 96, blocks.data);
            assert_memory_equal(blocks.data, expected, sizeof(expected));
            guarded_free(&blocks);
        }
        guarded_free(&x);
    }
}

static void quantised_values_are_near(void **state)
{
    (void)state;
    float x[32], largest = 0;
    struct fg_q8_block block;
    for (size_t i = 0; i < 32; i++) {
        x[i] = random_float(3);
        largest = fmaxf(largest, fabsf(x[i]));
    }
    fg_kernels_scalar()->quantise(x, 32, &block);
    int32_t sums[2] = {0, 0};
    for (size_t i = 0; i < 32; i++) {
        assert_close((float)block.q[i] * block.scale, x[i], (double)largest / 127 * 0.6, "quantise",
                     32);
        sums[i / 16] += block.q[i];
    }
    assert_memory_equal(sums, block.sums, sizeof(sums));
    assert_true(block.scaled_sum == block.scale * (float)(sums[0] + sums[1]));
}

/* Around every half: itself, the middle to the next, and one float to either side of it. */
static void floats_round_to_halves_alike(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x8000u; bits++) {
        uint32_t base = fg_f32_to_bits(fg_f16_to_f32((uint16_t)bits));
        float x[9];
        for (uint32_t i = 0; i < 9; i++)
            x[i] = fg_bits_to_f32((base + 0x1000u * (i / 3) + i % 3 - 1) ^ (i % 2 << 31));
        uint16_t expected[9], got[9];
        fg_kernels_scalar()->f32_to_f16(expected, x, 9);
        for (size_t k = 0; k < fast_count; k++) {
            fast_kernels[k]->f32_to_f16(got, x, 9);
            assert_memory_equal(got, expected, sizeof(got));
        }
    }
    assert_int_equal(fg_f32_to_f16_one(65519.99f), 0x7bff);
    assert_int_equal(fg_f32_to_f16_one(65520.0f), 0x7c00);
    assert_int_equal(fg_f32_to_f16_one(-INFINITY), 0xfc00);
    assert_int_equal(fg_f32_to_f16_one(1.0f + 0x1p-11f), 0x3c00); /* tie: to even */
    assert_int_equal(fg_f32_to_f16_one(0x1p-25f), 0);             /* tie: to even */
    assert_int_equal(fg_f32_to_f16_one(0x1.8p-25f), 1);
}

static void halves_stop_at_the_end(void **state)
{
    (void)state;
    for (size_t n = 0; n < LENGTH_COUNT; n++) {
        struct guarded x = guarded_floats(lengths[n], 10);
        for (size_t k = 0; k < fast_count; k++) {
            struct guarded out = guarded_make(lengths[n] * sizeof(uint16_t), 0);
            fast_kernels[k]->f32_to_f16(out.data, x.data, lengths[n]);
            for (size_t i = 0; i < lengths[n]; i++)
                assert_int_equal(((uint16_t *)out.data)[i],
                                 fg_f32_to_f16_one(((float *)x.data)[i]));
            guarded_free(&out);
        }
        guarded_free(&x);
    }
}

/* ---- vectors ---- */

static struct guarded copy_of(const struct guarded *from, size_t count)
{
    struct guarded copy = guarded_make(count * sizeof(float), 0);
    memcpy(copy.data, from->data, count * sizeof(float));
    return copy;
}

static void norms_match_scalar(void **state)
{
    (void)state;
    for (size_t n = 0; n < LENGTH_COUNT; n++) {
        size_t count = lengths[n];
        struct guarded x = guarded_floats(count, 5), weight = guarded_floats(count, 2);
        float expected[256];
        fg_kernels_scalar()->rmsnorm(expected, x.data, weight.data, count, 1e-6f);
        for (size_t k = 0; k < fast_count; k++) {
            struct guarded out = copy_of(&x, count);
            fast_kernels[k]->rmsnorm(out.data, out.data, weight.data, count, 1e-6f);
            for (size_t i = 0; i < count; i++)
                assert_close(((float *)out.data)[i], expected[i],
                             4e-6 * fabs((double)expected[i]) + 1e-30, "rmsnorm", count);
            guarded_free(&out);
        }
        guarded_free(&x);
        guarded_free(&weight);
    }
}

typedef void (*rope_fn)(float *head, const float *cosines, const float *sines, size_t pair_count);

static void check_rope(rope_fn fast, rope_fn scalar, size_t pair_count)
{
    struct guarded head = guarded_floats(2 * pair_count, 3);
    struct guarded cosines = guarded_floats(pair_count, 1), sines = guarded_floats(pair_count, 1);
    struct guarded expected = copy_of(&head, 2 * pair_count);
    scalar(expected.data, cosines.data, sines.data, pair_count);
    fast(head.data, cosines.data, sines.data, pair_count);
    for (size_t i = 0; i < 2 * pair_count; i++)
        assert_close(((float *)head.data)[i], ((float *)expected.data)[i], 1e-6, "rope",
                     pair_count);
    guarded_free(&head);
    guarded_free(&cosines);
    guarded_free(&sines);
    guarded_free(&expected);
}

static void rotations_match_scalar(void **state)
{
    (void)state;
    const struct fg_kernels *scalar = fg_kernels_scalar();
    for (size_t n = 0; n < LENGTH_COUNT; n++) {
        for (size_t k = 0; k < fast_count; k++) {
            check_rope(fast_kernels[k]->rope_halves, scalar->rope_halves, lengths[n]);
            check_rope(fast_kernels[k]->rope_pairs, scalar->rope_pairs, lengths[n]);
        }
    }
}

/* A quarter turn takes (1, 0) to (0, 1): which elements form a pair. */
static void rotations_pair_the_right_elements(void **state)
{
    (void)state;
    float zeros[2] = {0, 0}, ones[2] = {1, 1};
    float halves[4] = {1, 2, 3, 4}, pairs[4] = {1, 2, 3, 4};
    fg_kernels_scalar()->rope_halves(halves, zeros, ones, 2);
    fg_kernels_scalar()->rope_pairs(pairs, zeros, ones, 2);
    const float halves_turned[4] = {-3, -4, 1, 2}, pairs_turned[4] = {-2, 1, -4, 3};
    assert_memory_equal(halves, halves_turned, sizeof(halves));
    assert_memory_equal(pairs, pairs_turned, sizeof(pairs));
}

static void swiglu_and_add_match_scalar(void **state)
{
    (void)state;
    static const float extremes[] = {0, -0.0f, 88, -88, 100, -100, 1e30f, -1e30f, FLT_MIN, NAN};
    for (size_t n = 0; n < LENGTH_COUNT; n++) {
        size_t count = lengths[n];
        struct guarded gate = guarded_floats(count, 20), up = guarded_floats(count, 3);
        for (size_t i = 0; i < count; i += 7)
            ((float *)gate.data)[i] = extremes[(i / 7) % 10];
        struct guarded expected = copy_of(&gate, count), sum = copy_of(&gate, count);
        fg_kernels_scalar()->swiglu(expected.data, up.data, count);
        fg_kernels_scalar()->add(sum.data, up.data, count);
        for (size_t k = 0; k < fast_count; k++) {
            struct guarded out = copy_of(&gate, count), added = copy_of(&gate, count);
            fast_kernels[k]->swiglu(out.data, up.data, count);
            fast_kernels[k]->add(added.data, up.data, count);
            for (size_t i = 0; i < count; i++) {
                float want = ((float *)expected.data)[i];
                assert_close(((float *)out.data)[i], want, 2e-6 * fabs((double)want) + 1e-30,
                             "swiglu", count);
            }
            assert_memory_equal(added.data, sum.data, count * sizeof(float));
            guarded_free(&out);
            guarded_free(&added);
        }
        guarded_free(&gate);
        guarded_free(&up);
        guarded_free(&expected);
        guarded_free(&sum);
    }
}

/* Where an element stands in its vector must not change it: work is cut at any row. */
/* Within 2 units in the last place of the exponential, and exactly where it is 1 or nothing. */
static void weights_match_scalar(void **state)
{
    (void)state;
    const float inverses[] = {1.0f, 0.25f, 4.0f, 1e-3f, INFINITY};
    for (size_t n = 0; n < LENGTH_COUNT * 5; n++) {
        size_t count = lengths[n % LENGTH_COUNT];
        float inverse = inverses[n / LENGTH_COUNT], peak = 20.0f, expected[256];
        struct guarded x = guarded_floats(count, 20);
        float *values = x.data;
        const float odd[] = {peak, NAN, -INFINITY, peak - 87.0f, 2 * peak, INFINITY};
        for (size_t i = 0; i < count && i < 6; i++)
            values[random_bits() % count] = odd[random_bits() % 6];
        fg_kernels_scalar()->weigh(expected, values, count, peak, inverse, -27.6f);
        for (size_t k = 0; k < fast_count; k++) {
            struct guarded out = guarded_make(count * sizeof(float), 0);
            fast_kernels[k]->weigh(out.data, values, count, peak, inverse, -27.6f);
            for (size_t i = 0; i < count; i++) {
                double bound = expected[i] < 1 ? (double)expected[i] * 0x1p-22 : 0;
                assert_close(((float *)out.data)[i], expected[i], bound, "weigh", count);
            }
            guarded_free(&out);
        }
        guarded_free(&x);
    }
}

/* From one float to the next where they are dense, and over the whole range. */
static void exponentials_are_within_their_bound(void **state)
{
    (void)state;
    for (size_t k = 0; k < fast_count; k++) {
        for (uint32_t round = 0; round < 20000; round++) {
            float x[8], out[8];
            for (size_t i = 0; i < 8; i++)
                x[i] = round % 2 == 0 ? -87.0f * ((float)(random_bits() >> 8) * 0x1p-24f)
                                      : -fg_bits_to_f32(random_bits() % 0x42ae0000u); /* to 87 */
            fast_kernels[k]->weigh(out, x, 8, 0, 1, -87.0f);
            for (size_t i = 0; i < 8; i++) {
                double expected = x[i] > -87.0f ? exp((double)x[i]) : 0;
                assert_close(out[i], (float)expected, expected * 0x1p-22, "exp", 8);
                assert_true(out[i] <= 1);
            }
        }
    }
}

static void the_largest_is_found_where_scalar_finds_it(void **state)
{
    (void)state;
    for (size_t n = 0; n < LENGTH_COUNT * 40; n++) {
        size_t count = lengths[n % LENGTH_COUNT];
        struct guarded x = guarded_floats(count, 5);
        float *values = x.data;
        const float odd[] = {5, 5, -INFINITY, NAN, INFINITY, 0.0f};
        bool is_flat = n / LENGTH_COUNT % 4 == 0;
        for (size_t i = 0; i < count && is_flat; i++)
            values[i] = odd[2 + random_bits() % 2]; /* nothing but NaN and the least there is */
        for (size_t i = 0; i < count / 4 && !is_flat; i++)
            values[random_bits() % count] = odd[random_bits() % (n % 2 == 0 ? 4 : 6)];
        for (size_t k = 0; k < fast_count; k++)
            assert_int_equal(fast_kernels[k]->largest(values, count),
                             fg_kernels_scalar()->largest(values, count));
        guarded_free(&x);
    }
    const float values[] = {NAN, -1, 3, NAN, 3};
    assert_int_equal(fg_kernels_scalar()->largest(values, 5), 2);
    assert_int_equal(fg_kernels_scalar()->largest(values, 1), 0);
}

static void swiglu_does_not_depend_on_the_cut(void **state)
{
    (void)state;
    float gate[40], up[40], whole[40], parts[40];
    for (size_t i = 0; i < 40; i++) {
        gate[i] = random_float(8);
        up[i] = random_float(8);
    }
    for (size_t k = 0; k < fast_count; k++) {
        memcpy(whole, gate, sizeof(gate));
        fast_kernels[k]->swiglu(whole, up, 40);
        for (size_t cut = 1; cut < 40; cut++) {
            memcpy(parts, gate, sizeof(gate));
            fast_kernels[k]->swiglu(parts, up, cut);
            fast_kernels[k]->swiglu(parts + cut, up + cut, 40 - cut);
            assert_memory_equal(parts, whole, sizeof(whole));
        }
    }
}

/* ---- attention ---- */

#define QUERIES_MAX 9
#define HEAD_DIM_MAX 130

struct attention_case {
    struct fg_kv_store store;
    struct guarded data, queries;
    uint32_t table[3];
    struct fg_attention a;
};

static struct attention_case attention_make(enum fg_kv_type type, uint32_t head_dim,
                                            uint32_t positions, uint32_t queries, float spread)
{
    struct attention_case c = {.table = {2, 0, 1}};
    c.store = (struct fg_kv_store){.shape = {2, 3, head_dim, type}, .block_count = 3};
    size_t bytes = 3 * fg_kv_block_bytes(&c.store.shape);
    c.data = guarded_make(bytes, 0);
    c.store.data = c.data.data;
    memset(c.store.data, 0xff, bytes); /* NaN in F16: what must not be read */
    c.queries = guarded_floats((size_t)queries * head_dim, spread);
    for (uint32_t p = 0; p < positions; p++) {
        float key[HEAD_DIM_MAX], value[HEAD_DIM_MAX];
        struct fg_kv_place place = {c.table[p / FG_KV_BLOCK_TOKENS], 1, 2, p % FG_KV_BLOCK_TOKENS};
        for (uint32_t i = 0; i < head_dim; i++) {
            key[i] = random_float(spread);
            value[i] = random_float(1);
        }
        fg_kv_write(fg_kernels_scalar(), &c.store, &place, key, value);
    }
    c.a = (struct fg_attention){.position_count = positions,
                                .layer = 1,
                                .kv_head = 2,
                                .query_count = queries,
                                .scale = 1 / sqrtf((float)head_dim)};
    return c;
}

static void check_attention(struct attention_case *c, double bound)
{
    uint32_t head_dim = c->store.shape.head_dim;
    size_t count = (size_t)c->a.query_count * head_dim;
    float expected[QUERIES_MAX * HEAD_DIM_MAX], alone[HEAD_DIM_MAX];
    c->a.store = &c->store;
    c->a.block_table = c->table;
    c->a.queries = c->queries.data;
    c->a.out = expected;
    fg_kernels_scalar()->attention(&c->a);
    for (size_t k = 0; k < fast_count; k++) {
        struct guarded out = guarded_make(count * sizeof(float), 0);
        struct fg_attention a = c->a;
        a.out = out.data;
        fast_kernels[k]->attention(&a);
        for (size_t i = 0; i < count; i++)
            assert_close(((float *)out.data)[i], expected[i], bound, "attention", head_dim);
        /* A head alone gives the bits that it has among the others. */
        a.query_count = 1;
        a.out = alone;
        for (uint32_t q = 0; q < c->a.query_count; q++) {
            a.queries = (float *)c->queries.data + (size_t)q * head_dim;
            fast_kernels[k]->attention(&a);
            assert_memory_equal(alone, (float *)out.data + (size_t)q * head_dim,
                                head_dim * sizeof(float));
        }
        guarded_free(&out);
    }
    guarded_free(&c->data);
    guarded_free(&c->queries);
}

static void attention_matches_scalar(void **state)
{
    (void)state;
    static const uint32_t dims[] = {2, 6, 8, 10, 16, 32, 62, 64, 66, 128, HEAD_DIM_MAX};
    static const uint32_t positions[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48};
    for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
        for (size_t p = 0; p < sizeof(positions) / sizeof(positions[0]); p++) {
            for (uint32_t q = 1; q <= QUERIES_MAX; q++) {
                struct attention_case c = attention_make(FG_KV_F16, dims[d], positions[p], q, 2);
                check_attention(&c, 4e-6);
                if (!fg_kv_type_fits(FG_KV_Q8_0, dims[d]))
                    continue;
                c = attention_make(FG_KV_Q8_0, dims[d], positions[p], q, 2);
                check_attention(&c, 4e-6);
            }
        }
    }
}

/* Scores in the thousands: the running maximum keeps every exp in range. */
static void attention_survives_large_scores(void **state)
{
    (void)state;
    for (uint32_t q = 1; q <= 4; q++) {
        struct attention_case c = attention_make(FG_KV_F16, 64, 40, q, 60);
        check_attention(&c, 5e-3);
    }
}

/* Attention over one position gives its value back, as far as the cache keeps it. */
static void cached_values_come_back(void **state)
{
    (void)state;
    static const enum fg_kv_type types[] = {FG_KV_F16, FG_KV_Q8_0};
    for (size_t n = 0; n < 2; n++) {
        struct attention_case c = attention_make(types[n], 64, 16, 1, 1);
        float value[64], out[64];
        struct fg_kv_place place = {.block_id = 2, .layer = 1, .kv_head = 2, .position = 0};
        for (size_t i = 0; i < 64; i++)
            value[i] = random_float(3);
        for (size_t k = 0; k < fast_count; k++) {
            fg_kv_write(fast_kernels[k], &c.store, &place, value, value);
            struct fg_attention a = c.a;
            a.store = &c.store;
            a.block_table = c.table;
            a.position_count = 1;
            a.queries = c.queries.data;
            a.out = out;
            fast_kernels[k]->attention(&a);
            for (size_t i = 0; i < 64; i++)
                assert_close(out[i], value[i], n == 0 ? 3 * 0x1p-11 : 3.0 / 127 * 0.6, "value", i);
        }
        guarded_free(&c.data);
        guarded_free(&c.queries);
    }
}

int main(void)
{
    fast_kernels[fast_count++] = fg_kernels_scalar();
    if (fg_kernels_avx2() != NULL)
        fast_kernels[fast_count++] = fg_kernels_avx2();
    else
        print_message("SKIPPED: no AVX2 here; only the scalar kernels are tested\n");
    if (fg_kernels_avx512() != NULL)
        fast_kernels[fast_count++] = fg_kernels_avx512();
    else
        print_message("SKIPPED: no AVX-512 with VNNI here; those kernels are not tested\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_match_scalar),
        cmocka_unit_test(fast_block_products_are_equal),
        cmocka_unit_test(blocks_mean_what_the_format_says),
        cmocka_unit_test(long_rows_and_many_tokens_match),
        cmocka_unit_test(integer_products_do_not_saturate),
        cmocka_unit_test(all_halves_convert),
        cmocka_unit_test(quantised_blocks_are_equal),
        cmocka_unit_test(quantised_values_are_near),
        cmocka_unit_test(floats_round_to_halves_alike),
        cmocka_unit_test(halves_stop_at_the_end),
        cmocka_unit_test(norms_match_scalar),
        cmocka_unit_test(rotations_match_scalar),
        cmocka_unit_test(rotations_pair_the_right_elements),
        cmocka_unit_test(swiglu_and_add_match_scalar),
        cmocka_unit_test(swiglu_does_not_depend_on_the_cut),
        cmocka_unit_test(weights_match_scalar),
        cmocka_unit_test(exponentials_are_within_their_bound),
        cmocka_unit_test(the_largest_is_found_where_scalar_finds_it),
        cmocka_unit_test(attention_matches_scalar),
        cmocka_unit_test(attention_survives_large_scores),
        cmocka_unit_test(cached_values_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
