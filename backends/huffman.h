/*
 * huffman.h: strings in HPACK's Huffman code.
 * Thread   any; a pure function.
 * Source   RFC 7541 section 5.2 and appendix B.
 */
#ifndef FG_HUFFMAN_H
#define FG_HUFFMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No string of `len` bytes is longer when it is read: the shortest codes have five bits. */
static inline size_t fg_huffman_bound(size_t len)
{
    return len * 8 / 5;
}

/*
 * Reads `len` bytes into `to`, where fg_huffman_bound(len) have room. False for what no encoder
 * writes: a string's end that is not filled up with less than eight ones, or the code for the end.
 */
bool fg_huffman_read(const uint8_t *from, size_t len, char *to, size_t *read_len);

#endif
