/*
 * test_inference_backend.c: requests and answers: paths, streams, documents, refusals, cancels,
 * clients that are slow, bodies that are long, memory that is short.
 */
#include "inference_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void streams_a_chat(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake =
        fixture_start_chat(f, 0, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 1);
    const struct fg_channel_submit *submit = worker->requests[0].submit;
    assert_int_equal(submit->kind, FG_PROMPT_CHAT);
    assert_int_equal(submit->max_tokens, 8);
    assert_int_equal(submit->sampling.seed, 7);
    assert_int_equal(submit->deadline_ns, fake->ex.deadline_ns);
    assert_int_equal(submit->priority_number, fake->ex.priority_number);
    assert_true(submit->user_hash != 0);
    assert_int_equal(submit->message_count, 1);
    assert_true(fg_span_equal(submit->messages[0].content, FG_SPAN("hi")));
    assert_int_equal(fake->status, 0); /* no head before the first token */
    assert_int_equal(fixture_number(f, "requests", "running"), 1);
    fake_worker_token(worker, 0, 0, 11, "Milk");
    RUN_UNTIL(f, fake->write_count == 1); /* role and text in one write */
    assert_int_equal(fake->status, 200);
    assert_string_equal(fake->content_type, "text/event-stream");
    assert_string_equal(fake->hops, "ttft,");
    fake_worker_token(worker, 0, 1, 12, "");
    fake_worker_token(worker, 0, 2, 13, " \"tea\"\n");
    fake_worker_done(worker, 0, FG_FINISH_STOP, "!", 3);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "Milk \"tea\"\n!");
    assert_non_null(strstr(fake->body, "\"finish_reason\":\"stop\""));
    assert_non_null(strstr(fake->body, "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":3,"
                                       "\"total_tokens\":6,"
                                       "\"prompt_tokens_details\":{\"cached_tokens\":2}}"));
    assert_int_equal(fixture_number(f, "requests", "completed"), 1);
    assert_int_equal(fixture_number(f, "requests", "running"), 0);
    assert_int_equal(fixture_number(f, "tokens", "prompt"), 3);
    assert_int_equal(fixture_number(f, "tokens", "completion"), 3);
    assert_int_equal(fixture_number(f, "ttft_ms", "count"), 1);
    assert_int_equal(fixture_number(f, "tpot_seconds", "count"), 2);
    assert_int_equal(fixture_of_worker(f, 0, "outstanding"), 0);
    fake_exchange_fini(fake);
}

static void answers_a_document(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start(
        f, 0, "/v1/completions", "{\"prompt\":\"once\",\"max_tokens\":2,\"stop\":\"x\"}");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 1);
    assert_int_equal(worker->requests[0].submit->kind, FG_PROMPT_TEXT);
    assert_int_equal(worker->requests[0].submit->stop_count, 1);
    fake_worker_token(worker, 0, 0, 11, " upon");
    fake_worker_token(worker, 0, 1, 12, " a");
    fake_worker_done(worker, 0, FG_FINISH_LENGTH, "", 2);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_ENDED);
    assert_string_equal(fake->content_type, "application/json");
    assert_int_equal(strtoul(fake->content_length, NULL, 10), fake->body_len);
    assert_string_equal(fake->hops, "ttft,worker_queue,prefill,decode,");
    json_t *root = json_loads(fake->body, 0, NULL);
    assert_non_null(root);
    json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    assert_string_equal(json_string_value(json_object_get(choice, "text")), " upon a");
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "length");
    assert_string_equal(json_string_value(json_object_get(root, "model")), "demo");
    json_decref(root);
    fake_exchange_fini(fake);
}

static void an_answer_may_be_empty(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *stream = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_exchange *document = fixture_start_chat(f, 1, "");
    RUN_UNTIL(f, f->workers[0].request_count == 2);
    fake_worker_done(&f->workers[0], 0, FG_FINISH_STOP, "", 0);
    fake_worker_done(&f->workers[0], 1, FG_FINISH_STOP, "", 0);
    RUN_UNTIL(f, stream->end != FAKE_OPEN && document->end != FAKE_OPEN);
    fixture_assert_stream(stream, "");
    assert_int_equal(document->end, FAKE_ENDED);
    assert_non_null(strstr(document->body, "\"content\":\"\""));
    fake_exchange_fini(stream);
    fake_exchange_fini(document);
}

