/*
 * test_completion_request.c: every parameter: what it sets, its range, and how it is refused.
 */
#include "inference/api/completion_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define CHAT_BASE "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define TEXT_BASE "{\"prompt\":\"hi\""

static const struct fg_completion_limits limits = {"demo", 64, 256};

static bool parse(struct fg_completion_request *request, bool is_chat, const char *body,
                  struct fg_completion_error *error)
{
    return fg_completion_request_parse(request, is_chat ? FG_COMPLETION_CHAT : FG_COMPLETION_TEXT,
                                       fg_span_from_string(body), &limits, error);
}

/* `extra` is appended to a minimal body, on both endpoints. */
static void assert_refused(const char *extra, unsigned status, const char *code, const char *part)
{
    static const char *const bases[] = {TEXT_BASE, CHAT_BASE};
    for (int is_chat = 0; is_chat < 2; is_chat++) {
        char body[2048];
        struct fg_completion_request request;
        struct fg_completion_error error = {0};
        snprintf(body, sizeof(body), "%s,%s}", bases[is_chat], extra);
        if (parse(&request, is_chat != 0, body, &error))
            fail_msg("accepted: %s", body);
        if (error.status != status || strcmp(error.code, code) != 0 ||
            strstr(error.message, part) == NULL)
            fail_msg("%s: %u %s: %s", body, error.status, error.code, error.message);
        assert_null(request.messages);
        assert_null(request.held);
    }
}

static void assert_body_refused(bool is_chat, const char *body, const char *code, const char *part)
{
    struct fg_completion_request request;
    struct fg_completion_error error = {0};
    if (parse(&request, is_chat, body, &error))
        fail_msg("accepted: %s", body);
    if (error.status != 400 || strcmp(error.code, code) != 0 || strstr(error.message, part) == NULL)
        fail_msg("%s: %u %s: %s", body, error.status, error.code, error.message);
}

/* The request with `extra` in it; the caller frees it. */
static struct fg_completion_request accepted(const char *extra)
{
    char body[2048];
    struct fg_completion_request request;
    struct fg_completion_error error = {0};
    snprintf(body, sizeof(body), "%s%s%s}", CHAT_BASE, extra[0] == '\0' ? "" : ",", extra);
    if (!parse(&request, true, body, &error))
        fail_msg("%s: %u %s: %s", body, error.status, error.code, error.message);
    return request;
}

static void assert_accepted(const char *extra)
{
    struct fg_completion_request request = accepted(extra);
    fg_completion_request_fini(&request);
}

static void defaults_are_those_of_the_api(void **state)
{
    (void)state;
    struct fg_completion_request request = accepted("");
    assert_true(request.is_chat);
    assert_false(request.is_stream);
    assert_false(request.include_usage);
    assert_false(request.ignore_end);
    assert_true(request.thinking);
    assert_false(request.has_seed);
    assert_int_equal(request.max_tokens, 64);
    assert_true(request.sampling.temperature == 1.0f && request.sampling.top_p == 1.0f);
    assert_int_equal(request.sampling.top_k, 0);
    assert_int_equal(request.stop_count, 0);
    fg_completion_request_fini(&request);
    fg_completion_request_fini(&request); /* once more is harmless */
}

static void null_is_absent(void **state)
{
    (void)state;
    struct fg_completion_request request = accepted(
        "\"model\":null,\"max_tokens\":null,\"temperature\":null,\"top_p\":null,"
        "\"top_k\":null,\"seed\":null,\"stop\":null,\"stream\":null,\"n\":null,"
        "\"stream_options\":null,\"tools\":null,\"logprobs\":null,\"enable_thinking\":null,"
        "\"response_format\":null,\"chat_template_kwargs\":null,\"ignore_eos\":null");
    assert_int_equal(request.max_tokens, 64);
    assert_false(request.has_seed);
    fg_completion_request_fini(&request);
}

