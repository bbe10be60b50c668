/*
 * worker_client.c: fork a worker, talk to it over its unix socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "worker_client.h"

#include "policies/priority.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BOUND_MS 60000
#define FRAME_BYTES_MAX ((size_t)1 << 20)

static int listen_somewhere(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(fd, -1);
    /* The family alone: the kernel picks an abstract name. */
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr.sun_family)), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

void test_pool_init(struct test_pool *pool, const char *model_path)
{
    *pool = (struct test_pool){
        .conf =
            {
                .enabled = true,
                .model = model_path,
                .worker_count = 2,
                .threads_per_worker = 1,
                .sequences_max = 64,
                .step_tokens_max = 64,
                .prefill_chunk = 16,
                .batch_max = 16,
                .waiting_max = 16,
                .wait_max_ns = UINT64_C(30000000000),
                .worker_hang_ns = UINT64_C(10000000000),
                .orphan_keep_ns = UINT64_C(10000000000),
                .step_time_max_ns = UINT64_C(250000000),
                .prefill_long = 1024,
            },
    };
    struct fg_error error = {0};
    struct fg_kv_shape shape;
    if (fg_inference_probe(&pool->conf, &shape, &error) != FG_OK)
        fail_msg("%s: %s", error.file, error.message);
    pool->conf.kv_bytes = 512 * fg_kv_block_bytes(&shape);
    pool->arena_fd = memfd_create("test-kv", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fg_kv_arena_create(&pool->arena, pool->arena_fd, &pool->conf, &shape, &error) != FG_OK)
        fail_msg("%s", error.message);
    for (uint32_t i = 0; i < 2; i++)
        pool->listen_fds[i] = listen_somewhere();
}

void test_pool_fini(struct test_pool *pool)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (pool->pids[i] != 0)
            test_pool_kill(pool, i);
        close(pool->listen_fds[i]);
    }
    fg_kv_arena_detach(pool->arena);
    close(pool->arena_fd);
}

void test_pool_start(struct test_pool *pool, uint32_t index)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0) {
        struct fg_worker_options options = {
            .conf = &pool->conf,
            .worker_index = index,
            .arena_fd = pool->arena_fd,
            .listen_fd = pool->listen_fds[index],
            .parent_pid = parent,
            .log = FG_LOG_WARN,
            .on_point = pool->on_point,
            .on_point_owner = pool->on_point_owner,
        };
        exit(fg_worker_run(&options));
    }
    pool->pids[index] = pid;
}

int test_pool_wait(struct test_pool *pool, uint32_t index)
{
    int status = 0;
    assert_int_equal(waitpid(pool->pids[index], &status, 0), pool->pids[index]);
    pool->pids[index] = 0;
    return status;
}

void test_pool_kill(struct test_pool *pool, uint32_t index)
{
    kill(pool->pids[index], SIGKILL);
    test_pool_wait(pool, index);
    fg_kv_arena_orphan_worker(pool->arena, index, UINT64_MAX);
}

void test_pool_wait_all_free(const struct test_pool *pool)
{
    struct fg_kv_gauges gauges = {0};
    for (int i = 0; i < BOUND_MS; i++) {
        fg_kv_arena_gauges(pool->arena, &gauges);
        if (gauges.blocks_used == 0 && gauges.sequences == 0)
            return;
        poll(NULL, 0, 1);
    }
    fail_msg("%llu blocks are still in use", (unsigned long long)gauges.blocks_used);
}

/* Reads more bytes; false at the end of the stream. */
static bool fill(struct client *client)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    if (poll(&poll_fd, 1, BOUND_MS) <= 0)
        fail_msg("nothing came from the worker");
    ssize_t got =
        recv(client->fd, client->in + client->in_used, FRAME_BYTES_MAX - client->in_used, 0);
    if (got <= 0)
        return false;
    client->in_used += (size_t)got;
    return true;
}

static void append_text(struct client_stream *stream, struct fg_span text)
{
    size_t used = strlen(stream->text);
    assert_true(used + text.len < sizeof(stream->text));
    memcpy(stream->text + used, text.data, text.len);
    stream->text[used + text.len] = '\0';
}