static void frames_may_come_in_pieces(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 1);
    unsigned char frames[512];
    const struct fg_channel_token token = {.token = 5, .text = FG_SPAN("abc")};
    const struct fg_channel_done done = {FG_FINISH_STOP, FG_SPAN("def"), 1, 1, 0, 0, 0, 0};
    size_t len = fg_channel_write_token(frames, sizeof(frames), worker->requests[0].id, &token);
    len += fg_channel_write_done(frames + len, sizeof(frames) - len, worker->requests[0].id, &done);
    for (size_t i = 0; i < len; i++) {
        fake_worker_send(worker, frames + i, 1, 0);
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "abcdef");
    fake_exchange_fini(fake);
}

/* What a client that leaves has cost is known at any moment. */
static void counts_what_is_computed_so_far(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    const struct fg_exchange *ex = &fake->ex;
    RUN_UNTIL(f, f->workers[0].request_count == 1);
    assert_true(ex->counts_tokens && ex->tokens_used == 0); /* it waits */
    fake_worker_begun(&f->workers[0], 0, 30);
    RUN_UNTIL(f, ex->tokens_used == 30);
    fake_worker_begun(&f->workers[0], 0, 30); /* read again: paid once */
    fake_worker_token(&f->workers[0], 0, 0, 5, "a");
    RUN_UNTIL(f, ex->tokens_used == 31);
    fake_worker_token(&f->workers[0], 0, 1, 5, "b");
    RUN_UNTIL(f, ex->tokens_used == 32);
    fake_worker_done(&f->workers[0], 0, FG_FINISH_LENGTH, "", 2);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(ex->tokens_used, 5); /* 3 and 2: the last word counts */
    fake_exchange_fini(fake);
}

static void refusals_keep_their_meaning(void **state)
{
    static const struct {
        enum fg_refusal reason;
        unsigned status;
        const char *code;
        uint64_t retry_after_ms;
        const char *counter;
    } cases[] = {
        {FG_REFUSAL_QUEUE_FULL, 429, "queue_full", 700, "queue_full"},
        {FG_REFUSAL_NO_BLOCKS, 503, "no_kv_blocks", 700, "no_blocks"},
        {FG_REFUSAL_TOO_LONG, 400, "context_length_exceeded", 0, "too_long"},
        {FG_REFUSAL_BAD_PROMPT, 400, "bad_prompt", 0, "bad_prompt"},
        {FG_REFUSAL_DEADLINE, 504, "deadline_exceeded", 700, "deadline"},
        {FG_REFUSAL_INTERNAL, 500, "inference_failed", 0, "internal"},
        {FG_REFUSAL_LATE, 503, "cannot_meet_deadline", 700, "late"},
    };
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
        RUN_UNTIL(f, f->workers[0].request_count == i + 1);
        fake_worker_refuse(&f->workers[0], i, cases[i].reason, 700, "because \"so\"");
        RUN_UNTIL(f, fake->end != FAKE_OPEN);
        assert_int_equal(fake->end, FAKE_REFUSED);
        assert_int_equal(fake->status, cases[i].status);
        assert_string_equal(fake->code, cases[i].code);
        assert_string_equal(fake->message, "because \"so\"");
        assert_int_equal(fake->retry_after_ms, cases[i].retry_after_ms);
        if (cases[i].reason != FG_REFUSAL_DEADLINE) { /* whose times the gateway knows better */
            assert_int_equal(fake->value, 7);
            assert_int_equal(fake->limit, 5);
        }
        assert_int_equal(fixture_refused(f, cases[i].counter), 1);
        fake_exchange_fini(fake);
    }
}

static void refused_in_mid_stream_is_a_failure(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    RUN_UNTIL(f, f->workers[0].request_count == 1);
    fake_worker_token(&f->workers[0], 0, 0, 1, "a");
    fake_worker_refuse(&f->workers[0], 0, FG_REFUSAL_DEADLINE, 0, "late");
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_TIMEOUT);
    assert_int_equal(fixture_number(f, "requests", "failed"), 1);
    fake_exchange_fini(fake);
}

