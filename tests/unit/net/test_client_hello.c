/*
 * test_client_hello.c: hellos as OpenSSL writes them, with and without a session to resume, and
 * bytes that are none.
 */
#include "net/client_hello.h"

#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* The first flight of a client of that version; returns its length. */
static size_t make_hello(int version, unsigned char *out, size_t room)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *sent = BIO_new(BIO_s_mem());
    assert_true(ssl != NULL && in != NULL && sent != NULL);
    SSL_set_max_proto_version(ssl, version);
    SSL_set_tlsext_host_name(ssl, "example.org");
    SSL_set_bio(ssl, in, sent);
    assert_int_equal(SSL_connect(ssl), -1);
    int len = BIO_read(sent, out, (int)room);
    assert_true(len > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)len;
}

static size_t hello_len; /* of the last one that was whole */

static enum fg_client_hello look(const unsigned char *data, size_t len)
{
    hello_len = 0;
    return fg_client_hello_look(fg_span_make((const char *)data, len), false, &hello_len);
}

static enum fg_client_hello look_again(const unsigned char *data, size_t len)
{
    hello_len = 0;
    return fg_client_hello_look(fg_span_make((const char *)data, len), true, &hello_len);
}

static void waits_for_the_whole(void **state)
{
    (void)state;
    unsigned char hello[4096];
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t v = 0; v < 2; v++) {
        size_t len = make_hello(versions[v], hello, sizeof(hello));
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(look(hello, cut), FG_CLIENT_HELLO_PARTIAL);
        assert_int_equal(look(hello, len), FG_CLIENT_HELLO_FULL);
        assert_int_equal(hello_len, len);
        assert_int_equal(look(hello, len + 7), FG_CLIENT_HELLO_FULL);
        assert_int_equal(hello_len, len); /* what comes behind it is another matter */
    }
}

/* The same message in records of so many bytes each; returns the length of all. */
static size_t cut_up(const unsigned char *hello, size_t len, size_t piece, unsigned char *out)
{
    size_t at = 5, used = 0;
    while (at < len) {
        size_t part = len - at < piece ? len - at : piece;
        const unsigned char head[5] = {22, 3, 1, (unsigned char)(part >> 8), (unsigned char)part};
        memcpy(out + used, head, sizeof(head));
        memcpy(out + used + sizeof(head), hello + at, part);
        used += sizeof(head) + part;
        at += part;
    }
    return used;
}

static void puts_records_together(void **state)
{
    (void)state;
    static unsigned char hello[4096], cut[32768];
    static const size_t pieces[] = {1, 2, 3, 5, 100};
    size_t len = make_hello(TLS1_3_VERSION, hello, sizeof(hello));
    for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
        size_t all = cut_up(hello, len, pieces[p], cut);
        for (size_t part = 0; part < all; part++)
            assert_int_equal(look(cut, part), FG_CLIENT_HELLO_PARTIAL);
        assert_int_equal(look(cut, all), FG_CLIENT_HELLO_FULL);
        assert_int_equal(hello_len, all);
    }
}

static void tells_what_means_nothing_before_a_second_one(void **state)
{
    (void)state;
    /* A change of ciphers, early data of three bytes, of none, and another change. */
    static unsigned char all[4096] = {20, 3,  3, 0, 1, 1, 23, 3, 3, 0, 3, 1, 2,
                                      3,  23, 3, 3, 0, 0, 20, 3, 3, 0, 1, 1};
    static const size_t ends[] = {6, 14, 19, 25};
    size_t len = ends[3] + make_hello(TLS1_3_VERSION, all + ends[3], sizeof(all) - ends[3]);
    for (size_t part = 0; part <= len; part++) {
        size_t whole = 0;
        for (size_t e = 0; e < 4; e++)
            whole = part >= ends[e] ? ends[e] : whole;
        assert_int_equal(look_again(all, part),
                         whole == 0 ? FG_CLIENT_HELLO_PARTIAL : FG_CLIENT_HELLO_IDLE);
        assert_int_equal(hello_len, whole);
    }
    assert_int_equal(look_again(all + ends[3], len - ends[3]), FG_CLIENT_HELLO_FULL);
    assert_int_equal(look(all, len), FG_CLIENT_HELLO_NONE); /* there is nothing before the first */
    assert_int_equal(look(all + 6, len - 6), FG_CLIENT_HELLO_NONE);
    all[5] = 2;
    assert_int_equal(look_again(all, len), FG_CLIENT_HELLO_NONE);
    all[4] = 2;
    assert_int_equal(look_again(all, 5), FG_CLIENT_HELLO_NONE);
}

static void knows_how_long_a_record_may_be(void **state)
{
    (void)state;
    static const unsigned char clear[] = {22, 3, 1, 0x40, 1}, sealed[] = {23, 3, 3, 0x41, 1};
    static const unsigned char most[] = {23, 3, 3, 0x41, 0};
    assert_int_equal(look(clear, sizeof(clear)), FG_CLIENT_HELLO_OVERFLOW);
    assert_int_equal(look_again(clear, sizeof(clear)), FG_CLIENT_HELLO_OVERFLOW);
    assert_int_equal(look_again(sealed, sizeof(sealed)), FG_CLIENT_HELLO_OVERFLOW);
    assert_int_equal(look_again(most, sizeof(most)), FG_CLIENT_HELLO_PARTIAL);
}

