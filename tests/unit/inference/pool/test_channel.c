/*
 * test_channel.c: every message there and back, and every way in which one can be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "inference/worker/channel.h"
#include "policies/priority.h"

#include <math.h>
#include <stdlib.h>

#define ROOM 4096u

/* Where the numbers of a SUBMIT lie in its payload. */
enum {
    AT_KIND = 0,
    AT_PRIORITY = 1,
    AT_IGNORE_END = 5,
    AT_THINKING = 6,
    AT_MAX_TOKENS = 7,
    AT_TEMPERATURE = 19,
    AT_TOP_P = 23,
    AT_MESSAGE_COUNT = 47,
    AT_STOP_COUNT = 51,
    AT_RESUMED_COUNT = 55,
    AT_MAY_ADOPT = 75,
    AT_CHOICE_COUNT = 102,
    AT_FIRST_ROLE = 103,
};

static struct fg_span payload_of(const unsigned char *frame, size_t bytes)
{
    return fg_span_make((const char *)frame + FG_CHANNEL_HEADER_BYTES,
                        bytes - FG_CHANNEL_HEADER_BYTES);
}

static void assert_header(const unsigned char *frame, size_t bytes, enum fg_channel_type type,
                          uint64_t request_id)
{
    struct fg_channel_header header;
    assert_true(bytes >= FG_CHANNEL_HEADER_BYTES);
    assert_int_equal(fg_channel_read_header(frame, &header), FG_OK);
    assert_int_equal(header.type, type);
    assert_true(header.request_id == request_id);
    assert_int_equal(header.payload_bytes, bytes - FG_CHANNEL_HEADER_BYTES);
}

static void assert_span(struct fg_span span, const char *text)
{
    assert_true(fg_span_equal(span, fg_span_from_string(text)));
}

static const unsigned char bias_bytes[] = {7, 0, 0, 0, 0, 0, 0x80, 0xbf, 9, 0, 0, 0, 0, 0, 0, 0x40};
static const unsigned char resumed_bytes[] = {1, 0, 0, 0, 0xff, 0xee, 0xdd, 0x0c};

static struct fg_channel_submit *a_submit(void)
{
    struct fg_channel_submit *submit = calloc(1, sizeof(*submit));
    assert_non_null(submit);
    submit->kind = FG_PROMPT_CHAT;
    submit->priority_number = FG_PRIORITY_COMPOUND_COUNT - 1;
    submit->deadline_ns = UINT64_MAX - 5;
    submit->choice_count = 1;
    submit->max_tokens = 77;
    submit->sampling = (struct fg_sampling){
        .temperature = 0.75f,
        .top_p = 0.9f,
        .min_p = 0.1f,
        .repetition_penalty = 1.25f,
        .frequency_penalty = -0.5f,
        .presence_penalty = 2,
        .top_k = 40,
        .logprob_count = FG_CHANNEL_LOGPROBS_MAX,
        .seed = UINT64_C(0x8877665544332211),
    };
    submit->ignore_end = true;
    submit->thinking = true;
    submit->user_hash = UINT64_C(0xfedcba9876543210);
    submit->cache_salt = 7;
    submit->stream_key = UINT64_MAX - 1;
    submit->may_adopt = true;
    submit->message_count = 2;
    submit->messages[0].role = FG_SPAN("system");
    submit->messages[0].content = FG_SPAN("");
    submit->messages[1].role = FG_SPAN("user");
    submit->messages[1].content = FG_SPAN("a cup of milk tea, please");
    submit->stop_count = 2;
    submit->stops[0] = FG_SPAN("\n\n");
    submit->stops[1] = FG_SPAN("END");
    submit->constraint = FG_CONSTRAINT_JSON;
    submit->schema = FG_SPAN("{\"type\":\"object\"}");
    submit->tools = FG_SPAN("{\"name\": \"order\"}");
    submit->bias_count = 2;
    submit->bias = bias_bytes;
    submit->resumed_count = 2;
    submit->resumed = resumed_bytes;
    return submit;
}

