/*
 * panel_tile.h: a panel times a few tokens, and the walk over panels and tokens; see panel.h.
 * Thread   any.
 */
#ifndef FG_INFERENCE_PANEL_TILE_H
#define FG_INFERENCE_PANEL_TILE_H

#include "inference/kernels/panel/panel_pack.h"

/* One tile: up to VEC_GROUPS panels of rows, up to VEC_TOKENS tokens. */
struct panel_tile {
    const struct panel_block (*panels)[PANEL_BLOCKS]; /* (VEC_GROUPS) */
    size_t block_count;
    int offset;
    bool is_first;               /* of the panels that cover a row: sums start at zero */
    size_t row;                  /* first row, for out */
    size_t row_count;            /* up to VEC_GROUPS * VEC_LANES */
    const struct fg_q8_block *x; /* the first token's first block of the panel */
    size_t x_stride;             /* blocks from a token to the next */
    float *const *out;           /* of the first token */
};

typedef vec_float tile_sums[VEC_GROUPS][VEC_TOKENS];

FG_INLINE size_t tile_lanes(const struct panel_tile *tile, int group)
{
    size_t left = tile->row_count - (size_t)group * VEC_LANES;
    return left < VEC_LANES ? left : VEC_LANES;
}

FG_INLINE float *tile_out(const struct panel_tile *tile, int group, int token)
{
    return tile->out[token] + tile->row + (size_t)group * VEC_LANES;
}

/* `steps` times four columns of block b from step `first` on, for all rows and tokens. */
FG_INLINE void tile_dots(const struct panel_tile *tile, size_t b, int groups, int tokens, int first,
                         int steps, int bits, vec_int dots[VEC_GROUPS][VEC_TOKENS])
{
    const vec_int *q[VEC_GROUPS];
    const int8_t *x[VEC_TOKENS];
    for (int g = 0; g < groups; g++)
        q[g] = tile->panels[g][b].q + first;
    for (int t = 0; t < tokens; t++) {
        const struct fg_q8_block *block = &tile->x[(size_t)t * tile->x_stride + b];
        int32_t sum = steps == 8 ? block->sums[0] + block->sums[1] : block->sums[first / 4];
        vec_int start = vec_set_int(-tile->offset * sum);
        for (int g = 0; g < groups; g++)
            dots[g][t] = start;
        x[t] = block->q + 4 * first;
    }
    vec_dots(q, x, groups, tokens, steps, bits, dots);
}

/* sums += dots * scale (of the rows) * scale (of the token's block) */
FG_INLINE void tile_add(const struct panel_tile *tile, size_t b, int groups, int tokens,
                        bool other_scale, vec_int dots[VEC_GROUPS][VEC_TOKENS], tile_sums sums)
{
    for (int g = 0; g < groups; g++) {
        const struct panel_block *w = &tile->panels[g][b];
        vec_float scale = other_scale ? w->other : w->scale;
        for (int t = 0; t < tokens; t++) {
            vec_float x_scale = vec_set_float(tile->x[(size_t)t * tile->x_stride + b].scale);
            sums[g][t] =
                vec_fma(vec_multiply(vec_to_float(dots[g][t]), scale), x_scale, sums[g][t]);
        }
    }
}

FG_INLINE void tile_take_mins(const struct panel_tile *tile, size_t b, int groups, int tokens,
                              tile_sums sums)
{
    for (int t = 0; t < tokens; t++) {
        vec_float x_sum = vec_set_float(tile->x[(size_t)t * tile->x_stride + b].scaled_sum);
        for (int g = 0; g < groups; g++)
            sums[g][t] = vec_fma_negated(tile->panels[g][b].other, x_sum, sums[g][t]);
    }
}

FG_INLINE void tile_run(const struct panel_tile *tile, int groups, int tokens, enum panel_form form,
                        int bits)
{
    tile_sums sums;
    for (int g = 0; g < groups; g++) {
        for (int t = 0; t < tokens; t++)
            sums[g][t] = tile->is_first ? vec_zero()
                                        : vec_load_part(tile_out(tile, g, t), tile_lanes(tile, g));
    }
    for (size_t b = 0; b < tile->block_count; b++) {
        vec_int dots[VEC_GROUPS][VEC_TOKENS];
        int steps = form == PANEL_HALVES ? 4 : 8;
        tile_dots(tile, b, groups, tokens, 0, steps, bits, dots);
        tile_add(tile, b, groups, tokens, false, dots, sums);
        if (form == PANEL_HALVES) {
            tile_dots(tile, b, groups, tokens, 4, steps, bits, dots);
            tile_add(tile, b, groups, tokens, true, dots, sums);
        } else if (form == PANEL_MIN) {
            tile_take_mins(tile, b, groups, tokens, sums);
        }
    }
    for (int g = 0; g < groups; g++) {
        for (int t = 0; t < tokens; t++)
            vec_store_part(tile_out(tile, g, t), sums[g][t], tile_lanes(tile, g));
    }
}

