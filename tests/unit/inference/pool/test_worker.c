/*
 * test_worker.c: real worker processes on tiny models: golden answers, kills, drains, bad gateways.
 * The project's own models are in tests/golden/models; more are used where FG_MODELS_DIR, or
 * ../shared/models beside the checkout, has them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "worker_client.h"

#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWN_MODEL FG_SOURCE_ROOT "/tests/golden/models/tiny-llama.F32.gguf"
#define F16_CACHE_NOISE 0.1 /* how far keys and values in F16 may move a difference of logits */

static struct fg_span a_prompt(void)
{
    return FG_SPAN("The gateway takes a request, finds its route");
}

/* Leading greedy steps that must be equal: the rest hangs on differences below the noise. */
static size_t stable_steps(const json_t *golden, const json_t *prompt)
{
    double flip = json_number_value(json_object_get(golden, "flip_margin")) + F16_CACHE_NOISE;
    const json_t *margins = json_object_get(prompt, "margin");
    size_t steps = 0;
    while (steps < json_array_size(margins) &&
           json_number_value(json_array_get(margins, steps)) > flip)
        steps++;
    return steps;
}

static void assert_golden(const json_t *golden, const json_t *prompt,
                          const struct client_stream *stream)
{
    const json_t *greedy = json_object_get(prompt, "greedy");
    size_t ids = json_array_size(json_object_get(prompt, "ids"));
    assert_true(stream->is_done);
    assert_int_equal(stream->done.finish, FG_FINISH_LENGTH);
    assert_int_equal(stream->done.prompt_tokens, ids);
    assert_int_equal(stream->done.completion_tokens, json_array_size(greedy));
    size_t steps = stable_steps(golden, prompt);
    for (size_t i = 0; i < steps; i++) {
        long long expected = json_integer_value(json_array_get(greedy, i));
        if (expected != stream->tokens[i])
            fail_msg("prompt %s, step %zu: %u, expected %lld",
                     json_string_value(json_object_get(prompt, "name")), i, stream->tokens[i],
                     expected);
    }
}

/* All prompts of a golden file at once, in one batch; returns how many were compared. */
static void check_golden(const char *model_path, const char *golden_path)
{
    json_t *golden = json_load_file(golden_path, 0, NULL);
    assert_non_null(golden);
    struct test_pool pool;
    struct client client;
    test_pool_init(&pool, model_path);
    test_pool_start(&pool, 0);
    client_open(&client, &pool, 0);
    const json_t *prompts = json_object_get(golden, "prompts");
    size_t index;
    const json_t *prompt;
    json_array_foreach(prompts, index, prompt)
    {
        const json_t *text = json_object_get(prompt, "text");
        uint32_t count = (uint32_t)json_array_size(json_object_get(prompt, "greedy"));
        if (!json_is_string(text))
            continue;
        struct fg_span span = fg_span_make(json_string_value(text), json_string_length(text));
        client_submit(&client, index, client_completion(span, count));
    }
    json_array_foreach(prompts, index, prompt)
    {
        if (!json_is_string(json_object_get(prompt, "text")))
            continue;
        client_until(&client, index, UINT32_MAX);
        assert_golden(golden, prompt, &client.streams[index]);
    }
    client_close(&client);
    test_pool_wait_all_free(&pool);
    test_pool_fini(&pool);
    json_decref(golden);
}

static void golden_prompts_in_one_batch(void **state)
{
    (void)state;
    const char *own[] = {"tiny-llama.F32", "tiny-qwen2.F16", "tiny-qwen3.Q8_0"};
    char model[512];
    char golden[512];
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        snprintf(model, sizeof(model), "%s/tests/golden/models/%s.gguf", FG_SOURCE_ROOT, own[i]);
        snprintf(golden, sizeof(golden), "%s/tests/golden/models/%s.golden.json", FG_SOURCE_ROOT,
                 own[i]);
        check_golden(model, golden);
    }
    const char *shared = getenv("FG_MODELS_DIR");
    shared = shared != NULL ? shared : FG_SOURCE_ROOT "/../shared/models";
    snprintf(model, sizeof(model), "%s/tiny-qwen2.F32.gguf", shared);
    snprintf(golden, sizeof(golden), "%s/tiny-qwen2.F32.golden.json", shared);
    if (access(model, R_OK) == 0 && access(golden, R_OK) == 0)
        check_golden(model, golden);
    else
        printf("SKIPPED: %s is not there\n", model);
}