static void submit_there_and_back(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    struct fg_channel_submit *in = a_submit();
    struct fg_channel_submit *out = calloc(1, sizeof(*out));
    size_t bytes = fg_channel_write_submit(frame, ROOM, 42, in);
    assert_int_equal(bytes, fg_channel_submit_bytes(in));
    assert_header(frame, bytes, FG_CHANNEL_SUBMIT, 42);
    assert_int_equal(fg_channel_read_submit(payload_of(frame, bytes), out), FG_OK);
    assert_int_equal(out->kind, FG_PROMPT_CHAT);
    assert_int_equal(out->priority_number, FG_PRIORITY_COMPOUND_COUNT - 1);
    assert_true(out->deadline_ns == in->deadline_ns);
    assert_int_equal(out->max_tokens, 77);
    assert_true(out->sampling.temperature == 0.75f && out->sampling.top_p == 0.9f);
    assert_int_equal(out->sampling.top_k, 40);
    assert_memory_equal(&out->sampling, &in->sampling, sizeof(in->sampling));
    assert_int_equal(out->constraint, FG_CONSTRAINT_JSON);
    assert_span(out->schema, "{\"type\":\"object\"}");
    assert_span(out->tools, "{\"name\": \"order\"}");
    assert_int_equal(out->bias_count, 2);
    assert_memory_equal(out->bias, bias_bytes, sizeof(bias_bytes));
    assert_true(out->ignore_end && out->thinking);
    assert_true(out->user_hash == in->user_hash);
    assert_true(out->cache_salt == 7 && out->stream_key == in->stream_key && out->may_adopt);
    assert_int_equal(out->message_count, 2);
    assert_span(out->messages[0].role, "system");
    assert_span(out->messages[0].content, "");
    assert_span(out->messages[1].content, "a cup of milk tea, please");
    assert_int_equal(out->stop_count, 2);
    assert_span(out->stops[1], "END");
    assert_int_equal(out->resumed_count, 2);
    assert_memory_equal(out->resumed, resumed_bytes, sizeof(resumed_bytes));
    /* One byte less of room writes nothing. */
    assert_int_equal(fg_channel_write_submit(frame, bytes - 1, 42, in), 0);
    assert_int_equal(fg_channel_write_submit(frame, bytes, 42, in), bytes);
    free(in);
    free(out);
}

static void logprobs_there_and_back(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    struct fg_channel_token in = {.index = 1, .token = 2, .text = FG_SPAN_LITERAL("ab")};
    struct fg_channel_token out;
    in.logprob_count = 2;
    in.logprobs[0] = (struct fg_channel_logprob){-0.5f, FG_SPAN("ab")};
    in.logprobs[1] = (struct fg_channel_logprob){-9999, FG_SPAN("\xff")};
    size_t bytes = fg_channel_write_token(frame, ROOM, 1, &in);
    assert_int_equal(bytes, fg_channel_token_bytes(&in));
    assert_int_equal(fg_channel_read_token(payload_of(frame, bytes), &out), FG_OK);
    assert_int_equal(out.logprob_count, 2);
    assert_true(out.logprobs[0].logprob < 0 && out.logprobs[0].logprob > -1);
    assert_span(out.logprobs[1].bytes, "\xff");
}

