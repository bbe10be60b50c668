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

static size_t row_bytes_of(enum fg_weight_type type, size_t cols)
{
    switch (type) {
    case FG_WEIGHT_F32:
        return 4 * cols;
    case FG_WEIGHT_Q8_0:
        return cols / 32 * FG_Q8_0_BLOCK_BYTES;
    case FG_WEIGHT_Q4_0:
        return cols / 32 * FG_Q4_0_BLOCK_BYTES;
    default:
        return 2 * cols;
    }
}

static void fill_weights(unsigned char *data, enum fg_weight_type type, size_t bytes)
{
    size_t block = type == FG_WEIGHT_Q8_0 ? FG_Q8_0_BLOCK_BYTES : FG_Q4_0_BLOCK_BYTES;
    for (size_t i = 0; fg_weight_wants_q8(type) && i < bytes; i++)
        data[i] = (unsigned char)random_bits(); /* also -128 */
    for (size_t i = 0; fg_weight_wants_q8(type) && i < bytes; i += block) {
        uint16_t scale = fg_f32_to_f16_one(random_float(0.01f));
        memcpy(data + i, &scale, sizeof(scale));
    }
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
    struct guarded weights, values, q8, scales;
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
    p.q8 = guarded_make(count, 0);
    p.scales = guarded_make(count / 32 * sizeof(float), 0);
    if (fg_weight_wants_q8(type))
        fg_kernels_scalar()->quantise(p.values.data, count, p.q8.data, p.scales.data);
    p.x = (struct fg_activations){p.values.data, p.q8.data, p.scales.data, tokens};
    return p;
}

static void product_free(struct product *p)
{
    guarded_free(&p->weights);
    guarded_free(&p->values);
    guarded_free(&p->q8);
    guarded_free(&p->scales);
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

#define ROWS_MAX 9
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
        one.x.q8 += (size_t)t * cols;
        one.x.q8_scales += (size_t)t * (cols / 32);
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

static void products_match_scalar(void **state)
{
    (void)state;
    static const uint32_t rows[] = {1, 3, 4, 5, ROWS_MAX}, tokens[] = {1, 2, 3, 4, 8, TOKENS_MAX};
    static const char *const names[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    for (size_t n = 0; n < LENGTH_COUNT * FG_WEIGHT_TYPE_COUNT; n++) {
        enum fg_weight_type type = (enum fg_weight_type)(n % FG_WEIGHT_TYPE_COUNT);
        size_t length = lengths[n / FG_WEIGHT_TYPE_COUNT];
        uint32_t cols =
            (uint32_t)(fg_weight_wants_q8(type) ? n / FG_WEIGHT_TYPE_COUNT * 32 : length);
        for (size_t i = 0; i < 5 * 6; i++) {
            if (fg_weight_wants_q8(type) && i % 3 != n % 3)
                continue; /* a third of the shapes each is enough */
            struct product p = product_make(type, rows[i % 5], cols, tokens[i / 5], i % 2);
            for (size_t k = 0; k < fast_count; k++)
                check_product(fast_kernels[k], &p, names[type]);
            product_free(&p);
        }
    }
}

/* Wide enough for several token blocks of the cache blocking. */
static void long_rows_and_many_tokens_match(void **state)
{
    (void)state;
    for (int type = 0; type < FG_WEIGHT_TYPE_COUNT; type++) {
        struct product p = product_make((enum fg_weight_type)type, 5, 32 * 1024, TOKENS_MAX, 0);
        for (size_t k = 0; k < fast_count; k++)
            check_product(fast_kernels[k], &p, "long rows");
        product_free(&p);
    }
}

/* -128 times -127 and 127 in every place: the largest sums that int8 blocks can make. */
static void integer_products_do_not_saturate(void **state)
{
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2) {
        struct product p = product_make(FG_WEIGHT_Q8_0, 4, 64, 3, 0);
        uint16_t one = fg_f32_to_f16_one(1);
        for (size_t b = 0; b < 4 * 2; b++) {
            unsigned char *block = (unsigned char *)p.weights.data + b * FG_Q8_0_BLOCK_BYTES;
            memcpy(block, &one, sizeof(one));
            memset(block + 2, 0x80, 32);
        }
        memset(p.q8.data, sign < 0 ? -127 : 127, 3 * 64);
        for (size_t i = 0; i < 3 * 2; i++)
            ((float *)p.scales.data)[i] = 1;
        for (size_t k = 0; k < fast_count; k++) {
            float out[TOKENS_MAX][ROWS_MAX];
            run_product(fast_kernels[k], &p, 0, 4, out);
            for (size_t t = 0; t < 3; t++)
                assert_true(out[t][3] == (float)(sign * -128 * 127 * 64));
        }
        product_free(&p);
    }
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
        int8_t expected[96];
        float expected_scales[3];
        fg_kernels_scalar()->quantise(values, 96, expected, expected_scales);
        for (size_t k = 0; k < fast_count; k++) {
            struct guarded q8 = guarded_make(96, 0), scales = guarded_make(3 * sizeof(float), 0);
            fast_kernels[k]->quantise(values, 96, q8.data, scales.data);
            assert_memory_equal(q8.data, expected, sizeof(expected));
            assert_memory_equal(scales.data, expected_scales, sizeof(expected_scales));
            guarded_free(&q8);
            guarded_free(&scales);
        }
        guarded_free(&x);
    }
}

