/*
 * worker_client.h: a worker process on a tiny model, and a blocking client of its channel, for
 * tests.
 * Never    sleeps for a time: waits for bytes, an exit or a condition, with a generous bound.
 */
#ifndef FG_TEST_WORKER_CLIENT_H
#define FG_TEST_WORKER_CLIENT_H

#include "inference/kv/kv_arena_shared.h"
#include "inference/worker/channel.h"
#include "inference/worker/worker.h"

#include <sys/types.h>

#define CLIENT_REQUESTS_MAX 40u
#define CLIENT_TOKENS_MAX 512u

/* The supervisor's part: what outlives a worker. */
struct test_pool {
    struct fg_inference_conf conf;
    int arena_fd;
    struct fg_kv_arena *arena;
    int listen_fds[2];
    pid_t pids[2];
    fg_kv_on_point_fn on_point; /* of the workers started from now on */
    void *on_point_owner;
};

/* Probes the model and makes the arena; fails the test with the error's text. */
void test_pool_init(struct test_pool *pool, const char *model_path);
/* Kills what still runs. */
void test_pool_fini(struct test_pool *pool);
void test_pool_start(struct test_pool *pool, uint32_t index);
/* Waits for the exit; returns the wait status. */
int test_pool_wait(struct test_pool *pool, uint32_t index);
/* SIGKILL, reap, and tell the arena: what a supervisor does. */
void test_pool_kill(struct test_pool *pool, uint32_t index);
/* Ends the test unless all blocks are free within the bound. */
void test_pool_wait_all_free(const struct test_pool *pool);

/* What has been received for one request. */
struct client_stream {
    uint32_t token_count;
    uint32_t tokens[CLIENT_TOKENS_MAX];
    char text[CLIENT_TOKENS_MAX * 16];
    bool is_done;
    bool is_refused;
    uint32_t prompt_tokens;            /* 0: nobody has begun to read it */
    struct fg_channel_done done;       /* its text is in `text` */
    struct fg_channel_refused refused; /* without its message */
};

struct client {
    int fd;
    struct fg_channel_hello hello;
    struct client_stream streams[CLIENT_REQUESTS_MAX];
    unsigned char *in;
    size_t in_used;
};

/* Connects and takes the HELLO. */
void client_open(struct client *client, const struct test_pool *pool, uint32_t index);
void client_close(struct client *client);
void client_send(struct client *client, const void *bytes, size_t count);
void client_submit(struct client *client, uint64_t id, const struct fg_channel_submit *submit);
void client_cancel(struct client *client, uint64_t id);
/* Takes one frame into its stream; false when the worker has closed the connection. */
bool client_receive(struct client *client);
/* Receives until `id` has its last word, or has `tokens` tokens. */
void client_until(struct client *client, uint64_t id, uint32_t tokens);

/* A greedy completion of `text`. Static; the next call overwrites it. */
struct fg_channel_submit *client_completion(struct fg_span text, uint32_t max_tokens);

#endif
