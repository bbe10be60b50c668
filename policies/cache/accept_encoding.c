/*
 * accept_encoding.c: which form of a stored body a client gets.
 * Job      read weights, choose among the forms that are there.
 * Thread   any; pure functions.
 * Never    allocates or reads beyond `len`; nothing in the text can make it fail.
 * Source   RFC 9110 sections 12.5.3 and 12.4.2 (weights); RFC 8878 (zstd); RFC 7932 (br).
 */
#include "policies/cache/accept_encoding.h"

#include "policies/ascii.h"

#include <stdbool.h>
#include <string.h>

#define PERMILLE_MAX 1000
#define UNLISTED UINT16_MAX

static const char *const names[FG_CODING_COUNT] = {
    [FG_CODING_IDENTITY] = "identity",
    [FG_CODING_GZIP] = "gzip",
    [FG_CODING_ZSTD] = "zstd",
    [FG_CODING_BR] = "br",
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_name(const char *text, size_t len, const char *name)
{
    return strlen(name) == len && fg_ascii_equal(text, name, len);
}

/* "0", "0.5", "1.000"; what is malformed counts as 0: better plain than unreadable. */
static uint16_t read_weight(const char *text, size_t len)
{
    if (len == 0 || len > 5 || (text[0] != '0' && text[0] != '1') || (len > 1 && text[1] != '.'))
        return 0;
    unsigned permille = text[0] == '1' ? PERMILLE_MAX : 0;
    unsigned step = 100;
    for (size_t i = 2; i < len; i++, step /= 10) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        permille += (unsigned)(text[i] - '0') * step;
    }
    return permille > PERMILLE_MAX ? 0 : (uint16_t)permille;
}

/* The weight among the parameters in [at, end), "; q=0.5"; 1000 without one. */
static uint16_t weight_of(const char *at, const char *end)
{
    while (at != end) {
        if (*at == ';' || is_blank(*at)) {
            at++;
            continue;
        }
        const char *stop = at;
        while (stop != end && *stop != ';')
            stop++;
        const char *trimmed = stop;
        while (trimmed != at && is_blank(trimmed[-1]))
            trimmed--;
        if (trimmed - at >= 2 && (at[0] == 'q' || at[0] == 'Q') && at[1] == '=')
            return read_weight(at + 2, (size_t)(trimmed - at) - 2);
        at = stop;
    }
    return PERMILLE_MAX;
}

static void apply(struct fg_accept_encoding *accept, const char *at, const char *end)
{
    while (at != end && is_blank(*at))
        at++;
    const char *stop = at;
    while (stop != end && *stop != ';' && !is_blank(*stop))
        stop++;
    size_t len = (size_t)(stop - at);
    if (len == 0)
        return;
    uint16_t weight = weight_of(stop, end);
    if (len == 1 && *at == '*')
        accept->star = weight;
    for (unsigned i = 0; i < FG_CODING_COUNT; i++) {
        if (is_name(at, len, names[i]))
            accept->listed[i] = weight;
    }
    if (is_name(at, len, "x-gzip"))
        accept->listed[FG_CODING_GZIP] = weight;
}

void fg_accept_encoding_init(struct fg_accept_encoding *accept)
{
    *accept = (struct fg_accept_encoding){
        .permille = {[FG_CODING_IDENTITY] = PERMILLE_MAX},
        .listed = {UNLISTED, UNLISTED, UNLISTED, UNLISTED},
        .star = UNLISTED,
    };
}

void fg_accept_encoding_parse(struct fg_accept_encoding *accept, const char *text, size_t len)
{
    const char *at = text;
    const char *end = len == 0 ? text : text + len;
    while (at != end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma == NULL ? end : comma;
        apply(accept, at, stop);
        at = comma == NULL ? end : comma + 1;
    }
    for (unsigned i = 0; i < FG_CODING_COUNT; i++) {
        /* The plain form is acceptable unless refused by name or by star; least of all, though. */
        uint16_t unlisted = i != FG_CODING_IDENTITY ? 0 : 1;
        if (accept->listed[i] != UNLISTED)
            accept->permille[i] = accept->listed[i];
        else if (accept->star != UNLISTED)
            accept->permille[i] = accept->star;
        else
            accept->permille[i] = unlisted;
    }
}

enum fg_coding fg_accept_encoding_choose(const struct fg_accept_encoding *accept,
                                         unsigned available)
{
    unsigned best = FG_CODING_IDENTITY;
    for (unsigned i = FG_CODING_IDENTITY + 1; i < FG_CODING_COUNT; i++) {
        if ((available & 1u << i) != 0 && accept->permille[i] > 0 &&
            accept->permille[i] >= accept->permille[best])
            best = i;
    }
    return (enum fg_coding)best;
}

const char *fg_coding_name(enum fg_coding coding)
{
    return names[coding];
}