static void all_parameters_are_taken(void **state)
{
    (void)state;
    struct fg_completion_request request =
        accepted("\"model\":\"demo\",\"max_tokens\":5,\"temperature\":0.25,\"top_p\":0.5,"
                 "\"top_k\":40,\"seed\":-3,\"stop\":[\"a\",\"bc\"],\"stream\":true,\"n\":1,"
                 "\"stream_options\":{\"include_usage\":true},\"ignore_eos\":true,"
                 "\"enable_thinking\":false,\"user\":\"u\",\"metadata\":{\"a\":1},\"store\":true,"
                 "\"parallel_tool_calls\":false,\"service_tier\":\"auto\"");
    assert_int_equal(request.max_tokens, 5);
    assert_true(request.sampling.temperature == 0.25f && request.sampling.top_p == 0.5f);
    assert_int_equal(request.sampling.top_k, 40);
    assert_true(request.has_seed);
    assert_int_equal(request.sampling.seed, (uint64_t)-3);
    assert_int_equal(request.stop_count, 2);
    assert_true(fg_span_equal(request.stops[0], FG_SPAN("a")));
    assert_true(fg_span_equal(request.stops[1], FG_SPAN("bc")));
    assert_true(request.is_stream && request.include_usage && request.ignore_end);
    assert_false(request.thinking);
    fg_completion_request_fini(&request);
}

static void edges_of_ranges(void **state)
{
    (void)state;
    static const char *const good[] = {
        "\"max_tokens\":1",
        "\"max_tokens\":256",
        "\"max_completion_tokens\":256",
        "\"temperature\":0",
        "\"temperature\":2",
        "\"temperature\":2.0",
        "\"top_p\":1",
        "\"top_p\":1e-300",
        "\"top_k\":-1",
        "\"top_k\":0",
        "\"top_k\":2147483647",
        "\"seed\":9223372036854775807",
        "\"seed\":-9223372036854775808",
        "\"stop\":\"x\"",
        "\"stop\":[]",
        "\"stop\":[\"1\",\"2\",\"3\",\"4\"]",
        "\"n\":1",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_accepted(good[i]);
    assert_refused("\"max_tokens\":0", 400, "invalid_value", "max_tokens");
    assert_refused("\"max_tokens\":257", 400, "invalid_value", "1 to 256");
    assert_refused("\"max_tokens\":-1", 400, "invalid_value", "max_tokens");
    assert_refused("\"max_completion_tokens\":257", 400, "invalid_value", "max_completion_tokens");
    assert_refused("\"temperature\":-0.01", 400, "invalid_value", "temperature");
    assert_refused("\"temperature\":2.01", 400, "invalid_value", "temperature");
    assert_refused("\"top_p\":0", 400, "invalid_value", "top_p");
    assert_refused("\"top_p\":1.01", 400, "invalid_value", "top_p");
    assert_refused("\"top_p\":-1", 400, "invalid_value", "top_p");
    assert_refused("\"top_k\":-2", 400, "invalid_value", "top_k");
    assert_refused("\"top_k\":2147483648", 400, "invalid_value", "top_k");
    assert_refused("\"n\":0", 400, "invalid_value", "'n'");
    assert_refused("\"n\":17", 400, "invalid_value", "'n'");
    assert_refused("\"stop\":\"\"", 400, "invalid_value", "stop");
    assert_refused("\"stop\":[\"a\",\"\"]", 400, "invalid_value", "stop");
    char stop[300];
    snprintf(stop, sizeof(stop), "\"stop\":\"%0257d\"", 0); /* a worker keeps no more than 256 */
    assert_refused(stop, 400, "invalid_value", "stop");
    assert_refused("\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]", 400, "invalid_value", "stop");
    struct fg_completion_request request = accepted("\"top_p\":1e-300");
    assert_true(request.sampling.top_p > 0);
    fg_completion_request_fini(&request);
}

static void newer_name_of_max_tokens_wins(void **state)
{
    (void)state;
    struct fg_completion_request request = accepted("\"max_tokens\":9,\"max_completion_tokens\":7");
    assert_int_equal(request.max_tokens, 7);
    fg_completion_request_fini(&request);
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    static const char *const names[] = {
        "model", "max_tokens", "temperature", "top_p",           "top_k", "seed",
        "n",     "stream",     "ignore_eos",  "enable_thinking", "stop",  "chat_template_kwargs"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char extra[64];
        snprintf(extra, sizeof(extra), "\"%s\":[[]]", names[i]);
        assert_refused(extra, 400, "invalid_type", names[i]);
    }
    assert_refused("\"max_tokens\":1.5", 400, "invalid_type", "max_tokens");
    assert_refused("\"max_tokens\":\"5\"", 400, "invalid_type", "max_tokens");
    assert_refused("\"temperature\":\"0\"", 400, "invalid_type", "temperature");
    assert_refused("\"stop\":5", 400, "invalid_type", "stop");
    assert_refused("\"stream\":1", 400, "invalid_type", "stream");
    assert_refused("\"stream\":true,\"stream_options\":1", 400, "invalid_type", "stream_options");
    assert_refused("\"stream\":true,\"stream_options\":{\"include_usage\":1}", 400, "invalid_type",
                   "stream_options.include_usage");
    assert_refused("\"stream_options\":{}", 400, "invalid_value", "stream_options");
}

static void another_model_is_not_found(void **state)
{
    (void)state;
    assert_accepted("\"model\":\"demo\"");
    assert_refused("\"model\":\"gpt-4o\"", 404, "model_not_found", "gpt-4o");
    assert_refused("\"model\":\"\"", 404, "model_not_found", "demo");
}

static void a_long_foreign_name_is_cut_cleanly(void **state)
{
    (void)state;
    char body[1024] = TEXT_BASE ",\"model\":\"a";
    for (int i = 0; i < 100; i++)
        strncat(body, "\xe5\xa5\xb6", sizeof(body) - strlen(body) - 1);
    strncat(body, "\"}", sizeof(body) - strlen(body) - 1);
    struct fg_completion_request request;
    struct fg_completion_error error;
    assert_false(parse(&request, false, body, &error));
    json_t *string = json_string(error.message); /* NULL when it is no UTF-8 */
    assert_non_null(string);
    json_decref(string);
}

static void thinking_has_two_names(void **state)
{
    (void)state;
    struct fg_completion_request request =
        accepted("\"chat_template_kwargs\":{\"enable_thinking\":false}");
    assert_false(request.thinking);
    fg_completion_request_fini(&request);
    request = accepted("\"enable_thinking\":false,\"chat_template_kwargs\":{}");
    assert_false(request.thinking);
    fg_completion_request_fini(&request);
    assert_refused("\"chat_template_kwargs\":{\"enable_thinking\":1}", 400, "invalid_type",
                   "chat_template_kwargs.enable_thinking");
    assert_refused("\"chat_template_kwargs\":{\"other\":true}", 400, "unsupported_parameter",
                   "chat_template_kwargs.other");
}

static void what_changes_the_meaning_is_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"functions", "[{}]"},
        {"function_call", "{\"name\":\"f\"}"},
        {"prompt_logprobs", "0"},
        {"best_of", "2"},
        {"echo", "true"},
        {"suffix", "\"x\""},
        {"modalities", "[\"text\",\"audio\"]"},
        {"audio", "{}"},
        {"stop_token_ids", "[1]"},
        {"skip_special_tokens", "false"},
        {"chat_template", "\"x\""},
        {"add_generation_prompt", "false"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char extra[128];
        snprintf(extra, sizeof(extra), "\"%s\":%s", bad[i][0], bad[i][1]);
        assert_refused(extra, 400, "unsupported_parameter", bad[i][0]);
    }
    assert_refused("\"presence_penalty\":\"0\"", 400, "invalid_type", "presence_penalty");
}

