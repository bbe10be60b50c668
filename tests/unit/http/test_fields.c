/*
 * test_fields.c: names, values, lengths and hosts.
 */
#include "http/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void lowers_names_and_refuses_what_is_no_token(void **state)
{
    (void)state;
    char to[64];
    assert_true(fg_field_name_lower(FG_SPAN("X-Request-ID"), to));
    assert_memory_equal(to, "x-request-id", 12);
    assert_true(fg_field_name_lower(FG_SPAN("!#$%&'*+-.^_`|~09aZ"), to));
    const struct fg_span bad[] = {
        FG_SPAN_LITERAL(""),     FG_SPAN_LITERAL("a b"),  FG_SPAN_LITERAL("a:"),
        FG_SPAN_LITERAL("a "),   FG_SPAN_LITERAL(" a"),   FG_SPAN_LITERAL("a\0b"),
        FG_SPAN_LITERAL("a\tb"), FG_SPAN_LITERAL("a(b"),  FG_SPAN_LITERAL("a/b"),
        FG_SPAN_LITERAL("a\r"),  FG_SPAN_LITERAL("\x80"), FG_SPAN_LITERAL("a\"b"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(fg_field_name_lower(bad[i], to));
        assert_false(fg_is_token(bad[i]));
        assert_false(fg_field_name_is_lower(bad[i]));
    }
}

static void takes_the_token_in_front(void **state)
{
    (void)state;
    char text[] = "X-Request-ID: A";
    assert_int_equal(fg_field_name_take(text, sizeof(text) - 1), 12);
    assert_string_equal(text, "x-request-id: A");
    assert_int_equal(fg_field_name_take(text, 5), 5);
    assert_int_equal(fg_field_name_take(text, 0), 0);
    char none[] = ":A";
    assert_int_equal(fg_field_name_take(none, 2), 0);
    assert_string_equal(none, ":A");
}

/* Any byte at any place of a text that is longer or shorter than a vector. */
static void takes_tokens_up_to_any_byte(void **state)
{
    (void)state;
    static const char pattern[] = "X-Az09-Mixed-Cased-Name-Of-Forty-Bytes-Q";
    for (size_t len = 1; len < sizeof(pattern); len++) {
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = 0; c < 256; c++) {
                char text[sizeof(pattern)];
                memcpy(text, pattern, sizeof(pattern));
                text[at] = (char)c;
                bool is_token = fg_is_token(fg_span_make(text + at, 1));
                bool is_raised_there = c >= 'A' && c <= 'Z';
                assert_int_equal(fg_field_name_is_lower(fg_span_make(text + at, 1)),
                                 is_token && !is_raised_there);
                size_t taken = is_token ? len : at;
                assert_int_equal(fg_field_name_take(text, len), taken);
                for (size_t i = 0; i < sizeof(pattern) - 1; i++) {
                    int before = (unsigned char)(i == at ? (char)c : pattern[i]);
                    bool is_raised = i < taken && before >= 'A' && before <= 'Z';
                    if ((unsigned char)text[i] != (is_raised ? before + 'a' - 'A' : before))
                        fail_msg("byte %zu of %zu, with %u at %zu", i, len, c, at);
                }
            }
        }
    }
}

static void refuses_every_control_character_at_every_place(void **state)
{
    (void)state;
    char text[33];
    for (unsigned c = 0; c < 256; c++) {
        bool is_fine = (c >= 0x20 && c != 0x7f) || c == '\t';
        for (size_t len = 1; len <= sizeof(text); len += 4) {
            for (size_t at = 0; at < len; at++) {
                memset(text, 'v', sizeof(text));
                text[at] = (char)c;
                assert_int_equal(fg_field_value_is_valid(fg_span_make(text, len)), is_fine);
            }
        }
    }
    assert_true(fg_field_value_is_valid(FG_SPAN("")));
    assert_true(fg_field_value_is_valid(FG_SPAN("\t\t\t\t\t\t\t\t")));
    assert_true(fg_field_value_is_valid(FG_SPAN(" !\x80\xff \x80 ~~~~")));
}

