/*
 * panel_tile.h: rows times tokens; see panel.h.
 * Job      many tokens: rows are packed into panels, and each panel is multiplied with all tokens
 *          in tiles that fit the registers. Few tokens: each block is multiplied as it is unpacked
 *          (rows_stream), so that nothing but weights moves through the cache.
 * Thread   any.
 */
#ifndef FG_INFERENCE_PANEL_TILE_H
#define FG_INFERENCE_PANEL_TILE_H

#include "inference/kernels/panel/panel_ahead.h"
#include "inference/kernels/panel/panel_pack.h"

/* One tile: up to VEC_GROUPS panels of rows, up to VEC_TOKENS tokens. */
struct panel_tile {
    const struct panel_block (*panels)[PANEL_BLOCKS]; /* (VEC_GROUPS) */
    size_t block_count;
    int offset;
    bool is_first;               /* of the panels that cover a row: sums start at zero */
    size_t row;                  /* first row, for out */
    size_t row_count;            /* up to VEC_GROUPS * VEC_LANES */
    size_t row_end;              /* behind the last row of all tiles */
    const struct fg_q8_block *x; /* the first token's first block of the panel */
    size_t x_stride;             /* blocks from a token to the next */
    float *const *out;           /* of the first token */
    struct panel_ahead ahead;
};

typedef vec_float tile_sums[VEC_GROUPS][VEC_TOKENS];

FG_INLINE size_t tile_lanes(const struct panel_tile *tile, int group)
{
    size_t before = (size_t)group * VEC_LANES;
    size_t left = tile->row_count > before ? tile->row_count - before : 0;
    return left < VEC_LANES ? left : VEC_LANES;
}

FG_INLINE float *tile_out(const struct panel_tile *tile, int group, int token)
{
    return tile->out[token] + tile->row + (size_t)group * VEC_LANES;
}

/* Block b from step `first` on, for all rows and tokens: eight steps of four columns, or the four
 * of a half. */
FG_INLINE void tile_dots(const struct panel_tile *tile, const struct panel_block *const *w,
                         size_t b, int groups, int tokens, int first, enum panel_form form,
                         int bits, vec_int dots[VEC_GROUPS][VEC_TOKENS])
{
    const vec_int *q[VEC_GROUPS];
    const int8_t *x[VEC_TOKENS];
    int steps = form == PANEL_HALVES ? 4 : 8;
    for (int g = 0; g < groups; g++)
        q[g] = w[g]->q + first;
    for (int t = 0; t < tokens; t++) {
        const struct fg_q8_block *block = &tile->x[(size_t)t * tile->x_stride + b];
        vec_int start = vec_set_int(0);
        if (form == PANEL_OFFSET)
            start = vec_set_int(-tile->offset * (block->sums[0] + block->sums[1]));
        else if (form == PANEL_HALVES)
            start = vec_set_int(-tile->offset * block->sums[first / 4]);
        for (int g = 0; g < groups; g++)
            dots[g][t] = start;
        x[t] = block->q + 4 * first;
    }
    vec_dots(q, x, groups, tokens, steps, bits, dots);
}

/* sums += dots * scale (of the rows) * scale (of the token's block) */
FG_INLINE void tile_add(const struct panel_tile *tile, const struct panel_block *const *w, size_t b,
                        int groups, int tokens, bool other_scale,
                        vec_int dots[VEC_GROUPS][VEC_TOKENS], tile_sums sums)
{
    for (int g = 0; g < groups; g++) {
        vec_float scale = other_scale ? w[g]->other : w[g]->scale;
        for (int t = 0; t < tokens; t++) {
            vec_float x_scale = vec_set_float(tile->x[(size_t)t * tile->x_stride + b].scale);
            sums[g][t] =
                vec_fma(vec_multiply(vec_to_float(dots[g][t]), scale), x_scale, sums[g][t]);
        }
    }
}

FG_INLINE void tile_take_mins(const struct panel_tile *tile, const struct panel_block *const *w,
                              size_t b, int groups, int tokens, tile_sums sums)
{
    for (int t = 0; t < tokens; t++) {
        vec_float x_sum = vec_set_float(tile->x[(size_t)t * tile->x_stride + b].scaled_sum);
        for (int g = 0; g < groups; g++)
            sums[g][t] = vec_fma_negated(w[g]->other, x_sum, sums[g][t]);
    }
}

