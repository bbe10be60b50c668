/*
 * test_grpc.c: what is a call, its deadline, and what our refusals are called.
 */
#include "backends/grpc.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static bool is_call(const char *type)
{
    const struct fg_field fields[] = {{FG_SPAN("content-type"), fg_span_from_string(type)}};
    const struct fg_exchange ex = {.fields = fields, .field_count = type == NULL ? 0 : 1};
    return fg_grpc_is_call(&ex);
}

static void calls_are_told_by_their_type(void **state)
{
    (void)state;
    assert_true(is_call("application/grpc"));
    assert_true(is_call("application/grpc+proto"));
    assert_true(is_call("application/grpc;x=y"));
    assert_false(is_call("application/grpc-web"));
    assert_false(is_call("application/json"));
    assert_false(is_call(NULL));
}

static void timeouts_have_a_unit_and_eight_digits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {{"1H", 3600 * FG_S}, {"2M", 120 * FG_S}, {"3S", 3 * FG_S}, {"4m", 4 * FG_MS},
                {"5u", 5 * FG_US},   {"6n", 6},          {"0m", 0}};
    static const char *const bad[] = {"",     "1",          "m",   "1x", "-1m",
                                      "1.5S", "123456789m", " 1m", "1 m"};
    uint64_t ns = 0;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(fg_grpc_parse_timeout(fg_span_from_string(good[i].text), &ns));
        assert_true(ns == good[i].ns);
    }
    assert_true(fg_grpc_parse_timeout(FG_SPAN("99999999H"), &ns));
    assert_true(ns == UINT64_MAX); /* more than a clock of 64 bits holds */
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(fg_grpc_parse_timeout(fg_span_from_string(bad[i]), &ns));
}

static void what_a_client_can_bring_about_is_no_fault(void **state)
{
    (void)state;
    static const char *const others[] = {"0",  "1",  "2",  "4",   "8", "12",
                                         "13", "15", "16", "014", "",  "1 4"};
    struct fg_field fields[] = {{FG_SPAN("x"), FG_SPAN("14")},
                                {FG_SPAN("grpc-status"), FG_SPAN("14")}};
    assert_false(fg_grpc_is_fault(NULL, 0));
    assert_false(fg_grpc_is_fault(fields, 1));
    assert_true(fg_grpc_is_fault(fields, 2));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        fields[1].value = fg_span_from_string(others[i]);
        assert_false(fg_grpc_is_fault(fields, 2));
    }
}

static void every_status_has_a_code(void **state)
{
    (void)state;
    assert_true(fg_span_equal(fg_grpc_status_of(408), FG_SPAN("4")));
    assert_true(fg_span_equal(fg_grpc_status_of(414), FG_SPAN("8")));
    assert_true(fg_span_equal(fg_grpc_status_of(429), FG_SPAN("8")));
    assert_true(fg_span_equal(fg_grpc_status_of(431), FG_SPAN("8")));
    assert_true(fg_span_equal(fg_grpc_status_of(503), FG_SPAN("14")));
    assert_true(fg_span_equal(fg_grpc_status_of(504), FG_SPAN("4")));
    assert_true(fg_span_equal(fg_grpc_status_of(500), FG_SPAN("13")));
    assert_true(fg_span_equal(fg_grpc_status_of(418), FG_SPAN("2")));
}

static void messages_are_percent_encoded(void **state)
{
    (void)state;
    struct fg_arena_pool pool;
    struct fg_arena arena;
    fg_arena_pool_init(&pool, 4);
    fg_arena_init(&arena, &pool, 4096);
    struct fg_span text = fg_grpc_message(&arena, "50 % \xc3\xa9\n");
    assert_true(fg_span_equal(text, FG_SPAN("50 %25 %C3%A9%0A")));
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_told_by_their_type),
        cmocka_unit_test(timeouts_have_a_unit_and_eight_digits),
        cmocka_unit_test(what_a_client_can_bring_about_is_no_fault),
        cmocka_unit_test(every_status_has_a_code),
        cmocka_unit_test(messages_are_percent_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
