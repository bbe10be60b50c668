/*
 * test_tls.c: connections whose other end is OpenSSL's, in memory: what is handed over behind the
 * handshake, and that either side understands the other from then on.
 */
#include "net/tls.h"

#include "net/listener.h"
#include "net/ticket_keys_shared.h"
#include "own_certificate.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NOTE_MAX (3 * FG_TLS_DATA_MAX)

struct talk {
    struct fg_tls_context *context;
    struct fg_ticket_keys *tickets;
    SSL_CTX *client_ctx;
    SSL *client;
    BIO *to_client; /* the client's */
    BIO *from_client;
    struct fg_tls tls;
    char *in; /* what the client said, exactly as long as it is */
    bool was_resumed;
};

static struct fg_segment_pool segments;
static struct fg_tls_env env;
static uint64_t random_state;

/* Any number below `below`; the same ones in every run. */
static size_t any(size_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % below;
}

static bool output(void *ctx, const void *data, size_t len)
{
    struct talk *talk = ctx;
    return BIO_write(talk->to_client, data, (int)len) == (int)len;
}

/* All that the client has said since is what there is to read. */
static void hear(struct talk *talk)
{
    size_t len = (size_t)BIO_pending(talk->from_client);
    free(talk->in);
    talk->in = malloc(len + (len == 0));
    if (len > 0)
        assert_int_equal(BIO_read(talk->from_client, talk->in, (int)len), (int)len);
    talk->tls.in = talk->in;
    talk->tls.in_len = len;
}

static void make_talk(struct talk *talk, bool has_tickets, const char *suites)
{
    static const unsigned char secret[FG_TICKET_SECRET_BYTES_MIN] = {1};
    static const struct fg_listener_conf conf = {
        .name = "test", .certificate = own_certificate_path, .private_key = own_key_path};
    struct fg_error error = {0};
    *talk = (struct talk){.context = NULL};
    if (has_tickets) {
        talk->tickets = fg_ticket_keys_create(3600);
        fg_ticket_keys_set_secret(talk->tickets, secret, sizeof(secret));
    }
    talk->context = fg_tls_context_create(&conf, talk->tickets, 3600, &error);
    assert_non_null(talk->context);
    talk->client_ctx = SSL_CTX_new(TLS_client_method());
    if (suites != NULL)
        assert_int_equal(SSL_CTX_set_ciphersuites(talk->client_ctx, suites), 1);
}

static void end_talk(struct talk *talk)
{
    SSL_free(talk->client);
    fg_tls_close(&talk->tls);
    SSL_CTX_free(talk->client_ctx);
    fg_tls_context_destroy(talk->context);
    fg_ticket_keys_destroy(talk->tickets);
    free(talk->in);
    assert_int_equal(segments.in_use, 0);
}