static struct fg_channel_submit *sampled(uint32_t max_tokens)
{
    struct fg_channel_submit *submit = client_completion(a_prompt(), max_tokens);
    submit->sampling = (struct fg_sampling){.temperature = 1, .top_p = 0.95f, .seed = 7};
    return submit;
}

static void put_u32s(unsigned char *out, const uint32_t *values, uint32_t count)
{
    for (uint32_t i = 0; i < count * 4; i++)
        out[i] = (unsigned char)(values[i / 4] >> (8 * (i % 4)));
}

/* Goes on with what `before` received, on worker `index`, until the end; fills `whole`. */
static void resume(struct test_pool *pool, uint32_t index, const struct client_stream *before,
                   struct fg_channel_submit *submit, struct client_stream *whole)
{
    unsigned char tokens[CLIENT_TOKENS_MAX * 4];
    struct client client;
    put_u32s(tokens, before->tokens, before->token_count);
    submit->resumed = tokens;
    submit->resumed_count = before->token_count;
    client_open(&client, pool, index);
    client.streams[1] = *before;
    client_submit(&client, 1, submit);
    client_until(&client, 1, UINT32_MAX);
    *whole = client.streams[1];
    client_close(&client);
}

static void assert_same_stream(const struct client_stream *a, const struct client_stream *b)
{
    assert_true(a->is_done && b->is_done);
    assert_int_equal(a->token_count, b->token_count);
    assert_memory_equal(a->tokens, b->tokens, a->token_count * sizeof(a->tokens[0]));
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->done.completion_tokens, b->done.completion_tokens);
}

static void a_killed_workers_stream_goes_on_identically(void **state)
{
    (void)state;
    static struct client_stream whole[2];
    static struct client_stream before;
    static struct client_stream after;
    static struct client client;
    struct test_pool pool;
    test_pool_init(&pool, OWN_MODEL);
    test_pool_start(&pool, 0);
    test_pool_start(&pool, 1);
    client_open(&client, &pool, 0);
    client_submit(&client, 1, client_completion(a_prompt(), 300));
    client_submit(&client, 2, sampled(300));
    client_until(&client, 1, UINT32_MAX);
    client_until(&client, 2, UINT32_MAX);
    whole[0] = client.streams[1];
    whole[1] = client.streams[2];
    client_close(&client);
    uint32_t cut_off = 0;
    for (uint32_t round = 0; round < 4; round++) {
        struct fg_channel_submit *submit =
            round % 2 == 0 ? client_completion(a_prompt(), 300) : sampled(300);
        client_open(&client, &pool, 0);
        client_submit(&client, 1, submit);
        client_until(&client, 1, 3 + 20 * round);
        test_pool_kill(&pool, 0);
        while (client_receive(&client))
            continue; /* what it had sent counts */
        before = client.streams[1];
        client_close(&client);
        test_pool_wait_all_free(&pool);
        if (round < 2)
            test_pool_start(&pool, 0); /* the same worker, restarted */
        if (!before.is_done) {
            resume(&pool, round < 2 ? 0 : 1, &before, submit, &after);
            assert_same_stream(&after, &whole[round % 2]);
            cut_off++;
        }
        if (round >= 2)
            test_pool_start(&pool, 0);
    }
    assert_true(cut_off > 0); /* the kill came in the middle of a stream */
    test_pool_wait_all_free(&pool);
    struct fg_kv_worker_record *record = fg_kv_arena_worker(pool.arena, 0);
    assert_true(fg_counter_get(&record->generation) >= 4);
    test_pool_fini(&pool);
}

