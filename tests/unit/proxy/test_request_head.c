/*
 * test_request_head.c: what servers are told of the time that is left.
 */
#include "proxy/request_head.h"

#include "base/clock.h"
#include "unit/backends/fake_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct fg_span grpc_timeout_of(uint64_t left_ns)
{
    static struct fake_exchange fake;
    const struct fg_request_head_conf conf = {.host = FG_SPAN("a"), .is_h2 = true};
    struct fg_span found = {NULL, 0};
    size_t count = 0;
    static char text[32];
    fake_exchange_init(&fake, "POST", "/t.T/Call", NULL);
    fake_exchange_add_field(&fake, "content-type", "application/grpc");
    fake.ex.deadline_ns = 1000 * FG_S;
    fake.ex.stream_deadline_ns = 0;
    const struct fg_field *fields =
        fg_request_fields_make(&fake.ex, &conf, 1000 * FG_S - left_ns, &count);
    assert_non_null(fields);
    for (size_t i = 0; i < count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("grpc-timeout")))
            found = fields[i].value;
    }
    assert_in_range(found.len, 2, sizeof(text) - 1);
    memcpy(text, found.data, found.len);
    fake.end = FAKE_CANCELLED;
    fake_exchange_fini(&fake);
    return fg_span_make(text, found.len);
}

static void the_time_of_a_call_is_as_exact_as_eight_digits_are(void **state)
{
    (void)state;
    static const struct {
        uint64_t left_ns;
        struct fg_span text;
    } times[] = {
        {0, FG_SPAN_LITERAL("1n")},
        {1, FG_SPAN_LITERAL("1n")},
        {999999, FG_SPAN_LITERAL("999999n")},
        {99999999, FG_SPAN_LITERAL("99999999n")},
        {100000000, FG_SPAN_LITERAL("100000u")},
        {99999999999, FG_SPAN_LITERAL("99999999u")},
        {100 * FG_S, FG_SPAN_LITERAL("100000m")},
        {100 * FG_S + 1, FG_SPAN_LITERAL("100000m")},
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct fg_span found = grpc_timeout_of(times[i].left_ns);
        if (!fg_span_equal(found, times[i].text))
            fail_msg("%.*s for %.*s", FG_SPAN_ARGS(found), FG_SPAN_ARGS(times[i].text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_of_a_call_is_as_exact_as_eight_digits_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