static void what_asks_for_nothing_is_taken(void **state)
{
    (void)state;
    assert_accepted("\"tools\":[],\"tool_choice\":\"none\",\"functions\":[],\"logprobs\":false,"
                    "\"top_logprobs\":0,\"response_format\":{\"type\":\"text\"},\"logit_bias\":{},"
                    "\"presence_penalty\":0,\"frequency_penalty\":0.0,\"repetition_penalty\":1.0,"
                    "\"min_p\":0,\"best_of\":1,\"echo\":false,\"suffix\":\"\","
                    "\"modalities\":[\"text\"],\"skip_special_tokens\":true,"
                    "\"function_call\":\"auto\",\"add_generation_prompt\":true");
}

#define HI "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"

static void rules_of_tokens_are_taken(void **state)
{
    (void)state;
    struct fg_completion_request request =
        accepted("\"min_p\":0.05,\"repetition_penalty\":1.1,\"frequency_penalty\":-0.5,"
                 "\"presence_penalty\":2,\"logit_bias\":{\"7\":-1},\"logprobs\":true,"
                 "\"top_logprobs\":3,\"response_format\":{\"type\":\"json_object\"}");
    static const unsigned char bias[] = {7, 0, 0, 0, 0, 0, 0x80, 0xbf};
    assert_true(request.sampling.min_p > 0.049f && request.sampling.min_p < 0.051f);
    assert_true(request.sampling.repetition_penalty > 1.09f);
    assert_true(request.sampling.frequency_penalty < -0.49f);
    assert_true(request.sampling.presence_penalty > 1.9f);
    assert_int_equal(request.sampling.logprob_count, 4);
    assert_int_equal(request.bias_count, 1);
    assert_memory_equal(request.bias, bias, sizeof(bias));
    assert_int_equal(request.constraint, FG_CONSTRAINT_JSON);
    assert_int_equal(request.schema.len, 0);
    fg_completion_request_fini(&request);
    request =
        accepted("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\","
                 "\"schema\":{\"type\":\"object\"}}}");
    assert_true(fg_span_equal(request.schema, FG_SPAN("{\"type\":\"object\"}")));
    fg_completion_request_fini(&request);
    assert_refused("\"logit_bias\":{\"x\":1}", 400, "invalid_value", "logit_bias");
    assert_refused("\"logit_bias\":{\"1\":101}", 400, "invalid_value", "logit_bias.1");
    assert_refused("\"min_p\":2", 400, "invalid_value", "min_p");
    assert_body_refused(true, HI "\"top_logprobs\":2}", "invalid_value", "top_logprobs");
    assert_body_refused(true, HI "\"logprobs\":true,\"top_logprobs\":21}", "invalid_value",
                        "top_logprobs");
    assert_body_refused(false, "{\"prompt\":\"hi\",\"logprobs\":true}", "invalid_type", "logprobs");
    assert_refused("\"response_format\":\"text\"", 400, "invalid_type", "response_format");
    assert_refused("\"response_format\":{\"type\":\"xml\"}", 400, "invalid_value", "xml");
    assert_refused("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
                   "{\"type\":\"string\",\"pattern\":\"a\"}}}",
                   400, "invalid_json_schema", "'pattern'");
}

