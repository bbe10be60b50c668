/*
 * test_tls_records.c: the records of RFC 8448, round trips, and every way in which a record can be
 * wrong. Against OpenSSL itself it is held in test_tls.c.
 */
#include "ending_memory.h"
#include "hex.h"

#include "net/tls_records.h"

#include <openssl/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define RECORD_ROOM (FG_TLS_DATA_MAX + FG_TLS_SEAL_BYTES)
#define ALERT 21
#define HANDSHAKE 22
#define DATA 23

static struct fg_tls_crypto crypto;
static struct fg_segment_pool segments;
static char sealed[RECORD_ROOM + 512];
static char opened[FG_TLS_OPEN_ROOM];

/* ---- two ends of a connection ---- */

struct ends {
    struct fg_tls_records ours;
    struct fg_tls_records peers;
};

static void make_ends(struct ends *ends, enum fg_tls_suite suite)
{
    memset(ends, 0, sizeof(*ends));
    memset(ends->ours.opening.secret, 0x11, FG_TLS_SECRET_BYTES_MAX);
    memset(ends->ours.sealing.secret, 0x22, FG_TLS_SECRET_BYTES_MAX);
    memset(ends->peers.opening.secret, 0x22, FG_TLS_SECRET_BYTES_MAX);
    memset(ends->peers.sealing.secret, 0x11, FG_TLS_SECRET_BYTES_MAX);
    assert_true(fg_tls_records_init(&ends->ours, &crypto, &segments, suite));
    assert_true(fg_tls_records_init(&ends->peers, &crypto, &segments, suite));
}

static void end(struct ends *ends)
{
    fg_tls_records_fini(&ends->ours);
    fg_tls_records_fini(&ends->peers);
    assert_int_equal(segments.in_use, 0);
}

static size_t seal(struct fg_tls_records *records, const void *data, size_t len)
{
    memcpy(sealed + FG_TLS_HEAD_BYTES, data, len);
    size_t made = fg_tls_records_seal(records, sealed, len);
    assert_true(made <= len + FG_TLS_SEAL_BYTES);
    return made;
}

/* Any inner plaintext whatever, as no one that keeps to the protocol would seal it. */
static size_t seal_inner(struct fg_tls_records *records, const void *inner, size_t len, char *to)
{
    const unsigned char head[FG_TLS_HEAD_BYTES] = {DATA, 3, 3,
                                                   (unsigned char)((len + FG_TLS_TAG_BYTES) >> 8),
                                                   (unsigned char)(len + FG_TLS_TAG_BYTES)};
    memcpy(to, head, sizeof(head));
    memcpy(to + sizeof(head), inner, len);
    assert_true(fg_tls_keys_wake(&records->sealing, &crypto));
    assert_true(fg_tls_keys_seal(&records->sealing, head, (unsigned char *)to + sizeof(head), len));
    return sizeof(head) + len + FG_TLS_TAG_BYTES;
}

static size_t seal_as(struct fg_tls_records *records, unsigned char type, const void *content,
                      size_t len, size_t padding, char *to)
{
    static unsigned char inner[RECORD_ROOM];
    memset(inner, 0, len + 1 + padding);
    if (len > 0)
        memcpy(inner, content, len);
    inner[len] = type;
    return seal_inner(records, inner, len + 1 + padding, to);
}

static size_t seal_key_update(struct fg_tls_records *records, bool wants_ours, char *to)
{
    const unsigned char message[5] = {24, 0, 0, 1, wants_ours};
    size_t len = seal_as(records, HANDSHAKE, message, sizeof(message), 0, to);
    assert_true(fg_tls_keys_update(&records->sealing, &crypto));
    return len;
}

static enum fg_tls_result open_all(struct fg_tls_records *records, const char *in, size_t len,
                                   size_t *got)
{
    return fg_tls_records_open(records, &in, &len, opened, got);
}

static void expect_failure(struct fg_tls_records *records, const char *in, size_t len,
                           enum fg_tls_alert alert)
{
    size_t got;
    assert_int_equal(open_all(records, in, len, &got), FG_TLS_FAILED);
    assert_int_equal(records->alert, alert);
    assert_int_equal(got, 0);
    assert_int_equal(open_all(records, in, len, &got), FG_TLS_FAILED); /* and for good */
}

