/*
 * test_completion_answer.c: the bytes of streams and documents, at any room, and their bounds.
 */
#include "inference/api/completion_answer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define HEAD(object) "\"id\":\"x-1\",\"object\":\"" object "\",\"created\":7,\"model\":\"te\\\"st\""
#define EVENT(object, choice, usage)                                                               \
    "data: {" HEAD(object) ",\"choices\":[{\"index\":0," choice "}]" usage "}\n\n"

struct fixture {
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_completion_answer answer;
    uint32_t choice_max; /* of the next answer */
    uint32_t choice;     /* that add and finish are for */
    char out[65536];
    size_t out_len;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    fg_arena_pool_init(&f->pool, 256);
    fg_arena_init(&f->arena, &f->pool, 1 << 20);
    *state = f;
    return f == NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fg_arena_fini(&f->arena);
    fg_arena_pool_fini(&f->pool);
    free(f);
    return 0;
}

static void begin(struct fixture *f, bool is_chat, bool is_stream, bool include_usage)
{
    f->out_len = 0;
    f->answer = (struct fg_completion_answer){.is_chat = is_chat,
                                              .is_stream = is_stream,
                                              .include_usage = include_usage,
                                              .choice_max = f->choice_max,
                                              .arena = &f->arena,
                                              .text_bytes_max = 16384};
    assert_int_equal(fg_completion_answer_init(&f->answer, "x-1", 7, "te\"st"), FG_OK);
}

static enum fg_status try_add(struct fixture *f, const char *text)
{
    return fg_completion_answer_add(&f->answer, f->choice,
                                    &(struct fg_channel_token){.text = fg_span_from_string(text)});
}

static void add(struct fixture *f, const char *text)
{
    assert_int_equal(try_add(f, text), FG_OK);
}

static void finish(struct fixture *f, const char *reason, uint32_t prompt_tokens,
                   uint32_t completion_tokens, uint32_t cached_tokens)
{
    const struct fg_completion_end end = {
        .finish_reason = reason,
        .prompt_tokens = prompt_tokens,
        .completion_tokens = completion_tokens,
        .cached_tokens = cached_tokens,
    };
    assert_int_equal(fg_completion_answer_finish(&f->answer, f->choice, &end), FG_OK);
}

/* Takes what is ready, at most `room` bytes a time. */
static void take(struct fixture *f, size_t room)
{
    size_t len;
    while ((len = fg_completion_answer_fill(&f->answer, f->out + f->out_len, room)) > 0) {
        assert_true(len <= room);
        f->out_len += len;
        assert_true(f->out_len + room < sizeof(f->out));
    }
    f->out[f->out_len] = '\0';
}

#define CHUNK "chat.completion.chunk"
#define NO_END ",\"logprobs\":null,\"finish_reason\":null"