#define TOOL                                                                                       \
    "{\"type\":\"function\",\"function\":{\"name\":\"order\",\"parameters\":{\"type\":\"object\"," \
    "\"properties\":{\"n\":{\"type\":\"integer\"}},\"required\":[\"n\"]}}}"

static void tools_are_taken(void **state)
{
    (void)state;
    struct fg_completion_request request = accepted("\"tools\":[" TOOL "," TOOL "]");
    assert_true(fg_span_starts_with(
        request.tools, FG_SPAN("{\"type\": \"function\", \"function\": {\"name\": \"order\"")));
    assert_non_null(memchr(request.tools.data, '\n', request.tools.len));
    assert_false(request.forces_call);
    fg_completion_request_fini(&request);
    request = accepted("\"tools\":[" TOOL "],\"tool_choice\":\"none\"");
    assert_int_equal(request.tools.len, 0);
    fg_completion_request_fini(&request);
    request = accepted("\"tools\":[" TOOL "],\"tool_choice\":\"required\"");
    assert_true(request.forces_call);
    assert_int_equal(request.constraint, FG_CONSTRAINT_JSON);
    fg_completion_request_fini(&request);
    assert_body_refused(
        true, HI "\"tools\":[" TOOL "],\"tool_choice\":{\"function\":{\"name\":\"other\"}}}",
        "invalid_value", "'other'");
    assert_body_refused(true, HI "\"tools\":[{\"type\":\"function\"}]}", "invalid_type",
                        "tools[0]");
    assert_body_refused(true, HI "\"tools\":5}", "invalid_type", "'tools'");
    assert_body_refused(false, "{\"prompt\":\"hi\",\"tools\":[{}]}", "unsupported_parameter",
                        "'tools'");
}

static void a_choice_of_tools_needs_tools(void **state)
{
    (void)state;
    static const char *const wishes[] = {"\"required\"", "5", "{\"function\":{\"name\":\"x\"}}"};
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        char body[200];
        snprintf(body, sizeof(body), HI "\"tools\":[],\"tool_choice\":%s}", wishes[i]);
        assert_body_refused(true, body, "invalid_value", "'tool_choice'");
    }
    struct fg_completion_request request = accepted("\"tool_choice\":\"none\"");
    fg_completion_request_fini(&request);
}

