/*
 * orders_internal.h: what the files of this folder share: the backend, its state on one event loop,
 * and one request on its way.
 * Memory   a call lives in the arena of its exchange.
 *
 *    start --body--> begin --submit--> command in Redis --reply--> answer --> gone
 *                      |                    |                         (events: a stream goes on)
 *                      `-- refused          `-- unavailable, cancelled
 */
#ifndef FG_ORDERS_ORDERS_INTERNAL_H
#define FG_ORDERS_ORDERS_INTERNAL_H

#include "backends/json_body.h"
#include "orders/order_events.h"
#include "orders/orders.h"
#include "orders/orders_metrics_shared.h"
#include "orders/orders_scripts.h"
#include "policies/address_share.h"
#include "policies/crowd.h"
#include "policies/siphash.h"
#include "redis/redis_link.h"

#define FG_ORDERS_SKUS_MAX 256
#define FG_ORDERS_ID_BYTES 32
#define FG_ORDERS_CALL_ARGS 12

struct fg_orders_call;
struct fg_order_stream;

struct fg_orders_backend {
    struct fg_backend base;
    const struct fg_orders_conf *conf;
    struct fg_redis_address address;
    char prefix[FG_ORDERS_PREFIX_BYTES]; /* "{fg:CAMPAIGN}:" */
    struct fg_redis_script scripts[FG_SCRIPT_COUNT];
    struct fg_orders_shared shared;
    struct fg_orders_replies sampled; /* of whoever samples for overload, alone */
};

struct fg_orders_thread {
    struct fg_backend_thread base;
    struct fg_backend_env env;
    const struct fg_orders_backend *orders;
    const struct fg_orders_conf *conf;
    struct fg_orders_metrics *metrics;
    struct fg_redis_link link;
    bool is_durability_checked;
    struct fg_order_events events;
    struct fg_list streams; /* open event streams */
    struct fg_crowd stream_owners;
    struct fg_address_share stream_share;
    struct fg_siphash_key owner_key;
    struct event *ticker;  /* for all streams */
    uint64_t ticks_left;   /* how many of them are still to be looked at in this round */
    struct event *sampler; /* of the campaign's figures: loop 0 only */
    struct fg_redis_command *sample_command;
    struct fg_span *sample_args;
};

struct fg_orders_endpoint {
    enum fg_method method;
    const char *before; /* path up to the parameter, or all of it */
    const char *after;  /* path behind the parameter; NULL: there is no parameter */
    bool is_public;     /* needs no user */
    bool (*check)(
        struct fg_orders_call *call); /* of the head; false: it has refused; may be NULL */
    void (*begin)(struct fg_orders_call *call); /* the body is complete */
    void (*answer)(struct fg_orders_call *call, const redisReply *reply);
};

struct fg_orders_call {
    struct fg_exchange *ex;
    struct fg_orders_thread *thread;
    const struct fg_orders_endpoint *endpoint;
    struct fg_span parameter; /* of the path */
    struct fg_span key;       /* Idempotency-Key */
    struct fg_span body;
    struct fg_redis_command *command; /* NULL: none is under way */
    struct fg_order_stream *stream;   /* NULL: not an event stream */
    uint64_t submitted_ns;
    struct fg_span args[FG_ORDERS_CALL_ARGS];
    size_t arg_count;
    char id[FG_ORDERS_ID_BYTES]; /* proposed for what is made */
    char number[2][24];
};

/* ---- orders_link.c ---- */

/* The `prepare` of a thread's link. */
void fg_orders_prepare_link(struct fg_redis_link *link);

/* ---- order_requests.c: from HTTP to a command ---- */

extern const struct fg_orders_endpoint fg_orders_endpoints[];
extern const size_t fg_orders_endpoint_count;

/* Reads the order named by the path; fg_orders_parse_order understands the reply. */
void fg_orders_submit_order_read(struct fg_orders_call *call);

/* The body as a JSON object, the caller's. NULL: it has refused, and the call is gone. */
json_t *fg_orders_parse_body(struct fg_orders_call *call);

/* Starts the command made of call->args; refuses the exchange when it cannot. */
void fg_orders_submit(struct fg_orders_call *call, bool is_script, enum fg_orders_script script);

/* ---- order_answers.c: from a reply to HTTP ---- */

struct fg_order {
    struct fg_span id;
    struct fg_span user;
    struct fg_span sku;
    struct fg_span status;
    uint64_t quantity;
    uint64_t version;
    uint64_t created_ms;
};

/* False when there is no such order. Spans point into the reply. */
bool fg_orders_parse_order(const redisReply *reply, struct fg_span id, struct fg_order *order);
json_t *fg_orders_order_json(const struct fg_order *order); /* NULL: no memory */
bool fg_orders_is_final(struct fg_span status);

void fg_orders_answer_claim(struct fg_orders_call *call, const redisReply *reply);
void fg_orders_answer_invite(struct fg_orders_call *call, const redisReply *reply);
void fg_orders_answer_order(struct fg_orders_call *call, const redisReply *reply);
void fg_orders_answer_order_read(struct fg_orders_call *call, const redisReply *reply);
void fg_orders_answer_me(struct fg_orders_call *call, const redisReply *reply);
void fg_orders_answer_stock(struct fg_orders_call *call, const redisReply *reply);

/* ---- order_reply.c: the forms of an answer; each ends the exchange ---- */

/* Takes `body`. `extra` may be NULL; cache_control NULL: "no-store". */
void fg_orders_reply(struct fg_orders_call *call, unsigned status, json_t *body,
                     const struct fg_field *extra, const char *cache_control);
void fg_orders_refuse(struct fg_orders_call *call, unsigned status, const char *code,
                      const char *message);
/* {"error": ...} with more members from `with`, which is taken. */
void fg_orders_refuse_with(struct fg_orders_call *call, unsigned status, const char *code,
                           const char *message, json_t *with, const struct fg_field *extra);
/* 503 orders_unavailable with Retry-After. */
void fg_orders_unavailable(struct fg_orders_call *call, const char *message);
void fg_orders_busy(struct fg_orders_call *call);
/* Of the event streams that there may be, `held` are its client's, or watch its order. */
void fg_orders_too_many_streams(struct fg_orders_call *call, const char *policy, uint64_t held,
                                uint64_t most);
void fg_orders_no_memory(struct fg_orders_call *call);
/* For a script's refusal such as "sold_out"; a status it does not know is a fault: 500. */
void fg_orders_refuse_status(struct fg_orders_call *call, struct fg_span status);

/* Parts of replies; a missing or odd one is empty, or 0. */
struct fg_span fg_orders_text(const redisReply *reply);
struct fg_span fg_orders_text_at(const redisReply *reply, size_t index);
uint64_t fg_orders_number(const redisReply *reply);
uint64_t fg_orders_number_at(const redisReply *reply, size_t index);
json_t *fg_orders_json_text(struct fg_span text);

/* ---- order_stream.c: GET /api/orders/{id}/events ---- */

void fg_order_stream_begin(struct fg_orders_call *call);
void fg_order_stream_answer(struct fg_orders_call *call, const redisReply *reply);
void fg_order_stream_writable(struct fg_orders_call *call);
/* The exchange ends, or has been cancelled: leave the channel. */
void fg_order_stream_leave(struct fg_orders_call *call);
/* A read of the state failed. */
void fg_order_stream_unavailable(struct fg_orders_call *call, const char *message);
/*
 * Every second or more often: keep-alive comments, and patience running out. False: not all have
 * been looked at; it is to be called again soon.
 */
bool fg_order_stream_tick(struct fg_orders_thread *thread);

#endif