static void quantised_values_are_near(void **state)
{
    (void)state;
    float x[32], scale, largest = 0;
    int8_t q8[32];
    for (size_t i = 0; i < 32; i++) {
        x[i] = random_float(3);
        largest = fmaxf(largest, fabsf(x[i]));
    }
    fg_kernels_scalar()->quantise(x, 32, q8, &scale);
    for (size_t i = 0; i < 32; i++)
        assert_close((float)q8[i] * scale, x[i], (double)largest / 127 * 0.6, "quantise", 32);
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

static struct attention_case attention_make(uint32_t head_dim, uint32_t positions, uint32_t queries,
                                            float spread)
{
    struct attention_case c = {.table = {2, 0, 1}};
    c.store = (struct fg_kv_store){.shape = {2, 3, head_dim}, .block_count = 3};
    size_t bytes = 3 * fg_kv_block_bytes(&c.store.shape);
    c.data = guarded_make(bytes, 0);
    c.store.data = c.data.data;
    memset(c.store.data, 0xff, bytes); /* NaN: what must not be read */
    c.queries = guarded_floats((size_t)queries * head_dim, spread);
    for (uint32_t p = 0; p < positions; p++) {
        uint32_t block_id = c.table[p / FG_KV_BLOCK_TOKENS];
        size_t at = (2u * FG_KV_BLOCK_TOKENS + p % FG_KV_BLOCK_TOKENS) * (size_t)head_dim;
        for (uint32_t i = 0; i < head_dim; i++) {
            fg_kv_keys(&c.store, block_id, 1)[at + i] = fg_f32_to_f16_one(random_float(spread));
            fg_kv_values(&c.store, block_id, 1)[at + i] = fg_f32_to_f16_one(random_float(1));
        }
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
    static const uint32_t dims[] = {2, 6, 8, 10, 16, 62, 64, 66, 128, HEAD_DIM_MAX};
    static const uint32_t positions[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48};
    for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
        for (size_t p = 0; p < sizeof(positions) / sizeof(positions[0]); p++) {
            for (uint32_t q = 1; q <= QUERIES_MAX; q++) {
                struct attention_case c = attention_make(dims[d], positions[p], q, 2);
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
        struct attention_case c = attention_make(64, 40, q, 60);
        check_attention(&c, 5e-3);
    }
}

int main(void)
{
    fast_kernels[fast_count++] = fg_kernels_scalar();
    if (fg_kernels_avx2() != NULL)
        fast_kernels[fast_count++] = fg_kernels_avx2();
    else
        print_message("SKIPPED: no AVX2 here; only the scalar kernels are tested\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_match_scalar),
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
        cmocka_unit_test(attention_matches_scalar),
        cmocka_unit_test(attention_survives_large_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