/* As the published templates have them. */
static void numbers_of_tools_are_short(void **state)
{
    (void)state;
    struct fg_completion_request request =
        accepted("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":{"
                 "\"default\":0.1,\"title\":\"\\u00e9\\u0000\\u001F\\\\uAB\"}}}]");
    assert_true(fg_span_equal(
        request.tools,
        FG_SPAN(
            "{\"type\": \"function\", \"function\": {\"name\": \"a\", "
            "\"parameters\": {\"default\": 0.1, \"title\": \"\xc3\xa9\\u0000\\u001f\\\\uAB\"}}}")));
    fg_completion_request_fini(&request);
}

static void a_text_may_have_a_zero_in_it(void **state)
{
    (void)state;
    struct fg_completion_request request;
    struct fg_completion_error error;
    assert_true(parse(&request, true,
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"},{\"role\":"
                      "\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\","
                      "\"arguments\":\"\"}}]}]}",
                      &error));
    assert_true(fg_span_equal(request.messages[0].content, FG_SPAN("a\0b")));
    assert_true(
        fg_span_equal(request.messages[1].content,
                      FG_SPAN("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>")));
    fg_completion_request_fini(&request);
}

static void calls_of_the_past_are_written_out(void **state)
{
    (void)state;
    struct fg_completion_request request;
    struct fg_completion_error error;
    assert_true(
        parse(&request, true,
              "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
              "\"c\",\"type\":\"function\",\"function\":{\"name\":\"order\",\"arguments\":"
              "\"{\\\"n\\\":2}\"}}]}]}",
              &error));
    assert_true(fg_span_equal(
        request.messages[0].content,
        FG_SPAN("<tool_call>\n{\"name\": \"order\", \"arguments\": {\"n\": 2}}\n</tool_call>")));
    fg_completion_request_fini(&request);
}

static void messages_are_taken(void **state)
{
    (void)state;
    struct fg_completion_request request;
    struct fg_completion_error error;
    assert_true(parse(&request, true,
                      "{\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\"},"
                      "{\"role\":\"user\",\"name\":\"bo\",\"content\":[{\"type\":\"text\",\"text\":"
                      "\"one\"},{\"type\":\"text\",\"text\":\"\"},{\"type\":\"text\",\"text\":"
                      "\"\\u5976\"}]},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[]},"
                      "{\"role\":\"tool\",\"content\":\"4\"}]}",
                      &error));
    static const char *const expected[][2] = {
        {"system", "be kind"}, {"user", "one\n\n\xe5\xa5\xb6"}, {"assistant", ""}, {"tool", "4"}};
    assert_int_equal(request.message_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(fg_span_equal(request.messages[i].role, fg_span_from_string(expected[i][0])));
        assert_true(
            fg_span_equal(request.messages[i].content, fg_span_from_string(expected[i][1])));
    }
    fg_completion_request_fini(&request);
}

#define ONE(message) "{\"messages\":[" message "]}"

static void bad_messages_are_named(void **state)
{
    (void)state;
    assert_body_refused(true, "{}", "missing_required_parameter", "messages");
    assert_body_refused(true, "{\"messages\":null}", "missing_required_parameter", "messages");
    assert_body_refused(true, "{\"messages\":\"hi\"}", "invalid_type", "messages");
    assert_body_refused(true, "{\"messages\":[]}", "invalid_value", "messages");
    assert_body_refused(true, ONE("5"), "invalid_type", "messages[0]");
    assert_body_refused(true, ONE("{\"content\":\"x\"}"), "invalid_type", "messages[0].role");
    assert_body_refused(true, ONE("{\"role\":\"wizard\",\"content\":\"x\"}"), "invalid_value",
                        "wizard");
    assert_body_refused(true, ONE("{\"role\":\"user\"}"), "invalid_type", "messages[0].content");
    assert_body_refused(true, ONE("{\"role\":\"user\",\"content\":[]}"), "invalid_type",
                        "messages[0].content");
    assert_body_refused(true, ONE("{\"role\":\"user\",\"content\":[\"x\"]}"), "invalid_type",
                        "messages[0].content[0]");
    assert_body_refused(true, ONE("{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}"),
                        "invalid_type", "messages[0].content[0].text");
    assert_body_refused(
        true, ONE("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}"),
        "unsupported_parameter", "image_url");
    assert_body_refused(
        true, ONE("{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\"}]}"),
        "invalid_value", "messages[0].tool_calls");
    assert_body_refused(true, ONE("{\"role\":\"assistant\",\"content\":\"\",\"function_call\":{}}"),
                        "unsupported_parameter", "messages[0].function_call");
}

static void count_of_messages_has_a_limit(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        size_t count = FG_CHANNEL_MESSAGES_MAX + over;
        json_t *messages = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", "x"));
        json_t *root = json_pack("{s:o}", "messages", messages);
        char *body = json_dumps(root, JSON_COMPACT);
        struct fg_completion_request request;
        struct fg_completion_error error;
        assert_int_equal(parse(&request, true, body, &error), over == 0);
        if (over == 0)
            fg_completion_request_fini(&request);
        else
            assert_string_equal(error.code, "invalid_value");
        free(body);
        json_decref(root);
    }
}

