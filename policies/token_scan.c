/*
 * token_scan.c: what a request to a language model will cost in tokens, guessed before it is read.
 * Job      the three members of the request (OpenAI's names) that say how much is asked for, from
 *          the body as it passes, in pieces of any size.
 * Thread   one owner at a time. Memory: the struct; nothing of the body is kept.
 * Never    parses: what is not understood counts as not said, and whoever serves the request reads
 *          it for himself.
 * Law      tokens = bytes / 4, rounded up, + choices x answer. Four bytes are what a token of
 *          English has in the mean, and one to one and a half characters of Chinese; punctuation of
 *          JSON and pictures make it more than it is.
 *
 *    depth 1:  "key" : number    max_tokens, max_completion_tokens (the larger one), n
 *    deeper:   nothing counts, and strings are skipped whole
 */
#include "policies/token_scan.h"

#include "policies/wide_math.h"

#include <string.h>

#define BYTES_PER_TOKEN 4
#define NUMBER_MAX UINT64_C(1000000000) /* nobody gets more, whatever he asks for */

static enum fg_token_scan_member member_of(const struct fg_token_scan *scan)
{
    static const struct {
        const char *key;
        enum fg_token_scan_member member;
    } members[] = {{"max_tokens", FG_TOKEN_SCAN_ANSWER},
                   {"max_completion_tokens", FG_TOKEN_SCAN_ANSWER},
                   {"n", FG_TOKEN_SCAN_CHOICES}};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (scan->key_len == strlen(members[i].key) &&
            memcmp(scan->key, members[i].key, scan->key_len) == 0)
            return members[i].member;
    }
    return FG_TOKEN_SCAN_NONE;
}

static void in_string(struct fg_token_scan *scan, char c)
{
    if (!scan->is_escaped && c == '"') {
        scan->is_in_string = false;
        return;
    }
    scan->is_escaped = !scan->is_escaped && c == '\\';
    if (scan->depth == 1 && scan->key_len < FG_TOKEN_SCAN_KEY_MAX)
        scan->key[scan->key_len++] = c;
}

/* Part of the number that is read, or a blank before it; false: it is over. */
static bool takes(struct fg_token_scan *scan, char c)
{
    if (c < '0' || c > '9')
        return scan->number == 0 && (c == ' ' || c == '\t' || c == '\r' || c == '\n');
    uint64_t *member = scan->member == FG_TOKEN_SCAN_ANSWER ? &scan->answer : &scan->choices;
    uint64_t number = scan->number * 10 + (uint64_t)(c - '0');
    scan->number = number < NUMBER_MAX ? number : NUMBER_MAX;
    if (scan->number > *member)
        *member = scan->number;
    return true;
}

static void between(struct fg_token_scan *scan, char c)
{
    if (scan->member != FG_TOKEN_SCAN_NONE && takes(scan, c))
        return;
    scan->member = FG_TOKEN_SCAN_NONE;
    switch (c) {
    case '"':
        scan->is_in_string = true;
        scan->key_len = 0;
        break;
    case '{':
    case '[':
        scan->depth++;
        break;
    case '}':
    case ']':
        scan->depth -= scan->depth > 0;
        break;
    case ':':
        scan->member = scan->depth == 1 ? member_of(scan) : FG_TOKEN_SCAN_NONE;
        scan->number = 0;
        break;
    default:
        break;
    }
}

void fg_token_scan_feed(struct fg_token_scan *scan, const char *data, size_t len)
{
    scan->body_bytes = fg_add_saturating(scan->body_bytes, len);
    for (size_t i = 0; i < len; i++) {
        if (scan->is_in_string)
            in_string(scan, data[i]);
        else
            between(scan, data[i]);
    }
}

uint64_t fg_token_scan_estimate(const struct fg_token_scan *scan, uint64_t declared_bytes,
                                uint64_t answer_default)
{
    uint64_t bytes = declared_bytes > scan->body_bytes ? declared_bytes : scan->body_bytes;
    uint64_t prompt = bytes / BYTES_PER_TOKEN + (bytes % BYTES_PER_TOKEN != 0);
    uint64_t answer = scan->answer == 0 ? answer_default : scan->answer;
    uint64_t choices = scan->choices == 0 ? 1 : scan->choices;
    return fg_add_saturating(prompt, fg_multiply_divide(answer, choices, 1));
}