static void knows_the_fields_of_framing(void **state)
{
    (void)state;
    assert_int_equal(fg_field_identify(FG_SPAN("host")), FG_FIELD_HOST);
    assert_int_equal(fg_field_identify(FG_SPAN("content-length")), FG_FIELD_CONTENT_LENGTH);
    assert_int_equal(fg_field_identify(FG_SPAN("content-lengtH")), FG_FIELD_OTHER);
    assert_int_equal(fg_field_identify(FG_SPAN("cookie")), FG_FIELD_COOKIE);
    assert_int_equal(fg_field_identify(FG_SPAN("expect")), FG_FIELD_EXPECT);
    assert_int_equal(fg_field_identify(FG_SPAN("accept")), FG_FIELD_OTHER);
    static const char *const hops[] = {"te",
                                       "upgrade",
                                       "connection",
                                       "keep-alive",
                                       "proxy-connection",
                                       "transfer-encoding",
                                       "http2-settings"};
    for (size_t i = 0; i < sizeof(hops) / sizeof(hops[0]); i++) {
        struct fg_span name = fg_span_from_string(hops[i]);
        assert_true(fg_field_is_hop_by_hop(fg_field_identify(name)));
        assert_true(fg_field_may_be_framing(name));
    }
    assert_true(fg_field_may_be_framing(FG_SPAN("content-length")));
    assert_false(fg_field_may_be_framing(FG_SPAN("x-request-id")));
    assert_false(fg_field_may_be_framing(FG_SPAN("")));
    char longer[64] = {0};
    assert_false(fg_field_may_be_framing(fg_span_make(longer, 32 + 2)));
    assert_false(fg_field_is_hop_by_hop(FG_FIELD_CONTENT_LENGTH));
    assert_false(fg_field_is_hop_by_hop(FG_FIELD_OTHER));
}

static void reads_lengths_strictly(void **state)
{
    (void)state;
    int64_t length = -7;
    assert_true(fg_field_parse_length(FG_SPAN("0"), &length));
    assert_int_equal(length, 0);
    assert_true(fg_field_parse_length(FG_SPAN("4611686018427387903"), &length));
    assert_true(length == (INT64_C(1) << 62) - 1);
    static const char *const bad[] = {"",    "-1",
                                      "+1",  " 1",
                                      "1 ",  "1,1",
                                      "0x1", "1.",
                                      "١",   "4611686018427387904",
                                      "1e1", "1_0",
                                      "one", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_field_parse_length(fg_span_from_string(bad[i]), &length));
    static const char *const plain[][2] = {
        {"0", "0"}, {"00", "0"}, {"007", "7"}, {"70", "70"}, {"0100", "100"}};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        assert_true(fg_span_equal(fg_field_plain_length(fg_span_from_string(plain[i][0])),
                                  fg_span_from_string(plain[i][1])));
}

static void finds_tokens_in_lists(void **state)
{
    (void)state;
    assert_true(fg_field_list_has(FG_SPAN("keep-alive, Close"), FG_SPAN("close")));
    assert_true(fg_field_list_has(FG_SPAN(" ,,close\t,"), FG_SPAN("close")));
    assert_false(fg_field_list_has(FG_SPAN("closed, x-close"), FG_SPAN("close")));
    assert_false(fg_field_list_has(FG_SPAN(""), FG_SPAN("close")));
}

static void underscores_read_as_dashes(void **state)
{
    (void)state;
    assert_true(fg_field_reads_as(FG_SPAN("x_user"), FG_SPAN("x-user")));
    assert_true(fg_field_reads_as(FG_SPAN("x-user_id"), FG_SPAN("x_user-id")));
    assert_true(fg_field_reads_as(FG_SPAN("via"), FG_SPAN("via")));
    assert_false(fg_field_reads_as(FG_SPAN("x_user"), FG_SPAN("x-users")));
    assert_false(fg_field_reads_as(FG_SPAN("x.user"), FG_SPAN("x-user")));
}