static void prompts_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"{\"prompt\":\"abc\"}", "{\"prompt\":[\"abc\"]}"};
    for (size_t i = 0; i < 2; i++) {
        struct fg_completion_request request;
        struct fg_completion_error error;
        assert_true(parse(&request, false, good[i], &error));
        assert_false(request.is_chat);
        assert_int_equal(request.message_count, 1);
        assert_int_equal(request.messages[0].role.len, 0);
        assert_true(fg_span_equal(request.messages[0].content, FG_SPAN("abc")));
        fg_completion_request_fini(&request);
    }
    assert_body_refused(false, "{}", "missing_required_parameter", "prompt");
    assert_body_refused(false, "{\"prompt\":\"\"}", "invalid_value", "prompt");
    assert_body_refused(false, "{\"prompt\":[]}", "invalid_type", "prompt");
    assert_body_refused(false, "{\"prompt\":7}", "invalid_type", "prompt");
    assert_body_refused(false, "{\"prompt\":[7]}", "invalid_type", "prompt");
    assert_body_refused(false, "{\"prompt\":[\"a\",\"b\"]}", "unsupported_parameter", "prompt");
    assert_body_refused(false, "{\"prompt\":[1,2]}", "unsupported_parameter", "prompt");
}

static void what_is_no_json_object_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "\"x\"",
                                      "null",
                                      "{}{}",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":\"\xff\"}",
                                      "{\"a\":1e999}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_body_refused(true, bad[i], "invalid_json", "JSON");
        assert_body_refused(false, bad[i], "invalid_json", "JSON");
    }
}

static void default_is_never_above_the_limit(void **state)
{
    (void)state;
    const struct fg_completion_limits small = {"demo", 64, 16};
    struct fg_completion_request request;
    struct fg_completion_error error;
    assert_true(fg_completion_request_parse(&request, FG_COMPLETION_TEXT, FG_SPAN(TEXT_BASE "}"),
                                            &small, &error));
    assert_int_equal(request.max_tokens, 16);
    fg_completion_request_fini(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_api),
        cmocka_unit_test(null_is_absent),
        cmocka_unit_test(all_parameters_are_taken),
        cmocka_unit_test(edges_of_ranges),
        cmocka_unit_test(newer_name_of_max_tokens_wins),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(another_model_is_not_found),
        cmocka_unit_test(a_long_foreign_name_is_cut_cleanly),
        cmocka_unit_test(thinking_has_two_names),
        cmocka_unit_test(what_changes_the_meaning_is_refused),
        cmocka_unit_test(what_asks_for_nothing_is_taken),
        cmocka_unit_test(rules_of_tokens_are_taken),
        cmocka_unit_test(tools_are_taken),
        cmocka_unit_test(calls_of_the_past_are_written_out),
        cmocka_unit_test(a_choice_of_tools_needs_tools),
        cmocka_unit_test(numbers_of_tools_are_short),
        cmocka_unit_test(a_text_may_have_a_zero_in_it),
        cmocka_unit_test(messages_are_taken),
        cmocka_unit_test(bad_messages_are_named),
        cmocka_unit_test(count_of_messages_has_a_limit),
        cmocka_unit_test(prompts_are_taken),
        cmocka_unit_test(what_is_no_json_object_is_refused),
        cmocka_unit_test(default_is_never_above_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