static void the_largest_counts_there_and_back(void **state)
{
    (void)state;
    struct fg_channel_submit *in = a_submit();
    struct fg_channel_submit *out = calloc(1, sizeof(*out));
    in->message_count = FG_CHANNEL_MESSAGES_MAX;
    for (uint32_t i = 0; i < in->message_count; i++) {
        in->messages[i].role = FG_SPAN("user");
        in->messages[i].content = FG_SPAN("x");
    }
    in->stop_count = FG_CHANNEL_STOPS_MAX;
    for (uint32_t i = 0; i < in->stop_count; i++)
        in->stops[i] = FG_SPAN("s");
    in->resumed_count = 0;
    in->resumed = NULL;
    size_t room = fg_channel_submit_bytes(in);
    unsigned char *frame = malloc(room);
    assert_int_equal(fg_channel_write_submit(frame, room, UINT64_MAX, in), room);
    assert_header(frame, room, FG_CHANNEL_SUBMIT, UINT64_MAX);
    assert_int_equal(fg_channel_read_submit(payload_of(frame, room), out), FG_OK);
    assert_int_equal(out->message_count, FG_CHANNEL_MESSAGES_MAX);
    assert_span(out->messages[FG_CHANNEL_MESSAGES_MAX - 1].content, "x");
    free(frame);
    free(in);
    free(out);
}

static void small_messages_there_and_back(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    size_t bytes = fg_channel_write_cancel(frame, ROOM, 7);
    assert_header(frame, bytes, FG_CHANNEL_CANCEL, 7);
    assert_int_equal(bytes, FG_CHANNEL_HEADER_BYTES);
    assert_int_equal(fg_channel_write_cancel(frame, bytes - 1, 7), 0);

    struct fg_channel_hello hello = {FG_CHANNEL_VERSION, 123, 151936, 32768, true, FG_ROLE_DECODE};
    struct fg_channel_hello hello_out;
    bytes = fg_channel_write_hello(frame, ROOM, &hello);
    assert_header(frame, bytes, FG_CHANNEL_HELLO, 0);
    assert_int_equal(fg_channel_read_hello(payload_of(frame, bytes), &hello_out), FG_OK);
    assert_int_equal(hello_out.pid, 123);
    assert_int_equal(hello_out.vocab_count, 151936);
    assert_int_equal(hello_out.context_max, 32768);
    assert_true(hello_out.has_chat_template);
    assert_int_equal(hello_out.role, FG_ROLE_DECODE);

    struct fg_channel_token token = {
        .index = 3, .token = 151643, .text = FG_SPAN_LITERAL("\xe2\x82\xac")};
    struct fg_channel_token token_out;
    bytes = fg_channel_write_token(frame, FG_CHANNEL_HEADER_BYTES + 64 + 3, 8, &token);
    assert_header(frame, bytes, FG_CHANNEL_TOKEN, 8);
    assert_int_equal(fg_channel_read_token(payload_of(frame, bytes), &token_out), FG_OK);
    assert_int_equal(token_out.index, 3);
    assert_int_equal(token_out.token, 151643);
    assert_span(token_out.text, "\xe2\x82\xac");

    struct fg_channel_done done = {FG_FINISH_LENGTH, FG_SPAN_LITERAL("held"), 10, 20, 1, 2, 3, 4};
    struct fg_channel_done done_out;
    bytes = fg_channel_write_done(frame, FG_CHANNEL_HEADER_BYTES + 64 + 4, 9, &done);
    assert_header(frame, bytes, FG_CHANNEL_DONE, 9);
    assert_int_equal(fg_channel_read_done(payload_of(frame, bytes), &done_out), FG_OK);
    assert_int_equal(done_out.finish, FG_FINISH_LENGTH);
    assert_int_equal(done_out.cached_tokens, 4);
    assert_int_equal(done_out.prompt_tokens, 10);
    assert_int_equal(done_out.completion_tokens, 20);
    assert_int_equal(done_out.queue_ns, 1);
    assert_int_equal(done_out.prefill_ns, 2);
    assert_int_equal(done_out.decode_ns, 3);
    assert_span(done_out.text, "held");

    struct fg_channel_refused refused = {FG_REFUSAL_INTERNAL, 1500, 9, 8, FG_SPAN_LITERAL("why")};
    struct fg_channel_refused refused_out;
    bytes = fg_channel_write_refused(frame, FG_CHANNEL_HEADER_BYTES + 64 + 3, 10, &refused);
    assert_header(frame, bytes, FG_CHANNEL_REFUSED, 10);
    assert_int_equal(fg_channel_read_refused(payload_of(frame, bytes), &refused_out), FG_OK);
    assert_int_equal(refused_out.reason, FG_REFUSAL_INTERNAL);
    assert_int_equal(refused_out.retry_after_ms, 1500);
    assert_int_equal(refused_out.value, 9);
    assert_int_equal(refused_out.limit, 8);
    assert_span(refused_out.message, "why");

    uint32_t prompt_tokens = 0;
    bytes = fg_channel_write_begun(frame, FG_CHANNEL_HEADER_BYTES + 4, 11, 70000);
    assert_header(frame, bytes, FG_CHANNEL_BEGUN, 11);
    assert_int_equal(fg_channel_read_begun(payload_of(frame, bytes), &prompt_tokens), FG_OK);
    assert_int_equal(prompt_tokens, 70000);
}

