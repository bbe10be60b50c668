/*
 * base64url.c: see base64url.h.
 */
#include "base64url.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t fg_base64url_encode(char *out, const unsigned char *data, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i += 3) {
        unsigned a = data[i];
        unsigned b = i + 1 < len ? data[i + 1] : 0u;
        unsigned c = i + 2 < len ? data[i + 2] : 0u;
        out[at++] = digits[a >> 2];
        out[at++] = digits[(a & 3) << 4 | b >> 4];
        if (i + 1 < len)
            out[at++] = digits[(b & 15) << 2 | c >> 6];
        if (i + 2 < len)
            out[at++] = digits[c & 63];
    }
    return at;
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool fg_base64url_decode(unsigned char *out, size_t room, struct fg_span text, size_t *len)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t at = 0;
    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit_value(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            if (at == room)
                return false;
            out[at++] = (unsigned char)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    *len = at;
    return bits == 0;
}
