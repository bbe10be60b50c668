/*
 * test_signature.c: signed requests, and the nonces that may be used once.
 */
#include "base/base64url.h"
#include "pipeline/nonce_table_shared.h"
#include "pipeline/signature.h"

#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define BODY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" /* 32 bytes of 0 */
#define SECRET "a secret of thirty-two bytes, or more"

static struct fg_exchange make_exchange(void)
{
    return (struct fg_exchange){.method_text = FG_SPAN("POST"),
                                .authority = FG_SPAN("api.example.org"),
                                .path = FG_SPAN("/api/orders"),
                                .query = FG_SPAN("a=1&b")};
}

/* The field for a text that was signed. */
static struct fg_span make_field(char out[512], const char *text)
{
    unsigned char mac[32];
    char mac_text[48];
    unsigned len = 0;
    assert_non_null(HMAC(EVP_sha256(), SECRET, sizeof(SECRET) - 1, (const unsigned char *)text,
                         strlen(text), mac, &len));
    mac_text[fg_base64url_encode(mac_text, mac, 32)] = '\0';
    int at = snprintf(out, 512,
                      "v1;key=partner;time=1700000000;nonce=abcdefghijklmnop;body=" BODY ";mac=%s",
                      mac_text);
    return fg_span_make(out, (size_t)at);
}

static bool is_good(struct fg_span field, const struct fg_exchange *ex)
{
    struct fg_signature signature;
    assert_true(fg_signature_parse(field, &signature));
    return fg_signature_is_good(&signature, ex, SECRET, sizeof(SECRET) - 1);
}

static void covers_the_whole_request(void **state)
{
    (void)state;
    char out[512];
    static const char text[] =
        "v1\nPOST\napi.example.org\n/api/orders?a=1&b\n1700000000\nabcdefghijklmnop\n" BODY;
    struct fg_span field = make_field(out, text);
    struct fg_exchange ex = make_exchange();
    assert_true(is_good(field, &ex));
    ex.method_text = FG_SPAN("PUT");
    assert_false(is_good(field, &ex));
    ex = make_exchange();
    ex.authority = FG_SPAN("other.example.org");
    assert_false(is_good(field, &ex));
    ex = make_exchange();
    ex.path = FG_SPAN("/api/orders2");
    assert_false(is_good(field, &ex));
    ex = make_exchange();
    ex.query = (struct fg_span){NULL, 0};
    assert_false(is_good(field, &ex));
    ex = make_exchange();
    for (size_t i = 3; i < field.len; i++) {
        struct fg_signature signature;
        char copy[512];
        memcpy(copy, field.data, field.len);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        struct fg_span changed = {copy, field.len};
        bool is_key_id = i >= 7 && i < 14; /* says which secret, and is not signed by it */
        if (!is_key_id && fg_signature_parse(changed, &signature))
            assert_false(fg_signature_is_good(&signature, &ex, SECRET, sizeof(SECRET) - 1));
    }
}

static void reads_strictly(void **state)
{
    (void)state;
    static const char good[] =
        "v1; mac=" BODY "; body=" BODY ";nonce=ABCDEFGHIJKLMNOP-_;time=1;key=k";
    static const char *const bad[] = {
        "",
        "v1",
        "v2;key=k;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY,
        "v1;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY,
        "v1;key=;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY,
        "v1;key=k;time=-1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY,
        "v1;key=k;time=1;nonce=short;body=" BODY ";mac=" BODY,
        "v1;key=k;time=1;nonce=abcdefghijklmno+;body=" BODY ";mac=" BODY,
        "v1;key=k;time=1;nonce=abcdefghijklmnop;body=AAAA;mac=" BODY,
        "v1;key=k;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY "AA",
        "v1;key=k;key=k;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY,
        "v1;key=k;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY ";more=1",
        "v1;key=k;time=1;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY ";",
        "v1;key=k;time=99999999999999;nonce=abcdefghijklmnop;body=" BODY ";mac=" BODY,
    };
    struct fg_signature signature;
    assert_true(fg_signature_parse(fg_span_from_string(good), &signature));
    assert_int_equal(signature.time_s, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_signature_parse(fg_span_from_string(bad[i]), &signature));
}

static void makes_what_it_accepts(void **state)
{
    (void)state;
    char field[FG_SIGNATURE_FIELD_BYTES];
    static const unsigned char digest[32] = {1, 2, 3};
    struct fg_exchange ex = make_exchange();
    assert_true(fg_signature_make(&ex, "partner", SECRET, sizeof(SECRET) - 1, 1700000000,
                                  FG_SPAN("abcdefghijklmnop"), digest, field));
    assert_true(is_good(fg_span_from_string(field), &ex));
    ex.path = FG_SPAN("/other");
    assert_false(is_good(fg_span_from_string(field), &ex));
    char long_id[600];
    memset(long_id, 'k', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    assert_false(fg_signature_make(&ex, long_id, SECRET, sizeof(SECRET) - 1, 1,
                                   FG_SPAN("abcdefghijklmnop"), digest, field));
}

static void takes_a_nonce_once(void **state)
{
    (void)state;
    struct fg_nonce_table *table = fg_nonce_table_create(1000, 50);
    struct fg_span a = FG_SPAN("a"), b = FG_SPAN("b"), nonce = FG_SPAN("abcdefghijklmnop");
    assert_non_null(table);
    assert_int_equal(fg_nonce_table_since_s(table), 50);
    assert_in_range(fg_nonce_table_room(table), 1000, 2000);
    assert_int_equal(fg_nonce_table_use(table, a, nonce, 100, 130), FG_NONCE_FRESH);
    assert_int_equal(fg_nonce_table_use(table, a, nonce, 100, 130), FG_NONCE_USED);
    assert_int_equal(fg_nonce_table_use(table, a, nonce, 129, 159), FG_NONCE_USED);
    assert_int_equal(fg_nonce_table_use(table, b, nonce, 100, 130), FG_NONCE_FRESH);
    assert_int_equal(fg_nonce_table_use(table, a, nonce, 130, 160), FG_NONCE_FRESH);
    fg_nonce_table_destroy(table);
}

static void refuses_rather_than_forgets(void **state)
{
    (void)state;
    struct fg_nonce_table *table = fg_nonce_table_create(1000, 50);
    char text[32];
    unsigned fresh = 0, full = 0;
    for (unsigned i = 0; i < 5000; i++) {
        int len = snprintf(text, sizeof(text), "nonce-%010u", i);
        struct fg_span nonce = {text, (size_t)len};
        enum fg_nonce_verdict verdict = fg_nonce_table_use(table, FG_SPAN("k"), nonce, 100, 130);
        assert_int_not_equal(verdict, FG_NONCE_USED);
        fresh += verdict == FG_NONCE_FRESH;
        full += verdict == FG_NONCE_FULL;
        if (verdict == FG_NONCE_FRESH)
            assert_int_equal(fg_nonce_table_use(table, FG_SPAN("k"), nonce, 100, 130),
                             FG_NONCE_USED);
    }
    assert_true(fresh >= 1000 && fresh <= 2048 && full > 0);
    assert_int_equal(fg_nonce_table_use(table, FG_SPAN("k"), FG_SPAN("after"), 130, 160),
                     FG_NONCE_FRESH); /* time has made room */
    fg_nonce_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covers_the_whole_request),    cmocka_unit_test(reads_strictly),
        cmocka_unit_test(makes_what_it_accepts),       cmocka_unit_test(takes_a_nonce_once),
        cmocka_unit_test(refuses_rather_than_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