static void streams_a_chat(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    add(f, "");
    take(f, 4096);
    assert_string_equal(
        f->out, EVENT(CHUNK, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}" NO_END, ""));
    f->out_len = 0;
    add(f, "Milk\n");
    take(f, 4096);
    assert_string_equal(f->out, EVENT(CHUNK, "\"delta\":{\"content\":\"Milk\\n\"}" NO_END, ""));
    f->out_len = 0;
    take(f, 4096);
    assert_int_equal(f->out_len, 0);
    add(f, "tea");
    finish(f, "stop", 3, 2, 0);
    assert_false(fg_completion_answer_is_complete(&f->answer));
    take(f, 4096);
    assert_string_equal(
        f->out, EVENT(CHUNK, "\"delta\":{\"content\":\"tea\"}" NO_END, "")
                    EVENT(CHUNK, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"",
                          "") "data: [DONE]\n\n");
    assert_true(fg_completion_answer_is_complete(&f->answer));
}

static void streams_a_completion_with_usage(void **state)
{
    struct fixture *f = *state;
    begin(f, false, true, true);
    add(f, "ab");
    finish(f, "length", 4000000000u, 4000000000u, 4000000000u);
    take(f, 4096);
    assert_string_equal(
        f->out,
        EVENT("text_completion", "\"text\":\"ab\"" NO_END, ",\"usage\":null") EVENT(
            "text_completion", "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\"",
            ",\"usage\":null") "data: {" HEAD("text_completion") ",\"choices\":[],"
                                                                 "\"usage\":{\"prompt_tokens\":"
                                                                 "4000000000,\"completion_tokens\":"
                                                                 "4000000000,"
                                                                 "\"total_tokens\":8000000000,"
                                                                 "\"prompt_tokens_details\":{"
                                                                 "\"cached_tokens\":4000000000}}}"
                                                                 "\n\ndata: [DONE]\n\n");
}

static void joins_what_was_not_taken(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    take(f, 4096);
    f->out_len = 0;
    add(f, "one ");
    add(f, "two ");
    add(f, "three");
    take(f, 4096);
    assert_string_equal(f->out,
                        EVENT(CHUNK, "\"delta\":{\"content\":\"one two three\"}" NO_END, ""));
}

static void writes_a_document(void **state)
{
    struct fixture *f = *state;
    for (int is_chat = 0; is_chat < 2; is_chat++) {
        begin(f, is_chat != 0, false, false);
        add(f, "Hi \"you\"");
        take(f, 4096);
        assert_int_equal(f->out_len, 0); /* nothing before the end */
        finish(f, "stop", 3, 2, 0);
        size_t expected = fg_completion_answer_document_bytes(&f->answer);
        take(f, 4096);
        assert_int_equal(f->out_len, expected);
        json_t *root = json_loads(f->out, 0, NULL);
        assert_non_null(root);
        json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
        assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "stop");
        const char *text =
            is_chat
                ? json_string_value(json_object_get(json_object_get(choice, "message"), "content"))
                : json_string_value(json_object_get(choice, "text"));
        assert_string_equal(text, "Hi \"you\"");
        assert_string_equal(json_string_value(json_object_get(root, "object")),
                            is_chat ? "chat.completion" : "text_completion");
        assert_string_equal(json_string_value(json_object_get(root, "model")), "te\"st");
        assert_int_equal(
            json_integer_value(json_object_get(json_object_get(root, "usage"), "total_tokens")), 5);
        json_decref(root);
    }
}

/* Long texts of awkward characters at the smallest rooms: nothing is lost, every event parses. */
static void any_room_gives_the_same_text(void **state)
{
    struct fixture *f = *state;
    char text[3001];
    for (size_t i = 0; i < 3000; i++)
        text[i] = i % 3 == 0 ? '\x01' : i % 3 == 1 ? '"' : 'x';
    text[3000] = '\0';
    begin(f, true, true, true);
    size_t least = fg_completion_answer_room_min(&f->answer);
    for (size_t room = least; room < least + 40; room += 3) {
        begin(f, true, true, true);
        add(f, text);
        finish(f, "stop", 1, 1, 0);
        take(f, room);
        assert_true(fg_completion_answer_is_complete(&f->answer));
        char joined[3001] = "";
        size_t joined_len = 0;
        char *line = f->out;
        for (char *end; (end = strstr(line, "\n\n")) != NULL; line = end + 2) {
            *end = '\0';
            if (strcmp(line, "data: [DONE]") == 0)
                continue;
            json_t *root = json_loads(line + strlen("data: "), 0, NULL);
            assert_non_null(root);
            json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
            const char *content =
                json_string_value(json_object_get(json_object_get(choice, "delta"), "content"));
            size_t len = content == NULL ? 0 : strlen(content);
            memcpy(joined + joined_len, content == NULL ? "" : content, len);
            joined_len += len;
            json_decref(root);
        }
        assert_int_equal(joined_len, 3000);
        assert_memory_equal(joined, text, 3000);
    }
}

