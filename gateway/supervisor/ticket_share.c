/*
 * ticket_share.c: one command at a time.
 *
 *    GET --none--> SET NX --> GET --the secret--> taken up; GET again after a period
 *     `-- error, away: again after a moment <--'
 *
 * Of gateways that find none at the same time NX lets one write, and all read that one's. Who takes
 * the key out of Redis, or replaces it, gives all of them a new secret at their next look.
 */
#include "supervisor/ticket_share.h"

#include "base/clock.h"
#include "base/log.h"

#include <event2/event.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#define SEED_BYTES 32
#define SECRET_BYTES_MAX ((size_t)4096)
#define KEY_BYTES 128
#define PERIOD_NS (10 * FG_S)
#define AGAIN_NS (100 * FG_MS)
#define ARGS_MAX 4

struct fg_ticket_share {
    struct fg_redis_link *link;
    struct fg_ticket_keys *keys;
    struct event *timer;
    uint64_t period_ns;
    bool is_shared;                   /* Redis has told one */
    struct fg_redis_command *command; /* NULL: none is under way */
    struct fg_span args[ARGS_MAX];
    char key[KEY_BYTES];
    char own[2 * SEED_BYTES + 1]; /* in hexadecimal */
};

static void look_after(struct fg_ticket_share *share, uint64_t after_ns)
{
    const struct timeval wait = {.tv_sec = (time_t)(after_ns / FG_S),
                                 .tv_usec = (suseconds_t)(after_ns % FG_S / FG_US)};
    event_add(share->timer, &wait);
}

static void submit(struct fg_ticket_share *share, size_t arg_count, fg_redis_reply_fn on_reply)
{
    const struct fg_redis_request request = {.args = share->args,
                                             .arg_count = arg_count,
                                             .is_repeatable = true,
                                             .on_reply = on_reply,
                                             .owner = share};
    if (fg_redis_link_submit(share->link, &request, &share->command) != FG_OK) {
        share->command = NULL;
        look_after(share, AGAIN_NS);
    }
}

static void on_offered(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    struct fg_ticket_share *share = owner;
    (void)outcome;
    (void)reply;
    share->command = NULL;
    look_after(share, AGAIN_NS); /* whose it is now, the next look tells */
}

static void offer_own(struct fg_ticket_share *share)
{
    share->args[0] = FG_SPAN("SET");
    share->args[1] = fg_span_from_string(share->key);
    share->args[2] = fg_span_from_string(share->own);
    share->args[3] = FG_SPAN("NX");
    submit(share, 4, on_offered);
}

static void complain(const struct fg_ticket_share *share, const redisReply *reply)
{
    static struct fg_log_limit limit;
    char quoted[160];
    const char *why = reply->type == REDIS_REPLY_ERROR ? reply->str : "no text of 32 to 4096 bytes";
    fg_log_limited(&limit, 1, FG_LOG_WARN, "ticket_secret_not_shared", "key=%s kept=old reason=%s",
                   share->key, fg_log_quote(quoted, sizeof(quoted), why, strlen(why)));
}

static void on_told(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    struct fg_ticket_share *share = owner;
    share->command = NULL;
    if (outcome != FG_REDIS_REPLY) {
        look_after(share, AGAIN_NS);
        return;
    }
    if (reply->type == REDIS_REPLY_NIL) {
        offer_own(share);
        return;
    }
    if (reply->type == REDIS_REPLY_STRING && reply->len >= FG_TICKET_SECRET_BYTES_MIN &&
        reply->len <= SECRET_BYTES_MAX) {
        fg_ticket_keys_set_secret(share->keys, reply->str, reply->len);
        if (!share->is_shared)
            fg_log(FG_LOG_INFO, "ticket_secret_shared", "key=%s", share->key);
        share->is_shared = true;
    } else {
        complain(share, reply);
    }
    look_after(share, share->period_ns);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct fg_ticket_share *share = arg;
    (void)fd;
    (void)what;
    share->args[0] = FG_SPAN("GET");
    share->args[1] = fg_span_from_string(share->key);
    submit(share, 2, on_told);
}

struct fg_ticket_share *fg_ticket_share_create(const struct fg_ticket_share_options *options)
{
    struct fg_ticket_share *share = calloc(1, sizeof(*share));
    if (share == NULL)
        return NULL;
    share->link = options->link;
    share->keys = options->keys;
    share->period_ns = options->period_ns > 0 ? options->period_ns : PERIOD_NS;
    snprintf(share->key, sizeof(share->key), "%s:{tickets}", options->prefix);
    for (size_t i = 0; i < SEED_BYTES; i++)
        snprintf(share->own + 2 * i, 3, "%02x", options->seed[i]);
    share->timer = evtimer_new(fg_loop_base(options->loop), on_timer, share);
    if (share->timer == NULL) {
        fg_ticket_share_destroy(share);
        return NULL;
    }
    look_after(share, 0);
    return share;
}

void fg_ticket_share_destroy(struct fg_ticket_share *share)
{
    if (share == NULL)
        return;
    if (share->command != NULL)
        fg_redis_command_detach(share->command);
    if (share->timer != NULL)
        event_free(share->timer);
    OPENSSL_cleanse(share->own, sizeof(share->own));
    free(share);
}