/* Block b of the tokens with the unpacked blocks `w` of the groups. */
FG_INLINE void tile_block(const struct panel_tile *tile, const struct panel_block *const *w,
                          size_t b, int groups, int tokens, enum panel_form form, int bits,
                          tile_sums sums)
{
    vec_int dots[VEC_GROUPS][VEC_TOKENS];
    tile_dots(tile, w, b, groups, tokens, 0, form, bits, dots);
    tile_add(tile, w, b, groups, tokens, false, dots, sums);
    if (form == PANEL_HALVES) {
        tile_dots(tile, w, b, groups, tokens, 4, form, bits, dots);
        tile_add(tile, w, b, groups, tokens, true, dots, sums);
    } else if (form == PANEL_MIN) {
        tile_take_mins(tile, w, b, groups, tokens, sums);
    }
}

FG_INLINE void tile_load(const struct panel_tile *tile, int groups, int tokens, tile_sums sums)
{
    for (int g = 0; g < groups; g++) {
        for (int t = 0; t < tokens; t++)
            sums[g][t] = tile->is_first ? vec_zero()
                                        : vec_load_part(tile_out(tile, g, t), tile_lanes(tile, g));
    }
}

FG_INLINE void tile_store(const struct panel_tile *tile, int groups, int tokens, tile_sums sums)
{
    for (int g = 0; g < groups; g++) {
        for (int t = 0; t < tokens; t++)
            vec_store_part(tile_out(tile, g, t), sums[g][t], tile_lanes(tile, g));
    }
}

/* Block after block; `ahead` NULL: a loop that has registers for nothing else to do. */
FG_INLINE void tile_blocks(const struct panel_tile *tile, int groups, int tokens,
                           enum panel_form form, int bits, struct panel_ahead *ahead,
                           tile_sums sums)
{
    for (size_t b = 0; b < tile->block_count; b++) {
        if (ahead != NULL)
            ahead_read(ahead);
        const struct panel_block *w[VEC_GROUPS];
        for (int g = 0; g < groups; g++)
            w[g] = &tile->panels[g][b];
        tile_block(tile, w, b, groups, tokens, form, bits, sums);
    }
}

FG_INLINE void tile_run(struct panel_tile *tile, int groups, int tokens, enum panel_form form,
                        int bits)
{
    tile_sums sums;
    tile_load(tile, groups, tokens, sums);
    if (!VEC_READS_IN_ORDER || tile->ahead.share == 0)
        tile_blocks(tile, groups, tokens, form, bits, NULL, sums);
    else
        tile_blocks(tile, groups, tokens, form, bits, &tile->ahead, sums);
    tile_store(tile, groups, tokens, sums);
}

typedef void (*pack_fn)(const unsigned char *at, size_t stride, struct panel_block *to);

/* `bytes` and `parts` of 32 columns are those of a block of the type. */
FG_INLINE void rows_pack(const struct panel_rows *rows, pack_fn pack, size_t bytes, size_t parts,
                         struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count / parts; b++, to += parts) {
        if (rows->ahead != 0)
            rows_prefetch(rows, b * bytes, bytes);
        pack(rows->at + b * bytes, rows->stride, to);
    }
}

/* The whole product for one group of rows, without a panel. */
FG_INLINE void rows_stream(const struct panel_rows *rows, const struct panel_tile *tile, int tokens,
                           pack_fn pack, size_t bytes, size_t parts, enum panel_form form, int bits)
{
    tile_sums sums;
    tile_load(tile, 1, tokens, sums);
    for (size_t b = 0; b < rows->block_count; b += parts) {
        struct panel_block blocks[8];
        size_t from = b / parts * bytes;
        if (VEC_READS_IN_ORDER)
            stream_prefetch(rows, from, bytes);
        else
            rows_prefetch(rows, from, bytes);
        pack(rows->at + from, rows->stride, blocks);
        for (size_t part = 0; part < parts; part++) {
            const struct panel_block *w[VEC_GROUPS] = {&blocks[part]};
            tile_block(tile, w, b + part, 1, tokens, form, bits, sums);
        }
    }
    tile_store(tile, 1, tokens, sums);
}

/* Up to so many tokens are streamed. */
#define STREAM_TOKENS 2

typedef void (*tile_fn)(struct panel_tile *tile, int tokens);

/* Constant counts keep the sums in registers: one function for each form, one loop for each size.
 */
