/*
 * token_scan.h: what a request to a language model will cost in tokens, guessed before it is read.
 * Thread   one owner at a time. Zeroed is a scan of nothing yet.
 */
#ifndef FG_POLICIES_TOKEN_SCAN_H
#define FG_POLICIES_TOKEN_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_TOKEN_SCAN_KEY_MAX 24

/* What is looked for. */
enum fg_token_scan_member {
    FG_TOKEN_SCAN_NONE,
    FG_TOKEN_SCAN_ANSWER,
    FG_TOKEN_SCAN_CHOICES,
};

struct fg_token_scan {
    uint64_t body_bytes; /* seen so far */
    uint64_t answer;     /* tokens asked for; 0: not said, or not seen yet */
    uint64_t choices;    /* answers asked for; 0: not said */
    /* where the scan is */
    uint32_t depth; /* of open braces and brackets */
    bool is_in_string;
    bool is_escaped;
    uint8_t key_len; /* of the string at depth 1 that was read last; KEY_MAX: too long for a key */
    char key[FG_TOKEN_SCAN_KEY_MAX];
    enum fg_token_scan_member member; /* whose number comes here */
    uint64_t number;                  /* as much of it as was seen */
};

/* The next piece of a body. What is no JSON object says nothing. Linear time. */
void fg_token_scan_feed(struct fg_token_scan *scan, const char *data, size_t len);

/*
 * Tokens of prompt and answer together. `declared_bytes`: length of the whole body where it is
 * known, else 0; `answer_default`: length of an answer to a request that does not say. Saturates.
 */
uint64_t fg_token_scan_estimate(const struct fg_token_scan *scan, uint64_t declared_bytes,
                                uint64_t answer_default);

#endif
