/*
 * test_placement.c: which worker gets a request, and what happens when workers come and go.
 */
#include "inference_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void a_lost_workers_stream_goes_on_elsewhere(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 2);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    RUN_UNTIL(f, f->workers[0].request_count + f->workers[1].request_count == 1);
    struct fake_worker *first = &f->workers[f->workers[0].request_count == 1 ? 0 : 1];
    struct fake_worker *second = &f->workers[f->workers[0].request_count == 1 ? 1 : 0];
    fake_worker_token(first, 0, 0, 100001, "one ");
    fake_worker_token(first, 0, 1, 102, "two ");
    fake_worker_kill(first); /* what it said before is still read */
    RUN_UNTIL(f, second->request_count == 1);
    const struct fake_worker_request *request = &second->requests[0];
    assert_int_equal(request->submit->resumed_count, 2);
    assert_int_equal(request->resumed[0], 100001);
    assert_int_equal(request->resumed[1], 102);
    assert_int_equal(request->submit->sampling.seed, 7);
    assert_int_equal(request->submit->max_tokens, 8);
    assert_true(request->id != first->requests[0].id);
    assert_true(fg_span_equal(request->submit->messages[0].content, FG_SPAN("hi")));
    fake_worker_token(second, 0, 2, 103, "three");
    fake_worker_done(second, 0, FG_FINISH_STOP, "", 3);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "one two three");
    assert_int_equal(fixture_number(f, "requests", "resubmitted"), 1);
    assert_int_equal(fixture_number(f, "ttft_ms", "count"), 1);
    fake_exchange_fini(fake);
}

static void a_restarted_worker_takes_up_its_stream(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 1);
    fake_worker_token(worker, 0, 0, 1, "a");
    fake_worker_kill(worker);
    RUN_UNTIL(f, fixture_number(f, "requests", "waiting_for_worker") == 1);
    const char *why = NULL;
    assert_false(f->backend->ops->is_ready(f->backend, &why));
    assert_non_null(why);
    fake_worker_open(worker, f->base, f->paths[0]);
    RUN_UNTIL(f, worker->request_count == 2);
    assert_true(f->backend->ops->is_ready(f->backend, &why));
    assert_int_equal(worker->requests[1].submit->resumed_count, 1);
    fake_worker_token(worker, 1, 1, 2, "b");
    fake_worker_done(worker, 1, FG_FINISH_STOP, "", 2);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "ab");
    assert_int_equal(fixture_of_worker(f, 0, "connections_lost"), 1);
    fake_exchange_fini(fake);
}

/* How many workers died with it is no sign: the workers know what they computed. */
static void a_request_outlives_any_number_of_workers(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_worker *worker = &f->workers[0];
    for (unsigned i = 1; i <= 25; i++) {
        RUN_UNTIL(f, worker->request_count == i);
        assert_int_equal(worker->requests[i - 1].submit->may_adopt, i > 1);
        if (i == 13)
            fake_worker_token(worker, i - 1, 0, 1, "a");
        fake_worker_kill(worker);
        fake_worker_open(worker, f->base, f->paths[0]);
    }
    RUN_UNTIL(f, worker->request_count == 26);
    fake_worker_done(worker, 25, FG_FINISH_STOP, "b", 1);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "ab");
    fake_exchange_fini(fake);
}

static void a_request_that_kills_workers_is_given_up(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, "");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 1);
    fake_worker_kill(worker);
    fake_worker_open(worker, f->base, f->paths[0]);
    RUN_UNTIL(f, worker->request_count == 2);
    fake_worker_refuse(worker, 1, FG_REFUSAL_FATAL, 0, "workers died");
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_REFUSED);
    assert_int_equal(fake->status, 500);
    assert_string_equal(fake->code, "inference_failed");
    assert_true(fake->retry_after_ms == 0);
    assert_int_equal(fixture_refused(f, "fatal"), 1);
    fake_exchange_fini(fake);
    /* Once its answer has begun there is only its end. */
    fake = fixture_start_chat(f, 1, ",\"stream\":true");
    RUN_UNTIL(f, worker->request_count == 3);
    fake_worker_token(worker, 2, 0, 1, "a");
    fake_worker_refuse(worker, 2, FG_REFUSAL_FATAL, 0, "workers died");
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_FAILED);
    assert_int_equal(fake->failure, FG_FAILURE_RESET);
    fake_exchange_fini(fake);
}