/* A connection up to its first data. In TLS 1.3 they come with the client's Finished. */
static void begin(struct talk *talk, SSL_SESSION *session, const char *name)
{
    enum fg_tls_result result = FG_TLS_MORE;
    if (talk->client != NULL) /* or its session could not be used again */
        SSL_set_shutdown(talk->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(talk->client);
    fg_tls_close(&talk->tls);
    talk->client = SSL_new(talk->client_ctx);
    talk->to_client = BIO_new(BIO_s_mem());
    talk->from_client = BIO_new(BIO_s_mem());
    SSL_set_bio(talk->client, talk->to_client, talk->from_client);
    SSL_set_connect_state(talk->client);
    SSL_set_alpn_protos(talk->client, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    if (name != NULL)
        SSL_set_tlsext_host_name(talk->client, name);
    if (session != NULL)
        SSL_set_session(talk->client, session);
    assert_int_equal(fg_tls_open(&talk->tls, talk->context, &env, output, talk), FG_OK);
    while (result == FG_TLS_MORE) {
        if (SSL_do_handshake(talk->client) == 1)
            assert_int_equal(SSL_write(talk->client, "hello", 5), 5);
        hear(talk);
        result = fg_tls_handshake(&talk->tls);
    }
    assert_int_equal(result, FG_TLS_OK);
    talk->was_resumed = fg_tls_is_resumed(&talk->tls);
    fg_tls_settle(&talk->tls);
    if (SSL_is_init_finished(talk->client) == 0) {
        assert_int_equal(SSL_do_handshake(talk->client), 1);
        assert_int_equal(SSL_write(talk->client, "hello", 5), 5);
        hear(talk);
    }
}

static void expect_from_client(struct talk *talk, const char *wanted, size_t len)
{
    static char opened[FG_TLS_OPEN_ROOM];
    size_t total = 0, got;
    while (!fg_tls_is_drained(&talk->tls)) {
        enum fg_tls_result result = fg_tls_read(&talk->tls, opened, &got);
        if (result == FG_TLS_MORE)
            continue;
        assert_int_equal(result, FG_TLS_OK);
        assert_true(got <= len - total);
        assert_memory_equal(opened, wanted + total, got);
        total += got;
    }
    assert_int_equal(total, len);
}

static void say(struct talk *talk, const char *data, size_t len)
{
    static char record[FG_TLS_DATA_MAX + FG_TLS_SEAL_BYTES];
    while (len > 0) {
        size_t part = len < FG_TLS_DATA_MAX ? len : FG_TLS_DATA_MAX;
        if (fg_tls_has_own_records(&talk->tls)) {
            memcpy(record + FG_TLS_HEAD_BYTES, data, part);
            size_t made = fg_tls_seal(&talk->tls, record, part);
            assert_true(made > 0 && output(talk, record, made));
        } else {
            assert_true(fg_tls_write(&talk->tls, data, part));
        }
        data += part;
        len -= part;
    }
}

static void expect_at_client(struct talk *talk, const char *wanted, size_t len)
{
    char heard[4096];
    size_t total = 0;
    while (total < len) {
        int got = SSL_read(talk->client, heard, (int)sizeof(heard));
        assert_true(got > 0 && (size_t)got <= len - total);
        assert_memory_equal(heard, wanted + total, (size_t)got);
        total += (size_t)got;
    }
    assert_int_equal(SSL_read(talk->client, heard, 1), -1);
    assert_int_equal(SSL_get_error(talk->client, -1), SSL_ERROR_WANT_READ);
}

/* Runs of all sizes to and fro, with key updates that either side may want, and rests. */
static void talk_much(struct talk *talk, unsigned rounds)
{
    static char note[NOTE_MAX];
    for (size_t i = 0; i < sizeof(note); i++)
        note[i] = (char)any(256);
    for (unsigned i = 0; i < rounds; i++) {
        size_t len = any(4) == 0 ? 1 + any(NOTE_MAX) : 1 + any(300);
        size_t from = any(NOTE_MAX - len + 1);
        if (SSL_version(talk->client) == TLS1_3_VERSION && any(5) == 0)
            assert_int_equal(SSL_key_update(talk->client, any(2) == 0
                                                              ? SSL_KEY_UPDATE_REQUESTED
                                                              : SSL_KEY_UPDATE_NOT_REQUESTED),
                             1);
        if (any(7) == 0 && fg_tls_has_own_records(&talk->tls))
            talk->tls.records->sealed_max = any(3);
        assert_int_equal(SSL_write(talk->client, note + from, (int)len), (int)len);
        hear(talk);
        expect_from_client(talk, note + from, len);
        say(talk, note + from, len);
        expect_at_client(talk, note + from, len);
        if (any(6) == 0) {
            (void)fg_tls_rest(&talk->tls);
            assert_true(fg_tls_rest(&talk->tls));
            assert_false(fg_tls_is_awake(&talk->tls));
        }
    }
}

static void greet(struct talk *talk)
{
    expect_from_client(talk, "hello", 5);
    say(talk, "hello, too", 10);
    expect_at_client(talk, "hello, too", 10);
}

static void expect_goodbyes(struct talk *talk)
{
    static char opened[FG_TLS_OPEN_ROOM];
    size_t got;
    SSL_shutdown(talk->client);
    hear(talk);
    assert_int_equal(fg_tls_read(&talk->tls, opened, &got), FG_TLS_EOF);
    say(talk, "still here", 10);
    fg_tls_shutdown(&talk->tls);
    assert_int_equal(SSL_read(talk->client, opened, 100), 10);
    assert_int_equal(SSL_read(talk->client, opened, 100), 0);
    assert_int_equal(SSL_get_error(talk->client, 0), SSL_ERROR_ZERO_RETURN);
}

static void talks_with_openssl_under_every_suite(void **state)
{
    (void)state;
    static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"};
    for (size_t i = 0; i < 6; i++) {
        struct talk talk;
        random_state = i;
        make_talk(&talk, i % 2 == 0, suites[i / 2]);
        begin(&talk, NULL, NULL);
        assert_true(fg_tls_has_own_records(&talk.tls));
        assert_int_equal(talk.tls.records->sealing.suite, i / 2);
        greet(&talk);
        talk_much(&talk, 60);
        expect_goodbyes(&talk);
        end_talk(&talk);
    }
}

static bool is_same_ticket(const SSL_SESSION *one, const SSL_SESSION *other)
{
    const unsigned char *tickets[2];
    size_t lens[2];
    SSL_SESSION_get0_ticket(one, &tickets[0], &lens[0]);
    SSL_SESSION_get0_ticket(other, &tickets[1], &lens[1]);
    return lens[0] == lens[1] && memcmp(tickets[0], tickets[1], lens[0]) == 0;
}

/* By a ticket that was sent before the records were ours; each gives another one. */
static void resumes(void **state)
{
    (void)state;
    struct talk talk;
    make_talk(&talk, true, NULL);
    begin(&talk, NULL, "localhost");
    assert_false(talk.was_resumed);
    greet(&talk);
    for (unsigned i = 0; i < 3; i++) {
        SSL_SESSION *session = SSL_get1_session(talk.client);
        begin(&talk, session, "localhost");
        assert_true(talk.was_resumed && SSL_session_reused(talk.client) == 1);
        assert_true(fg_tls_has_own_records(&talk.tls));
        greet(&talk);
        assert_false(is_same_ticket(session, SSL_get0_session(talk.client)));
        SSL_SESSION_free(session);
    }
    end_talk(&talk);
}

static void knows_what_it_knew(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct talk talk;
        make_talk(&talk, true, NULL);
        SSL_CTX_set_max_proto_version(talk.client_ctx, version);
        begin(&talk, NULL, "www.example.org");
        assert_int_equal(fg_tls_has_own_records(&talk.tls), version == TLS1_3_VERSION);
        assert_string_equal(fg_tls_version(&talk.tls),
                            version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
        assert_true(fg_span_equal(fg_tls_server_name(&talk.tls), FG_SPAN("www.example.org")));
        assert_true(fg_tls_is_h2(&talk.tls));
        assert_false(fg_tls_has_certificate(&talk.tls));
        begin(&talk, NULL, NULL);
        assert_int_equal(fg_tls_server_name(&talk.tls).len, 0);
        end_talk(&talk);
    }
}

static void leaves_to_openssl_what_is_not_for_it(void **state)
{
    (void)state;
    struct talk talk;
    make_talk(&talk, true, NULL);
    SSL_CTX_set_max_proto_version(talk.client_ctx, TLS1_2_VERSION);
    begin(&talk, NULL, NULL);
    assert_false(fg_tls_has_own_records(&talk.tls));
    assert_null(talk.tls.records);
    greet(&talk);
    talk_much(&talk, 10);
    expect_goodbyes(&talk);
    end_talk(&talk);
    make_talk(&talk, true, NULL); /* records of 512 bytes, which are for OpenSSL to count */
    SSL_CTX_set_tlsext_max_fragment_length(talk.client_ctx, TLSEXT_max_fragment_length_512);
    begin(&talk, NULL, NULL);
    assert_int_equal(SSL_version(talk.client), TLS1_3_VERSION);
    assert_false(fg_tls_has_own_records(&talk.tls));
    assert_null(talk.tls.records);
    greet(&talk);
    talk_much(&talk, 10);
    end_talk(&talk);
}

/* Of what is wrong the client hears, by its name, and then nothing. */
static void tells_the_client_what_was_wrong(void **state)
{
    (void)state;
    static char opened[FG_TLS_OPEN_ROOM];
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct talk talk;
        size_t got;
        make_talk(&talk, true, NULL);
        SSL_CTX_set_max_proto_version(talk.client_ctx, version);
        begin(&talk, NULL, NULL);
        greet(&talk);
        assert_int_equal(SSL_write(talk.client, "forged", 6), 6);
        hear(&talk);
        talk.in[talk.tls.in_len - 1] ^= 1;
        assert_int_equal(fg_tls_read(&talk.tls, opened, &got), FG_TLS_FAILED);
        assert_int_equal(fg_tls_read(&talk.tls, opened, &got), FG_TLS_FAILED);
        ERR_clear_error();
        assert_true(SSL_read(talk.client, opened, 100) <= 0);
        assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
        ERR_clear_error();
        end_talk(&talk);
    }
}

/* A client that leaves before, during and behind the handover. */
static void closes_at_any_time(void **state)
{
    (void)state;
    for (unsigned flights = 0; flights < 3; flights++) {
        struct talk talk;
        make_talk(&talk, true, NULL);
        talk.client = SSL_new(talk.client_ctx);
        talk.to_client = BIO_new(BIO_s_mem());
        talk.from_client = BIO_new(BIO_s_mem());
        SSL_set_bio(talk.client, talk.to_client, talk.from_client);
        SSL_set_connect_state(talk.client);
        assert_int_equal(fg_tls_open(&talk.tls, talk.context, &env, output, &talk), FG_OK);
        for (unsigned i = 0; i < flights; i++) {
            (void)SSL_do_handshake(talk.client);
            hear(&talk);
            assert_int_equal(fg_tls_handshake(&talk.tls), i == 0 ? FG_TLS_MORE : FG_TLS_OK);
        }
        end_talk(&talk);
    }
}

static int set_up(void **state)
{
    (void)state;
    fg_segment_pool_init(&segments, 4);
    return own_certificate_make() && fg_tls_env_init(&env, &segments) == FG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    fg_tls_env_fini(&env);
    fg_segment_pool_fini(&segments);
    own_certificate_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talks_with_openssl_under_every_suite),
        cmocka_unit_test(resumes),
        cmocka_unit_test(knows_what_it_knew),
        cmocka_unit_test(leaves_to_openssl_what_is_not_for_it),
        cmocka_unit_test(tells_the_client_what_was_wrong),
        cmocka_unit_test(closes_at_any_time),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