#define DEFINE_TILE(name, form, bits)                                                              \
    static void name(struct panel_tile *tile, int tokens)                                          \
    {                                                                                              \
        switch (tokens) {                                                                          \
        case 1:                                                                                    \
            tile_run(tile, VEC_GROUPS, 1, form, bits);                                             \
            break;                                                                                 \
        case 2:                                                                                    \
            tile_run(tile, VEC_GROUPS, 2, form, bits);                                             \
            break;                                                                                 \
        case 3:                                                                                    \
            tile_run(tile, VEC_GROUPS, 3, form, bits);                                             \
            break;                                                                                 \
        case 4:                                                                                    \
            tile_run(tile, VEC_GROUPS, 4, form, bits);                                             \
            break;                                                                                 \
        case 5:                                                                                    \
            tile_run(tile, VEC_GROUPS, VEC_TOKENS < 5 ? 1 : 5, form, bits);                        \
            break;                                                                                 \
        default:                                                                                   \
            tile_run(tile, VEC_GROUPS, VEC_TOKENS < 6 ? 1 : 6, form, bits);                        \
            break;                                                                                 \
        }                                                                                          \
    }

/* What there is to know about a type. */
struct panel_type {
    void (*pack)(const struct panel_rows *rows, struct panel_block *to);
    void (*stream)(const struct panel_rows *rows, const struct panel_tile *tile, int tokens);
    tile_fn tile;
    int offset;
};