static void cancel_reaches_the_worker(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    struct fake_exchange *gone = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_exchange *stays = fixture_start_chat(f, 1, ",\"stream\":true");
    RUN_UNTIL(f, worker->request_count == 2);
    fake_worker_token(worker, 0, 0, 1, "a");
    RUN_UNTIL(f, gone->write_count == 1);
    f->backend->ops->cancel(&gone->ex);
    fake_exchange_fini(gone); /* its memory is gone: a late token must not reach it */
    fake_worker_token(worker, 0, 1, 2, "late");
    fake_worker_done(worker, 0, FG_FINISH_STOP, "later", 2);
    RUN_UNTIL(f, worker->requests[0].is_cancelled);
    assert_false(worker->requests[1].is_cancelled);
    fake_worker_done(worker, 1, FG_FINISH_STOP, "b", 1);
    RUN_UNTIL(f, stays->end != FAKE_OPEN);
    fixture_assert_stream(stays, "b");
    assert_int_equal(fixture_number(f, "requests", "cancelled"), 1);
    assert_int_equal(fixture_of_worker(f, 0, "outstanding"), 0);
    fake_exchange_fini(stays);
}

static void cancel_works_in_every_state(void **state)
{
    struct fixture *f = *state;
    fixture_open_backend(f);
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, "/v1/completions", 1 << 20);
    f->backend->ops->start(f->thread, &fake->ex);
    f->backend->ops->cancel(&fake->ex); /* reading */
    fake_exchange_fini(fake);
    fake = fixture_start_chat(f, 0, ""); /* waiting for a worker */
    f->backend->ops->on_writable(&fake->ex);
    assert_int_equal(fixture_number(f, "requests", "waiting_for_worker"), 1);
    f->backend->ops->cancel(&fake->ex);
    f->backend->ops->cancel(&fake->ex); /* once more finds nothing */
    assert_int_equal(fixture_number(f, "requests", "waiting_for_worker"), 0);
    fake_exchange_fini(fake);
    fake_worker_open(&f->workers[0], f->base, f->paths[0]);
    fake = fixture_start_chat(f, 0, ",\"stream\":true");
    RUN_UNTIL(f, f->workers[0].request_count == 1);
    fake->is_blocking = true;
    fake_worker_token(&f->workers[0], 0, 0, 1, "a");
    RUN_UNTIL(f, fake->write_count == 1);
    fake_worker_done(&f->workers[0], 0, FG_FINISH_STOP, "", 1); /* flushing */
    RUN_UNTIL(f, fixture_of_worker(f, 0, "outstanding") == 0);
    assert_int_equal(fake->end, FAKE_OPEN);
    f->backend->ops->cancel(&fake->ex);
    fake_exchange_fini(fake);
    assert_int_equal(fixture_number(f, "requests", "cancelled"), 3);
}

static void a_slow_client_is_waited_for(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_exchange *other = fixture_start_chat(f, 1, ",\"stream\":true");
    RUN_UNTIL(f, worker->request_count == 2);
    fake->is_blocking = true;
    fake_worker_token(worker, 0, 0, 1, "one ");
    fake_worker_token(worker, 0, 1, 2, "two ");
    fake_worker_token(worker, 0, 2, 3, "three");
    fake_worker_done(worker, 1, FG_FINISH_STOP, "other", 1); /* not held up */
    RUN_UNTIL(f, other->end != FAKE_OPEN);
    assert_int_equal(fake->write_count, 1);
    fake->is_blocking = false;
    f->backend->ops->on_writable(&fake->ex);
    assert_int_equal(fake->write_count, 2); /* two tokens in one event */
    assert_non_null(strstr(fake->body, "\"content\":\"two three\""));
    fake->is_blocking = true;
    fake_worker_done(worker, 0, FG_FINISH_STOP, "", 3);
    RUN_UNTIL(f, fake->end != FAKE_OPEN); /* the last write ends it, taken or not */
    fixture_assert_stream(fake, "one two three");
    fake_exchange_fini(fake);
    fake_exchange_fini(other);
}