static void without_a_worker_a_request_is_refused_in_time(void **state)
{
    struct fixture *f = *state;
    f->conf.worker_hang_ns = 5 * FG_MS;
    fixture_open_backend(f);
    struct fake_exchange *fake = fixture_start_chat(f, 0, "");
    assert_int_equal(fake->end, FAKE_OPEN);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_REFUSED);
    assert_int_equal(fake->status, 503);
    assert_string_equal(fake->code, "no_worker");
    assert_true(fake->retry_after_ms > 0);
    assert_int_equal(fixture_refused(f, "no_worker"), 1);
    assert_int_equal(fixture_number(f, "requests", "waiting_for_worker"), 0);
    fake_exchange_fini(fake);
}

static void a_begun_stream_without_a_worker_fails_in_time(void **state)
{
    struct fixture *f = *state;
    f->conf.worker_hang_ns = 5 * FG_MS;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    RUN_UNTIL(f, f->workers[0].request_count == 1);
    fake_worker_token(&f->workers[0], 0, 0, 1, "a");
    fake_worker_kill(&f->workers[0]);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_FAILED);
    fake_exchange_fini(fake);
}

static void a_draining_worker_gets_no_more(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 2);
    struct fake_exchange *fake = fixture_start_chat(f, 0, "");
    RUN_UNTIL(f, f->workers[0].request_count + f->workers[1].request_count == 1);
    struct fake_worker *first = &f->workers[f->workers[0].request_count == 1 ? 0 : 1];
    struct fake_worker *second = &f->workers[f->workers[0].request_count == 1 ? 1 : 0];
    fake_worker_refuse(first, 0, FG_REFUSAL_DRAINING, 0, "");
    RUN_UNTIL(f, second->request_count == 1);
    struct fake_exchange *next = fixture_start_chat(f, 1, "");
    RUN_UNTIL(f, second->request_count == 2);
    assert_int_equal(first->request_count, 1);
    fake_worker_done(second, 0, FG_FINISH_STOP, "x", 0);
    fake_worker_done(second, 1, FG_FINISH_STOP, "y", 0);
    RUN_UNTIL(f, fake->end == FAKE_ENDED && next->end == FAKE_ENDED);
    fake_exchange_fini(fake);
    fake_exchange_fini(next);
}

static void a_resumed_stream_waits_out_a_full_queue(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 1);
    fake_worker_token(worker, 0, 0, 1, "a");
    fake_worker_kill(worker);
    fake_worker_open(worker, f->base, f->paths[0]);
    RUN_UNTIL(f, worker->request_count == 2);
    fake_worker_refuse(worker, 1, FG_REFUSAL_QUEUE_FULL, 1, "full");
    RUN_UNTIL(f, worker->request_count == 3);
    assert_int_equal(worker->requests[2].submit->resumed_count, 1);
    fake_worker_done(worker, 2, FG_FINISH_STOP, "b", 1);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "ab");
    fake_exchange_fini(fake);
}

static void a_worker_that_miscounts_is_dropped(void **state)
{
    static const uint32_t wrong[] = {1, UINT32_MAX};
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"stream\":true");
    for (unsigned i = 0; i < 2; i++) {
        RUN_UNTIL(f, worker->request_count == i + 1);
        fake_worker_token(worker, i, wrong[i], 1, "skipped");
        RUN_UNTIL(f, worker->request_count == i + 2);
    }
    assert_int_equal(worker->connection_count, 3);
    fake_worker_done(worker, 2, FG_FINISH_STOP, "ok", 1);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    fixture_assert_stream(fake, "ok");
    fake_exchange_fini(fake);
}

