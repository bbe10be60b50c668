/*
 * fuzz_upstream_response.c: any bytes as a server's answer. The first byte says how the rest is cut
 * and whether the request was a HEAD. Read whole and in pieces it must come to the same end with
 * the same body, and what is passed on must be safe to send to a client.
 */
#include "proxy/upstream_response.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum fg_upstream_result result;
    size_t body_bytes;
    uint64_t body_hash;
    uint64_t head_hash;
    unsigned status;
    size_t left;
};

static uint64_t hash_head(const struct fg_upstream_response *response)
{
    uint64_t hash = response->status;
    for (size_t i = 0; i < response->field_count; i++) {
        hash = fg_span_hash(response->fields[i].name, hash);
        hash = fg_span_hash(response->fields[i].value, hash);
    }
    return hash;
}

static void check_head(const struct fg_upstream_response *response)
{
    assert(response->status >= 200 && response->status <= 599);
    for (size_t i = 0; i < response->field_count; i++) {
        struct fg_span name = response->fields[i].name;
        struct fg_span value = response->fields[i].value;
        assert(name.len > 0);
        for (size_t j = 0; j < name.len; j++)
            assert(name.data[j] > 0x20 && name.data[j] != 0x7f && name.data[j] != ':' &&
                   !(name.data[j] >= 'A' && name.data[j] <= 'Z'));
        for (size_t j = 0; j < value.len; j++) {
            unsigned char c = (unsigned char)value.data[j];
            assert((c >= 0x20 && c != 0x7f) || c == '\t');
        }
        assert(!fg_span_equal(name, FG_SPAN("transfer-encoding")));
        assert(!fg_span_equal(name, FG_SPAN("connection")));
    }
}

static enum fg_upstream_result feed(struct fg_upstream_response *response, struct fg_span *input,
                                    struct outcome *outcome)
{
    for (;;) {
        struct fg_span data = {NULL, 0};
        size_t before = input->len;
        enum fg_upstream_result result = fg_upstream_response_next(response, input, &data);
        assert(input->len <= before);
        if (result == FG_UPSTREAM_HEAD) {
            outcome->status = response->status;
            outcome->head_hash = hash_head(response);
            check_head(response);
        } else if (result == FG_UPSTREAM_INTERIM) {
            assert(response->status > 101 && response->status < 200);
        } else if (result == FG_UPSTREAM_DATA) {
            assert(data.len > 0);
            for (size_t i = 0; i < data.len; i++)
                outcome->body_hash = outcome->body_hash * 31 + (unsigned char)data.data[i];
            outcome->body_bytes += data.len;
        } else {
            return result;
        }
    }
}

/* Each piece is a block of its own, so that a read beyond it is found. */
static struct outcome read_in_pieces(const uint8_t *data, size_t size, size_t piece_bytes,
                                     bool is_head_request, struct fg_known_lines *known)
{
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_upstream_response response;
    struct outcome outcome = {.result = FG_UPSTREAM_MORE};
    fg_arena_pool_init(&pool, 256);
    fg_arena_init(&arena, &pool, 1 << 20);
    fg_upstream_response_init(&response, &arena, 2048, is_head_request);
    response.known = known;
    while (size > 0 && outcome.result == FG_UPSTREAM_MORE) {
        size_t len = size < piece_bytes ? size : piece_bytes;
        char *piece = malloc(len);
        assert(piece != NULL);
        memcpy(piece, data, len);
        struct fg_span input = fg_span_make(piece, len);
        outcome.result = feed(&response, &input, &outcome);
        outcome.left = input.len + (size - len);
        data += len;
        size -= len;
        free(piece);
    }
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return outcome;
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    assert(a->result == b->result && a->status == b->status && a->head_hash == b->head_hash);
    assert(a->body_bytes == b->body_bytes && a->body_hash == b->body_hash);
    if (a->result == FG_UPSTREAM_DONE)
        assert(a->left == b->left);
}

/* Nothing is known yet, then the lines of this answer and those of all before. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fg_known_lines old;
    struct fg_known_lines known = {0};
    if (size == 0)
        return 0;
    bool is_head_request = (data[0] & 1) != 0;
    size_t piece_bytes = 1 + (data[0] >> 1);
    struct outcome whole = read_in_pieces(data + 1, size - 1, size, is_head_request, NULL);
    struct outcome cut = read_in_pieces(data + 1, size - 1, piece_bytes, is_head_request, NULL);
    struct fg_known_lines *const memories[] = {&known, &known, &old, &old};
    check_same(&whole, &cut);
    for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++) {
        struct outcome again =
            read_in_pieces(data + 1, size - 1, size, is_head_request, memories[i]);
        check_same(&whole, &again);
    }
    return 0;
}
