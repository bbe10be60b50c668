/*
 * fuzz_tls_records.c: what may follow a TLS 1.3 handshake. The input is a play for two ends that
 * know each other's keys: bytes for us as they are, or sealed as the peer would seal them, whatever
 * they say; its key updates; data of ours, which the peer must be able to open. All for us arrives
 * in pieces whose size the first byte gives.
 */
#include "net/tls_records.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define INNER_MAX (FG_TLS_OPEN_ROOM + 512)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
    struct fg_tls_records ours, peers;
    size_t step;
    bool is_over;
};

static struct fg_tls_crypto crypto;
static struct fg_segment_pool segments;
static char opened[FG_TLS_OPEN_ROOM];
static char record[INNER_MAX + FG_TLS_SEAL_BYTES];

static void start(struct play *play, enum fg_tls_suite suite)
{
    memset(play->ours.opening.secret, 1, FG_TLS_SECRET_BYTES_MAX);
    memset(play->peers.sealing.secret, 1, FG_TLS_SECRET_BYTES_MAX);
    memset(play->ours.sealing.secret, 2, FG_TLS_SECRET_BYTES_MAX);
    memset(play->peers.opening.secret, 2, FG_TLS_SECRET_BYTES_MAX);
    bool is_fine = fg_tls_records_init(&play->ours, &crypto, &segments, suite) &&
                   fg_tls_records_init(&play->peers, &crypto, &segments, suite);
    assert(is_fine);
    play->ours.sealed_max = 5;
}

/* One piece, in memory of exactly its size. */
static void hear(struct play *play, const char *data, size_t len)
{
    char *piece = malloc(len);
    size_t left = len, got;
    const char *at = piece;
    enum fg_tls_result result = FG_TLS_OK;
    assert(piece != NULL);
    memcpy(piece, data, len);
    while (result == FG_TLS_OK) {
        result = fg_tls_records_open(&play->ours, &at, &left, opened, &got);
        assert((result == FG_TLS_OK) == (got > 0) && got <= FG_TLS_DATA_MAX);
    }
    assert(result != FG_TLS_MORE || left == 0);
    assert(segments.in_use <= 2);
    if (play->is_over)
        assert(result != FG_TLS_MORE);
    play->is_over = result != FG_TLS_MORE;
    if (play->is_over)
        assert(play->ours.has_failed || play->ours.has_ended);
    free(piece);
}

static void hear_all(struct play *play, const char *data, size_t len)
{
    for (size_t at = 0; at < len; at += play->step)
        hear(play, data + at, len - at < play->step ? len - at : play->step);
}

/* The peer seals an inner plaintext, of `len` bytes and `zeroes` behind them. */
static void hear_sealed(struct play *play, const uint8_t *inner, size_t len, size_t zeroes)
{
    len += zeroes;
    unsigned char *to = (unsigned char *)record + FG_TLS_HEAD_BYTES;
    size_t body_len = len + FG_TLS_TAG_BYTES;
    const unsigned char head[FG_TLS_HEAD_BYTES] = {23, 3, 3, (unsigned char)(body_len >> 8),
                                                   (unsigned char)body_len};
    memset(to, 0, len);
    if (len > zeroes)
        memcpy(to, inner, len - zeroes);
    memcpy(record, head, sizeof(head));
    bool is_fine = fg_tls_keys_wake(&play->peers.sealing, &crypto) &&
                   fg_tls_keys_seal(&play->peers.sealing, head, to, len);
    assert(is_fine);
    hear_all(play, record, sizeof(head) + body_len);
}

static void update_key(struct play *play, bool wants_ours)
{
    const uint8_t inner[6] = {24, 0, 0, 1, wants_ours, 22};
    hear_sealed(play, inner, sizeof(inner), 0);
    bool is_fine = fg_tls_keys_update(&play->peers.sealing, &crypto);
    assert(is_fine);
}

/* Ours go to and fro unharmed whatever the peer does. */
static void say(struct play *play, const uint8_t *data, size_t len)
{
    size_t got;
    memcpy(record + FG_TLS_HEAD_BYTES, data, len);
    size_t left = fg_tls_records_seal(&play->ours, record, len);
    const char *at = record;
    assert(left > len && left <= len + FG_TLS_SEAL_BYTES);
    enum fg_tls_result result = fg_tls_records_open(&play->peers, &at, &left, opened, &got);
    assert(result == FG_TLS_OK && got == len && left == 0 && memcmp(opened, data, len) == 0);
    play->peers.chatter = 0;
}

static void act(struct play *play, unsigned what, const uint8_t *data, size_t len)
{
    switch (what & 7) {
    case 0:
    case 1:
        hear_all(play, (const char *)data, len);
        break;
    case 2:
    case 3:
        hear_sealed(play, data, len, 0);
        break;
    case 4:
        hear_sealed(play, data, len, (what >> 3) * 528); /* up to more than a record may hold */
        break;
    case 5:
        update_key(play, (what & 8) != 0);
        break;
    case 6:
        if (len > 0)
            say(play, data, len);
        break;
    default:
        (void)fg_tls_records_rest(&play->ours);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_ready;
    struct play play = {.is_over = false};
    if (!is_ready && fg_tls_crypto_init(&crypto) != FG_OK)
        return 0;
    is_ready = true;
    if (size < 1)
        return 0;
    fg_segment_pool_init(&segments, 0);
    start(&play, data[0] % FG_TLS_SUITE_COUNT);
    play.step = data[0] >= 0xc0 ? SIZE_MAX / 2 : (size_t)(data[0] >> 2) * 9 + 1;
    for (size_t at = 1; at + 2 <= size;) {
        size_t len = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        act(&play, data[at], data + at + 2, len);
        at += 2 + len;
    }
    fg_tls_records_fini(&play.ours);
    fg_tls_records_fini(&play.peers);
    assert(segments.in_use == 0);
    fg_segment_pool_fini(&segments);
    return 0;
}