static void bad_frames_end_the_connection(void **state)
{
    static const unsigned char frames[][20] = {
        {0, 0, 0, 0, 99, 0, 0, 0},                /* unknown type */
        {0, 0, 0, 0, FG_CHANNEL_CANCEL, 0, 0, 0}, /* not for us */
        {0, 0, 0, 0, FG_CHANNEL_HELLO, 0, 0, 0},  /* a second HELLO */
        {0, 0, 2, 0, FG_CHANNEL_TOKEN, 0, 0, 0},  /* larger than any token */
    };
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        fake_worker_send(&f->workers[0], frames[i], FG_CHANNEL_HEADER_BYTES, 0);
        RUN_UNTIL(f, f->workers[0].connection_count == i + 2);
        RUN_UNTIL(f, fixture_of_worker(f, 0, "connections") == 1);
    }
}

static void a_worker_of_another_version_is_not_used(void **state)
{
    struct fixture *f = *state;
    f->workers[0].version = FG_CHANNEL_VERSION + 1;
    fake_worker_open(&f->workers[0], f->base, f->paths[0]);
    fixture_open_backend(f);
    RUN_UNTIL(f, f->workers[0].connection_count == 2); /* it was tried again */
    assert_int_equal(fixture_of_worker(f, 0, "connections"), 0);
}

static void connected_without_hello_is_not_ready(void **state)
{
    struct fixture *f = *state;
    f->workers[0].is_silent = true;
    fake_worker_open(&f->workers[0], f->base, f->paths[0]);
    fixture_open_backend(f);
    RUN_UNTIL(f, f->workers[0].connection_count == 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, "");
    const char *why;
    assert_false(f->backend->ops->is_ready(f->backend, &why));
    fake_worker_hello(&f->workers[0]);
    RUN_UNTIL(f, f->workers[0].request_count == 1);
    fake_worker_done(&f->workers[0], 0, FG_FINISH_STOP, "x", 0);
    RUN_UNTIL(f, fake->end == FAKE_ENDED);
    fake_exchange_fini(fake);
}

static void requests_go_to_the_least_loaded(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 2);
    for (unsigned i = 0; i < 4; i++)
        fixture_start_chat(f, i, "");
    RUN_UNTIL(f, f->workers[0].request_count + f->workers[1].request_count == 4);
    assert_int_equal(f->workers[0].request_count, 2);
    for (unsigned i = 0; i < 2; i++)
        fake_worker_done(&f->workers[1], i, FG_FINISH_STOP, "x", 0);
    RUN_UNTIL(f, fixture_of_worker(f, 1, "outstanding") == 0);
    for (unsigned i = 4; i < 6; i++)
        fixture_start_chat(f, i, "");
    RUN_UNTIL(f, f->workers[1].request_count == 4);
    for (unsigned i = 0; i < 2; i++)
        fake_worker_done(&f->workers[0], i, FG_FINISH_STOP, "x", 0);
    for (unsigned i = 2; i < 4; i++)
        fake_worker_done(&f->workers[1], i, FG_FINISH_STOP, "x", 0);
    for (unsigned i = 0; i < 6; i++) {
        RUN_UNTIL(f, f->exchanges[i].end == FAKE_ENDED);
        fake_exchange_fini(&f->exchanges[i]);
    }
}

/* A worker that reads nothing fills its buffer; what does not fit waits, and is not lost. */
static void fill_a_deaf_worker(struct fixture *f)
{
    f->workers[0].is_deaf = true;
    fixture_open_all(f, 0, 1);
    char *body = fixture_long_body(250000);
    for (unsigned i = 0; i < 5; i++)
        fixture_start(f, i, "/v1/completions", body);
    free(body);
    RUN_UNTIL(f, fixture_number(f, "requests", "running") +
                         fixture_number(f, "requests", "waiting_for_worker") ==
                     5);
    assert_true(fixture_number(f, "requests", "waiting_for_worker") > 0);
}

static void finish_all(struct fixture *f)
{
    RUN_UNTIL(f, f->workers[0].request_count == 5);
    for (unsigned i = 0; i < 5; i++)
        fake_worker_done(&f->workers[0], i, FG_FINISH_STOP, "x", 0);
    for (unsigned i = 0; i < 5; i++) {
        RUN_UNTIL(f, f->exchanges[i].end == FAKE_ENDED);
        fake_exchange_fini(&f->exchanges[i]);
    }
}