static void expect_data(struct fg_tls_records *records, const char *in, size_t len,
                        const void *data, size_t data_len)
{
    size_t got;
    assert_int_equal(open_all(records, in, len, &got), FG_TLS_OK);
    assert_int_equal(got, data_len);
    assert_memory_equal(opened, data, data_len);
}

/* ---- RFC 8448 section 3: a simple 1-RTT handshake ---- */

static void expect_bytes(const void *bytes, const char *digits)
{
    unsigned char wanted[128];
    size_t len = hex_bytes(digits, wanted);
    assert_memory_equal(bytes, wanted, len);
}

static const char client_data[] =
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20"
    "441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
static const char server_data[] =
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb50"
    "1a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
static const char client_goodbye[] = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
static const char server_goodbye[] = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

static void opens_and_seals_what_rfc_8448_shows(void **state)
{
    (void)state;
    struct fg_tls_records records = {0};
    unsigned char record[128];
    char data[50], goodbye[FG_TLS_ALERT_BYTES];
    size_t got;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)i;
    hex_bytes("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
              records.opening.secret);
    hex_bytes("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
              records.sealing.secret);
    assert_true(fg_tls_records_init(&records, &crypto, &segments, FG_TLS_AES_128_GCM_SHA256));
    expect_bytes(records.opening.key, "17422dda596ed5d9acd890e3c63f5051");
    expect_bytes(records.opening.iv, "5b78923dee08579033e523d9");
    expect_bytes(records.sealing.key, "9f02283b6c9c07efc26bb9f2ac92e356");
    expect_bytes(records.sealing.iv, "cf782b88dd83549aadf1e984");
    records.sealing.sequence = 1; /* its first was a ticket */
    size_t len = hex_bytes(client_data, record);
    expect_data(&records, (const char *)record, len, data, sizeof(data));
    assert_int_equal(seal(&records, data, sizeof(data)), strlen(server_data) / 2);
    expect_bytes(sealed, server_data);
    len = hex_bytes(client_goodbye, record);
    assert_int_equal(open_all(&records, (const char *)record, len, &got), FG_TLS_EOF);
    assert_int_equal(fg_tls_records_say_last(&records, FG_TLS_ALERT_CLOSE_NOTIFY, goodbye),
                     sizeof(goodbye));
    expect_bytes(goodbye, server_goodbye);
    fg_tls_records_fini(&records);
}

/* What was derived before is taken over, but only from the same secret, and for one generation. */
static void learns_what_is_of_its_secret(void **state)
{
    (void)state;
    static const unsigned char zeroes[FG_TLS_IV_BYTES], ones[FG_TLS_KEY_BYTES_MAX] = {1};
    const struct fg_span secret = fg_span_make((const char *)ones, 32);
    const struct fg_span other = FG_SPAN("another one, as long as that is.");
    const struct fg_span key = FG_SPAN("sixteen of a key"), iv = FG_SPAN("twelve of it");
    struct fg_tls_keys keys = {0}, derived = {0};
    memcpy(keys.secret, ones, sizeof(ones));
    memcpy(derived.secret, ones, sizeof(ones));
    fg_tls_keys_learn(&keys, FG_SPAN("iv"), other, iv);
    assert_memory_equal(keys.iv, zeroes, sizeof(zeroes));
    fg_tls_keys_learn(&keys, FG_SPAN("finished"), secret, iv);
    fg_tls_keys_learn(&keys, FG_SPAN("key"), secret, key);
    fg_tls_keys_learn(&keys, FG_SPAN("iv"), secret, iv);
    assert_true(fg_tls_keys_derive(&keys, &crypto, FG_TLS_AES_128_GCM_SHA256, true));
    assert_memory_equal(keys.key, key.data, key.len);
    assert_memory_equal(keys.iv, iv.data, iv.len);
    assert_true(fg_tls_keys_derive(&derived, &crypto, FG_TLS_AES_128_GCM_SHA256, true));
    assert_memory_not_equal(keys.key, derived.key, 16);
    assert_true(fg_tls_keys_update(&keys, &crypto) && fg_tls_keys_update(&derived, &crypto));
    assert_memory_equal(keys.key, derived.key, 16);
    assert_memory_equal(keys.iv, derived.iv, sizeof(derived.iv));
    fg_tls_keys_learn(&keys, FG_SPAN("key"), fg_span_make((const char *)keys.secret, 32), key);
    assert_true(fg_tls_keys_derive(&keys, &crypto, FG_TLS_AES_256_GCM_SHA384, true));
    assert_memory_not_equal(keys.key, key.data, key.len); /* it is too short for that */
    fg_tls_keys_wipe(&keys);
    fg_tls_keys_wipe(&derived);
}

