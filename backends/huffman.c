/*
 * huffman.c: a table for codes of up to eight bits, which texts are made of; a search by length for
 * the others.
 *
 * The code is a canonical one: its codes, in the order of their numbers, get longer, and those of
 * one length follow each other. So a length, the first code of it and a list of characters are all
 * that has to be known.
 *
 *    waiting:  [ the next bits, from the top | zeros ]
 */
#include "backends/huffman.h"

#define SHORT_BITS 8u
#define END_BITS 30u /* the longest; the last of this length stands for the end */

/* By the next eight bits: the character and, in the lower four bits, the length; 0: a longer. */
static const uint16_t short_codes[1u << SHORT_BITS] = {
    0x305, 0x305, 0x305, 0x305, 0x305, 0x305, 0x305, 0x305, 0x315, 0x315, 0x315, 0x315, 0x315,
    0x315, 0x315, 0x315, 0x325, 0x325, 0x325, 0x325, 0x325, 0x325, 0x325, 0x325, 0x615, 0x615,
    0x615, 0x615, 0x615, 0x615, 0x615, 0x615, 0x635, 0x635, 0x635, 0x635, 0x635, 0x635, 0x635,
    0x635, 0x655, 0x655, 0x655, 0x655, 0x655, 0x655, 0x655, 0x655, 0x695, 0x695, 0x695, 0x695,
    0x695, 0x695, 0x695, 0x695, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x6f5, 0x735,
    0x735, 0x735, 0x735, 0x735, 0x735, 0x735, 0x735, 0x745, 0x745, 0x745, 0x745, 0x745, 0x745,
    0x745, 0x745, 0x206, 0x206, 0x206, 0x206, 0x256, 0x256, 0x256, 0x256, 0x2d6, 0x2d6, 0x2d6,
    0x2d6, 0x2e6, 0x2e6, 0x2e6, 0x2e6, 0x2f6, 0x2f6, 0x2f6, 0x2f6, 0x336, 0x336, 0x336, 0x336,
    0x346, 0x346, 0x346, 0x346, 0x356, 0x356, 0x356, 0x356, 0x366, 0x366, 0x366, 0x366, 0x376,
    0x376, 0x376, 0x376, 0x386, 0x386, 0x386, 0x386, 0x396, 0x396, 0x396, 0x396, 0x3d6, 0x3d6,
    0x3d6, 0x3d6, 0x416, 0x416, 0x416, 0x416, 0x5f6, 0x5f6, 0x5f6, 0x5f6, 0x626, 0x626, 0x626,
    0x626, 0x646, 0x646, 0x646, 0x646, 0x666, 0x666, 0x666, 0x666, 0x676, 0x676, 0x676, 0x676,
    0x686, 0x686, 0x686, 0x686, 0x6c6, 0x6c6, 0x6c6, 0x6c6, 0x6d6, 0x6d6, 0x6d6, 0x6d6, 0x6e6,
    0x6e6, 0x6e6, 0x6e6, 0x706, 0x706, 0x706, 0x706, 0x726, 0x726, 0x726, 0x726, 0x756, 0x756,
    0x756, 0x756, 0x3a7, 0x3a7, 0x427, 0x427, 0x437, 0x437, 0x447, 0x447, 0x457, 0x457, 0x467,
    0x467, 0x477, 0x477, 0x487, 0x487, 0x497, 0x497, 0x4a7, 0x4a7, 0x4b7, 0x4b7, 0x4c7, 0x4c7,
    0x4d7, 0x4d7, 0x4e7, 0x4e7, 0x4f7, 0x4f7, 0x507, 0x507, 0x517, 0x517, 0x527, 0x527, 0x537,
    0x537, 0x547, 0x547, 0x557, 0x557, 0x567, 0x567, 0x577, 0x577, 0x597, 0x597, 0x6a7, 0x6a7,
    0x6b7, 0x6b7, 0x717, 0x717, 0x767, 0x767, 0x777, 0x777, 0x787, 0x787, 0x797, 0x797, 0x7a7,
    0x7a7, 0x268, 0x2a8, 0x2c8, 0x3b8, 0x588, 0x5a8, 0,     0,
};