static void a_slow_worker_gets_the_rest_when_it_reads(void **state)
{
    struct fixture *f = *state;
    fill_a_deaf_worker(f);
    fake_worker_listen_up(&f->workers[0]);
    finish_all(f);
    assert_int_equal(fixture_number(f, "requests", "resubmitted"), 0);
}

static void a_deaf_worker_that_dies_loses_nothing(void **state)
{
    struct fixture *f = *state;
    fill_a_deaf_worker(f);
    fake_worker_kill(&f->workers[0]);
    f->workers[0].is_deaf = false;
    fake_worker_open(&f->workers[0], f->base, f->paths[0]);
    finish_all(f);
    assert_true(fixture_number(f, "requests", "resubmitted") > 0);
}

#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

static bool has_cancelled_all(const struct fake_worker *worker, unsigned from)
{
    for (unsigned i = from; i < worker->request_count; i++) {
        if (!worker->requests[i].is_cancelled)
            return false;
    }
    return true;
}

static void choices_are_submitted_together_and_run_side_by_side(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 2);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"n\":3,\"stream\":true");
    RUN_UNTIL(f, f->workers[0].request_count + f->workers[1].request_count == 3);
    struct fake_worker *worker = &f->workers[f->workers[0].request_count > 0 ? 0 : 1];
    assert_int_equal(worker->request_count, 3); /* one of them has all */
    assert_int_equal(worker->requests[0].submit->choice_count, 3);
    assert_int_equal(fixture_number(f, "requests", "running"), 3);
    for (unsigned i = 3; i > 0; i--)
        fake_worker_token(worker, i - 1, 0, 40 + i, i == 1 ? "a" : i == 2 ? "b" : "c");
    fake_worker_done(worker, 1, FG_FINISH_STOP, "", 1);
    fake_worker_done(worker, 0, FG_FINISH_LENGTH, "", 1);
    fake_worker_done(worker, 2, FG_FINISH_STOP, "!", 1);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_ENDED);
    const char *c = strstr(fake->body, "{\"index\":2,\"delta\":{\"content\":\"c\"}");
    const char *a = strstr(fake->body, "{\"index\":0,\"delta\":{\"content\":\"a\"}");
    assert_true(c != NULL && a != NULL && c < a);
    assert_non_null(strstr(fake->body, "{\"index\":2,\"delta\":{\"content\":\"!\"}"));
    assert_int_equal(fixture_number(f, "requests", "running"), 0);
    fake_exchange_fini(fake);
}

static void choices_of_a_lost_worker_go_on_one_by_one(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 2);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"n\":2,\"stream\":true");
    RUN_UNTIL(f, f->workers[0].request_count + f->workers[1].request_count == 2);
    struct fake_worker *first = &f->workers[f->workers[0].request_count > 0 ? 0 : 1];
    struct fake_worker *second = &f->workers[f->workers[0].request_count > 0 ? 1 : 0];
    uint64_t key = first->requests[0].submit->stream_key;
    uint64_t seed = first->requests[0].submit->sampling.seed;
    fake_worker_token(first, 0, 0, 11, "a");
    fake_worker_token(first, 1, 0, 21, "b");
    fake_worker_token(first, 1, 1, 22, "bb");
    fake_worker_kill(first);
    RUN_UNTIL(f, second->request_count == 2);
    for (unsigned i = 0; i < 2; i++) {
        const struct fake_worker_request *request = &second->requests[i];
        unsigned index = request->submit->resumed_count - 1; /* 1 or 2 tokens */
        assert_int_equal(request->submit->choice_count, 1);
        assert_true(request->submit->may_adopt);
        assert_int_equal(request->resumed[0], 11 + 10 * index);
        assert_true(request->submit->sampling.seed == seed + index);
        assert_true(request->submit->stream_key == key + index * FG_CHANNEL_CHOICE_KEYS);
        fake_worker_done(second, i, FG_FINISH_STOP, "", 2);
    }
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_ENDED);
    fake_exchange_fini(fake);
}

