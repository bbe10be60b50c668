/*
 * fake_worker.h: the other end of the channel, on the test's own event loop: takes what is
 * submitted, says what the test tells it to.
 * Thread   the test's. Memory: the heap; frames and requests are kept until close.
 */
#ifndef FG_TEST_FAKE_WORKER_H
#define FG_TEST_FAKE_WORKER_H

#include "inference/worker/channel.h"

#include <event2/event.h>
#include <event2/listener.h>

#define FAKE_WORKER_REQUESTS_MAX 64

struct fake_worker_request {
    uint64_t id;
    bool is_cancelled;
    uint32_t resumed[16];
    struct fg_channel_submit *submit; /* spans point into frame */
    unsigned char *frame;
};

struct fake_worker {
    struct event_base *base;
    char path[104];
    int listen_fd;
    int fd; /* the connection; -1: none */
    struct event *accept_event;
    struct event *read_event;
    uint32_t version; /* in HELLO */
    bool is_silent;   /* sends no HELLO */
    bool is_deaf;     /* reads nothing, until fake_worker_listen_up */
    unsigned connection_count;
    unsigned char *in;
    size_t in_len;
    struct fake_worker_request requests[FAKE_WORKER_REQUESTS_MAX];
    unsigned request_count; /* ever */
};

/* Listens at `path`, or takes up listening there again. */
void fake_worker_open(struct fake_worker *worker, struct event_base *base, const char *path);
/* The process dies: the connection is gone at once, requests and all; nobody listens. */
void fake_worker_kill(struct fake_worker *worker);
void fake_worker_close(struct fake_worker *worker);

void fake_worker_listen_up(struct fake_worker *worker);
void fake_worker_hello(struct fake_worker *worker);
/* The latest request with this number (from 0, in order of arrival). */
void fake_worker_token(struct fake_worker *worker, unsigned request, uint32_t index, uint32_t token,
                       const char *text);
/* The request is in its batch. */
/* It reads the request's prompt, of so many tokens. */
void fake_worker_begun(struct fake_worker *worker, unsigned request, uint32_t prompt_tokens);
void fake_worker_done(struct fake_worker *worker, unsigned request, enum fg_finish finish,
                      const char *text, uint32_t completion_tokens);
void fake_worker_refuse(struct fake_worker *worker, unsigned request, enum fg_refusal reason,
                        uint32_t retry_after_ms, const char *message);
/* Bytes as they are; `piece` at a time, each with a write of its own (0: all at once). */
void fake_worker_send(struct fake_worker *worker, const void *bytes, size_t len, size_t piece);

#endif