/* ---- round trips ---- */

static void carries_any_length_under_every_suite(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 255, 4096, 16383, 16384};
    static char data[FG_TLS_DATA_MAX];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7 + i / 251);
    for (unsigned suite = 0; suite < FG_TLS_SUITE_COUNT; suite++) {
        struct ends ends;
        make_ends(&ends, suite);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            size_t len = seal(&ends.ours, data, lengths[i]);
            assert_int_equal(len, FG_TLS_HEAD_BYTES + lengths[i] + FG_TLS_TAIL_BYTES);
            assert_memory_not_equal(sealed + FG_TLS_HEAD_BYTES, data, lengths[i] + 1);
            expect_data(&ends.peers, sealed, len, data, lengths[i]);
            len = seal(&ends.peers, data, lengths[i]);
            expect_data(&ends.ours, sealed, len, data, lengths[i]);
            if (i % 3 == 0) { /* keys that rest are the same keys */
                assert_false(fg_tls_records_rest(&ends.ours));
                assert_true(fg_tls_records_rest(&ends.ours));
                assert_null(ends.ours.opening.ctx);
                assert_null(ends.ours.sealing.ctx);
            }
        }
        end(&ends);
    }
}

/* Three runs of data with a key update between the first two, and empty records between all. */
static size_t make_stream(struct fg_tls_records *records, char *to, size_t middle)
{
    static char data[FG_TLS_DATA_MAX];
    memset(data, 'm', sizeof(data));
    size_t len = seal_as(records, DATA, "a", 1, 0, to);
    len += seal_key_update(records, false, to + len);
    len += seal_as(records, DATA, NULL, 0, 3, to + len);
    len += seal_as(records, DATA, data, middle, 2, to + len);
    return len + seal_as(records, DATA, "zz", 2, 0, to + len);
}

/* Returns what data came out of `len` bytes of stream, given in parts. */
static size_t open_parts(struct fg_tls_records *records, const char *in, const size_t parts[],
                         size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        char *part = malloc(parts[i] + 1); /* on its own, so that no read goes past it */
        memcpy(part, in, parts[i]);
        in += parts[i];
        const char *at = part;
        size_t left = parts[i], got;
        enum fg_tls_result result;
        while ((result = fg_tls_records_open(records, &at, &left, opened, &got)) == FG_TLS_OK)
            total += got;
        assert_int_equal(result, FG_TLS_MORE);
        assert_int_equal(left, 0);
        free(part);
    }
    return total;
}

static void takes_input_split_anywhere(void **state)
{
    (void)state;
    static char stream[512];
    for (size_t at = 0;; at++) {
        struct ends ends;
        make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
        size_t len = make_stream(&ends.peers, stream, 30);
        const size_t halves[2] = {at, len - at};
        assert_int_equal(open_parts(&ends.ours, stream, halves, 2), 33);
        end(&ends);
        if (at == len)
            break;
    }
    struct ends ends;
    size_t ones[sizeof(stream)];
    make_ends(&ends, FG_TLS_CHACHA20_POLY1305_SHA256);
    size_t len = make_stream(&ends.peers, stream, 30);
    for (size_t i = 0; i < len; i++)
        ones[i] = 1;
    assert_int_equal(open_parts(&ends.ours, stream, ones, len), 33);
    end(&ends);
}

/* The whole record lies over two segments and what came last, the tag over any two of them. */
static void takes_the_largest_record_in_parts(void **state)
{
    (void)state;
    static char stream[FG_TLS_DATA_MAX + 512];
    for (size_t cut = 1; cut < 40; cut++) {
        struct ends ends;
        make_ends(&ends, FG_TLS_AES_256_GCM_SHA384);
        size_t len = make_stream(&ends.peers, stream, FG_TLS_DATA_MAX - 2);
        size_t last = cut + FG_TLS_HEAD_BYTES + FG_TLS_TAIL_BYTES + 2; /* some of it, and "zz" */
        const size_t parts[4] = {100 + cut, 16300, len - 16400 - cut - last, last};
        assert_int_equal(open_parts(&ends.ours, stream, parts, 4), FG_TLS_DATA_MAX + 1);
        end(&ends);
    }
}