#define DEFINE_TYPE(name, bytes, parts, form, bits)                                                \
    static void rows_pack_##name(const struct panel_rows *rows, struct panel_block *to)            \
    {                                                                                              \
        rows_pack(rows, pack_##name, bytes, parts, to);                                            \
    }                                                                                              \
    static void rows_stream_##name(const struct panel_rows *rows, const struct panel_tile *tile,   \
                                   int tokens)                                                     \
    {                                                                                              \
        if (tokens == 1)                                                                           \
            rows_stream(rows, tile, 1, pack_##name, bytes, parts, form, bits);                     \
        else                                                                                       \
            rows_stream(rows, tile, STREAM_TOKENS, pack_##name, bytes, parts, form, bits);         \
    }

/* The tokens in tiles of nearly the same size, so that none is left with one token alone. */
static void panel_times_tokens(const struct panel_type *type, struct panel_tile *tile,
                               const struct fg_activations *x, size_t first_block,
                               float *const *out)
{
    size_t tile_count = (x->token_count + VEC_TOKENS - 1) / VEC_TOKENS;
    for (size_t i = 0, token = 0; i < tile_count; i++) {
        size_t end = (i + 1) * x->token_count / tile_count;
        tile->x = x->blocks + token * tile->x_stride + first_block;
        tile->out = out + token;
        type->tile(tile, (int)(end - token));
        token = end;
    }
}

/* Fewer rows than lanes, or none: a copy, of which what is behind the last row is zero. */
static void rows_copy_few(struct panel_rows *rows, size_t row_count, size_t row_bytes,
                          unsigned char copy[VEC_LANES][PANEL_ROW_BYTES_MAX])
{
    for (size_t r = 0; r < VEC_LANES; r++) {
        memset(copy[r], 0, PANEL_ROW_BYTES_MAX);
        if (r < row_count)
            memcpy(copy[r], rows->at + r * rows->stride, row_bytes);
    }
    rows->at = copy[0];
    rows->stride = PANEL_ROW_BYTES_MAX;
    rows->ahead = 0;
}

/*
 * For more tiles than these (a prompt) a panel stays so long that what is read beside it only
 * pushes it out of the first-level cache: then the next one is asked for while it is packed.
 */
#define TILES_READ_AHEAD ((size_t)8)

static size_t tiles_of(const struct fg_activations *x)
{
    return (x->token_count + VEC_TOKENS - 1) / VEC_TOKENS;
}

static bool is_read_ahead(const struct fg_activations *x)
{
    return VEC_READS_IN_ORDER && tiles_of(x) <= TILES_READ_AHEAD;
}

/*
 * What follows the blocks before `next` of these rows is asked for while the panel is multiplied
 * in tile_count tiles: the next blocks, or the first ones of the rows behind.
 */
static void panel_read_ahead(const struct fg_matrix *matrix, struct panel_tile *tile, size_t next,
                             size_t tile_count)
{
    size_t block_count = matrix->cols / FG_QUANT_BLOCK, rows = VEC_GROUPS * VEC_LANES;
    size_t parts = fg_weight_block_cols(matrix->type) / FG_QUANT_BLOCK;
    size_t row = next < block_count ? tile->row : tile->row + rows;
    size_t at = next < block_count ? next : 0;
    size_t count = block_count - at < PANEL_BLOCKS ? block_count - at : PANEL_BLOCKS;
    size_t bytes = count / parts * fg_weight_block_bytes(matrix->type);
    bool is_whole = count == block_count;
    size_t lines = rows * bytes / 64 + (is_whole ? 1 : rows);
    size_t steps = tile->block_count * tile_count;
    struct panel_ahead *ahead = &tile->ahead;
    ahead->share = 0;
    if (row >= tile->row_end || steps == 0)
        return;
    ahead->at = (uintptr_t)matrix->data + row * matrix->row_bytes +
                at / parts * fg_weight_block_bytes(matrix->type);
    ahead->part = is_whole ? rows * bytes : bytes;
    ahead->skip = matrix->row_bytes - bytes;
    ahead->end = ahead->at + ahead->part;
    ahead->limit = ahead->at + rows * matrix->row_bytes;
    ahead->share = (lines + steps - 1) / steps * 64;
}

/* Panel after panel along up to VEC_GROUPS * VEC_LANES rows. */
static void panel_rows_multiply(const struct panel_type *type, const struct fg_matrix *matrix,
                                struct panel_tile *tile, const struct fg_activations *x,
                                float *const *out)
{
    struct panel_block panels[VEC_GROUPS][PANEL_BLOCKS];
    unsigned char copy[VEC_LANES][PANEL_ROW_BYTES_MAX];
    size_t block_count = matrix->cols / FG_QUANT_BLOCK, row_bytes = matrix->row_bytes;
    size_t parts = fg_weight_block_cols(matrix->type) / FG_QUANT_BLOCK;
    tile->panels = panels;
    /* Once also for rows of no columns, whose products are zero. */
    for (size_t first = 0; first == 0 || first < block_count; first += PANEL_BLOCKS) {
        bool is_last = block_count - first <= PANEL_BLOCKS;
        size_t count = is_last ? block_count - first : PANEL_BLOCKS;
        size_t from = first / parts * fg_weight_block_bytes(matrix->type);
        size_t bytes = count / parts * fg_weight_block_bytes(matrix->type);
        for (size_t g = 0; g < VEC_GROUPS; g++) {
            struct panel_rows rows = {.stride = row_bytes, .block_count = count};
            rows.at = matrix->data + (tile->row + g * VEC_LANES) * row_bytes + from;
            if (!is_read_ahead(x))
                rows.ahead = is_last ? (ptrdiff_t)(tile->row_count * row_bytes) - (ptrdiff_t)from
                                     : (ptrdiff_t)bytes;
            if (tile_lanes(tile, (int)g) < VEC_LANES)
                rows_copy_few(&rows, tile_lanes(tile, (int)g), bytes, copy);
            type->pack(&rows, panels[g]);
        }
        tile->block_count = count;
        tile->is_first = first == 0;
        if (is_read_ahead(x))
            panel_read_ahead(matrix, tile, first + count, tiles_of(x));
        panel_times_tokens(type, tile, x, first, out);
    }
}

/* One group of rows after the other for few tokens; what is less than a group is left. */
static size_t panel_stream(const struct panel_type *type, const struct fg_matrix *matrix,
                           struct panel_tile *tile, size_t row_count,
                           const struct fg_activations *x, float *const *out)
{
    size_t done = 0;
    tile->x = x->blocks;
    tile->out = out;
    tile->is_first = true;
    tile->row_count = VEC_LANES;
    for (; done + VEC_LANES <= row_count; done += VEC_LANES) {
        struct panel_rows rows = {.at = matrix->data + tile->row * matrix->row_bytes,
                                  .stride = matrix->row_bytes,
                                  .ahead =
                                      (ptrdiff_t)(VEC_LANES * matrix->row_bytes + STREAM_AHEAD),
                                  .block_count = matrix->cols / FG_QUANT_BLOCK};
        type->stream(&rows, tile, (int)x->token_count);
        tile->row += VEC_LANES;
    }
    return done;
}

FG_INLINE void panel_matmul(const struct panel_type *type, const struct fg_matrix *matrix,
                            size_t row_first, size_t row_count, const struct fg_activations *x,
                            float *const *out)
{
    struct panel_tile tile = {.offset = type->offset,
                              .row = row_first,
                              .row_end = row_first + row_count,
                              .x_stride = matrix->cols / FG_QUANT_BLOCK};
    size_t done = 0;
    if (x->token_count <= STREAM_TOKENS)
        done = panel_stream(type, matrix, &tile, row_count, x, out);
    for (; done < row_count; done += tile.row_count) {
        tile.row = row_first + done;
        tile.row_count = row_count - done;
        if (tile.row_count > VEC_GROUPS * VEC_LANES)
            tile.row_count = VEC_GROUPS * VEC_LANES;
        panel_rows_multiply(type, matrix, &tile, x, out);
    }
}

#endif
