/*
 * panel_pack.h: rows of each block-quantised type into a panel; see panel.h.
 * Job      scalar/quant_blocks.c says what the bytes mean; here the same for VEC_LANES rows at a
 *          time, with one dword of each row in a vector.
 * Thread   any.
 * Never    reads past the last byte of a row. What is prefetched may lie anywhere.
 */
#ifndef FG_INFERENCE_PANEL_PACK_H
#define FG_INFERENCE_PANEL_PACK_H

#include "inference/kernels/panel/panel.h"

/* Ask for the same bytes of the next panel, once a cache line. */
FG_INLINE void pack_prefetch(const struct panel_rows *rows, size_t from, size_t bytes)
{
    if (from % 64 >= bytes && from != 0)
        return;
    for (size_t r = 0; r < VEC_LANES; r++)
        _mm_prefetch((const char *)((uintptr_t)rows->at[r] + from + (uintptr_t)rows->ahead),
                     _MM_HINT_T1);
}

/* The low or the high nibble of each byte. */
FG_INLINE vec_int pack_nibble(vec_int bytes, int shift)
{
    return vec_and(vec_shift_right(bytes, shift), vec_set_byte(15));
}

/* Bits 4k .. 4k + 3 of each lane as bit 4 of the lane's four bytes. */
FG_INLINE vec_int pack_high_bits(vec_int bits, int k)
{
    vec_int four = vec_and(vec_shift_right(bits, 4 * k), vec_set_int(15));
    /* The product puts bit i at 4 + i + 7 j for j = 0 .. 3; the mask keeps those with i = j. */
    return vec_and(vec_mul(four, vec_set_int(0x02040810)), vec_set_byte(16));
}

FG_INLINE void pack_split_nibbles(const struct panel_rows *rows, size_t from, vec_int q[8])
{
    vec_int bytes[4];
    vec_load_rows(bytes, rows->at, from);
    for (int k = 0; k < 4; k++) {
        q[k] = pack_nibble(bytes[k], 0);
        q[4 + k] = pack_nibble(bytes[k], 4);
    }
}

FG_INLINE void pack_add_fifth_bits(vec_int bits, vec_int q[8])
{
    for (int k = 0; k < 8; k++)
        q[k] = vec_or(q[k], pack_high_bits(bits, k));
}

static void pack_q8_0(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count; b++, to++) {
        size_t from = b * 34;
        pack_prefetch(rows, from, 34);
        vec_load_rows(to->q, rows->at, from + 2);
        vec_load_rows(to->q + 4, rows->at, from + 18);
        for (int k = 0; k < 8; k++)
            to->q[k] = vec_stored_int8(to->q[k]);
        to->scale = vec_load_halves(rows->at, from);
    }
}

static void pack_q4_0(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count; b++, to++) {
        size_t from = b * 18;
        pack_prefetch(rows, from, 18);
        pack_split_nibbles(rows, from + 2, to->q);
        to->scale = vec_load_halves(rows->at, from);
    }
}

static void pack_q4_1(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count; b++, to++) {
        size_t from = b * 20;
        vec_int pair = vec_load_dwords(rows->at, from);
        pack_prefetch(rows, from, 20);
        pack_split_nibbles(rows, from + 4, to->q);
        to->scale = vec_low_halves(pair);
        to->other = vec_negate(vec_low_halves(vec_shift_right(pair, 16)));
    }
}

static void pack_q5_0(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count; b++, to++) {
        size_t from = b * 22;
        pack_prefetch(rows, from, 22);
        pack_split_nibbles(rows, from + 6, to->q);
        pack_add_fifth_bits(vec_load_dwords(rows->at, from + 2), to->q);
        to->scale = vec_load_halves(rows->at, from);
    }
}

static void pack_q5_1(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count; b++, to++) {
        size_t from = b * 24;
        vec_int pair = vec_load_dwords(rows->at, from);
        pack_prefetch(rows, from, 24);
        pack_split_nibbles(rows, from + 8, to->q);
        pack_add_fifth_bits(vec_load_dwords(rows->at, from + 4), to->q);
        to->scale = vec_low_halves(pair);
        to->other = vec_negate(vec_low_halves(vec_shift_right(pair, 16)));
    }
}

/* Byte `index` of each lane as a float. */
FG_INLINE vec_float pack_byte(vec_int lanes, int index)
{
    return vec_to_float(vec_and(vec_shift_right(lanes, 8 * index), vec_set_int(255)));
}

