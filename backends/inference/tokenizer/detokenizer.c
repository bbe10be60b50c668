/*
 * detokenizer.c: tokens back to text that can be sent at once: whole UTF-8 sequences only.
 * Thread   a detokenizer belongs to one stream; the tokenizer is shared.
 * Source   what cannot be decoded becomes U+FFFD once per maximal subpart (Unicode Standard 3.9).
 *
 *    held: the start of a sequence that the next token may complete, 0 to 3 bytes
 */
#include "inference/tokenizer/tokenizer.h"
#include "inference/model/utf8.h"

#include <assert.h>

#define REPLACEMENT "\xef\xbf\xbd"
#define REPLACEMENT_BYTES ((size_t)3)

static size_t write_bytes(char *text, size_t at, const void *bytes, size_t count)
{
    memcpy(text + at, bytes, count);
    return at + count;
}

/* Adds one byte to what is held; writes what became whole or hopeless at `at`. */
static size_t push_byte(struct fg_detokenizer *detok, unsigned char byte, char *text, size_t at)
{
    if (detok->held_count > 0 && !fg_utf8_continues(detok->held[0], detok->held_count, byte)) {
        at = write_bytes(text, at, REPLACEMENT, REPLACEMENT_BYTES);
        detok->held_count = 0;
    }
    if (detok->held_count == 0 && fg_utf8_length(byte) == 0)
        return write_bytes(text, at, REPLACEMENT, REPLACEMENT_BYTES);
    detok->held[detok->held_count++] = byte;
    if (detok->held_count == fg_utf8_length(detok->held[0])) {
        at = write_bytes(text, at, detok->held, detok->held_count);
        detok->held_count = 0;
    }
    return at;
}

size_t fg_detokenizer_push(struct fg_detokenizer *detok, const struct fg_tokenizer *tokenizer,
                           uint32_t id, char *text, size_t text_bytes)
{
    struct fg_span bytes = fg_tokenizer_bytes(tokenizer, id);
    size_t at = 0;
    assert(text_bytes >= REPLACEMENT_BYTES * (bytes.len + detok->held_count));
    for (size_t i = 0; i < bytes.len; i++)
        at = push_byte(detok, (unsigned char)bytes.data[i], text, at);
    return at;
}

size_t fg_detokenizer_finish(struct fg_detokenizer *detok, char *text, size_t text_bytes)
{
    if (detok->held_count == 0)
        return 0;
    assert(text_bytes >= REPLACEMENT_BYTES);
    detok->held_count = 0;
    return write_bytes(text, 0, REPLACEMENT, REPLACEMENT_BYTES);
}