/* Those of longer codes, in the order of these. */
static const uint8_t long_characters[] = {
    33,  34,  40,  41,  63,  39,  43,  124, 35,  62,  0,   36,  64,  91,  93,  126, 94,  125, 60,
    96,  123, 92,  195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177,
    179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169,
    170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,   135, 137, 138, 139,
    140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183,
    188, 191, 197, 231, 239, 9,   142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207,
    234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203, 204,
    211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254, 2,   3,
    4,   5,   6,   7,   8,   11,  12,  14,  15,  16,  17,  18,  19,  20,  21,  23,  24,  25,  26,
    27,  28,  29,  30,  31,  127, 220, 249, 10,  13,  22,
};

/* Codes from here to the next entry's are of this length. */
struct code_length {
    uint32_t first; /* at the top of a word */
    uint8_t bits;
    uint8_t at; /* in long_characters */
};

static const struct code_length lengths[] = {
    {0xfe000000u, 10, 0},   {0xff400000u, 11, 5},   {0xffa00000u, 12, 8},   {0xffc00000u, 13, 10},
    {0xfff00000u, 14, 16},  {0xfff80000u, 15, 18},  {0xfffe0000u, 19, 21},  {0xfffe6000u, 20, 24},
    {0xfffee000u, 21, 32},  {0xffff4800u, 22, 45},  {0xffffb000u, 23, 71},  {0xffffea00u, 24, 100},
    {0xfffff600u, 25, 112}, {0xfffff800u, 26, 116}, {0xfffffbc0u, 27, 131}, {0xfffffe20u, 28, 150},
    {0xfffffff0u, 30, 179},
};

#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

/*
 * As many bytes as are there and fit. Where eight are there, the part of one more that fits is put
 * there too, though it does not count yet: it comes again, and is the same.
 */
static inline const uint8_t *refill(uint64_t *waiting, unsigned *bits, const uint8_t *at,
                                    const uint8_t *end)
{
    if (end - at >= 8) {
        uint64_t next = (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 |
                        (uint64_t)at[3] << 32 | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 |
                        (uint64_t)at[6] << 8 | at[7];
        unsigned taken = (63 - *bits) / 8;
        *waiting |= next >> *bits;
        *bits += 8 * taken;
        return at + taken;
    }
    while (*bits <= 56 && at < end) {
        *waiting |= (uint64_t)*at++ << (56 - *bits);
        *bits += 8;
    }
    return at;
}

/* A code that is not a short one; NULL: it is not there as a whole, or is the end's. */
static const struct code_length *find_long(uint32_t next, unsigned bits, char *character)
{
    size_t i = LENGTHS - 1;
    while (i > 0 && next < lengths[i].first)
        i--;
    const struct code_length *length = &lengths[i];
    size_t at = length->at + ((next - length->first) >> (32 - length->bits));
    if (length->bits > bits || at >= sizeof(long_characters))
        return NULL;
    *character = (char)long_characters[at];
    return length;
}

bool fg_huffman_read(const uint8_t *from, size_t len, char *to, size_t *read_len)
{
    const uint8_t *end = from + len;
    char *start = to;
    uint64_t waiting = 0;
    unsigned bits = 0;
    for (;;) {
        if (bits < END_BITS)
            from = refill(&waiting, &bits, from, end);
        unsigned code, used;
        while ((code = short_codes[waiting >> (64 - SHORT_BITS)]) != 0 &&
               (used = code & 15u) <= bits) {
            *to++ = (char)(code >> 4);
            waiting <<= used;
            bits -= used;
        }
        if (from < end && bits < END_BITS)
            continue;
        const struct code_length *length =
            code != 0 ? NULL : find_long((uint32_t)(waiting >> 32), bits, to);
        if (length == NULL)
            break;
        to++;
        waiting <<= length->bits;
        bits -= length->bits;
    }
    *read_len = (size_t)(to - start);
    return bits < 8 && waiting == ~(UINT64_MAX >> bits);
}