static void bad_headers(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    struct fg_channel_header header;
    size_t bytes = fg_channel_write_cancel(frame, ROOM, 7);
    assert_int_equal(bytes, FG_CHANNEL_HEADER_BYTES);
    const unsigned char types[] = {0, FG_CHANNEL_TYPE_END, 255};
    for (size_t i = 0; i < sizeof(types); i++) {
        frame[4] = types[i];
        assert_int_equal(fg_channel_read_header(frame, &header), FG_ERR_INVALID);
    }
    frame[4] = FG_CHANNEL_CANCEL;
    frame[5] = 1; /* the type's upper byte */
    assert_int_equal(fg_channel_read_header(frame, &header), FG_ERR_INVALID);
    frame[5] = 0;
    frame[6] = 1; /* padding */
    assert_int_equal(fg_channel_read_header(frame, &header), FG_ERR_INVALID);
    frame[6] = 0;
    frame[0] = 1; /* a CANCEL has no payload */
    assert_int_equal(fg_channel_read_header(frame, &header), FG_ERR_INVALID);
    frame[4] = FG_CHANNEL_SUBMIT;
    assert_int_equal(fg_channel_read_header(frame, &header), FG_OK);
    frame[0] = 0;
    frame[3] = 1; /* 16 MiB: the most */
    assert_int_equal(fg_channel_read_header(frame, &header), FG_OK);
    assert_int_equal(header.payload_bytes, FG_CHANNEL_PAYLOAD_MAX);
    frame[0] = 1;
    assert_int_equal(fg_channel_read_header(frame, &header), FG_ERR_INVALID);
    frame[3] = 0xff;
    assert_int_equal(fg_channel_read_header(frame, &header), FG_ERR_INVALID);
}

/* A payload in a heap block of its own size, so that a read beyond it is seen. */
static enum fg_status read_exact(const unsigned char *payload, size_t bytes,
                                 enum fg_channel_type type)
{
    static struct fg_channel_submit submit;
    char *copy = malloc(bytes > 0 ? bytes : 1);
    if (bytes > 0)
        memcpy(copy, payload, bytes);
    struct fg_span span = fg_span_make(copy, bytes);
    enum fg_status status = FG_ERR_UNSUPPORTED;
    struct fg_channel_hello hello;
    struct fg_channel_token token;
    struct fg_channel_done done;
    struct fg_channel_refused refused;
    uint32_t prompt_tokens;
    if (type == FG_CHANNEL_HELLO)
        status = fg_channel_read_hello(span, &hello);
    else if (type == FG_CHANNEL_SUBMIT)
        status = fg_channel_read_submit(span, &submit);
    else if (type == FG_CHANNEL_TOKEN)
        status = fg_channel_read_token(span, &token);
    else if (type == FG_CHANNEL_DONE)
        status = fg_channel_read_done(span, &done);
    else if (type == FG_CHANNEL_REFUSED)
        status = fg_channel_read_refused(span, &refused);
    else if (type == FG_CHANNEL_BEGUN)
        status = fg_channel_read_begun(span, &prompt_tokens);
    free(copy);
    return status;
}

