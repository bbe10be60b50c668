/*
 * test_dns_message.c: questions as servers read them, answers whole, cut, and wrong.
 */
#include "proxy/dns_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

struct found {
    unsigned count;
    unsigned char last[16];
    uint32_t ttl_s;
    size_t bytes;
};

static void on_address(void *arg, const void *bytes, uint32_t ttl_s)
{
    struct found *found = arg;
    found->count++;
    found->ttl_s = ttl_s;
    memcpy(found->last, bytes, found->bytes);
}

/* "a.bc", then its answer: an alias, two addresses, one of another class. */
static const char answer_a[] = "\x12\x34\x81\x80\0\1\0\4\0\0\0\0"
                               "\1a\2bc\0\0\1\0\1"
                               "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1b\xc0\x0e"
                               "\1b\2bc\0\0\1\0\1\0\0\0\x07\0\4\x0a\0\0\1"
                               "\xc0\x0c\0\1\0\3\0\0\0\x07\0\4\x0a\0\0\3"
                               "\xc0\x0c\0\1\0\1\0\0\0\x09\0\4\x0a\0\0\2";

static bool read_bytes(const char *bytes, size_t len, enum fg_dns_type type, struct found *found)
{
    *found = (struct found){.bytes = type == FG_DNS_A ? 4 : 16};
    return fg_dns_read_answer((struct fg_span){bytes, len}, type, 0x1234, on_address, found);
}

static void a_question_is_written(void **state)
{
    (void)state;
    static const char expected[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\2bc\0\0\x1c\0\1";
    unsigned char query[FG_DNS_QUERY_BYTES_MAX];
    assert_int_equal(fg_dns_write_query(query, "a.bc", FG_DNS_AAAA, 0x1234), sizeof(expected) - 1);
    assert_memory_equal(query, expected, sizeof(expected) - 1);
    assert_int_equal(fg_dns_write_query(query, "a.bc.", FG_DNS_AAAA, 0x1234), sizeof(expected) - 1);
    assert_memory_equal(query, expected, sizeof(expected) - 1);
}

static void names_that_are_none_are_not_asked_for(void **state)
{
    (void)state;
    unsigned char query[FG_DNS_QUERY_BYTES_MAX];
    char name[300];
    static const char *const bad[] = {"", ".", "a..b", ".a"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(fg_dns_write_query(query, bad[i], FG_DNS_A, 1), 0);
    memset(name, 'a', sizeof(name));
    name[63] = '\0';
    assert_int_not_equal(fg_dns_write_query(query, name, FG_DNS_A, 1), 0);
    name[63] = 'a';
    name[64] = '\0';
    assert_int_equal(fg_dns_write_query(query, name, FG_DNS_A, 1), 0);
    for (size_t i = 0; i < 253; i++)
        name[i] = i % 2 == 0 ? 'a' : '.';
    name[253] = '\0';
    assert_int_equal(fg_dns_write_query(query, name, FG_DNS_A, 1), 12 + 255 + 4);
    memcpy(name + 253, ".a", 3);
    assert_int_equal(fg_dns_write_query(query, name, FG_DNS_A, 1), 0);
}

static void addresses_are_read_behind_an_alias(void **state)
{
    (void)state;
    struct found found;
    assert_true(read_bytes(answer_a, sizeof(answer_a) - 1, FG_DNS_A, &found));
    assert_int_equal(found.count, 2);
    assert_memory_equal(found.last, "\x0a\0\0\2", 4);
    assert_int_equal(found.ttl_s, 9);
    static const char six[] = "\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\x1c\0\1"
                              "\xc0\x0c\0\x1c\0\1\xff\xff\xff\xff\0\x10"
                              "0123456789abcdef";
    assert_true(read_bytes(six, sizeof(six) - 1, FG_DNS_AAAA, &found));
    assert_int_equal(found.count, 1);
    assert_memory_equal(found.last, "0123456789abcdef", 16);
    assert_int_equal(found.ttl_s, 0); /* the highest bit says nothing */
}

static void that_there_is_none_is_an_answer(void **state)
{
    (void)state;
    struct found found;
    static const char none[] = "\x12\x34\x81\x80\0\1\0\0\0\0\0\0\1a\0\0\1\0\1";
    static const char no_name[] = "\x12\x34\x81\x83\0\1\0\0\0\0\0\0\1a\0\0\1\0\1";
    assert_true(read_bytes(none, sizeof(none) - 1, FG_DNS_A, &found));
    assert_int_equal(found.count, 0);
    assert_true(read_bytes(no_name, sizeof(no_name) - 1, FG_DNS_A, &found));
    assert_int_equal(found.count, 0);
}

static void what_is_cut_or_wrong_is_no_answer(void **state)
{
    (void)state;
    struct found found;
    char bytes[sizeof(answer_a)];
    for (size_t len = 0; len < sizeof(answer_a) - 1; len++)
        assert_false(read_bytes(answer_a, len, FG_DNS_A, &found));
    static const struct {
        size_t at;
        char value;
    } wrong[] = {
        {0, 0},       /* another id */
        {2, 1},       /* a question */
        {2, '\x83'},  /* cut off */
        {3, '\x82'},  /* SERVFAIL */
        {5, 0},       /* no question in it */
        {19, 28},     /* or another */
        {12, '\x40'}, /* a label that is none */
        {33, 100},    /* more data than there are */
        {53, 5},      /* an address of five bytes */
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        memcpy(bytes, answer_a, sizeof(answer_a));
        bytes[wrong[i].at] = wrong[i].value;
        assert_false(read_bytes(bytes, sizeof(answer_a) - 1, FG_DNS_A, &found));
    }
    assert_false(read_bytes(answer_a, sizeof(answer_a) - 1, FG_DNS_AAAA, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_is_written),
        cmocka_unit_test(names_that_are_none_are_not_asked_for),
        cmocka_unit_test(addresses_are_read_behind_an_alias),
        cmocka_unit_test(that_there_is_none_is_an_answer),
        cmocka_unit_test(what_is_cut_or_wrong_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
