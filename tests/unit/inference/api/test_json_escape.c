/*
 * test_json_escape.c: every byte, every kind of broken UTF-8, every cut.
 */
#include "inference/api/json_escape.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SPAN(text) fg_span_make((text), sizeof(text) - 1)

static void assert_escaped(struct fg_span text, const char *expected)
{
    char out[256];
    size_t consumed = 0;
    size_t len = fg_json_escape(text, out, sizeof(out), &consumed);
    assert_int_equal(consumed, text.len);
    assert_int_equal(len, fg_json_escaped_bytes(text));
    out[len] = '\0';
    assert_string_equal(out, expected);
}

static void escapes_what_json_demands(void **state)
{
    (void)state;
    assert_escaped(SPAN(""), "");
    assert_escaped(fg_span_make(NULL, 0), "");
    assert_escaped(SPAN("plain /text~"), "plain /text~");
    assert_escaped(SPAN("a\"b\\c"), "a\\\"b\\\\c");
    assert_escaped(SPAN("\n\r\t\b\f"), "\\n\\r\\t\\b\\f");
    assert_escaped(SPAN("\0\x01\x1f\x7f"), "\\u0000\\u0001\\u001f\x7f");
}

static void lets_unicode_through(void **state)
{
    (void)state;
    assert_escaped(SPAN("caf\xc3\xa9 \xe5\xa5\xb6\xe8\x8c\xb6 \xf0\x9f\xa7\x8b"),
                   "caf\xc3\xa9 \xe5\xa5\xb6\xe8\x8c\xb6 \xf0\x9f\xa7\x8b");
    assert_escaped(SPAN("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"),
                   "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
}

static void replaces_broken_utf8(void **state)
{
    (void)state;
#define FFFD "\xef\xbf\xbd"
    assert_escaped(SPAN("\x80"), FFFD);
    assert_escaped(SPAN("\xff"), FFFD);
    assert_escaped(SPAN("\xc0\xaf"), FFFD FFFD);          /* longer than needed */
    assert_escaped(SPAN("\xe0\x80\x80"), FFFD FFFD FFFD); /* likewise */
    assert_escaped(SPAN("\xed\xa0\x80"), FFFD FFFD FFFD); /* a surrogate */
    assert_escaped(SPAN("\xf0\x80\x80\x80"), FFFD FFFD FFFD FFFD);
    assert_escaped(SPAN("\xf4\x90\x80\x80"), FFFD FFFD FFFD FFFD); /* beyond U+10FFFF */
    assert_escaped(SPAN("\xc3"), FFFD);
    assert_escaped(SPAN("\xe5\xa5"), FFFD FFFD);
    assert_escaped(SPAN("\xf0\x9f\xa7"), FFFD FFFD FFFD);
    assert_escaped(SPAN("\xc3(x"), FFFD "(x");
}

/* Whatever the room, the pieces put together are the whole, and no piece cuts a character. */
static void goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct fg_span text = SPAN("a\"\x01\xc3\xa9\xe5\xa5\xb6\xf0\x9f\xa7\x8b\xff\nz");
    char whole[128];
    size_t consumed;
    size_t whole_len = fg_json_escape(text, whole, sizeof(whole), &consumed);
    for (size_t room = FG_JSON_ESCAPE_CHAR_MAX; room < 40; room++) {
        char joined[128];
        size_t joined_len = 0;
        for (size_t at = 0; at < text.len; at += consumed) {
            struct fg_span rest = fg_span_make(text.data + at, text.len - at);
            size_t len = fg_json_escape(rest, joined + joined_len, room, &consumed);
            assert_true(consumed > 0 && len <= room);
            joined_len += len;
        }
        assert_int_equal(joined_len, whole_len);
        assert_memory_equal(joined, whole, whole_len);
    }
    assert_int_equal(fg_json_escape(text, whole, 0, &consumed), 0);
    assert_int_equal(consumed, 0);
}

/* A parser reads back every two-byte string that is UTF-8, and something for every other. */
static void output_always_parses(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair <= 0xffff; pair += 7) {
        char bytes[2] = {(char)(pair >> 8), (char)pair};
        char text[32] = "\"";
        size_t consumed;
        size_t len = fg_json_escape(fg_span_make(bytes, 2), text + 1, 24, &consumed);
        text[1 + len] = '"';
        json_t *value = json_loadb(text, len + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        if ((unsigned char)bytes[0] < 0x80 && (unsigned char)bytes[1] < 0x80) {
            assert_int_equal(json_string_length(value), 2);
            assert_memory_equal(json_string_value(value), bytes, 2);
        }
        json_decref(value);
    }
}

static void cleans_messages(void **state)
{
    (void)state;
    char text[] = "a\n\xe5\xa5\xb6\xe5\xa5";
    fg_json_clean(text);
    assert_string_equal(text, "a \xe5\xa5\xb6??");
    char empty[] = "";
    fg_json_clean(empty);
    assert_string_equal(empty, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_what_json_demands), cmocka_unit_test(lets_unicode_through),
        cmocka_unit_test(replaces_broken_utf8),      cmocka_unit_test(goes_on_where_it_stopped),
        cmocka_unit_test(output_always_parses),      cmocka_unit_test(cleans_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