static void notices_any_changed_byte(void **state)
{
    (void)state;
    char record[64];
    size_t len = 0;
    for (size_t at = 0; at == 0 || at < len; at++) {
        struct ends ends;
        size_t got;
        make_ends(&ends, (enum fg_tls_suite)(at % FG_TLS_SUITE_COUNT));
        len = seal_as(&ends.peers, DATA, "attack at dawn", 14, 3, record);
        record[at] ^= 0x10;
        enum fg_tls_result result = open_all(&ends.ours, record, len, &got);
        if (at == 0) {
            assert_int_equal(ends.ours.alert, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
        } else if (at == 3 || at == 4) { /* longer than it is */
            assert_int_equal(result, FG_TLS_MORE);
        } else {
            assert_int_equal(result, FG_TLS_FAILED);
            assert_int_equal(ends.ours.alert, FG_TLS_ALERT_BAD_RECORD_MAC);
        }
        assert_int_equal(got, 0);
        end(&ends);
    }
}

static void opens_no_record_twice_or_out_of_turn(void **state)
{
    (void)state;
    struct ends ends;
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    size_t len = seal(&ends.peers, "once", 4);
    expect_data(&ends.ours, sealed, len, "once", 4);
    expect_failure(&ends.ours, sealed, len, FG_TLS_ALERT_BAD_RECORD_MAC);
    end(&ends);
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    (void)seal(&ends.peers, "lost", 4);
    len = seal(&ends.peers, "next", 4);
    expect_failure(&ends.ours, sealed, len, FG_TLS_ALERT_BAD_RECORD_MAC);
    end(&ends);
}

/* ---- what is in a record ---- */

struct wrong {
    unsigned char type;
    const char *content;
    size_t len;
    enum fg_tls_alert alert;
};

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct wrong cases[] = {
        {20, "\1", 1, FG_TLS_ALERT_UNEXPECTED_MESSAGE},      /* cipher change */
        {24, "\1\0\1x", 4, FG_TLS_ALERT_UNEXPECTED_MESSAGE}, /* heartbeat */
        {99, "x", 1, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
        {0, "", 0, FG_TLS_ALERT_UNEXPECTED_MESSAGE}, /* zeroes alone */
        {ALERT, "\1", 1, FG_TLS_ALERT_DECODE_ERROR},
        {ALERT, "", 0, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
        {ALERT, "\1\0\1\0", 4, FG_TLS_ALERT_DECODE_ERROR}, /* two in one record */
        {ALERT, "\2\x28", 2, FG_TLS_ALERT_NONE},           /* it has said so itself */
        {ALERT, "\1\x64", 2, FG_TLS_ALERT_NONE},           /* at whatever level */
        {HANDSHAKE, "", 0, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
        {HANDSHAKE, "\1\0\0\0", 4, FG_TLS_ALERT_UNEXPECTED_MESSAGE}, /* hello */
        {HANDSHAKE, "\4", 1, FG_TLS_ALERT_UNEXPECTED_MESSAGE},       /* ticket */
        {HANDSHAKE, "\x18\0\0\2\0\0", 6, FG_TLS_ALERT_DECODE_ERROR},
        {HANDSHAKE, "\x18\0\0\0", 4, FG_TLS_ALERT_DECODE_ERROR},
        {HANDSHAKE, "\x18\xff", 2, FG_TLS_ALERT_DECODE_ERROR},
        {HANDSHAKE, "\x18\0\0\1\2", 5, FG_TLS_ALERT_ILLEGAL_PARAMETER},
        {HANDSHAKE, "\x18\0\0\1\0\x18\0\0\1\0", 10, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
        {HANDSHAKE, "\x18\0\0\1\0\x18", 6, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ends ends;
        char alert[FG_TLS_ALERT_BYTES];
        size_t got;
        make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
        size_t len = seal_as(&ends.peers, cases[i].type, cases[i].content, cases[i].len, i, sealed);
        expect_failure(&ends.ours, sealed, len, cases[i].alert);
        if (cases[i].alert != FG_TLS_ALERT_NONE) {
            assert_int_equal(fg_tls_records_say_last(&ends.ours, cases[i].alert, alert),
                             sizeof(alert));
            assert_int_equal(seal(&ends.ours, "no more", 7), 0);
            assert_int_equal(fg_tls_records_say_last(&ends.ours, cases[i].alert, alert), 0);
            assert_int_equal(open_all(&ends.peers, alert, sizeof(alert), &got), FG_TLS_FAILED);
            assert_int_equal(opened[0], 2);
            assert_int_equal(opened[1], cases[i].alert);
        }
        end(&ends);
    }
}

static void knows_what_is_no_record(void **state)
{
    (void)state;
    static const struct wrong cases[] = {
        {0, "\x16", 1, FG_TLS_ALERT_UNEXPECTED_MESSAGE}, /* at its first byte */
        {0, "\x14\3\3\0\1\1", 6, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
        {0, "\x15\3\3\0\2\1\0", 7, FG_TLS_ALERT_UNEXPECTED_MESSAGE},
        {0, "\x17\3\3\0\0", 5, FG_TLS_ALERT_BAD_RECORD_MAC},
        {0, "\x17\3\3\0\x0f", 5, FG_TLS_ALERT_BAD_RECORD_MAC},
        {0, "\x17\3\3\xff\xff", 5, FG_TLS_ALERT_RECORD_OVERFLOW},
        {0, "\x17\3\3\x40\x12", 5, FG_TLS_ALERT_RECORD_OVERFLOW}, /* one more than the largest */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ends ends;
        make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
        expect_failure(&ends.ours, cases[i].content, cases[i].len, cases[i].alert);
        end(&ends);
    }
    struct ends ends;
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    size_t len = seal_inner(&ends.peers, "", 0, sealed); /* a tag, rightly, over nothing */
    expect_failure(&ends.ours, sealed, len, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
    end(&ends);
}

static void ends_by_a_goodbye(void **state)
{
    (void)state;
    struct ends ends;
    size_t got;
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    size_t len = seal_as(&ends.peers, ALERT, "\1\x5a", 2, 0, sealed); /* user_canceled */
    assert_int_equal(open_all(&ends.ours, sealed, len, &got), FG_TLS_MORE);
    len = seal_as(&ends.peers, ALERT, "\2\0", 2, 9, sealed); /* its level is nobody's business */
    len += seal_as(&ends.peers, DATA, "more", 4, 0, sealed + len);
    const char *at = sealed;
    assert_int_equal(fg_tls_records_open(&ends.ours, &at, &len, opened, &got), FG_TLS_EOF);
    assert_int_equal(fg_tls_records_open(&ends.ours, &at, &len, opened, &got), FG_TLS_EOF);
    assert_int_equal(got, 0);
    len = seal(&ends.ours, "I am not done", 13); /* as half a close allows */
    expect_data(&ends.peers, sealed, len, "I am not done", 13);
    end(&ends);
}

/* ---- key updates ---- */

static void follows_key_updates(void **state)
{
    (void)state;
    for (unsigned suite = 0; suite < FG_TLS_SUITE_COUNT; suite++) {
        struct ends ends;
        size_t got;
        make_ends(&ends, suite);
        for (unsigned i = 0; i < 10; i++) {
            size_t len = seal_key_update(&ends.peers, i % 2 == 1, sealed);
            assert_int_equal(open_all(&ends.ours, sealed, len, &got), FG_TLS_MORE);
            len = seal(&ends.peers, "new keys", 8);
            expect_data(&ends.ours, sealed, len, "new keys", 8);
            assert_int_equal(ends.ours.owes_update, i % 2 == 1);
            size_t update = ends.ours.owes_update ? FG_TLS_UPDATE_BYTES : 0;
            len = seal(&ends.ours, "mine as well", 12);
            assert_int_equal(len, update + FG_TLS_HEAD_BYTES + 12 + FG_TLS_TAIL_BYTES);
            expect_data(&ends.peers, sealed, len, "mine as well", 12);
            assert_false(ends.peers.owes_update); /* or it would never end */
        }
        end(&ends);
    }
}

static void answers_many_wishes_for_new_keys_once(void **state)
{
    (void)state;
    struct ends ends;
    size_t got;
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    for (unsigned i = 0; i < 4; i++) {
        size_t len = seal_key_update(&ends.peers, true, sealed);
        assert_int_equal(open_all(&ends.ours, sealed, len, &got), FG_TLS_MORE);
    }
    size_t len = seal(&ends.ours, "x", 1);
    assert_int_equal(len, FG_TLS_UPDATE_BYTES + FG_TLS_HEAD_BYTES + 1 + FG_TLS_TAIL_BYTES);
    expect_data(&ends.peers, sealed, len, "x", 1);
    len = seal(&ends.ours, "y", 1);
    assert_int_equal(len, FG_TLS_HEAD_BYTES + 1 + FG_TLS_TAIL_BYTES);
    expect_data(&ends.peers, sealed, len, "y", 1);
    end(&ends);
}

static void takes_a_key_update_in_parts_and_nothing_between(void **state)
{
    (void)state;
    static const char message[] = "\x18\0\0\1\0";
    for (unsigned type = ALERT; type <= DATA; type++) {
        struct ends ends;
        size_t got, len = 0;
        make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
        for (unsigned i = 0; i < 5; i++)
            len += seal_as(&ends.peers, HANDSHAKE, message + i, 1, 0, sealed + len);
        assert_true(fg_tls_keys_update(&ends.peers.sealing, &crypto));
        len += seal_as(&ends.peers, DATA, "fine", 4, 0, sealed + len);
        expect_data(&ends.ours, sealed, len, "fine", 4);
        len = seal_as(&ends.peers, HANDSHAKE, message, 3, 0, sealed);
        assert_int_equal(open_all(&ends.ours, sealed, len, &got), FG_TLS_MORE);
        len = seal_as(&ends.peers, (unsigned char)type, "\1\0", 2, 0, sealed);
        if (type == HANDSHAKE) {
            assert_true(fg_tls_keys_update(&ends.peers.sealing, &crypto));
            len += seal_as(&ends.peers, DATA, "too", 3, 0, sealed + len);
            expect_data(&ends.ours, sealed, len, "too", 3);
        } else {
            expect_failure(&ends.ours, sealed, len, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
        }
        end(&ends);
    }
}

static void changes_its_key_in_time(void **state)
{
    (void)state;
    struct ends ends;
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    assert_int_equal(ends.ours.sealed_max, UINT64_C(1) << 24);
    ends.ours.sealed_max = 3;
    for (unsigned i = 0; i < 20; i++) {
        size_t len = seal(&ends.ours, "data", 4);
        size_t update = i > 0 && i % 3 == 0 ? FG_TLS_UPDATE_BYTES : 0;
        assert_int_equal(len, update + FG_TLS_HEAD_BYTES + 4 + FG_TLS_TAIL_BYTES);
        assert_true(ends.ours.sealing.sequence <= 3);
        expect_data(&ends.peers, sealed, len, "data", 4);
    }
    end(&ends);
}

static void never_wraps_a_sequence_number(void **state)
{
    (void)state;
    struct ends ends;
    make_ends(&ends, FG_TLS_CHACHA20_POLY1305_SHA256);
    ends.ours.sealed_max = UINT64_MAX;
    ends.ours.sealing.sequence = UINT64_MAX - 1;
    ends.peers.opening.sequence = UINT64_MAX - 1;
    size_t len = seal(&ends.ours, "last", 4);
    expect_data(&ends.peers, sealed, len, "last", 4);
    expect_failure(&ends.peers, sealed, len, FG_TLS_ALERT_BAD_RECORD_MAC);
    assert_int_equal(seal(&ends.ours, "none", 4), 0);
    end(&ends);
}

/* ---- bounds ---- */

/* How many of what `make` seals are taken before it is a flood. */
static unsigned count_until_flood(struct ends *ends,
                                  size_t (*make)(struct fg_tls_records *, char *))
{
    size_t got;
    for (unsigned i = 0; i < 10000; i++) {
        size_t len = make(&ends->peers, sealed);
        enum fg_tls_result result = open_all(&ends->ours, sealed, len, &got);
        if (result == FG_TLS_FLOOD) {
            assert_int_equal(open_all(&ends->ours, sealed, len, &got), FG_TLS_FLOOD);
            assert_int_equal(ends->ours.alert, FG_TLS_ALERT_NONE);
            return i;
        }
        assert_int_equal(result, FG_TLS_MORE);
    }
    return 10000;
}

static size_t make_empty(struct fg_tls_records *records, char *to)
{
    return seal_as(records, DATA, NULL, 0, 0, to);
}

static size_t make_padding(struct fg_tls_records *records, char *to)
{
    return seal_as(records, DATA, NULL, 0, 16000, to);
}

static size_t make_warning(struct fg_tls_records *records, char *to)
{
    return seal_as(records, ALERT, "\1\x5a", 2, 0, to);
}

static size_t make_update(struct fg_tls_records *records, char *to)
{
    return seal_key_update(records, true, to);
}

static void stops_who_says_much_without_data(void **state)
{
    (void)state;
    static const struct {
        size_t (*make)(struct fg_tls_records *, char *);
        unsigned taken;
    } cases[] = {{make_empty, 300}, {make_padding, 300}, {make_warning, 300}, {make_update, 60}};
    static char data[FG_TLS_DATA_MAX];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ends ends;
        make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
        assert_int_equal(count_until_flood(&ends, cases[i].make), cases[i].taken);
        end(&ends);
        make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
        for (unsigned n = 0; n < 400;
             n++) { /* as long as there are data between them: eight steps */
            size_t got, len = cases[i].make(&ends.peers, sealed);
            assert_int_equal(open_all(&ends.ours, sealed, len, &got), FG_TLS_MORE);
            len = seal(&ends.peers, data, sizeof(data));
            expect_data(&ends.ours, sealed, len, data, sizeof(data));
        }
        end(&ends);
    }
}

/* Each call of OpenSSL's for memory fails in turn: nothing leaks, nothing wrong is sealed. */
static void survives_the_end_of_memory(void **state)
{
    (void)state;
    unsigned survived = 0;
    bool has_failed;
    do {
        struct ends ends;
        char update[FG_TLS_UPDATE_BYTES];
        size_t got, len = 0;
        make_ends(&ends, FG_TLS_AES_256_GCM_SHA384);
        size_t update_len = seal_key_update(&ends.peers, true, update);
        fg_tls_records_fini(&ends.ours);
        memset(ends.ours.opening.secret, 0x11, FG_TLS_SECRET_BYTES_MAX);
        memset(ends.ours.sealing.secret, 0x22, FG_TLS_SECRET_BYTES_MAX);
        memcpy(sealed + FG_TLS_HEAD_BYTES, "data", 4);
        ending_memory_begin();
        if (fg_tls_records_init(&ends.ours, &crypto, &segments, FG_TLS_AES_256_GCM_SHA384) &&
            open_all(&ends.ours, update, update_len, &got) == FG_TLS_MORE)
            len = fg_tls_records_seal(&ends.ours, sealed, 4);
        has_failed = ending_memory_end();
        if (len > 0)
            expect_data(&ends.peers, sealed, len, "data", 4);
        else if (ends.ours.has_failed)
            assert_true(ends.ours.alert == FG_TLS_ALERT_INTERNAL_ERROR ||
                        ends.ours.alert == FG_TLS_ALERT_BAD_RECORD_MAC);
        survived += len == 0;
        end(&ends);
    } while (has_failed);
    assert_true(survived > 10);
}

static void forgets_its_secrets(void **state)
{
    (void)state;
    static const struct fg_tls_keys none;
    struct ends ends;
    make_ends(&ends, FG_TLS_AES_128_GCM_SHA256);
    (void)seal(&ends.ours, "x", 1);
    fg_tls_records_fini(&ends.ours);
    assert_memory_equal(&ends.ours.opening, &none, sizeof(none));
    assert_memory_equal(&ends.ours.sealing, &none, sizeof(none));
    end(&ends);
}

static int set_up(void **state)
{
    (void)state;
    fg_segment_pool_init(&segments, 4);
    return fg_tls_crypto_init(&crypto) == FG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    fg_tls_crypto_fini(&crypto);
    fg_segment_pool_fini(&segments);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_seals_what_rfc_8448_shows),
        cmocka_unit_test(learns_what_is_of_its_secret),
        cmocka_unit_test(carries_any_length_under_every_suite),
        cmocka_unit_test(takes_input_split_anywhere),
        cmocka_unit_test(takes_the_largest_record_in_parts),
        cmocka_unit_test(notices_any_changed_byte),
        cmocka_unit_test(opens_no_record_twice_or_out_of_turn),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(knows_what_is_no_record),
        cmocka_unit_test(ends_by_a_goodbye),
        cmocka_unit_test(follows_key_updates),
        cmocka_unit_test(answers_many_wishes_for_new_keys_once),
        cmocka_unit_test(takes_a_key_update_in_parts_and_nothing_between),
        cmocka_unit_test(changes_its_key_in_time),
        cmocka_unit_test(never_wraps_a_sequence_number),
        cmocka_unit_test(stops_who_says_much_without_data),
        cmocka_unit_test(survives_the_end_of_memory),
        cmocka_unit_test(forgets_its_secrets),
    };
    if (!ending_memory_install())
        return 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
