/*
 * floats_avx2.c: y = W x for the float types in tiles of up to 4 rows by 3 tokens held in
 * registers.
 * Job      prefill uses every weight that was loaded for three tokens, and every row for a block of
 *          tokens that stays in cache; a few tokens (decode) stream one row after the other, since
 *          the hardware follows one long run through memory but not four short ones.
 * Thread   any; callers split the rows.
 * Order    an element has one accumulator of eight lanes, fed from column 0 upwards and summed at
 *          the end by fg_sum_lanes: the same in every tile, so tiles may be cut in any way.
 *
 *    for a block of tokens (activations about TOKEN_BLOCK_BYTES)
 *      for 4 rows (weights in L1/L2; the next 4 are being fetched)
 *        for 3 tokens: 12 accumulators over all columns
 */
#include "avx2.h"

#include "lanes.h"

#define TILE_ROWS 4
#define TILE_TOKENS 3
#define TOKEN_BLOCK_BYTES (256u * 1024u)
/* One row at a time: up to so many tokens, and rows long enough to hide the sum of the lanes. */
#define STREAM_TOKENS_MAX 4
#define STREAM_ROW_BYTES_MIN 256u

typedef __m256 (*load_fn)(const unsigned char *at);

struct tile {
    const unsigned char *weights; /* first row of the tile */
    size_t row_bytes;
    size_t cols;
    size_t row; /* its number, for out */
    size_t token;
    const struct fg_activations *x;
    float *const *out;
};

/* Bytes `from` .. `end` - 1 of what follows the tile's first row; harmless past the end. */
FG_INLINE void prefetch(const struct tile *tile, size_t from, size_t end)
{
    for (size_t at = from; at < end; at += 64)
        _mm_prefetch((const char *)tile->weights + at, _MM_HINT_T0);
}

FG_INLINE __m256 load_f32(const unsigned char *at)
{
    return _mm256_loadu_ps((const float *)(const void *)at);
}

FG_INLINE __m256 load_f16(const unsigned char *at)
{
    return fg_load_f16(at);
}

FG_INLINE __m256 load_bf16(const unsigned char *at)
{
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)at);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

FG_INLINE void store_tile(const struct tile *tile, int rows, int tokens,
                          __m256 acc[TILE_ROWS][TILE_TOKENS])
{
    for (int r = 0; r < rows; r++) {
        for (int t = 0; t < tokens; t++)
            tile->out[tile->token + (size_t)t][tile->row + (size_t)r] = fg_sum_lanes(acc[r][t]);
    }
}

/* The last cols % 8 columns; what is past the end of a row is never read. */
FG_INLINE void float_tail(const struct tile *tile, load_fn load, size_t element_bytes, int rows,
                          int tokens, size_t done, __m256 acc[TILE_ROWS][TILE_TOKENS])
{
    size_t left = tile->cols - done;
    __m256i mask = fg_lane_mask(left);
    for (int r = 0; r < rows; r++) {
        unsigned char padded[32] = {0};
        memcpy(padded, tile->weights + (size_t)r * tile->row_bytes + done * element_bytes,
               left * element_bytes);
        __m256 w = load(padded);
        for (int t = 0; t < tokens; t++) {
            const float *values = tile->x->values + (tile->token + (size_t)t) * tile->cols;
            acc[r][t] = _mm256_fmadd_ps(w, _mm256_maskload_ps(values + done, mask), acc[r][t]);
        }
    }
}

FG_INLINE void float_tile(const struct tile *tile, load_fn load, size_t element_bytes, int rows,
                          int tokens)
{
    __m256 acc[TILE_ROWS][TILE_TOKENS];
    for (int r = 0; r < rows; r++) {
        for (int t = 0; t < tokens; t++)
            acc[r][t] = _mm256_setzero_ps();
    }
    const float *values = tile->x->values + tile->token * tile->cols;
    size_t i = 0;
    for (; i + 8 <= tile->cols; i += 8) {
        __m256 x[TILE_TOKENS];
        for (int t = 0; t < tokens; t++)
            x[t] = _mm256_loadu_ps(values + (size_t)t * tile->cols + i);
        for (int r = 0; r < rows; r++) {
            __m256 w = load(tile->weights + (size_t)r * tile->row_bytes + i * element_bytes);
            for (int t = 0; t < tokens; t++)
                acc[r][t] = _mm256_fmadd_ps(w, x[t], acc[r][t]);
        }
    }
    if (i < tile->cols)
        float_tail(tile, load, element_bytes, rows, tokens, i, acc);
    store_tile(tile, rows, tokens, acc);
}