static void a_client_that_takes_nothing_has_a_limit(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true,\"max_tokens\":16");
    RUN_UNTIL(f, worker->request_count == 1);
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    fake->is_blocking = true;
    for (uint32_t i = 0; i < 16; i++)
        fake_worker_token(worker, 0, i, 1, text);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_NO_MEMORY);
    assert_int_equal(fake->write_count, 1);
    RUN_UNTIL(f, worker->requests[0].is_cancelled);
    fake_exchange_fini(fake);
}

static void open_requests_have_a_limit(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    for (unsigned i = 0; i < 6; i++)
        fixture_start_chat(f, i, "");
    struct fake_exchange *over = fixture_start_chat(f, 6, "");
    assert_int_equal(over->end, FAKE_REFUSED);
    assert_int_equal(over->status, 429);
    assert_string_equal(over->code, "queue_full");
    assert_int_equal(over->value, over->limit);
    assert_true(over->limit > 0);
    assert_true(over->retry_after_ms > 0);
    assert_int_equal(fixture_refused(f, "busy"), 1);
    fake_exchange_fini(over);
    for (unsigned i = 0; i < 6; i++) {
        f->backend->ops->cancel(&f->exchanges[i].ex);
        fake_exchange_fini(&f->exchanges[i]);
    }
    over = fixture_start_chat(f, 6, "");
    assert_int_equal(over->end, FAKE_OPEN);
    f->backend->ops->cancel(&over->ex);
    fake_exchange_fini(over);
}

static struct fake_exchange *ask(struct fixture *f, enum fg_method method, const char *path)
{
    struct fake_exchange *fake = &f->exchanges[0];
    fake_exchange_init(fake, path, 1 << 20);
    fake->ex.method = method;
    fake->ex.has_body = false;
    f->backend->ops->start(f->thread, &fake->ex);
    return fake;
}

static void paths_and_methods(void **state)
{
    static const struct {
        enum fg_method method;
        const char *path;
        unsigned status;
        const char *code;
    } cases[] = {
        {FG_METHOD_GET, "/v1/models", 200, ""},
        {FG_METHOD_HEAD, "/v1/models", 200, ""},
        {FG_METHOD_GET, "/v1/models/demo", 200, ""},
        {FG_METHOD_GET, "/v1/models/other", 404, "model_not_found"},
        {FG_METHOD_POST, "/v1/models", 405, "method_not_allowed"},
        {FG_METHOD_GET, "/v1/modelsx", 404, "not_found"},
        {FG_METHOD_GET, "/v1/chat/completions", 405, "method_not_allowed"},
        {FG_METHOD_PUT, "/v1/completions", 405, "method_not_allowed"},
        {FG_METHOD_POST, "/v1/images", 404, "not_found"},
        {FG_METHOD_POST, "/v1/chat/completions/", 404, "not_found"},
        {FG_METHOD_POST, "/v1/chat/completions", 400, "invalid_json"}, /* no body */
    };
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_exchange *fake = ask(f, cases[i].method, cases[i].path);
        assert_int_equal(fake->status, cases[i].status);
        assert_int_equal(fake->end, fake->status == 200 ? FAKE_ENDED : FAKE_REFUSED);
        assert_string_equal(fake->code, cases[i].code);
        assert_int_equal(fake->allow[0] != '\0', fake->status == 405);
        if (i == 0) {
            json_t *root = json_loads(fake->body, 0, NULL);
            json_t *model = json_array_get(json_object_get(root, "data"), 0);
            assert_string_equal(json_string_value(json_object_get(model, "id")), "demo");
            assert_int_equal(json_integer_value(json_object_get(model, "max_model_len")), 2048);
            json_decref(root);
        }
        fake_exchange_fini(fake);
    }
}

static void bad_bodies_are_refused(void **state)
{
    struct fixture *f = *state;
    fixture_open_backend(f);
    struct fake_exchange *fake = fixture_start(f, 0, "/v1/completions", "{\"prompt\":}");
    assert_int_equal(fake->status, 400);
    assert_string_equal(fake->code, "invalid_json");
    fake_exchange_fini(fake);
    fake = fixture_start(f, 0, "/v1/completions", "{\"prompt\":\"x\",\"model\":\"no\"}");
    assert_int_equal(fake->status, 404);
    fake_exchange_fini(fake);
    assert_int_equal(fixture_refused(f, "invalid"), 2);
}

