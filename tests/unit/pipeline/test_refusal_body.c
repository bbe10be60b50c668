/* What a refusal says, byte for byte. */
#include "pipeline/refusal_body.h"

#include "base/clock.h"
#include "pipeline/flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

static struct fg_arena_pool pool;
static struct fg_arena arena;

static int set_up(void **state)
{
    (void)state;
    fg_arena_pool_init(&pool, 64);
    fg_arena_init(&arena, &pool, 65536);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_arena_fini(&arena);
    fg_arena_pool_fini(&pool);
    return 0;
}

static const char *body_of(const struct fg_refusal *refusal, uint64_t retry_after_ns)
{
    return fg_refusal_body(&arena, refusal, "the_code", retry_after_ns, FG_SPAN("id-1")).data;
}

static void says_what_there_is_to_say(void **state)
{
    (void)state;
    struct fg_refusal refusal = {.type = "overloaded", .message = "why", .position = UINT64_MAX};
    assert_string_equal(body_of(&refusal, 0),
                        "{\"error\":{\"type\":\"overloaded\",\"code\":\"the_code\",\"message\":"
                        "\"why\",\"request_id\":\"id-1\"}}");
    refusal.policy = "queue";
    refusal.value = 7;
    refusal.limit = UINT64_MAX;
    assert_string_equal(body_of(&refusal, 1500 * FG_MS),
                        "{\"error\":{\"type\":\"overloaded\",\"code\":\"the_code\",\"message\":"
                        "\"why\",\"policy\":\"queue\",\"value\":7,\"limit\":18446744073709551615,"
                        "\"retry_after_ms\":1500,\"request_id\":\"id-1\"}}");
}

static void names_the_parameter(void **state)
{
    (void)state;
    struct fg_refusal refusal = {.type = "t", .position = UINT64_MAX, .message = "'a' is missing"};
    char long_name[700];
    assert_null(strstr(body_of(&refusal, 0), "param")); /* whatever the message begins with */
    refusal.param = "stop[0]";
    assert_non_null(
        strstr(body_of(&refusal, 0), "\"'a' is missing\",\"param\":\"stop[0]\",\"request_id"));
    refusal.param = "a\"b";
    assert_non_null(strstr(body_of(&refusal, 0), "\"param\":\"a\\\"b\""));
    /* Both are cut between two characters. */
    for (size_t i = 0; i < 600; i += 3)
        memcpy(long_name + i, "\xe5\xa5\xb6", 3);
    long_name[600] = '\0';
    refusal.message = refusal.param = long_name;
    json_error_t where;
    json_t *body = json_loads(body_of(&refusal, 0), 0, &where);
    if (body == NULL)
        fail_msg("%s", where.text);
    assert_true(json_string_length(json_object_get(json_object_get(body, "error"), "param")) > 180);
    json_decref(body);
}

static void goes_on_behind_what_was_made_before(void **state)
{
    (void)state;
    char lead[FG_REFUSAL_LEAD_MAX];
    struct fg_refusal refusal = {.type = "t",
                                 .message = "'name' is \"what\"",
                                 .policy = "queue",
                                 .value = 7,
                                 .position = UINT64_MAX};
    const char *whole = body_of(&refusal, FG_S);
    refusal.lead = fg_span_make(lead, fg_refusal_lead(&refusal, "the_code", lead));
    refusal.message = "another one";
    assert_string_equal(body_of(&refusal, FG_S), whole);
}

static void tells_the_place_in_line(void **state)
{
    (void)state;
    struct fg_refusal refusal = {
        .type = "t", .message = "m", .position = 12, .wait_ns = UINT64_MAX, .wait_error_ns = FG_S};
    assert_non_null(strstr(body_of(&refusal, 0), ",\"queue\":{\"position\":12},"));
    refusal.position_error = 3;
    refusal.wait_ns = 90 * FG_S;
    refusal.ticket = FG_SPAN("abc.def");
    assert_non_null(strstr(body_of(&refusal, 0),
                           ",\"queue\":{\"position\":12,\"position_error\":3,\"eta_ms\":90000,"
                           "\"eta_error_ms\":1000,\"ticket\":\"abc.def\"},"));
}

/* The message as a JSON library reads it. */
static void is_json_whatever_the_message_says(void **state)
{
    (void)state;
    char all[300];
    for (size_t i = 0; i < sizeof(all) - 1; i++)
        all[i] = (char)(i % 127 + 1);
    all[sizeof(all) - 1] = '\0';
    char quotes[1000];
    memset(quotes, '"', sizeof(quotes));
    quotes[sizeof(quotes) - 1] = '\0';
    const char *const messages[] = {"", "\"", "\\", "\x1f\x01", "a\"b\\c\nd", all, quotes};
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        const struct fg_refusal refusal = {.type = "t",
                                           .message = messages[i],
                                           .policy = "a name that is longer than what is told of "
                                                     "it, which is sixty-four characters",
                                           .value = INT64_MAX,
                                           .limit = INT64_MAX,
                                           .position = 1};
        json_t *root = json_loads(body_of(&refusal, FG_S), 0, NULL);
        assert_non_null(root);
        const char *said =
            json_string_value(json_object_get(json_object_get(root, "error"), "message"));
        assert_memory_equal(said, messages[i], strlen(said));
        assert_true(strlen(said) == strlen(messages[i]) || strlen(said) >= 140);
        json_decref(root);
    }
}

static void needs_memory(void **state)
{
    (void)state;
    struct fg_arena small;
    fg_arena_init(&small, &pool, 16);
    const struct fg_refusal refusal = {.type = "t", .message = "m", .position = UINT64_MAX};
    assert_null(fg_refusal_body(&small, &refusal, "c", 0, FG_SPAN("id")).data);
    fg_arena_fini(&small);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(says_what_there_is_to_say),           CASE(names_the_parameter),
        CASE(goes_on_behind_what_was_made_before), CASE(tells_the_place_in_line),
        CASE(is_json_whatever_the_message_says),   CASE(needs_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