/*
 * One function for each weight type and tile height: all tokens first .. end - 1 of a row group, in
 * tiles of constant width so that the accumulators stay in registers.
 */
#define DEFINE_ROW_GROUP(name, rows, load, bytes)                                                  \
    static void name(struct tile *tile, size_t first, size_t end)                                  \
    {                                                                                              \
        size_t token = first, group = (rows)*tile->row_bytes;                                      \
        size_t ahead = group, share = group * 3 / (end - first) + 1;                               \
        for (; token + 3 <= end; token += 3) {                                                     \
            tile->token = token;                                                                   \
            if (rows > 1)                                                                          \
                prefetch(tile, ahead, ahead + share);                                              \
            ahead += share;                                                                        \
            float_tile(tile, load, bytes, rows, 3);                                                \
        }                                                                                          \
        tile->token = token;                                                                       \
        if (end - token == 2)                                                                      \
            float_tile(tile, load, bytes, rows, 2);                                                \
        else if (end - token == 1)                                                                 \
            float_tile(tile, load, bytes, rows, 1);                                                \
    }

DEFINE_ROW_GROUP(f32_rows_4, 4, load_f32, 4)
DEFINE_ROW_GROUP(f32_rows_1, 1, load_f32, 4)
DEFINE_ROW_GROUP(f16_rows_4, 4, load_f16, 2)
DEFINE_ROW_GROUP(f16_rows_1, 1, load_f16, 2)
DEFINE_ROW_GROUP(bf16_rows_4, 4, load_bf16, 2)
DEFINE_ROW_GROUP(bf16_rows_1, 1, load_bf16, 2)

typedef void (*row_group_fn)(struct tile *tile, size_t first, size_t end);

static void matmul(row_group_fn rows_4, row_group_fn rows_1, const struct fg_matrix *matrix,
                   size_t row_first, size_t row_count, const struct fg_activations *x,
                   float *const *out)
{
    struct tile tile = {.row_bytes = matrix->row_bytes, .cols = matrix->cols, .x = x, .out = out};
    bool streams = x->token_count <= STREAM_TOKENS_MAX && matrix->row_bytes >= STREAM_ROW_BYTES_MIN;
    size_t block = TOKEN_BLOCK_BYTES / (matrix->cols * sizeof(float) + 1);
    block = block < 4 * TILE_TOKENS ? 4 * TILE_TOKENS : block - block % TILE_TOKENS;
    for (size_t first = 0; first < x->token_count; first += block) {
        size_t end = x->token_count - first < block ? x->token_count : first + block;
        size_t row = row_first, row_end = row_first + row_count;
        for (; !streams && row + TILE_ROWS <= row_end; row += TILE_ROWS) {
            tile.row = row;
            tile.weights = matrix->data + row * matrix->row_bytes;
            rows_4(&tile, first, end);
        }
        for (; row < row_end; row++) {
            tile.row = row;
            tile.weights = matrix->data + row * matrix->row_bytes;
            rows_1(&tile, first, end);
        }
    }
}

void fg_matmul_f32_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                        const struct fg_activations *x, float *const *out)
{
    matmul(f32_rows_4, f32_rows_1, matrix, row_first, row_count, x, out);
}

void fg_matmul_f16_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                        const struct fg_activations *x, float *const *out)
{
    matmul(f16_rows_4, f16_rows_1, matrix, row_first, row_count, x, out);
}

void fg_matmul_bf16_avx2(const struct fg_matrix *matrix, uint32_t row_first, uint32_t row_count,
                         const struct fg_activations *x, float *const *out)
{
    matmul(bf16_rows_4, bf16_rows_1, matrix, row_first, row_count, x, out);
}