static void a_gateway_that_leaves_frees_its_blocks(void **state)
{
    (void)state;
    struct test_pool pool;
    static struct client leaving;
    static struct client staying;
    test_pool_init(&pool, OWN_MODEL);
    test_pool_start(&pool, 0);
    client_open(&leaving, &pool, 0);
    client_open(&staying, &pool, 0);
    for (uint64_t id = 1; id <= 4; id++)
        client_submit(&leaving, id, client_completion(a_prompt(), 300));
    client_submit(&staying, 1, client_completion(a_prompt(), 40));
    client_until(&leaving, 1, 2);
    client_close(&leaving);
    client_until(&staying, 1, UINT32_MAX);
    assert_true(staying.streams[1].is_done);
    test_pool_wait_all_free(&pool);
    client_submit(&staying, 2, client_completion(a_prompt(), 300));
    client_until(&staying, 2, 1);
    client_cancel(&staying, 2);
    test_pool_wait_all_free(&pool);
    client_close(&staying);
    test_pool_fini(&pool);
}

static void a_broken_frame_ends_only_its_connection(void **state)
{
    (void)state;
    struct test_pool pool;
    static struct client broken;
    static struct client good;
    test_pool_init(&pool, OWN_MODEL);
    test_pool_start(&pool, 0);
    client_open(&good, &pool, 0);
    unsigned char frame[FG_CHANNEL_HEADER_BYTES + 64] = {0};
    for (int kind = 0; kind < 3; kind++) {
        client_open(&broken, &pool, 0);
        memset(frame, kind == 0 ? 0xff : 0, sizeof(frame));
        if (kind == 1) { /* a SUBMIT of zeros */
            frame[0] = 64;
            frame[4] = FG_CHANNEL_SUBMIT;
        }
        if (kind == 2) { /* what only a worker says */
            struct fg_channel_token token = {0};
            fg_channel_write_token(frame, sizeof(frame), 1, &token);
        }
        client_send(&broken, frame, sizeof(frame));
        assert_false(client_receive(&broken));
        client_close(&broken);
    }
    client_submit(&good, 1, client_completion(a_prompt(), 5));
    client_until(&good, 1, UINT32_MAX);
    assert_true(good.streams[1].is_done);
    client_close(&good);
    test_pool_fini(&pool);
}

static void bad_requests_are_refused_by_reason(void **state)
{
    (void)state;
    struct test_pool pool;
    static struct client client;
    test_pool_init(&pool, OWN_MODEL);
    test_pool_start(&pool, 0);
    client_open(&client, &pool, 0);
    assert_true(client.hello.vocab_count > 0 && client.hello.context_max > 0);
    client_submit(&client, 1, client_completion(FG_SPAN(""), 5));
    size_t huge_bytes = (size_t)1 << 20;
    char *huge = malloc(huge_bytes);
    memset(huge, 'x', huge_bytes);
    client_submit(&client, 2, client_completion(fg_span_make(huge, huge_bytes), 5));
    client_submit(&client, 3, client_completion(a_prompt(), client.hello.context_max));
    struct fg_channel_submit *chat = client_completion(FG_SPAN("hello"), 5);
    chat->kind = FG_PROMPT_CHAT;
    chat->messages[0].role = FG_SPAN("nobody");
    client_submit(&client, 4, chat);
    chat->messages[0].role = FG_SPAN("user");
    client_submit(&client, 5, chat);
    for (uint64_t id = 1; id <= 5; id++)
        client_until(&client, id, UINT32_MAX);
    assert_int_equal(client.streams[1].refused.reason, FG_REFUSAL_BAD_PROMPT);
    assert_int_equal(client.streams[2].refused.reason, FG_REFUSAL_TOO_LONG);
    assert_int_equal(client.streams[3].refused.reason, FG_REFUSAL_TOO_LONG);
    assert_int_equal(client.streams[4].refused.reason, FG_REFUSAL_BAD_PROMPT);
    if (client.hello.has_chat_template)
        assert_true(client.streams[5].is_done);
    else
        assert_int_equal(client.streams[5].refused.reason, FG_REFUSAL_BAD_PROMPT);
    free(huge);
    client_close(&client);
    test_pool_fini(&pool);
}