static void text_has_a_limit(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    take(f, 4096);
    f->answer.text_bytes_max = 10;
    add(f, "12345");
    add(f, "67890");
    assert_int_equal(try_add(f, "x"), FG_ERR_LIMIT);
    take(f, 4096);
    add(f, "1234567890"); /* what was taken makes place */
    assert_int_equal(try_add(f, "x"), FG_ERR_LIMIT);
}

static void partly_taken_text_makes_place(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    take(f, 4096);
    size_t before = f->arena.bytes_used;
    char piece[201];
    memset(piece, '\x02', 200);
    piece[200] = '\0';
    size_t room = fg_completion_answer_room_min(&f->answer);
    for (int i = 0; i < 200; i++) {
        add(f, piece);
        while (f->answer.choices[0].text.len - f->answer.choices[0].text.at > 40) {
            f->out_len = 0;
            (void)fg_completion_answer_fill(&f->answer, f->out, room);
        }
    }
    assert_true(f->arena.bytes_used - before <= 1024);
}

static void arena_at_its_end_is_an_error(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    f->arena.bytes_max = f->arena.bytes_used;
    assert_int_equal(try_add(f, "x"), FG_ERR_NO_MEMORY);
    struct fg_completion_answer none = {.arena = &f->arena};
    assert_int_equal(fg_completion_answer_init(&none, "x", 1, "m"), FG_ERR_NO_MEMORY);
}

/* A token with its logprob and one other's. */
static void add_likely(struct fixture *f, const char *text)
{
    struct fg_channel_token token = {.text = fg_span_from_string(text), .logprob_count = 2};
    token.logprobs[0] = (struct fg_channel_logprob){-0.25f, fg_span_from_string(text)};
    token.logprobs[1] = (struct fg_channel_logprob){-2, FG_SPAN("\xff")};
    assert_int_equal(fg_completion_answer_add(&f->answer, f->choice, &token), FG_OK);
}

static void streams_logprobs_with_their_text(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    f->answer.has_logprobs = true;
    take(f, 4096);
    f->out_len = 0;
    add_likely(f, "tea");
    take(f, fg_completion_answer_room_min(&f->answer));
    assert_string_equal(
        f->out,
        EVENT(CHUNK,
              "\"delta\":{\"content\":\"tea\"},\"logprobs\":{\"content\":[{\"token\":\"tea\","
              "\"logprob\":-0.25,\"bytes\":[116,101,97],\"top_logprobs\":[{\"token\":"
              "\"\xef\xbf\xbd\","
              "\"logprob\":-2,\"bytes\":[255]}]}],\"refusal\":null},\"finish_reason\":null",
              ""));
}

static json_t *document_of(struct fixture *f)
{
    size_t expected = fg_completion_answer_document_bytes(&f->answer);
    take(f, fg_completion_answer_room_min(&f->answer));
    assert_int_equal(f->out_len, expected);
    json_t *root = json_loads(f->out, 0, NULL);
    assert_non_null(root);
    return root;
}

static json_t *choice_of(json_t *root)
{
    return json_array_get(json_object_get(root, "choices"), 0);
}

/* Bytes that are no characters have the same text, and so have control tokens. */
static void tops_that_are_spelled_alike_are_there_once(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"a", "a", "\xe5", "\xb6", "", "", "\xe5\xa5\xb6"};
    struct fg_channel_token token = {.text = FG_SPAN("a"), .logprob_count = 7};
    for (uint32_t i = 0; i < token.logprob_count; i++)
        token.logprobs[i] = (struct fg_channel_logprob){.logprob = -0.5f * (float)i,
                                                        .bytes = fg_span_from_string(texts[i])};
    begin(f, false, false, false);
    f->answer.has_logprobs = true;
    assert_int_equal(fg_completion_answer_add(&f->answer, 0, &token), FG_OK);
    finish(f, "stop", 1, 1, 0);
    json_t *root = document_of(f);
    assert_non_null(strstr(f->out, "\"top_logprobs\":[{\"a\":-0.5,\"\xef\xbf\xbd\":-1,\"\":-2,"
                                   "\"\xe5\xa5\xb6\":-3}]"));
    json_decref(root);
}