/* How long a body of this request may be; 0: none is waited for. */
static uint64_t body_wanted(struct fixture *f, enum fg_method method, const char *path,
                            size_t memory_max)
{
    struct fake_exchange *fake = &f->exchanges[0];
    uint64_t bytes_max = 0;
    fake_exchange_init(fake, path, memory_max);
    fake->ex.method = method;
    if (!f->backend->ops->wants_body(f->thread, &fake->ex, &bytes_max))
        bytes_max = 0;
    fake_exchange_fini(fake);
    return bytes_max;
}

static void a_body_is_wanted_whole_as_far_as_it_fits(void **state)
{
    struct fixture *f = *state;
    f->conf.body_bytes_max = 40000;
    fixture_open_backend(f);
    assert_int_equal(body_wanted(f, FG_METHOD_POST, "/v1/chat/completions", 1 << 20), 40000);
    assert_int_equal(body_wanted(f, FG_METHOD_POST, "/v1/completions", 1 << 20), 40000);
    assert_int_equal(body_wanted(f, FG_METHOD_POST, "/v1/embeddings", 1 << 20), 40000);
    /* three quarters of the request's memory */
    assert_int_equal(body_wanted(f, FG_METHOD_POST, "/v1/completions", 40000), 30000);
    /* what is answered by its head alone */
    assert_int_equal(body_wanted(f, FG_METHOD_GET, "/v1/completions", 1 << 20), 0);
    assert_int_equal(body_wanted(f, FG_METHOD_POST, "/v1/models", 1 << 20), 0);
    assert_int_equal(body_wanted(f, FG_METHOD_POST, "/v1/other", 1 << 20), 0);
}

struct last_job {
    struct fg_helper_job job; /* first */
    bool is_done;
};

static void do_nothing(struct fg_helper_job *job)
{
    (void)job;
}

static void on_last_done(struct fg_message *message)
{
    ((struct last_job *)message)->is_done = true;
}

static void run_helper_once(struct fixture *f, struct fg_helper_pool *helper)
{
    struct last_job last = {
        .job.message.run = on_last_done, .job.work = do_nothing, .job.reply_to = &f->mailbox};
    RUN_UNTIL(f, fg_helper_pool_try_submit(helper, &last.job) == FG_OK);
    RUN_UNTIL(f, last.is_done);
}

static void long_bodies_are_parsed_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct fg_helper_pool *helper = fg_helper_pool_create(1, 4);
    f->env.helper = helper;
    fixture_open_all(f, 0, 1);
    char *body = fixture_long_body(100000);
    struct fake_exchange *fake = fixture_start(f, 0, "/v1/completions", body);
    assert_int_equal(f->workers[0].request_count, 0);
    RUN_UNTIL(f, f->workers[0].request_count == 1);
    assert_int_equal(f->workers[0].requests[0].submit->messages[0].content.len, 100000);
    fake_worker_done(&f->workers[0], 0, FG_FINISH_STOP, "x", 0);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    fake_exchange_fini(fake);
    body[0] = '[';
    fake = fixture_start(f, 0, "/v1/completions", body);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_string_equal(fake->code, "invalid_json");
    fake_exchange_fini(fake);
    body[0] = '{';
    fake = fixture_start(f, 0, "/v1/completions", body); /* gone before its parse is over */
    f->backend->ops->cancel(&fake->ex);
    fake_exchange_fini(fake);
    fake = fixture_start(f, 0, "/v1/completions", body);
    RUN_UNTIL(f, f->workers[0].request_count == 2);
    f->backend->ops->cancel(&fake->ex);
    fake_exchange_fini(fake);
    fake = fixture_start(f, 0, "/v1/completions", body); /* outlives the loop's state */
    f->backend->ops->cancel(&fake->ex);
    fake_exchange_fini(fake);
    f->backend->ops->thread_close(f->thread);
    f->backend->ops->destroy(f->backend);
    f->backend = NULL;
    run_helper_once(f, helper); /* one thread, in order: all that came before is over */
    fg_helper_pool_destroy(helper);
    free(body);
}