/* Every shorter payload, and one that is longer, is refused. */
static void assert_exact_length(const unsigned char *frame, size_t bytes, enum fg_channel_type type)
{
    unsigned char longer[ROOM + 1] = {0};
    size_t payload_bytes = bytes - FG_CHANNEL_HEADER_BYTES;
    memcpy(longer, frame + FG_CHANNEL_HEADER_BYTES, payload_bytes);
    for (size_t cut = 0; cut < payload_bytes; cut++)
        assert_int_equal(read_exact(longer, cut, type), FG_ERR_INVALID);
    assert_int_equal(read_exact(longer, payload_bytes, type), FG_OK);
    assert_int_equal(read_exact(longer, payload_bytes + 1, type), FG_ERR_INVALID);
}

static void cut_and_overlong_payloads(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    struct fg_channel_submit *submit = a_submit();
    size_t bytes = fg_channel_write_submit(frame, ROOM, 1, submit);
    assert_exact_length(frame, bytes, FG_CHANNEL_SUBMIT);
    free(submit);
    struct fg_channel_hello hello = {1, 2, 3, 4, false, FG_ROLE_ANY};
    bytes = fg_channel_write_hello(frame, ROOM, &hello);
    assert_exact_length(frame, bytes, FG_CHANNEL_HELLO);
    struct fg_channel_token token = {.index = 1, .token = 2, .text = FG_SPAN_LITERAL("abc")};
    bytes = fg_channel_write_token(frame, ROOM, 1, &token);
    assert_exact_length(frame, bytes, FG_CHANNEL_TOKEN);
    struct fg_channel_done done = {FG_FINISH_STOP, FG_SPAN_LITERAL("abc"), 1, 2, 3, 4, 5, 6};
    bytes = fg_channel_write_done(frame, ROOM, 1, &done);
    assert_exact_length(frame, bytes, FG_CHANNEL_DONE);
    struct fg_channel_refused refused = {FG_REFUSAL_DEADLINE, 1, 0, 0, FG_SPAN_LITERAL("abc")};
    bytes = fg_channel_write_refused(frame, ROOM, 1, &refused);
    assert_exact_length(frame, bytes, FG_CHANNEL_REFUSED);
    bytes = fg_channel_write_begun(frame, ROOM, 1, 7);
    assert_exact_length(frame, bytes, FG_CHANNEL_BEGUN);
}

static unsigned char good_frame[ROOM];
static size_t good_bytes;

/* A good SUBMIT with `count` bytes at `at` changed. */
static void assert_submit(size_t at, const void *with, size_t count, enum fg_status expected)
{
    unsigned char payload[ROOM];
    size_t bytes = good_bytes - FG_CHANNEL_HEADER_BYTES;
    memcpy(payload, good_frame + FG_CHANNEL_HEADER_BYTES, bytes);
    memcpy(payload + at, with, count);
    assert_int_equal(read_exact(payload, bytes, FG_CHANNEL_SUBMIT), expected);
}

static void assert_u32(size_t at, uint32_t value, enum fg_status expected)
{
    unsigned char bytes[4];
    for (size_t i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    assert_submit(at, bytes, 4, expected);
}

static void assert_u8(size_t at, unsigned char value, enum fg_status expected)
{
    assert_submit(at, &value, 1, expected);
}

static void assert_f32(size_t at, float value, enum fg_status expected)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    assert_u32(at, bits, expected);
}

