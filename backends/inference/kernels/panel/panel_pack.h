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

/* The low or the high nibble of each byte. */
FG_INLINE vec_int pack_nibble(vec_int bytes, int shift)
{
    return vec_and(vec_shift_right(bytes, shift), vec_set_byte(15));
}

FG_INLINE void pack_split_nibbles(const unsigned char *at, size_t stride, vec_int q[8])
{
    vec_int bytes[4];
    vec_load_rows(bytes, at, stride);
    for (int k = 0; k < 4; k++) {
        q[k] = pack_nibble(bytes[k], 0);
        q[4 + k] = pack_nibble(bytes[k], 4);
    }
}

/*
 * Each pack_TYPE takes one block of the type of each row, the first of which is at `at`, and makes
 * one part of 32 columns of it, or eight.
 */

FG_INLINE void pack_q8_0(const unsigned char *at, size_t stride, struct panel_block *to)
{
    vec_int q[8];
    vec_load_rows(q, at + 2, stride);
    vec_load_rows(q + 4, at + 18, stride);
    for (int k = 0; k < 8; k++)
        to->q[k] = vec_stored_int8(q[k]);
    to->scale = vec_load_halves(at, stride);
}

FG_INLINE void pack_q4_0(const unsigned char *at, size_t stride, struct panel_block *to)
{
    pack_split_nibbles(at + 2, stride, to->q);
    to->scale = vec_load_halves(at, stride);
}

/* The scale and the min of the types that start with both. */
FG_INLINE void pack_scale_and_min(const unsigned char *at, size_t stride, struct panel_block *to)
{
    vec_int pair = vec_load_dwords(at, stride);
    to->scale = vec_low_halves(pair);
    to->other = vec_negate(vec_low_halves(vec_shift_right(pair, 16)));
}

FG_INLINE void pack_q4_1(const unsigned char *at, size_t stride, struct panel_block *to)
{
    pack_split_nibbles(at + 4, stride, to->q);
    pack_scale_and_min(at, stride, to);
}

FG_INLINE void pack_five_bits(const unsigned char *at, size_t stride, vec_int q[8])
{
    vec_int bits = vec_load_dwords(at, stride);
    pack_split_nibbles(at + 4, stride, q);
    for (int k = 0; k < 8; k++)
        q[k] = vec_or_fifth_bits(q[k], bits, k);
}

FG_INLINE void pack_q5_0(const unsigned char *at, size_t stride, struct panel_block *to)
{
    pack_five_bits(at + 2, stride, to->q);
    to->scale = vec_load_halves(at, stride);
}

FG_INLINE void pack_q5_1(const unsigned char *at, size_t stride, struct panel_block *to)
{
    pack_five_bits(at + 4, stride, to->q);
    pack_scale_and_min(at, stride, to);
}

/* Byte `index` of each lane as a float. */
FG_INLINE vec_float pack_byte(vec_int lanes, int index)
{
    return vec_to_float(vec_and(vec_shift_right(lanes, 8 * index), vec_set_int(255)));
}

/* The 6-bit scales and mins of the eight parts of a Q4_K or Q5_K block, from its first 16 bytes. */
FG_INLINE void pack_k_scales(const unsigned char *at, size_t stride, struct panel_block *to)
{
    vec_int head[4], scales[2], mins[2];
    vec_load_rows(head, at, stride);
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
FG_INLINE void pack_k_nibbles(const unsigned char *at, size_t stride, struct panel_block *to)
{
    for (int i = 0; i < 8; i++) {
        vec_int bytes[4];
        vec_load_rows(bytes, at + 16 * i, stride);
        for (int k = 0; k < 4; k++) {
            to[i / 2 * 2].q[i % 2 * 4 + k] = pack_nibble(bytes[k], 0);
            to[i / 2 * 2 + 1].q[i % 2 * 4 + k] = pack_nibble(bytes[k], 4);
        }
    }
}

FG_INLINE void pack_q4_k(const unsigned char *at, size_t stride, struct panel_block *to)
{
    pack_k_scales(at, stride, to);
    pack_k_nibbles(at + 16, stride, to);
}

FG_INLINE void pack_q5_k(const unsigned char *at, size_t stride, struct panel_block *to)
{
    vec_int high[8];
    pack_k_scales(at, stride, to);
    pack_k_nibbles(at + 48, stride, to);
    vec_load_rows(high, at + 16, stride);
    vec_load_rows(high + 4, at + 32, stride);
    for (int j = 0; j < 8; j++) {
        for (int k = 0; k < 8; k++) {
            vec_int bit = vec_and(vec_shift_right(high[k], j), vec_set_byte(1));
            to[j].q[k] = vec_or(to[j].q[k], vec_shift_left(bit, 4));
        }
    }
}

/* 128 weights: four parts from 64 bytes of low nibbles and 32 bytes of high pairs. */
FG_INLINE void pack_q6_k_half(const unsigned char *low_at, const unsigned char *high_at,
                              size_t stride, struct panel_block *to)
{
    for (int i = 0; i < 2; i++) { /* 16 bytes of each at a time */
        vec_int near[4], far[4], high[4];
        vec_load_rows(near, low_at + 16 * i, stride);
        vec_load_rows(far, low_at + 32 + 16 * i, stride);
        vec_load_rows(high, high_at + 16 * i, stride);
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

FG_INLINE void pack_q6_k(const unsigned char *at, size_t stride, struct panel_block *to)
{
    vec_int scales[4];
    pack_q6_k_half(at, at + 128, stride, to);
    pack_q6_k_half(at + 64, at + 160, stride, to + 4);
    vec_load_rows(scales, at + 192, stride);
    vec_float d = vec_load_halves(at + 208, stride);
    for (int j = 0; j < 8; j++) {
        vec_int pair = scales[j / 2];
        vec_int first = vec_shift_right_signed(vec_shift_left(pair, 24 - 16 * (j % 2)), 24);
        vec_int second = vec_shift_right_signed(vec_shift_left(pair, 16 - 16 * (j % 2)), 24);
        to[j].scale = vec_multiply(d, vec_to_float(first));
        to[j].other = vec_multiply(d, vec_to_float(second));
    }
}

#endif