static void too_many_long_bodies_are_refused(void **state)
{
    struct fixture *f = *state;
    f->env.helper = fg_helper_pool_create(1, 0); /* no job may wait */
    fixture_open_backend(f);
    char *body = fixture_long_body(20000);
    struct fake_exchange *fake = fixture_start(f, 0, "/v1/completions", body);
    assert_int_equal(fake->end, FAKE_REFUSED);
    assert_int_equal(fake->status, 503);
    assert_string_equal(fake->code, "overloaded");
    fake_exchange_fini(fake);
    /* A short one of many values takes as long. */
    strcpy(body, "{\"prompt\":\"a\",\"x\":[1");
    for (unsigned i = 0; i < 100; i++)
        strcat(body, ",1");
    fake = fixture_start(f, 0, "/v1/completions", strcat(body, "]}"));
    assert_int_equal(fake->status, 503);
    fake_exchange_fini(fake);
    fg_helper_pool_destroy(f->env.helper);
    free(body);
}

/* Whatever the arena can hold, the request ends once, and ends well as soon as there is enough. */
static void every_shortage_of_memory_ends_cleanly(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    bool was_served = false;
    for (size_t bytes = 0; !was_served; bytes += 64) {
        assert_true(bytes < 1 << 20);
        unsigned before = worker->request_count;
        assert_true(before < FAKE_WORKER_REQUESTS_MAX - 1);
        struct fake_exchange *fake =
            fixture_start_sized(f, 0, "/v1/chat/completions", CHAT "}", bytes);
        if (fake->end == FAKE_OPEN) {
            RUN_UNTIL(f, worker->request_count == before + 1);
            fake_worker_done(worker, before, FG_FINISH_STOP, "some text to hold", 1);
            RUN_UNTIL(f, fake->end != FAKE_OPEN);
            was_served = fake->end == FAKE_ENDED && fake->content_length[0] != '\0';
        }
        if (fake->end == FAKE_FAILED)
            assert_int_equal(fake->failure, FG_FAILURE_NO_MEMORY);
        else if (fake->end == FAKE_REFUSED)
            assert_int_equal(fake->status, 413); /* not even the body has room */
        else
            assert_int_equal(fake->end, FAKE_ENDED);
        fake_exchange_fini(fake);
    }
}

static void create_checks_its_configuration(void **state)
{
    struct fixture *f = *state;
    char far_path[200];
    memset(far_path, 'a', sizeof(far_path) - 1);
    far_path[sizeof(far_path) - 1] = '\0';
    const char *paths[] = {f->paths[0], far_path};
    struct fg_error error;
    assert_null(fg_inference_create("inference", &f->conf, NULL, paths, &error));
    assert_non_null(strstr(error.message, "too long"));
    paths[1] = f->paths[1];
    struct fg_inference_conf bad = f->conf;
    bad.worker_count = 0;
    assert_null(fg_inference_create("inference", &bad, NULL, paths, &error));
    bad = f->conf;
    bad.max_tokens_limit = 0;
    assert_null(fg_inference_create("inference", &bad, NULL, paths, &error));
    bad = f->conf;
    bad.sequences_max = 0;
    assert_null(fg_inference_create("inference", &bad, NULL, paths, &error));
}

#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOOP(streams_a_chat),
        WITH_LOOP(answers_a_document),
        WITH_LOOP(an_answer_may_be_empty),
        WITH_LOOP(frames_may_come_in_pieces),
        WITH_LOOP(counts_what_is_computed_so_far),
        WITH_LOOP(refusals_keep_their_meaning),
        WITH_LOOP(refused_in_mid_stream_is_a_failure),
        WITH_LOOP(cancel_reaches_the_worker),
        WITH_LOOP(cancel_works_in_every_state),
        WITH_LOOP(a_slow_client_is_waited_for),
        WITH_LOOP(a_client_that_takes_nothing_has_a_limit),
        WITH_LOOP(open_requests_have_a_limit),
        WITH_LOOP(paths_and_methods),
        WITH_LOOP(bad_bodies_are_refused),
        WITH_LOOP(a_body_is_wanted_whole_as_far_as_it_fits),
        WITH_LOOP(long_bodies_are_parsed_elsewhere),
        WITH_LOOP(too_many_long_bodies_are_refused),
        WITH_LOOP(every_shortage_of_memory_ends_cleanly),
        WITH_LOOP(create_checks_its_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