static void checks_authorities(void **state)
{
    (void)state;
    static const char *const good[] = {"a",           "example.org", "example.org:8443",
                                       "127.0.0.1:1", "[::1]",       "[::1.2.3.4]",
                                       "[::1]:65535", "a_b-c~d.e",   "A.B",
                                       "a:",          "[::1]:"};
    static const char *const bad[] = {
        "",           ":80", ":",     "a:0",  "a:65536", "a:080000",  "a:x",
        "a b",        "u@h", "a/b",   "a?b",  "a#b",     "[::1",      "[::1]x",
        "a::",        "[]",  "[abc]", "[:]",  "[1:2:3]", "[1::2::3]", "[12345::]",
        "[::1%eth0]", ".a",  "a,b",   "a:1:", "a\\b",    "a%41",      "caf\xc3\xa9",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(fg_authority_is_valid(fg_span_from_string(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        print_message("%s\n", bad[i]);
        assert_false(fg_authority_is_valid(fg_span_from_string(bad[i])));
    }
    char longest[263];
    memset(longest, 'a', sizeof(longest));
    assert_true(fg_authority_is_valid(fg_span_make(longest, 261)));
    assert_false(fg_authority_is_valid(fg_span_make(longest, 262)));
}

static void finds_the_host_of_an_authority(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"example.org", "example.org"},
        {"example.org:8443", "example.org"},
        {"example.org:", "example.org"},
        {"192.0.2.1:80", "192.0.2.1"},
        {"[2001:db8::1]", "[2001:db8::1]"},
        {"[2001:db8::1]:443", "[2001:db8::1]"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_true(fg_span_equal(fg_authority_host(fg_span_from_string(cases[i][0])),
                                  fg_span_from_string(cases[i][1])));
}

static void names_methods(void **state)
{
    (void)state;
    assert_int_equal(fg_method_of(FG_SPAN("GET")), FG_METHOD_GET);
    assert_int_equal(fg_method_of(FG_SPAN("PATCH")), FG_METHOD_PATCH);
    assert_int_equal(fg_method_of(FG_SPAN("get")), FG_METHOD_OTHER);
    assert_int_equal(fg_method_of(FG_SPAN("PURGE")), FG_METHOD_OTHER);
}

static void lets_any_other_token_be_a_method(void **state)
{
    (void)state;
    assert_true(fg_method_may_pass(FG_SPAN("M-SEARCH")));
    assert_true(fg_method_may_pass(FG_SPAN("brew")));
    assert_true(fg_method_may_pass(FG_SPAN("GETS")));
    assert_true(fg_method_may_pass(FG_SPAN("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF")));
    assert_false(fg_method_may_pass(FG_SPAN("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG")));
    assert_false(fg_method_may_pass(FG_SPAN("PRI")));
    assert_false(fg_method_may_pass(FG_SPAN("get")));
    assert_false(fg_method_may_pass(FG_SPAN("Trace")));
    assert_false(fg_method_may_pass(FG_SPAN("cONNECT")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lowers_names_and_refuses_what_is_no_token),
        cmocka_unit_test(takes_the_token_in_front),
        cmocka_unit_test(takes_tokens_up_to_any_byte),
        cmocka_unit_test(refuses_every_control_character_at_every_place),
        cmocka_unit_test(knows_the_fields_of_framing),
        cmocka_unit_test(reads_lengths_strictly),
        cmocka_unit_test(finds_tokens_in_lists),
        cmocka_unit_test(underscores_read_as_dashes),
        cmocka_unit_test(checks_authorities),
        cmocka_unit_test(finds_the_host_of_an_authority),
        cmocka_unit_test(names_methods),
        cmocka_unit_test(lets_any_other_token_be_a_method),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
