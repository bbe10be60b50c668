/*
 * test_file_answer.c: names, types, conditions and ranges, without a file.
 */
#include "static/file_answer.h"

#include "unit/backends/fake_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MODIFIED_S INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */
#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"
#define LATER "Sun, 06 Nov 1994 08:49:38 GMT"
#define EARLIER "Sun, 06 Nov 1994 08:49:36 GMT"

static const struct fg_file_rules some_rules = {.cache_control = FG_SPAN_LITERAL("no-cache"),
                                                .ranges_max = 3,
                                                .now_s = MODIFIED_S + 1000,
                                                .now_ns = 1};

static void paths_become_names(void **state)
{
    static const struct {
        const char *path;
        const char *name; /* NULL: not found */
    } cases[] = {
        {"/a.txt", "a.txt"},
        {"/", "index.html"},
        {"", "index.html"},
        {"/docs/", "docs/index.html"},
        {"/docs", "docs"},
        {"/a%20b", "a b"},
        {"/%E4%B8%AD", "\xe4\xb8\xad"},
        {"/a.b/c..d", "a.b/c..d"},
        {"/.env", NULL},
        {"/a/.git/config", NULL},
        {"/..", NULL},
        {"/../etc/passwd", NULL},
        {"/a/../../etc", NULL},
        {"/%2e%2e/etc", NULL},
        {"/%2E./etc", NULL},
        {"/a/%2e", NULL},
        {"/a%2fb", NULL},
        {"/a%00.txt", NULL},
        {"/a%0a", NULL},
        {"/a%7f", NULL},
        {"/a%", NULL},
        {"/a%4", NULL},
        {"/a%zz", NULL},
        {"/a//b", NULL},
    };
    struct fake_exchange fake;
    (void)state;
    fake_exchange_init(&fake, "GET", "/", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_span name;
        enum fg_status status =
            fg_file_name_of(&fake.arena, fg_span_from_string(cases[i].path), "index.html", &name);
        assert_int_equal(status, cases[i].name == NULL ? FG_ERR_NOT_FOUND : FG_OK);
        if (cases[i].name != NULL)
            assert_string_equal(name.data, cases[i].name);
    }
    fake.end = FAKE_CANCELLED;
    fake_exchange_fini(&fake);
}

static void types_follow_the_extension(void **state)
{
    (void)state;
    assert_string_equal(fg_file_content_type(FG_SPAN("a.HTML")).data, "text/html; charset=utf-8");
    assert_string_equal(fg_file_content_type(FG_SPAN("d.x/a.min.js")).data,
                        "text/javascript; charset=utf-8");
    assert_string_equal(fg_file_content_type(FG_SPAN("f.woff2")).data, "font/woff2");
    assert_string_equal(fg_file_content_type(FG_SPAN("d.html/README")).data,
                        "application/octet-stream");
    assert_string_equal(fg_file_content_type(FG_SPAN("a.")).data, "application/octet-stream");
    assert_string_equal(fg_file_content_type(FG_SPAN("html")).data, "application/octet-stream");
}

struct condition_case {
    const char *name;
    const char *value;
    const char *name2;
    const char *value2;
    unsigned status;
    const char *content_range;
};

#define ETAG "\"a-2ebc98a100000000\""