static void documents_have_all_logprobs(void **state)
{
    struct fixture *f = *state;
    for (int is_chat = 0; is_chat < 2; is_chat++) {
        begin(f, is_chat != 0, false, false);
        f->answer.has_logprobs = true;
        add_likely(f, "\xe5\xa5\xb6");
        add_likely(f, "tea");
        finish(f, "stop", 1, 2, 0);
        json_t *root = document_of(f);
        json_t *logprobs = json_object_get(choice_of(root), "logprobs");
        if (is_chat) {
            json_t *second = json_array_get(json_object_get(logprobs, "content"), 1);
            assert_string_equal(json_string_value(json_object_get(second, "token")), "tea");
            assert_int_equal(json_array_size(json_object_get(second, "top_logprobs")), 1);
        } else {
            assert_int_equal(json_array_size(json_object_get(logprobs, "tokens")), 2);
            assert_int_equal(json_array_size(json_object_get(logprobs, "top_logprobs")), 2);
            json_t *offsets = json_object_get(logprobs, "text_offset");
            assert_int_equal(json_integer_value(json_array_get(offsets, 1)), 1);
        }
        json_decref(root);
    }
}

#define CALL "<tool_call>\n{\"name\": \"order\", \"arguments\": {\"n\": 2}}\n</tool_call>"

static void calls_of_tools_are_found(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "Sure.\n" CALL "\n" CALL;
    for (size_t step = 1; step < sizeof(text); step += 7) {
        begin(f, true, false, false);
        f->answer.takes_calls = true;
        for (size_t at = 0; at < sizeof(text) - 1; at += step) {
            char piece[sizeof(text)];
            snprintf(piece, sizeof(piece), "%.*s", (int)step, text + at);
            add(f, piece);
        }
        finish(f, "stop", 1, 2, 0);
        json_t *root = document_of(f);
        json_t *message = json_object_get(choice_of(root), "message");
        json_t *calls = json_object_get(message, "tool_calls");
        json_t *function = json_object_get(json_array_get(calls, 1), "function");
        assert_string_equal(json_string_value(json_object_get(message, "content")), "Sure.");
        assert_int_equal(json_array_size(calls), 2);
        assert_string_equal(json_string_value(json_object_get(function, "name")), "order");
        assert_string_equal(json_string_value(json_object_get(function, "arguments")),
                            "{\"n\": 2}");
        assert_string_equal(json_string_value(json_object_get(choice_of(root), "finish_reason")),
                            "tool_calls");
        json_decref(root);
    }
}

static void calls_alone_have_no_content(void **state)
{
    struct fixture *f = *state;
    begin(f, true, false, false);
    f->answer.takes_calls = true;
    f->answer.choices[0].calls.is_only = true;
    add(f, "{\"name\": \"order\", \"arguments\":");
    add(f, " {\"n\": 1, \"n\": 0.1}}"); /* twice: the last one counts, as readers have it */
    finish(f, "stop", 1, 2, 0);
    json_t *root = document_of(f);
    json_t *message = json_object_get(choice_of(root), "message");
    json_t *call = json_array_get(json_object_get(message, "tool_calls"), 0);
    assert_true(json_is_null(json_object_get(message, "content")));
    assert_int_equal(json_array_size(json_object_get(message, "tool_calls")), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(call, "function"), "arguments")),
        "{\"n\": 0.1}");
    json_decref(root);
}

