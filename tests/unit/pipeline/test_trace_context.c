/*
 * test_trace_context.c: which traces go on, by the rules of W3C Trace Context.
 */
#include "pipeline/trace_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static bool read_one(const char *value, struct fg_trace_context *context)
{
    const struct fg_field fields[] = {
        {FG_SPAN("a"), FG_SPAN("b")},
        {FG_SPAN("traceparent"), fg_span_from_string(value)},
    };
    const struct fg_exchange ex = {.fields = fields, .field_count = 2};
    return fg_trace_context_read(&ex, context);
}

static void a_trace_goes_on(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        char flags;
    } rows[] = {
        {"00-" TRACE "-" PARENT "-00", '0'},
        {"00-" TRACE "-" PARENT "-01", '1'},
        {"00-" TRACE "-" PARENT "-03", '3'},
        {"00-" TRACE "-" PARENT "-ff", '3'},
        {"00-" TRACE "-" PARENT "-0c", '0'},
        {"01-" TRACE "-" PARENT "-01", '1'},
        {"cc-" TRACE "-" PARENT "-01-what", '1'},
        {"fe-" TRACE "-" PARENT "-01-", '1'},
        {"00-00000000000000000000000000000001-0000000000000001-01", '1'},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fg_trace_context context;
        if (!read_one(rows[i].value, &context))
            fail_msg("not taken: %s", rows[i].value);
        assert_int_equal(context.trace_id.len, 32);
        assert_memory_equal(context.trace_id.data, rows[i].value + 3, 32);
        assert_int_equal(context.flags, rows[i].flags);
    }
}

static void a_new_one_begins(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "00",
        "00-" TRACE "-" PARENT,
        "00-" TRACE "-" PARENT "-0",
        "00-" TRACE "-" PARENT "-01-more", /* nothing may follow in this version */
        "00-" TRACE "-" PARENT "-01-",
        "00-" TRACE "-" PARENT "-01.",
        "cc-" TRACE "-" PARENT "-01.what", /* what follows is set off */
        "ff-" TRACE "-" PARENT "-01",      /* no version */
        "0-" TRACE "-" PARENT "-010",
        "0g-" TRACE "-" PARENT "-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
        "00-0af7651916cd43dd8448eb211c8031-c-" PARENT "-01",
        "00-" TRACE "-b7ad6b716920333--01",
        "00-" TRACE "-" PARENT "-0x",
        "00." TRACE "." PARENT ".01",
        "00-" TRACE PARENT "-01--",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fg_trace_context context;
        if (read_one(rows[i], &context))
            fail_msg("taken: %s", rows[i]);
    }
}

static void two_are_none(void **state)
{
    (void)state;
    const struct fg_field same = {FG_SPAN("traceparent"), FG_SPAN("00-" TRACE "-" PARENT "-01")};
    const struct fg_field fields[] = {same, same};
    struct fg_trace_context context;
    assert_false(
        fg_trace_context_read(&(struct fg_exchange){.fields = fields, .field_count = 2}, &context));
    assert_false(fg_trace_context_read(&(struct fg_exchange){.field_count = 0}, &context));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_goes_on),
        cmocka_unit_test(a_new_one_begins),
        cmocka_unit_test(two_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
