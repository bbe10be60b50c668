/*
 * special_tokens.c: a trie over the bytes of special tokens, walked from every byte that can start
 * one. A walk is never longer than the longest token, so that the search is linear.
 * Thread   the start-up thread builds; after that any thread reads.
 * Memory   a node a byte of distinct prefixes.
 *
 * Leftmost, then longest, as Hugging Face's added tokens. Their lstrip and rstrip flags are not in
 * GGUF files and not known here.
 */
#include "inference/tokenizer/special_tokens.h"

#include <stdlib.h>

#define NODES_MAX (UINT32_C(1) << 24)

struct fg_special_node {
    uint32_t first_child; /* 0: none */
    uint32_t next_sibling;
    uint32_t id; /* of the token that ends here, or FG_TOKEN_NONE */
    unsigned char byte;
    bool is_control;
};

/* A new node, or 0 when memory or the limit is used up. */
static uint32_t add_node(struct fg_special_tokens *specials, unsigned char byte)
{
    if (specials->node_count == specials->node_capacity) {
        uint32_t capacity = specials->node_capacity == 0 ? 256 : 2 * specials->node_capacity;
        if (capacity > NODES_MAX)
            return 0;
        struct fg_special_node *nodes = realloc(specials->nodes, capacity * sizeof(*nodes));
        if (nodes == NULL)
            return 0;
        specials->nodes = nodes;
        specials->node_capacity = capacity;
    }
    specials->nodes[specials->node_count] =
        (struct fg_special_node){.id = FG_TOKEN_NONE, .byte = byte};
    return specials->node_count++;
}

static uint32_t find_child(const struct fg_special_tokens *specials, uint32_t node,
                           unsigned char byte)
{
    uint32_t child = specials->nodes[node].first_child;
    while (child != 0 && specials->nodes[child].byte != byte)
        child = specials->nodes[child].next_sibling;
    return child;
}

static bool add_token(struct fg_special_tokens *specials, struct fg_span text, uint32_t id,
                      bool is_control)
{
    uint32_t node = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        uint32_t child = i == 0 ? specials->roots[byte] : find_child(specials, node, byte);
        if (child == 0) {
            child = add_node(specials, byte);
            if (child == 0)
                return false;
            if (i == 0) {
                specials->roots[byte] = child;
            } else {
                specials->nodes[child].next_sibling = specials->nodes[node].first_child;
                specials->nodes[node].first_child = child;
            }
        }
        node = child;
    }
    if (specials->nodes[node].id == FG_TOKEN_NONE) {
        specials->nodes[node].id = id;
        specials->nodes[node].is_control = is_control;
    }
    return true;
}

enum fg_status fg_special_tokens_init(struct fg_special_tokens *specials,
                                      const struct fg_vocab *vocab, const struct fg_gguf *gguf,
                                      struct fg_error *error)
{
    *specials = (struct fg_special_tokens){0};
    bool is_good = add_node(specials, 0) == 0 && specials->node_count == 1; /* the root */
    struct fg_span text;
    size_t cursor = 0;
    for (uint32_t id = 0;
         is_good && fg_gguf_next_string(gguf, "tokenizer.ggml.tokens", &cursor, &text); id++) {
        bool is_control = vocab->types[id] == FG_TOKEN_CONTROL;
        if (text.len > 0 && (is_control || vocab->types[id] == FG_TOKEN_USER_DEFINED))
            is_good = add_token(specials, text, id, is_control);
    }
    if (!is_good)
        return fg_error_set(error, "not enough memory for the special tokens");
    return FG_OK;
}

void fg_special_tokens_fini(struct fg_special_tokens *specials)
{
    free(specials->nodes);
    specials->nodes = NULL;
}

/* Bytes of the longest token at the start of `text`, or 0. */
static size_t match_here(const struct fg_special_tokens *specials, struct fg_span text,
                         bool with_control, uint32_t *id)
{
    size_t length = 0;
    uint32_t node = specials->roots[(unsigned char)text.data[0]];
    for (size_t i = 1; node != 0; i++) {
        const struct fg_special_node *here = &specials->nodes[node];
        if (here->id != FG_TOKEN_NONE && (with_control || !here->is_control)) {
            length = i;
            *id = here->id;
        }
        if (i == text.len)
            break;
        node = find_child(specials, node, (unsigned char)text.data[i]);
    }
    return length;
}

bool fg_special_tokens_find(const struct fg_special_tokens *specials, struct fg_span text,
                            bool with_control, size_t *at, size_t *length, uint32_t *id)
{
    for (size_t i = 0; i < text.len; i++) {
        if (specials->roots[(unsigned char)text.data[i]] == 0)
            continue;
        *length = match_here(specials, fg_span_make(text.data + i, text.len - i), with_control, id);
        if (*length > 0) {
            *at = i;
            return true;
        }
    }
    return false;
}