static void one_refusal_of_the_first_choice_ends_all(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"n\":3");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 3);
    fake_worker_refuse(worker, 0, FG_REFUSAL_QUEUE_FULL, 700, "too much at once");
    RUN_UNTIL(f, fake->end != FAKE_OPEN && has_cancelled_all(worker, 1));
    assert_int_equal(fake->status, 429);
    fake_exchange_fini(fake);
    /* Another one waits for its turn, and asks again by itself. */
    fake = fixture_start_chat(f, 1, ",\"n\":2");
    RUN_UNTIL(f, worker->request_count == 5);
    fake_worker_refuse(worker, 4, FG_REFUSAL_QUEUE_FULL, 20, "no place for this one");
    fake_worker_token(worker, 3, 0, 1, "a");
    fake_worker_done(worker, 3, FG_FINISH_STOP, "", 1);
    RUN_UNTIL(f, worker->request_count == 6);
    assert_int_equal(worker->requests[5].submit->choice_count, 1);
    assert_true(worker->requests[5].submit->sampling.seed ==
                worker->requests[3].submit->sampling.seed + 1);
    fake_worker_done(worker, 5, FG_FINISH_STOP, "b", 1);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_ENDED);
    fake_exchange_fini(fake);
}

#define TEXTS 20u
#define AT_ONCE 16u

/* {"input":["t0","t1",...]}: the vector of each is four bytes of its own letter. */
static struct fake_exchange *start_embeddings(struct fixture *f, unsigned index)
{
    char body[512];
    size_t len =
        (size_t)snprintf(body, sizeof(body), "{\"encoding_format\":\"base64\",\"input\":[");
    for (unsigned i = 0; i < TEXTS; i++)
        len += (size_t)snprintf(body + len, sizeof(body) - len, "%s\"t%u\"", i > 0 ? "," : "", i);
    snprintf(body + len, sizeof(body) - len, "]}");
    return fixture_start(f, index, "/v1/embeddings", body);
}

static unsigned text_of(const struct fake_worker_request *request)
{
    struct fg_span text = request->submit->messages[0].content;
    assert_true(text.len == 2 || text.len == 3);
    return text.len == 2 ? (unsigned)(text.data[1] - '0')
                         : 10 * (unsigned)(text.data[1] - '0') + (unsigned)(text.data[2] - '0');
}

static void embed(struct fake_worker *worker, unsigned request)
{
    char vector[5] = {0};
    memset(vector, 'A' + (int)text_of(&worker->requests[request]), 4);
    fake_worker_done(worker, request, FG_FINISH_STOP, vector, 0);
}

static void texts_are_embedded_side_by_side_and_answered_in_order(void **state)
{
    struct fixture *f = *state;
    f->conf.sequences_max = TEXTS;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    struct fake_exchange *fake = start_embeddings(f, 0);
    RUN_UNTIL(f, worker->request_count == AT_ONCE);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        assert_int_equal(text_of(&worker->requests[i]), i);
        assert_int_equal(worker->requests[i].submit->choice_count, 1);
        for (unsigned j = 0; j < i; j++)
            assert_true(worker->requests[i].submit->stream_key !=
                        worker->requests[j].submit->stream_key);
    }
    for (unsigned i = AT_ONCE; i > 1; i--) /* the last ones first; the first one dies with them */
        embed(worker, i - 1);
    RUN_UNTIL(f, worker->request_count == TEXTS);
    embed(worker, TEXTS - 1);
    RUN_UNTIL(f, fixture_number(f, "requests", "running") == TEXTS - AT_ONCE);
    fake_worker_kill(worker);
    fake_worker_open(worker, f->base, f->paths[0]);
    RUN_UNTIL(f, worker->request_count == TEXTS + TEXTS - AT_ONCE);
    for (unsigned i = TEXTS; i < worker->request_count; i++)
        embed(worker, i);
    RUN_UNTIL(f, fake->end != FAKE_OPEN);
    assert_int_equal(fake->end, FAKE_ENDED);
    const char *at = fake->body;
    for (unsigned i = 0; i < TEXTS; i++) {
        static const char *const first_and_last[] = {"QUFBQQ==", "VFRUVA=="}; /* AAAA, TTTT */
        char index[32];
        snprintf(index, sizeof(index), "\"index\":%u,", i);
        at = strstr(at, index);
        assert_non_null(at);
        if (i == 0 || i == TEXTS - 1)
            assert_non_null(strstr(at, first_and_last[i > 0]));
    }
    assert_int_equal(fixture_number(f, "requests", "running"), 0);
    fake_exchange_fini(fake);
}

