/*
 * test_chunked.c: chunked bodies, whole and in pieces; the refusals are in test_h1_malformed.c.
 */
#include "base/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* Decodes `text` in pieces of `step`; returns the last result, the body is in `body`. */
static enum fg_chunked_result decode(const char *text, size_t step, size_t data_max, char *body,
                                     size_t *rest_len)
{
    struct fg_chunked chunked = {0};
    size_t len = strlen(text);
    size_t body_len = 0;
    enum fg_chunked_result result = FG_CHUNKED_MORE;
    for (size_t at = 0; at < len; at += step) {
        struct fg_span input = {text + at, len - at < step ? len - at : step};
        struct fg_span data;
        for (;;) {
            result = fg_chunked_next(&chunked, &input, data_max, &data);
            if (result != FG_CHUNKED_DATA && result != FG_CHUNKED_TRAILER)
                break;
            assert_true(data.len > 0 && (data.len <= data_max || result == FG_CHUNKED_TRAILER));
            memcpy(body + body_len, data.data, data.len);
            body_len += data.len;
        }
        *rest_len = input.len;
        if (result != FG_CHUNKED_MORE)
            break;
    }
    body[body_len] = '\0';
    return result;
}

static void decodes_however_it_is_cut(void **state)
{
    (void)state;
    static const char text[] = "4\r\nwiki\r\n00005;a=\"b\"\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n"
                               "0;x\r\nTrailer: v\r\nOther:\r\n\r\nNEXT";
    for (size_t step = 1; step <= sizeof(text); step++) {
        for (size_t data_max = 1; data_max < 20; data_max += 6) {
            char body[128];
            size_t rest;
            assert_int_equal(decode(text, step, data_max, body, &rest), FG_CHUNKED_DONE);
            assert_string_equal(body, "wikipedia in\r\n\r\nchunks.Trailer: v\r\nOther:\r\n");
            if (step == sizeof(text))
                assert_int_equal(rest, 4);
        }
    }
}

static void extensions_follow_their_grammar(void **state)
{
    (void)state;
    static const char *const good[] = {
        "1;a\r\n",       "1;a=b\r\n",      "1;a=\"b\"\r\n",
        "1;a;b=c;d\r\n", "1; a=b; c\r\n",  "1;a=\"\\\"\"\r\n",
        "1 ;a\r\n",      "1\t; a = b\r\n", "1 ; a = \"b\" ;c ;d=e\r\n"};
    static const char *const bad[] = {"1;\r\n",      "1;=b\r\n",       "1;a=\r\n",    "1;a b\r\n",
                                      "1;a=\"b\r\n", "1;a=\"b\"c\r\n", "1;a=b\"\r\n", "1;;a\r\n",
                                      "1;(\r\n",     "1 \r\n",         "1;a \r\n",    "1;a=b \r\n",
                                      "1;a =\r\n",   "1;a b=c\r\n",    "1;a=b c\r\n"};
    char body[64];
    size_t rest;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(decode(good[i], 1, 9, body, &rest), FG_CHUNKED_MORE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], 1, 9, body, &rest), FG_CHUNKED_BAD);
}

static void sizes_have_an_end(void **state)
{
    (void)state;
    static const char *const good[] = {"0000000000000001\r\n", "fffffffffffffff\r\n",
                                       "0fffffffffffffff\r\n"};
    static const char *const bad[] = {"00000000000000001\r\n", "1000000000000000\r\n",
                                      "ffffffffffffffff\r\n", "\r\n", "00000000000000000\r\n"};
    char body[64];
    size_t rest;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(decode(good[i], 1, 9, body, &rest), FG_CHUNKED_MORE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], 1, 9, body, &rest), FG_CHUNKED_BAD);
    assert_int_equal(decode("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", 1, 9, body, &rest),
                     FG_CHUNKED_DONE);
    assert_string_equal(body, "x");
}

static void trailers_are_fields(void **state)
{
    (void)state;
    static const char *const good[] = {"0\r\na:\r\n\r\n", "0\r\na: b: c\r\nX-Y:\tz\r\n\r\n"};
    static const char *const bad[] = {
        "0\r\na\r\n\r\n",        "0\r\na : b\r\n\r\n",  "0\r\n: b\r\n\r\n",
        "0\r\na\t:\r\n\r\n",     "0\r\na: b\r\n c\r\n", "0\r\na(b): c\r\n\r\n",
        "0\r\na\x80: b\r\n\r\n", "0\r\na: b\nc: d\r\n", "0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"};
    char body[64];
    size_t rest;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(decode(good[i], 1, 9, body, &rest), FG_CHUNKED_DONE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i], 1, 9, body, &rest), FG_CHUNKED_BAD);
}

static void limits_what_carries_no_data(void **state)
{
    (void)state;
    static char text[16384];
    static char body[sizeof(text)];
    size_t rest;
    memset(text, 'e', sizeof(text));
    memcpy(text, "1;", 2);
    text[2 + 256] = '\r';
    text[2 + 257] = '\0';
    assert_int_equal(decode(text, SIZE_MAX, 99, body, &rest), FG_CHUNKED_MORE);
    text[2 + 256] = 'e';
    assert_int_equal(decode(text, SIZE_MAX, 99, body, &rest), FG_CHUNKED_BAD);
    memset(text, 'e', sizeof(text));
    memcpy(text, "0\r\n", 3);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(decode(text, SIZE_MAX, 99, body, &rest), FG_CHUNKED_BAD);
}

/* How many chunks of so many bytes, with an extension of 200, are taken of `most`. */
static size_t count_taken(size_t size, size_t most)
{
    struct fg_chunked chunked = {0};
    static char text[4096];
    int head = snprintf(text, sizeof(text), "%zx;%0199d\r\n", size, 0);
    memset(text + head, 'x', size);
    memcpy(text + (size_t)head + size, "\r\n", 2);
    for (size_t count = 0; count < most; count++) {
        struct fg_span input = {text, (size_t)head + size + 2};
        struct fg_span data;
        enum fg_chunked_result result;
        while ((result = fg_chunked_next(&chunked, &input, SIZE_MAX, &data)) == FG_CHUNKED_DATA)
            assert_true(data.len > 0);
        if (result != FG_CHUNKED_MORE)
            return count;
    }
    return most;
}

static void limits_extensions_around_little_data(void **state)
{
    (void)state;
    assert_int_equal(count_taken(1, 100000), 90); /* 181 of each are not paid for */
    assert_int_equal(count_taken(64, 100000), 295);
    assert_int_equal(count_taken(92, 100000), 100000);
    assert_int_equal(count_taken(2000, 10000), 10000);
}

static void takes_nothing_without_credit(void **state)
{
    (void)state;
    struct fg_chunked chunked = {0};
    struct fg_span input = FG_SPAN("3\r\nabc");
    struct fg_span data;
    assert_int_equal(fg_chunked_next(&chunked, &input, 0, &data), FG_CHUNKED_MORE);
    assert_int_equal(input.len, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_however_it_is_cut),
        cmocka_unit_test(extensions_follow_their_grammar),
        cmocka_unit_test(sizes_have_an_end),
        cmocka_unit_test(trailers_are_fields),
        cmocka_unit_test(limits_what_carries_no_data),
        cmocka_unit_test(limits_extensions_around_little_data),
        cmocka_unit_test(takes_nothing_without_credit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
