/*
 * quant_blocks.c: one reader for each block-quantised type; see quant_blocks.h.
 * Thread   any; pure.
 *
 *    Q8_0  d | 32 int8                                 q
 *    Q4_0  d | 16 bytes                                nibble - 8
 *    Q4_1  d m | 16 bytes                              nibble, min -m
 *    Q5_0  d | 32 high bits | 16 bytes                 nibble + 16 high - 16
 *    Q5_1  d m | 32 high bits | 16 bytes               nibble + 16 high, min -m
 *    Q4_K  d dmin | 12 bytes of scales | 128 bytes     256 weights in 8 parts of 32
 *    Q5_K  d dmin | 12 bytes of scales | 32 bytes of high bits | 128 bytes
 *    Q6_K  128 bytes of low halves | 64 bytes of high pairs | 16 int8 scales | d
 *
 * d, m and dmin are F16. In the types of 32, byte i holds weights i (low nibble) and i + 16 (high).
 */
#include "quant_blocks.h"

#include <assert.h>
#include <string.h>

#include "float16.h"

static float half_at(const unsigned char *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof(half));
    return fg_f16_to_f32(half);
}

static unsigned nibble_at(const unsigned char *bytes, size_t i)
{
    return i < 16 ? bytes[i] & 15u : (unsigned)bytes[i - 16] >> 4;
}

static unsigned bit_at(const unsigned char *bits, size_t i)
{
    return ((unsigned)bits[i / 8] >> (i % 8)) & 1u;
}

static void read_q8_0(const unsigned char *block, struct fg_quant_part *part)
{
    memcpy(part->q, block + 2, FG_QUANT_BLOCK);
}

static void read_nibbles(const unsigned char *bytes, int offset, struct fg_quant_part *part)
{
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++)
        part->q[i] = (int8_t)((int)nibble_at(bytes, i) - offset);
}

static void read_five_bits(const unsigned char *bits, int offset, struct fg_quant_part *part)
{
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++)
        part->q[i] = (int8_t)((int)(nibble_at(bits + 4, i) | bit_at(bits, i) << 4) - offset);
}

/* The 6-bit scale and min of part j in the 12 bytes of Q4_K and Q5_K. */
static void read_k_scale(const unsigned char *block, size_t j, struct fg_quant_part *part)
{
    const unsigned char *packed = block + 4;
    unsigned scale, min;
    if (j < 4) {
        scale = packed[j] & 63u;
        min = packed[j + 4] & 63u;
    } else {
        scale = (packed[j + 4] & 15u) | ((unsigned)packed[j - 4] >> 6) << 4;
        min = (unsigned)packed[j + 4] >> 4 | ((unsigned)packed[j] >> 6) << 4;
    }
    part->scale[0] = half_at(block) * (float)scale;
    part->min = half_at(block + 2) * (float)min;
}

/* Parts 2i and 2i + 1 are the low and the high nibbles of the same 32 bytes. */
static void read_k_nibbles(const unsigned char *bytes, size_t j, struct fg_quant_part *part)
{
    const unsigned char *from = bytes + 32 * (j / 2);
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++)
        part->q[i] = (int8_t)(j % 2 == 0 ? from[i] & 15u : (unsigned)from[i] >> 4);
}

static void read_q5_k(const unsigned char *block, size_t j, struct fg_quant_part *part)
{
    const unsigned char *high = block + 16;
    read_k_nibbles(block + 48, j, part);
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++)
        part->q[i] = (int8_t)(part->q[i] | ((high[i] >> j) & 1) << 4);
}

static void read_q6_k(const unsigned char *block, size_t j, struct fg_quant_part *part)
{
    const unsigned char *low = block + 64 * (j / 4) + 32 * (j % 2);
    const unsigned char *high = block + 128 + 32 * (j / 4);
    const unsigned char *scales = block + 192 + 2 * j;
    for (size_t i = 0; i < FG_QUANT_BLOCK; i++) {
        unsigned nibble = j % 4 < 2 ? low[i] & 15u : (unsigned)low[i] >> 4;
        unsigned pair = ((unsigned)high[i] >> (2 * (j % 4))) & 3u;
        part->q[i] = (int8_t)((int)(nibble | pair << 4) - 32);
    }
    for (size_t h = 0; h < 2; h++)
        part->scale[h] = half_at(block + 208) * (float)(int8_t)scales[h];
}

void fg_quant_part_read(enum fg_weight_type type, const unsigned char *row, size_t index,
                        struct fg_quant_part *part)
{
    assert(fg_weight_wants_q8(type));
    size_t parts = fg_weight_block_cols(type) / FG_QUANT_BLOCK, j = index % parts;
    const unsigned char *block = row + index / parts * fg_weight_block_bytes(type);
    part->scale[0] = half_at(block);
    part->min = 0;
    if (type == FG_WEIGHT_Q4_1 || type == FG_WEIGHT_Q5_1)
        part->min = -half_at(block + 2);
    if (type == FG_WEIGHT_Q4_K || type == FG_WEIGHT_Q5_K)
        read_k_scale(block, j, part);
    part->scale[1] = part->scale[0];
    switch (type) {
    case FG_WEIGHT_Q8_0:
        read_q8_0(block, part);
        break;
    case FG_WEIGHT_Q4_0:
        read_nibbles(block + 2, 8, part);
        break;
    case FG_WEIGHT_Q4_1:
        read_nibbles(block + 4, 0, part);
        break;
    case FG_WEIGHT_Q5_0:
        read_five_bits(block + 2, 16, part);
        break;
    case FG_WEIGHT_Q5_1:
        read_five_bits(block + 4, 0, part);
        break;
    case FG_WEIGHT_Q4_K:
        read_k_nibbles(block + 16, j, part);
        break;
    case FG_WEIGHT_Q5_K:
        read_q5_k(block, j, part);
        break;
    case FG_WEIGHT_Q6_K:
        read_q6_k(block, j, part);
        break;
    default: /* the types whose block is one weight */
        break;
    }
}