static void a_text_that_is_refused_ends_the_request(void **state)
{
    struct fixture *f = *state;
    f->conf.sequences_max = TEXTS;
    fixture_open_all(f, 0, 1);
    struct fake_worker *worker = &f->workers[0];
    struct fake_exchange *fake = start_embeddings(f, 0);
    RUN_UNTIL(f, worker->request_count == AT_ONCE);
    fake_worker_refuse(worker, 3, FG_REFUSAL_QUEUE_FULL, 20, "no place for this one");
    RUN_UNTIL(f, worker->request_count == AT_ONCE + 1); /* it asks again by itself */
    assert_int_equal(text_of(&worker->requests[AT_ONCE]), 3);
    fake_worker_refuse(worker, 5, FG_REFUSAL_TOO_LONG, 0, "too long");
    RUN_UNTIL(f, fake->end != FAKE_OPEN && has_cancelled_all(worker, 6));
    assert_int_equal(fake->status, 400);
    assert_int_equal(fixture_number(f, "requests", "running"), 0);
    fake_exchange_fini(fake);
}

static void a_client_that_leaves_cancels_all_choices(void **state)
{
    struct fixture *f = *state;
    fixture_open_all(f, 0, 1);
    struct fake_exchange *fake = fixture_start_chat(f, 0, ",\"n\":3,\"stream\":true");
    struct fake_worker *worker = &f->workers[0];
    RUN_UNTIL(f, worker->request_count == 3);
    fake_worker_token(worker, 1, 0, 1, "a");
    fake_worker_done(worker, 2, FG_FINISH_STOP, "", 0);
    RUN_UNTIL(f, fixture_number(f, "requests", "running") == 2);
    f->backend->ops->cancel(&fake->ex);
    RUN_UNTIL(f, worker->requests[0].is_cancelled && worker->requests[1].is_cancelled);
    assert_false(worker->requests[2].is_cancelled); /* it had ended */
    assert_int_equal(fixture_number(f, "requests", "running"), 0);
    fake_exchange_fini(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOOP(a_lost_workers_stream_goes_on_elsewhere),
        WITH_LOOP(a_restarted_worker_takes_up_its_stream),
        WITH_LOOP(a_request_outlives_any_number_of_workers),
        WITH_LOOP(a_request_that_kills_workers_is_given_up),
        WITH_LOOP(without_a_worker_a_request_is_refused_in_time),
        WITH_LOOP(a_begun_stream_without_a_worker_fails_in_time),
        WITH_LOOP(choices_are_submitted_together_and_run_side_by_side),
        WITH_LOOP(choices_of_a_lost_worker_go_on_one_by_one),
        WITH_LOOP(one_refusal_of_the_first_choice_ends_all),
        WITH_LOOP(texts_are_embedded_side_by_side_and_answered_in_order),
        WITH_LOOP(a_text_that_is_refused_ends_the_request),
        WITH_LOOP(a_client_that_leaves_cancels_all_choices),
        WITH_LOOP(a_draining_worker_gets_no_more),
        WITH_LOOP(a_resumed_stream_waits_out_a_full_queue),
        WITH_LOOP(a_worker_that_miscounts_is_dropped),
        WITH_LOOP(bad_frames_end_the_connection),
        WITH_LOOP(a_worker_of_another_version_is_not_used),
        WITH_LOOP(connected_without_hello_is_not_ready),
        WITH_LOOP(requests_go_to_the_least_loaded),
        WITH_LOOP(a_slow_worker_gets_the_rest_when_it_reads),
        WITH_LOOP(a_deaf_worker_that_dies_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