static void conditions_and_ranges(void **state)
{
    static const struct condition_case cases[] = {
        {"accept", "x", NULL, NULL, 200, NULL},
        {"if-none-match", ETAG, NULL, NULL, 304, NULL},
        {"if-none-match", "W/" ETAG, NULL, NULL, 304, NULL},
        {"if-none-match", "\"x\", " ETAG, NULL, NULL, 304, NULL},
        {"if-none-match", "*", NULL, NULL, 304, NULL},
        {"if-none-match", "\"x\"", NULL, NULL, 200, NULL},
        {"if-none-match", "\"x\"", "if-none-match", ETAG, 304, NULL},
        {"if-match", "\"x\"", "if-match", ETAG, 200, NULL},
        {"if-none-match", "\"x\"", "if-modified-since", MODIFIED, 200, NULL},
        {"if-modified-since", MODIFIED, NULL, NULL, 304, NULL},
        {"if-modified-since", LATER, NULL, NULL, 304, NULL},
        {"if-modified-since", EARLIER, NULL, NULL, 200, NULL},
        {"if-modified-since", "nonsense", NULL, NULL, 200, NULL},
        {"if-modified-since", MODIFIED, "if-modified-since", MODIFIED, 200, NULL},
        {"if-match", ETAG, NULL, NULL, 200, NULL},
        {"if-match", "\"x\"", NULL, NULL, 412, NULL},
        {"if-unmodified-since", EARLIER, NULL, NULL, 412, NULL},
        {"if-unmodified-since", MODIFIED, NULL, NULL, 200, NULL},
        {"if-unmodified-since", EARLIER, "if-unmodified-since", EARLIER, 200, NULL},
        {"range", "bytes=0-0", NULL, NULL, 206, "bytes 0-0/10"},
        {"range", "bytes=2-5", NULL, NULL, 206, "bytes 2-5/10"},
        {"range", "bytes=2-", NULL, NULL, 206, "bytes 2-9/10"},
        {"range", "bytes=-3", NULL, NULL, 206, "bytes 7-9/10"},
        {"range", "bytes=-30", NULL, NULL, 206, "bytes 0-9/10"},
        {"range", "bytes=9-99", NULL, NULL, 206, "bytes 9-9/10"},
        {"range", "bytes=10-", NULL, NULL, 416, "bytes */10"},
        {"range", "bytes=-0", NULL, NULL, 416, "bytes */10"},
        {"range", "bytes=5-4", NULL, NULL, 200, NULL},
        {"range", "bytes=0-1,3-4", NULL, NULL, 206, "bytes 0-4/10"}, /* the gap costs less */
        {"range", "lines=0-1", NULL, NULL, 200, NULL},
        {"range", "bytes=", NULL, NULL, 200, NULL},
        {"range", "bytes=-", NULL, NULL, 200, NULL},
        {"range", "bytes=a-b", NULL, NULL, 200, NULL},
        {"range", "bytes=99999999999999999999-", NULL, NULL, 416, "bytes */10"},
        {"range", "bytes=0-1", "range", "bytes=0-1", 200, NULL},
        {"range", "bytes=0-1", "if-range", ETAG, 206, "bytes 0-1/10"},
        {"range", "bytes=0-1", "if-range", "W/" ETAG, 200, NULL},
        {"range", "bytes=0-1", "if-range", "\"x\"", 200, NULL},
        {"range", "bytes=0-1", "if-range", MODIFIED, 206, "bytes 0-1/10"},
        {"range", "bytes=0-1", "if-range", LATER, 200, NULL},
        {"range", "bytes=0-1", "if-none-match", ETAG, 304, NULL},
    };
    const struct fg_file_facts facts = {.size_bytes = 10, .modified_s = MODIFIED_S};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_exchange fake;
        struct fg_file_answer answer;
        fake_exchange_init(&fake, "GET", "/a.txt", NULL);
        fake_exchange_add_field(&fake, cases[i].name, cases[i].value);
        if (cases[i].name2 != NULL)
            fake_exchange_add_field(&fake, cases[i].name2, cases[i].value2);
        assert_true(fg_file_answer_make(&fake.ex, &facts, FG_SPAN("a.txt"), &some_rules, &answer));
        fake.ex.ops->head(&fake.ex, answer.status, answer.fields, answer.field_count);
        const char *range = fake_exchange_answer(&fake, "content-range");
        if (answer.status != cases[i].status)
            fail_msg("%s: %s: %u", cases[i].name, cases[i].value, answer.status);
        if (cases[i].content_range == NULL)
            assert_null(range);
        else
            assert_string_equal(range, cases[i].content_range);
        if (answer.status == 200 || answer.status == 304)
            assert_string_equal(fake_exchange_answer(&fake, "etag"), ETAG);
        fake.end = FAKE_CANCELLED;
        fake_exchange_fini(&fake);
    }
}

static void several_ranges_are_parts(void **state)
{
    static const struct {
        const char *range;
        size_t count; /* 0: no parts */
        unsigned status;
        uint64_t bytes; /* of the file */
    } cases[] = {
        {"bytes=0-9,5000-5009", 2, 206, 20},
        {"bytes=-1,0-0,5000-5000", 3, 206, 3},
        {"bytes=0-9,10-19", 0, 206, 20},
        {"bytes=0-0,100-100,8000-8000,9000-9000", 0, 200, 9999},
        {"bytes=0-4900,5100-", 0, 200, 9999},
        {"bytes=10000-,20000-", 0, 416, 0},
    };
    const struct fg_file_facts facts = {.size_bytes = 9999, .modified_s = MODIFIED_S};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_exchange fake;
        struct fg_file_answer answer;
        fake_exchange_init(&fake, "GET", "/a.txt", NULL);
        fake_exchange_add_field(&fake, "range", cases[i].range);
        assert_true(fg_file_answer_make(&fake.ex, &facts, FG_SPAN("a.txt"), &some_rules, &answer));
        assert_int_equal(answer.status, cases[i].status);
        assert_int_equal(answer.parts == NULL ? 0 : answer.parts->count, cases[i].count);
        uint64_t bytes = answer.body_bytes;
        for (size_t j = 0; j < cases[i].count; j++)
            bytes -= answer.parts->heads[j].len;
        if (cases[i].count > 0)
            bytes -= answer.parts->tail.len;
        assert_int_equal(bytes, cases[i].bytes);
        fake.end = FAKE_CANCELLED;
        fake_exchange_fini(&fake);
    }
}

static void an_empty_file_has_no_range(void **state)
{
    const struct fg_file_facts facts = {.modified_s = MODIFIED_S};
    struct fake_exchange fake;
    struct fg_file_answer answer;
    (void)state;
    fake_exchange_init(&fake, "GET", "/a.txt", NULL);
    fake_exchange_add_field(&fake, "range", "bytes=0-");
    assert_true(fg_file_answer_make(&fake.ex, &facts, FG_SPAN("a.txt"), &some_rules, &answer));
    assert_int_equal(answer.status, 416);
    fake.end = FAKE_CANCELLED;
    fake_exchange_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_become_names),         cmocka_unit_test(types_follow_the_extension),
        cmocka_unit_test(conditions_and_ranges),      cmocka_unit_test(several_ranges_are_parts),
        cmocka_unit_test(an_empty_file_has_no_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