static void bad_submit_numbers(void **state)
{
    (void)state;
    struct fg_channel_submit *submit = a_submit();
    good_bytes = fg_channel_write_submit(good_frame, ROOM, 1, submit);
    free(submit);
    assert_u8(AT_KIND, 2, FG_ERR_INVALID);
    assert_u8(AT_KIND, FG_PROMPT_TEXT, FG_ERR_INVALID); /* two messages */
    assert_u8(AT_CHOICE_COUNT, 1, FG_OK);
    assert_u8(AT_CHOICE_COUNT, 0, FG_ERR_INVALID);
    assert_u8(AT_CHOICE_COUNT, FG_CHANNEL_CHOICES_MAX + 1, FG_ERR_INVALID);
    assert_u8(AT_CHOICE_COUNT, 2, FG_ERR_INVALID); /* what is resumed is alone */
    assert_u8(AT_PRIORITY + 1, 1, FG_OK);          /* 511: the least of low */
    assert_u8(AT_PRIORITY + 1, 2, FG_ERR_INVALID);
    assert_u8(AT_IGNORE_END, 2, FG_ERR_INVALID);
    assert_u8(AT_THINKING, 255, FG_ERR_INVALID);
    assert_u8(AT_MAY_ADOPT, 2, FG_ERR_INVALID);
    assert_u32(AT_MAX_TOKENS, 0, FG_ERR_INVALID);
    assert_u32(AT_MAX_TOKENS, 1, FG_ERR_INVALID); /* two are resumed */
    assert_u32(AT_MAX_TOKENS, 2, FG_OK);
    assert_f32(AT_TEMPERATURE, -0.5f, FG_ERR_INVALID);
    assert_f32(AT_TEMPERATURE, NAN, FG_ERR_INVALID);
    assert_f32(AT_TEMPERATURE, INFINITY, FG_ERR_INVALID);
    assert_f32(AT_TEMPERATURE, 0, FG_OK);
    assert_f32(AT_TOP_P, 0, FG_ERR_INVALID);
    assert_f32(AT_TOP_P, 1, FG_OK);
    assert_f32(AT_TOP_P, 1.001f, FG_ERR_INVALID);
    assert_f32(AT_TOP_P, NAN, FG_ERR_INVALID);
    assert_f32(AT_TOP_P, -INFINITY, FG_ERR_INVALID);
    assert_u32(AT_MESSAGE_COUNT, 0, FG_ERR_INVALID);
    assert_u32(AT_MESSAGE_COUNT, 1, FG_ERR_INVALID);
    assert_u32(AT_MESSAGE_COUNT, FG_CHANNEL_MESSAGES_MAX + 1, FG_ERR_INVALID);
    assert_u32(AT_MESSAGE_COUNT, UINT32_MAX, FG_ERR_INVALID);
    assert_u32(AT_STOP_COUNT, 1, FG_ERR_INVALID);
    assert_u32(AT_STOP_COUNT, FG_CHANNEL_STOPS_MAX + 1, FG_ERR_INVALID);
    assert_u32(AT_RESUMED_COUNT, 1, FG_ERR_INVALID);
    assert_u32(AT_RESUMED_COUNT, 0x40000000, FG_ERR_INVALID); /* times 4 is 0 in 32 bits */
    assert_u32(AT_FIRST_ROLE, UINT32_MAX, FG_ERR_INVALID);
    assert_u32(AT_FIRST_ROLE, 0x7fffffff, FG_ERR_INVALID);
}

static void bad_submit_texts(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    struct fg_channel_submit *submit = a_submit();
    submit->kind = FG_PROMPT_TEXT;
    submit->message_count = 1;
    size_t bytes = fg_channel_write_submit(frame, ROOM, 1, submit);
    /* a plain text with a role */
    assert_int_equal(read_exact(frame + FG_CHANNEL_HEADER_BYTES, bytes - FG_CHANNEL_HEADER_BYTES,
                                FG_CHANNEL_SUBMIT),
                     FG_ERR_INVALID);
    submit->messages[0].role = FG_SPAN("");
    bytes = fg_channel_write_submit(frame, ROOM, 1, submit);
    assert_int_equal(read_exact(frame + FG_CHANNEL_HEADER_BYTES, bytes - FG_CHANNEL_HEADER_BYTES,
                                FG_CHANNEL_SUBMIT),
                     FG_OK);
    submit->stops[0] = FG_SPAN(""); /* would stop before the first byte */
    bytes = fg_channel_write_submit(frame, ROOM, 1, submit);
    assert_int_equal(read_exact(frame + FG_CHANNEL_HEADER_BYTES, bytes - FG_CHANNEL_HEADER_BYTES,
                                FG_CHANNEL_SUBMIT),
                     FG_ERR_INVALID);
    free(submit);
}