static void streams_calls(void **state)
{
    struct fixture *f = *state;
    begin(f, true, true, false);
    f->answer.takes_calls = true;
    add(f, "One <b> ");
    add(f, CALL " or <tool_call>nothing</tool_call>");
    finish(f, "stop", 3, 2, 0);
    take(f, 4096);
    assert_non_null(strstr(f->out, "\"delta\":{\"content\":\"One <b>\"}"));
    assert_non_null(strstr(f->out, "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1_0\","
                                   "\"type\":\"function\",\"function\":{\"name\":\"order\","
                                   "\"arguments\":\"{\\\"n\\\": 2}\"}}]}"));
    assert_non_null(strstr(f->out, "\"delta\":{\"content\":\"<tool_call>\"}"));
    assert_non_null(strstr(f->out, "\"delta\":{\"content\":\"nothing</tool_call>\"}"));
    assert_non_null(strstr(f->out, "\"finish_reason\":\"tool_calls\""));
}

/* The n-th choice goes on. */
static struct fixture *of(struct fixture *f, uint32_t choice)
{
    f->choice = choice;
    return f;
}

static void a_document_has_its_choices_in_order(void **state)
{
    struct fixture *f = *state;
    f->choice_max = 2;
    begin(f, true, false, false);
    add(of(f, 1), "t");
    add(of(f, 0), "on");
    add(of(f, 1), "wo");
    finish(of(f, 1), "length", 3, 5, 3); /* the second is finished first */
    take(f, 4096);
    assert_int_equal(f->out_len, 0);
    add(of(f, 0), "e");
    finish(of(f, 0), "stop", 3, 2, 1);
    json_t *root = document_of(f);
    json_t *choices = json_object_get(root, "choices");
    assert_int_equal(json_array_size(choices), 2);
    static const char *const texts[] = {"one", "two"};
    static const char *const reasons[] = {"stop", "length"};
    for (size_t i = 0; i < 2; i++) {
        json_t *choice = json_array_get(choices, i);
        json_t *content = json_object_get(json_object_get(choice, "message"), "content");
        assert_int_equal(json_integer_value(json_object_get(choice, "index")), i);
        assert_string_equal(json_string_value(content), texts[i]);
        assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")),
                            reasons[i]);
    }
    json_t *usage = json_object_get(root, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), 7);
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), 3);
    json_decref(root);
}

static void choices_of_a_stream_come_as_they_are_made(void **state)
{
    struct fixture *f = *state;
    f->choice_max = 2;
    begin(f, true, true, false);
    size_t room = fg_completion_answer_room_min(&f->answer);
    add(of(f, 1), "two");
    take(f, room);
    add(of(f, 0), "one");
    finish(of(f, 1), "length", 3, 5, 3);
    assert_false(f->answer.is_finished);
    finish(of(f, 0), "stop", 3, 2, 1);
    take(f, room);
    static const char *const parts[] = {
        "{\"index\":0,\"delta\":{\"role\":\"assistant\"",
        "{\"index\":1,\"delta\":{\"role\":\"assistant\"",
        "{\"index\":1,\"delta\":{\"content\":\"two\"}",
        "{\"index\":0,\"delta\":{\"content\":\"one\"}",
        "{\"index\":1,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}",
        "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}",
        "data: [DONE]",
    };
    const char *at = f->out;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        at = strstr(at, parts[i]);
        assert_non_null(at);
    }
    assert_true(fg_completion_answer_is_complete(&f->answer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(streams_a_chat, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_a_completion_with_usage, setup, teardown),
        cmocka_unit_test_setup_teardown(joins_what_was_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_a_document, setup, teardown),
        cmocka_unit_test_setup_teardown(any_room_gives_the_same_text, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_logprobs_with_their_text, setup, teardown),
        cmocka_unit_test_setup_teardown(documents_have_all_logprobs, setup, teardown),
        cmocka_unit_test_setup_teardown(tops_that_are_spelled_alike_are_there_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(calls_of_tools_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(calls_alone_have_no_content, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(a_document_has_its_choices_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(choices_of_a_stream_come_as_they_are_made, setup, teardown),
        cmocka_unit_test_setup_teardown(text_has_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(partly_taken_text_makes_place, setup, teardown),
        cmocka_unit_test_setup_teardown(arena_at_its_end_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