static void take_frame(struct client *client, const struct fg_channel_header *header,
                       struct fg_span payload)
{
    if (header->type == FG_CHANNEL_HELLO) {
        assert_int_equal(fg_channel_read_hello(payload, &client->hello), FG_OK);
        return;
    }
    assert_true(header->request_id < CLIENT_REQUESTS_MAX);
    struct client_stream *stream = &client->streams[header->request_id];
    struct fg_channel_token token;
    assert_false(stream->is_done || stream->is_refused);
    switch (header->type) {
    case FG_CHANNEL_TOKEN:
        assert_int_equal(fg_channel_read_token(payload, &token), FG_OK);
        assert_int_equal(token.index, stream->token_count);
        assert_true(stream->token_count < CLIENT_TOKENS_MAX);
        stream->tokens[stream->token_count++] = token.token;
        append_text(stream, token.text);
        break;
    case FG_CHANNEL_BEGUN:
        assert_int_equal(fg_channel_read_begun(payload, &stream->prompt_tokens), FG_OK);
        break;
    case FG_CHANNEL_DONE:
        assert_int_equal(fg_channel_read_done(payload, &stream->done), FG_OK);
        if (stream->prompt_tokens != 0) /* what was resumed at its end begins nothing */
            assert_int_equal(stream->done.prompt_tokens, stream->prompt_tokens);
        append_text(stream, stream->done.text);
        stream->is_done = true;
        break;
    case FG_CHANNEL_REFUSED:
        assert_int_equal(fg_channel_read_refused(payload, &stream->refused), FG_OK);
        stream->is_refused = true;
        break;
    default:
        fail_msg("a worker does not say %d", (int)header->type);
    }
}

bool client_receive(struct client *client)
{
    struct fg_channel_header header = {0};
    for (;;) {
        bool is_head_there = client->in_used >= FG_CHANNEL_HEADER_BYTES;
        if (is_head_there)
            assert_int_equal(fg_channel_read_header(client->in, &header), FG_OK);
        if (is_head_there && client->in_used - FG_CHANNEL_HEADER_BYTES >= header.payload_bytes)
            break;
        if (!fill(client))
            return false;
    }
    size_t bytes = FG_CHANNEL_HEADER_BYTES + header.payload_bytes;
    take_frame(
        client, &header,
        fg_span_make((const char *)client->in + FG_CHANNEL_HEADER_BYTES, header.payload_bytes));
    client->in_used -= bytes;
    memmove(client->in, client->in + bytes, client->in_used);
    return true;
}

void client_until(struct client *client, uint64_t id, uint32_t tokens)
{
    const struct client_stream *stream = &client->streams[id];
    while (!stream->is_done && !stream->is_refused && stream->token_count < tokens) {
        if (!client_receive(client))
            fail_msg("the worker closed the connection");
    }
}

void client_open(struct client *client, const struct test_pool *pool, uint32_t index)
{
    memset(client, 0, sizeof(*client));
    client->in = malloc(FRAME_BYTES_MAX);
    assert_non_null(client->in);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr;
    socklen_t addr_bytes = sizeof(addr);
    assert_int_equal(getsockname(pool->listen_fds[index], (struct sockaddr *)&addr, &addr_bytes),
                     0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&addr, addr_bytes), 0);
    assert_true(client_receive(client));
    assert_int_equal(client->hello.version, FG_CHANNEL_VERSION);
}

void client_close(struct client *client)
{
    close(client->fd);
    free(client->in);
}

void client_send(struct client *client, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        ssize_t sent = send(client->fd, at, count, MSG_NOSIGNAL);
        if (sent == -1 && (errno == EPIPE || errno == ECONNRESET))
            return; /* the worker is gone: client_receive says so */
        if (sent <= 0)
            fail_msg("send: %s", strerror(errno));
        at += sent;
        count -= (size_t)sent;
    }
}

void client_submit(struct client *client, uint64_t id, const struct fg_channel_submit *submit)
{
    size_t room = fg_channel_submit_bytes(submit);
    unsigned char *frame = malloc(room);
    assert_int_equal(fg_channel_write_submit(frame, room, id, submit), room);
    client->streams[id].token_count = submit->resumed_count;
    client_send(client, frame, room);
    free(frame);
}

void client_cancel(struct client *client, uint64_t id)
{
    unsigned char frame[FG_CHANNEL_HEADER_BYTES];
    assert_int_equal(fg_channel_write_cancel(frame, sizeof(frame), id), sizeof(frame));
    client_send(client, frame, sizeof(frame));
}

struct fg_channel_submit *client_completion(struct fg_span text, uint32_t max_tokens)
{
    static struct fg_channel_submit submit;
    submit = (struct fg_channel_submit){
        .kind = FG_PROMPT_TEXT,
        .choice_count = 1,
        .priority_number = 2 * FG_PRIORITY_COHORT_COUNT,
        .max_tokens = max_tokens,
        .sampling = {.top_p = 1},
        .ignore_end = true,
        .message_count = 1,
    };
    submit.messages[0].content = text;
    return &submit;
}