typedef void (*tile_fn)(const struct panel_tile *tile, int tokens);

/* Constant counts keep the sums in registers: one function for each form, one loop for each size.
 */
#define DEFINE_TILE(name, groups, form, bits)                                                      \
    static void name(const struct panel_tile *tile, int tokens)                                    \
    {                                                                                              \
        switch (tokens) {                                                                          \
        case 1:                                                                                    \
            tile_run(tile, groups, 1, form, bits);                                                 \
            break;                                                                                 \
        case 2:                                                                                    \
            tile_run(tile, groups, 2, form, bits);                                                 \
            break;                                                                                 \
        case 3:                                                                                    \
            tile_run(tile, groups, 3, form, bits);                                                 \
            break;                                                                                 \
        case 4:                                                                                    \
            tile_run(tile, groups, 4, form, bits);                                                 \
            break;                                                                                 \
        case 5:                                                                                    \
            tile_run(tile, groups, VEC_TOKENS < 5 ? 1 : 5, form, bits);                            \
            break;                                                                                 \
        default:                                                                                   \
            tile_run(tile, groups, VEC_TOKENS < 6 ? 1 : 6, form, bits);                            \
            break;                                                                                 \
        }                                                                                          \
    }

/* What there is to know about a type. */
struct panel_type {
    void (*pack)(const struct panel_rows *rows, struct panel_block *to);
    tile_fn tiles[VEC_GROUPS]; /* for 1, 2 .. groups of rows */
    int offset;
};

/* The tokens in tiles of nearly the same size, so that none is left with one token alone. */
static void panel_times_tokens(const struct panel_type *type, struct panel_tile *tile,
                               const struct fg_activations *x, size_t first_block,
                               float *const *out)
{
    size_t tile_count = (x->token_count + VEC_TOKENS - 1) / VEC_TOKENS;
    size_t group_count = (tile->row_count + VEC_LANES - 1) / VEC_LANES;
    for (size_t i = 0, token = 0; i < tile_count; i++) {
        size_t end = (i + 1) * x->token_count / tile_count;
        tile->x = x->blocks + token * tile->x_stride + first_block;
        tile->out = out + token;
        type->tiles[group_count - 1](tile, (int)(end - token));
        token = end;
    }
}

/* Panel after panel along up to VEC_GROUPS * VEC_LANES rows. */
static void panel_rows_multiply(const struct panel_type *type, const struct fg_matrix *matrix,
                                struct panel_tile *tile, const struct fg_activations *x,
                                float *const *out)
{
    struct panel_block panels[VEC_GROUPS][PANEL_BLOCKS];
    size_t block_count = matrix->cols / FG_QUANT_BLOCK;
    size_t panel_bytes = PANEL_BLOCKS * FG_QUANT_BLOCK / fg_weight_block_cols(matrix->type) *
                         fg_weight_block_bytes(matrix->type);
    tile->panels = panels;
    tile->x_stride = block_count;
    /* Once also for rows of no columns, whose products are zero. */
    for (size_t first = 0; first == 0 || first < block_count; first += PANEL_BLOCKS) {
        bool is_last = block_count - first <= PANEL_BLOCKS;
        size_t from = first / PANEL_BLOCKS * panel_bytes;
        struct panel_rows rows = {.block_count = is_last ? block_count - first : PANEL_BLOCKS};
        rows.ahead = is_last ? (ptrdiff_t)(tile->row_count * matrix->row_bytes) - (ptrdiff_t)from
                             : (ptrdiff_t)panel_bytes;
        for (size_t g = 0; g * VEC_LANES < tile->row_count; g++) {
            for (size_t r = 0; r < VEC_LANES; r++) {
                size_t row = g * VEC_LANES + r;
                row = row < tile->row_count ? row : tile->row_count - 1;
                rows.at[r] = matrix->data + (tile->row + row) * matrix->row_bytes + from;
            }
            type->pack(&rows, panels[g]);
        }
        tile->block_count = rows.block_count;
        tile->is_first = first == 0;
        panel_times_tokens(type, tile, x, first, out);
    }
}

FG_INLINE void panel_matmul(const struct panel_type *type, const struct fg_matrix *matrix,
                            size_t row_first, size_t row_count, const struct fg_activations *x,
                            float *const *out)
{
    struct panel_tile tile = {.offset = type->offset};
    for (size_t done = 0; done < row_count; done += tile.row_count) {
        tile.row = row_first + done;
        tile.row_count = row_count - done;
        if (tile.row_count > VEC_GROUPS * VEC_LANES)
            tile.row_count = VEC_GROUPS * VEC_LANES;
        panel_rows_multiply(type, matrix, &tile, x, out);
    }
}

#endif