static void bad_enums_in_answers(void **state)
{
    (void)state;
    unsigned char frame[ROOM];
    unsigned char *payload = frame + FG_CHANNEL_HEADER_BYTES;
    struct fg_channel_done done = {FG_FINISH_LENGTH, FG_SPAN_LITERAL(""), 1, 2, 3, 4, 5, 6};
    size_t bytes = fg_channel_write_done(frame, ROOM, 1, &done) - FG_CHANNEL_HEADER_BYTES;
    payload[0] = FG_FINISH_LENGTH + 1;
    assert_int_equal(read_exact(payload, bytes, FG_CHANNEL_DONE), FG_ERR_INVALID);
    payload[0] = 0;
    payload[3] = 1;
    assert_int_equal(read_exact(payload, bytes, FG_CHANNEL_DONE), FG_ERR_INVALID);
    struct fg_channel_refused refused = {FG_REFUSAL_INTERNAL, 1, 0, 0, FG_SPAN_LITERAL("")};
    bytes = fg_channel_write_refused(frame, ROOM, 1, &refused) - FG_CHANNEL_HEADER_BYTES;
    payload[0] = FG_REFUSAL_COUNT;
    assert_int_equal(read_exact(payload, bytes, FG_CHANNEL_REFUSED), FG_ERR_INVALID);
    struct fg_channel_hello hello = {1, 2, 3, 4, true, FG_ROLE_ANY};
    bytes = fg_channel_write_hello(frame, ROOM, &hello) - FG_CHANNEL_HEADER_BYTES;
    payload[bytes - 1] = FG_ROLE_DECODE + 1;
    assert_int_equal(read_exact(payload, bytes, FG_CHANNEL_HELLO), FG_ERR_INVALID);
    payload[bytes - 1] = FG_ROLE_ANY;
    payload[bytes - 2] = 2;
    assert_int_equal(read_exact(payload, bytes, FG_CHANNEL_HELLO), FG_ERR_INVALID);
}

static void writers_refuse_what_no_frame_can_hold(void **state)
{
    (void)state;
    size_t room = FG_CHANNEL_PAYLOAD_MAX + 4096;
    unsigned char *frame = malloc(room);
    char *text = malloc(FG_CHANNEL_PAYLOAD_MAX + 1);
    memset(text, 'x', FG_CHANNEL_PAYLOAD_MAX + 1);
    struct fg_channel_token token = {.text = {text, FG_CHANNEL_PAYLOAD_MAX}};
    assert_int_equal(fg_channel_write_token(frame, room, 1, &token), 0); /* 13 bytes too many */
    token.text.len = FG_CHANNEL_PAYLOAD_MAX - 13;
    assert_int_equal(fg_channel_write_token(frame, room, 1, &token),
                     FG_CHANNEL_HEADER_BYTES + FG_CHANNEL_PAYLOAD_MAX);
    token.text.len = (size_t)1 << 32; /* never looked at: the length alone is too much */
    assert_int_equal(fg_channel_write_token(frame, room, 1, &token), 0);
    token.text = FG_SPAN("abc");
    for (size_t less = 0; less < FG_CHANNEL_HEADER_BYTES + 13 + 3; less++)
        assert_int_equal(fg_channel_write_token(frame, less, 1, &token), 0);
    free(text);
    free(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_there_and_back),
        cmocka_unit_test(logprobs_there_and_back),
        cmocka_unit_test(the_largest_counts_there_and_back),
        cmocka_unit_test(small_messages_there_and_back),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(cut_and_overlong_payloads),
        cmocka_unit_test(bad_submit_numbers),
        cmocka_unit_test(bad_submit_texts),
        cmocka_unit_test(bad_enums_in_answers),
        cmocka_unit_test(writers_refuse_what_no_frame_can_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