/* The 6-bit scales and mins of the eight parts of a Q4_K or Q5_K block, from its first 16 bytes. */
FG_INLINE void pack_k_scales(const struct panel_rows *rows, size_t from, struct panel_block *to)
{
    vec_int head[4], scales[2], mins[2];
    vec_load_rows(head, rows->at, from);
    vec_float d = vec_low_halves(head[0]), d_min = vec_low_halves(vec_shift_right(head[0], 16));
    scales[0] = vec_and(head[1], vec_set_byte(63));
    mins[0] = vec_and(head[2], vec_set_byte(63));
    scales[1] = vec_or(vec_and(head[3], vec_set_byte(15)),
                       vec_and(vec_shift_right(head[1], 2), vec_set_byte(48)));
    mins[1] =
        vec_or(pack_nibble(head[3], 4), vec_and(vec_shift_right(head[2], 2), vec_set_byte(48)));
    for (int j = 0; j < 8; j++) {
        to[j].scale = vec_multiply(d, pack_byte(scales[j / 4], j % 4));
        to[j].other = vec_multiply(d_min, pack_byte(mins[j / 4], j % 4));
    }
}

/* Parts 2i and 2i + 1 are the nibbles of 32 bytes. */
FG_INLINE void pack_k_nibbles(const struct panel_rows *rows, size_t from, struct panel_block *to)
{
    for (int i = 0; i < 8; i++) {
        vec_int bytes[4];
        vec_load_rows(bytes, rows->at, from + 16 * (size_t)i);
        for (int k = 0; k < 4; k++) {
            to[i / 2 * 2].q[i % 2 * 4 + k] = pack_nibble(bytes[k], 0);
            to[i / 2 * 2 + 1].q[i % 2 * 4 + k] = pack_nibble(bytes[k], 4);
        }
    }
}

/* All lines of a block of 256. */
FG_INLINE void pack_prefetch_k(const struct panel_rows *rows, size_t from, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64)
        pack_prefetch(rows, (from + line) & ~(size_t)63, 64);
}

static void pack_q4_k(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count / 8; b++, to += 8) {
        size_t from = b * 144;
        pack_prefetch_k(rows, from, 144);
        pack_k_scales(rows, from, to);
        pack_k_nibbles(rows, from + 16, to);
    }
}

static void pack_q5_k(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count / 8; b++, to += 8) {
        size_t from = b * 176;
        vec_int high[8];
        pack_prefetch_k(rows, from, 176);
        pack_k_scales(rows, from, to);
        pack_k_nibbles(rows, from + 48, to);
        vec_load_rows(high, rows->at, from + 16);
        vec_load_rows(high + 4, rows->at, from + 32);
        for (int j = 0; j < 8; j++) {
            for (int k = 0; k < 8; k++) {
                vec_int bit = vec_and(vec_shift_right(high[k], j), vec_set_byte(1));
                to[j].q[k] = vec_or(to[j].q[k], vec_shift_left(bit, 4));
            }
        }
    }
}

/* 128 weights: four parts from 64 bytes of low nibbles and 32 bytes of high pairs. */
FG_INLINE void pack_q6_k_half(const struct panel_rows *rows, size_t low_from, size_t high_from,
                              struct panel_block *to)
{
    for (int i = 0; i < 2; i++) { /* 16 bytes of each at a time */
        vec_int near[4], far[4], high[4];
        vec_load_rows(near, rows->at, low_from + 16 * (size_t)i);
        vec_load_rows(far, rows->at, low_from + 32 + 16 * (size_t)i);
        vec_load_rows(high, rows->at, high_from + 16 * (size_t)i);
        for (int k = 0; k < 4; k++) {
            vec_int pairs[4];
            for (int j = 0; j < 4; j++)
                pairs[j] =
                    vec_shift_left(vec_and(vec_shift_right(high[k], 2 * j), vec_set_byte(3)), 4);
            to[0].q[4 * i + k] = vec_or(pack_nibble(near[k], 0), pairs[0]);
            to[1].q[4 * i + k] = vec_or(pack_nibble(far[k], 0), pairs[1]);
            to[2].q[4 * i + k] = vec_or(pack_nibble(near[k], 4), pairs[2]);
            to[3].q[4 * i + k] = vec_or(pack_nibble(far[k], 4), pairs[3]);
        }
    }
}

static void pack_q6_k(const struct panel_rows *rows, struct panel_block *to)
{
    for (size_t b = 0; b < rows->block_count / 8; b++, to += 8) {
        size_t from = b * 210;
        vec_int scales[4];
        pack_prefetch_k(rows, from, 210);
        pack_q6_k_half(rows, from, from + 128, to);
        pack_q6_k_half(rows, from + 64, from + 160, to + 4);
        vec_load_rows(scales, rows->at, from + 192);
        vec_float d = vec_load_halves(rows->at, from + 208);
        for (int j = 0; j < 8; j++) {
            vec_int pair = scales[j / 2];
            vec_int first = vec_shift_right_signed(vec_shift_left(pair, 24 - 16 * (j % 2)), 24);
            vec_int second = vec_shift_right_signed(vec_shift_left(pair, 16 - 16 * (j % 2)), 24);
            to[j].scale = vec_multiply(d, vec_to_float(first));
            to[j].other = vec_multiply(d, vec_to_float(second));
        }
    }
}

#endif