static void refuses_what_is_too_long(void **state)
{
    (void)state;
    static unsigned char hello[FG_CLIENT_HELLO_HELD_MAX + 1], cut[FG_CLIENT_HELLO_HELD_MAX + 1];
    const unsigned char largest[] = {22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc};
    const unsigned char longer[] = {22, 3, 1, 0, 4, 1, 0, 0x3f, 0xfd};
    const unsigned char much_longer[] = {22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 3, 1, 0, 0};
    memcpy(hello, largest, sizeof(largest));
    assert_int_equal(look(hello, 5 + 16383), FG_CLIENT_HELLO_PARTIAL);
    assert_int_equal(look(hello, 5 + 16384), FG_CLIENT_HELLO_FULL);
    assert_int_equal(look(longer, sizeof(longer)), FG_CLIENT_HELLO_TOO_LONG);
    assert_int_equal(look(much_longer, sizeof(much_longer)), FG_CLIENT_HELLO_TOO_LONG);
    assert_int_equal(look(much_longer, sizeof(much_longer) - 1), FG_CLIENT_HELLO_PARTIAL);
    /* Records of a byte: their headers are more than the hello. */
    size_t at = 0;
    for (size_t i = 0; at + 6 <= sizeof(cut); i++, at += 6) {
        const unsigned char record[] = {22, 3, 1, 0, 1, i < 9 ? largest[5 + i % 4] : 0};
        memcpy(cut + at, record, sizeof(record));
    }
    assert_int_equal(look(cut, at), FG_CLIENT_HELLO_PARTIAL);
    memcpy(cut + at, largest, sizeof(cut) - at);
    assert_int_equal(look(cut, sizeof(cut)), FG_CLIENT_HELLO_TOO_LONG);
}

/* Appends an extension to a hello that has some. */
static size_t append_extension(unsigned char *hello, size_t len, unsigned type, unsigned bytes)
{
    size_t at = 5 + 4 + 2 + 32;
    at += 1u + hello[at];
    at += 2u + ((size_t)hello[at] << 8 | hello[at + 1]);
    at += 1u + hello[at];
    size_t extensions = ((size_t)hello[at] << 8 | hello[at + 1]) + 4 + bytes;
    hello[at] = (unsigned char)(extensions >> 8);
    hello[at + 1] = (unsigned char)extensions;
    hello[len] = 0;
    hello[len + 1] = (unsigned char)type;
    hello[len + 2] = 0;
    hello[len + 3] = (unsigned char)bytes;
    for (unsigned i = 0; i < bytes; i++)
        hello[len + 4 + i] = 0xaa;
    len += 4 + bytes;
    hello[3] = (unsigned char)((len - 5) >> 8);
    hello[4] = (unsigned char)(len - 5);
    return len;
}

static void sees_a_session_to_resume(void **state)
{
    (void)state;
    unsigned char hello[4096];
    size_t len = make_hello(TLS1_3_VERSION, hello, sizeof(hello));
    len = append_extension(hello, len, 41, 60);
    assert_int_equal(look(hello, len), FG_CLIENT_HELLO_RESUMES);
    assert_int_equal(look(hello, len - 1), FG_CLIENT_HELLO_PARTIAL);
    len = make_hello(TLS1_2_VERSION, hello, sizeof(hello));
    assert_int_equal(look(hello, append_extension(hello, len, 35, 100)), FG_CLIENT_HELLO_RESUMES);
    len = make_hello(TLS1_2_VERSION, hello, sizeof(hello));
    assert_int_equal(look(hello, append_extension(hello, len, 35, 0)), FG_CLIENT_HELLO_FULL);
}

static void knows_what_is_none(void **state)
{
    (void)state;
    static const unsigned char not_hello[] = {22, 3, 1, 0, 4, 2, 0, 0, 0};
    static const unsigned char too_long[] = {22, 3, 1, 0xff, 0xff, 1, 0, 0, 0};
    static const unsigned char empty[] = {22, 3, 1, 0, 0};
    static const unsigned char alert_between[] = {22, 3, 1, 0, 1, 1, 21, 3, 1, 0, 2, 1, 0};
    unsigned char cut_inside[] = {22, 3, 1, 0, 10, 1, 0, 0, 6, 3, 3, 0, 0, 0, 0};
    assert_int_equal(look(not_hello, sizeof(not_hello)), FG_CLIENT_HELLO_NONE);
    assert_int_equal(look(too_long, sizeof(too_long)), FG_CLIENT_HELLO_OVERFLOW);
    assert_int_equal(look(empty, sizeof(empty)), FG_CLIENT_HELLO_NONE);
    assert_int_equal(look(alert_between, sizeof(alert_between)), FG_CLIENT_HELLO_NONE);
    assert_int_equal(look(cut_inside, sizeof(cut_inside)), FG_CLIENT_HELLO_FULL); /* for TLS */
    assert_int_equal(look(not_hello, 0), FG_CLIENT_HELLO_PARTIAL);
}

static void knows_http_by_its_first_byte(void **state)
{
    (void)state;
    static const unsigned char http[] = "GET / HTTP/1.1\r\n",
                               first[] = {'A', 'Z', '@', '[', 'g', 0x80, 23};
    assert_int_equal(look(http, sizeof(http) - 1), FG_CLIENT_HELLO_HTTP);
    for (size_t i = 0; i < sizeof(first); i++)
        assert_int_equal(look(first + i, 1), i < 2 ? FG_CLIENT_HELLO_HTTP : FG_CLIENT_HELLO_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_for_the_whole),
        cmocka_unit_test(sees_a_session_to_resume),
        cmocka_unit_test(puts_records_together),
        cmocka_unit_test(tells_what_means_nothing_before_a_second_one),
        cmocka_unit_test(knows_how_long_a_record_may_be),
        cmocka_unit_test(refuses_what_is_too_long),
        cmocka_unit_test(knows_what_is_none),
        cmocka_unit_test(knows_http_by_its_first_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