static void sigterm_finishes_what_runs(void **state)
{
    (void)state;
    struct test_pool pool;
    static struct client client;
    test_pool_init(&pool, OWN_MODEL);
    test_pool_start(&pool, 0);
    client_open(&client, &pool, 0);
    client_submit(&client, 1, client_completion(a_prompt(), 200));
    client_until(&client, 1, 2);
    kill(pool.pids[0], SIGTERM);
    client_until(&client, 1, UINT32_MAX);
    assert_true(client.streams[1].is_done);
    assert_int_equal(client.streams[1].token_count, 200);
    int status = test_pool_wait(&pool, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    client_close(&client);
    test_pool_wait_all_free(&pool);
    /* An idle one stops at once, and its socket goes on in the next. */
    test_pool_start(&pool, 0);
    client_open(&client, &pool, 0);
    kill(pool.pids[0], SIGTERM);
    status = test_pool_wait(&pool, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    client_close(&client);
    test_pool_fini(&pool);
}

static void a_worker_follows_its_parent(void **state)
{
    (void)state;
    struct test_pool pool;
    int alive[2];
    char byte;
    test_pool_init(&pool, OWN_MODEL);
    assert_int_equal(pipe(alive), 0);
    pid_t parent = fork();
    assert_int_not_equal(parent, -1);
    if (parent == 0) {
        static struct client client;
        test_pool_start(&pool, 0);
        client_open(&client, &pool, 0); /* it runs by now */
        _exit(0);
    }
    close(alive[1]);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    struct pollfd poll_fd = {.fd = alive[0], .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 60000), 1);
    assert_int_equal(read(alive[0], &byte, 1), 0); /* nobody holds the other end any more */
    close(alive[0]);
    test_pool_fini(&pool);
}

static void a_bad_start_is_exit_code_2(void **state)
{
    (void)state;
    struct test_pool pool;
    test_pool_init(&pool, OWN_MODEL);
    struct fg_kv_shape shape;
    struct fg_error error = {0};
    pool.conf.model = FG_SOURCE_ROOT "/meson.build"; /* not a model */
    assert_int_not_equal(fg_inference_probe(&pool.conf, &shape, &error), FG_OK);
    assert_string_equal(error.file, pool.conf.model);
    assert_true(strlen(error.message) > 10);
    pool.conf.model = FG_SOURCE_ROOT "/tests/golden/models/tiny-qwen2.F16.gguf"; /* heads of 16 */
    pool.conf.kv_type = FG_KV_Q8_0;
    assert_int_not_equal(fg_inference_probe(&pool.conf, &shape, &error), FG_OK);
    assert_non_null(strstr(error.message, "inference.kv_type"));
    test_pool_start(&pool, 0);
    int status = test_pool_wait(&pool, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 2);
    pool.conf.model = FG_SOURCE_ROOT "/no/such.gguf";
    test_pool_start(&pool, 0);
    status = test_pool_wait(&pool, 0);
    assert_int_equal(WEXITSTATUS(status), 2);
    /* The arena of another model. */
    pool.conf.model = FG_SOURCE_ROOT "/tests/golden/models/tiny-qwen3.Q8_0.gguf";
    test_pool_start(&pool, 0);
    status = test_pool_wait(&pool, 0);
    assert_int_equal(WEXITSTATUS(status), 2);
    test_pool_fini(&pool);
}

static void the_other_worker_keeps_serving(void **state)
{
    (void)state;
    struct test_pool pool;
    static struct client client;
    static struct client victim;
    test_pool_init(&pool, OWN_MODEL);
    test_pool_start(&pool, 0);
    test_pool_start(&pool, 1);
    client_open(&client, &pool, 0);
    client_open(&victim, &pool, 1);
    client_submit(&victim, 1, client_completion(a_prompt(), 300));
    client_submit(&client, 1, client_completion(a_prompt(), 200));
    client_until(&victim, 1, 5);
    client_until(&client, 1, 5);
    test_pool_kill(&pool, 1);
    client_until(&client, 1, UINT32_MAX);
    assert_int_equal(client.streams[1].token_count, 200);
    test_pool_wait_all_free(&pool);
    const char *why;
    assert_true(fg_kv_arena_check(pool.arena, &why));
    client_close(&victim);
    client_close(&client);
    test_pool_fini(&pool);
}

/* How far an engine with these weights, and keys and values in F16, may be from exact. */
static const struct vector_bound {
    const char *type;
    double largest;  /* of a component, of vectors of length 1 */
    double distance; /* 1 - cosine */
} vector_bounds[] = {{"F32", 0.002, 0.00001}, {"Q8_0", 0.04, 0.003}};

static void assert_vector(const json_t *prompt, const char *pooling,
                          const struct client_stream *stream, const struct vector_bound *bound)
{
    const json_t *want = json_object_get(prompt, pooling);
    size_t width = json_array_size(want);
    assert_true(stream->is_done);
    assert_int_equal(stream->done.text.len, width * sizeof(float));
    assert_int_equal(stream->done.prompt_tokens, json_array_size(json_object_get(prompt, "ids")));
    double cosine = 0;
    double length = 0;
    double largest = 0;
    for (size_t i = 0; i < width; i++) {
        float got;
        memcpy(&got, stream->text + i * sizeof(got), sizeof(got));
        double exact = json_number_value(json_array_get(want, i));
        largest = fmax(largest, fabs((double)got - exact));
        cosine += (double)got * exact;
        length += (double)got * (double)got;
    }
    print_message("%-10s %s: off by %.6f (%.4f), distance %.7f (%.5f)\n",
                  json_string_value(json_object_get(prompt, "name")), pooling, largest,
                  bound->largest, 1 - cosine, bound->distance);
    assert_true(fabs(length - 1) < 1e-5);
    assert_true(largest < bound->largest);
    assert_true(1 - cosine < bound->distance);
}

/* All prompts of a file at once, pooled in both ways. */
static void check_embeddings(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), FG_SOURCE_ROOT "/tests/golden/models/%s.embeddings.json", name);
    json_t *golden = json_load_file(path, 0, NULL);
    assert_non_null(golden);
    const char *type = json_string_value(json_object_get(golden, "type"));
    const struct vector_bound *bound = &vector_bounds[strcmp(type, "F32") == 0 ? 0 : 1];
    assert_string_equal(bound->type, type);
    struct test_pool pool;
    static struct client client;
    snprintf(path, sizeof(path), FG_SOURCE_ROOT "/tests/golden/models/%s.gguf", name);
    test_pool_init(&pool, path);
    test_pool_start(&pool, 0);
    client_open(&client, &pool, 0);
    size_t index;
    const json_t *prompt;
    json_array_foreach(json_object_get(golden, "prompts"), index, prompt)
    {
        const json_t *text = json_object_get(prompt, "text");
        struct fg_channel_submit *s =
            client_completion(fg_span_make(json_string_value(text), json_string_length(text)), 1);
        s->task = FG_TASK_EMBED_MEAN;
        client_submit(&client, 2 * index, s);
        s->task = FG_TASK_EMBED_LAST;
        client_submit(&client, 2 * index + 1, s);
    }
    json_array_foreach(json_object_get(golden, "prompts"), index, prompt)
    {
        client_until(&client, 2 * index, UINT32_MAX);
        client_until(&client, 2 * index + 1, UINT32_MAX);
        assert_vector(prompt, "mean", &client.streams[2 * index], bound);
        assert_vector(prompt, "last", &client.streams[2 * index + 1], bound);
    }
    assert_true(index > 3);
    client_close(&client);
    test_pool_fini(&pool);
    json_decref(golden);
}

static void embeddings_are_those_of_the_reference(void **state)
{
    (void)state;
    check_embeddings("tiny-llama.F32");
    check_embeddings("tiny-qwen3.Q8_0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_prompts_in_one_batch),
        cmocka_unit_test(embeddings_are_those_of_the_reference),
        cmocka_unit_test(a_killed_workers_stream_goes_on_identically),
        cmocka_unit_test(a_gateway_that_leaves_frees_its_blocks),
        cmocka_unit_test(a_broken_frame_ends_only_its_connection),
        cmocka_unit_test(bad_requests_are_refused_by_reason),
        cmocka_unit_test(sigterm_finishes_what_runs),
        cmocka_unit_test(a_worker_follows_its_parent),
        cmocka_unit_test(a_bad_start_is_exit_code_2),
        cmocka_unit_test(the_other_worker_keeps_serving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
