/*
 * order_reply.c: JSON answers and refusals, and reading what Redis replied.
 * Thread   the exchange's loop. Every function that answers ends the exchange: the call is gone.
 */
#include "orders_internal.h"

#include "backends/json_reply.h"
#include "base/clock.h"
#include "base/log.h"

#define RETRY_AFTER_MS 1000

/* No more is to come for this exchange. */
static struct fg_exchange *close_call(struct fg_orders_call *call)
{
    if (call->stream != NULL)
        fg_order_stream_leave(call);
    call->ex->backend_state = NULL;
    return call->ex;
}

void fg_orders_no_memory(struct fg_orders_call *call)
{
    fg_exchange_fail(close_call(call), FG_FAILURE_NO_MEMORY, "request arena used up");
}

void fg_orders_reply(struct fg_orders_call *call, unsigned status, json_t *body,
                     const struct fg_field *extra, const char *cache_control)
{
    fg_json_reply(close_call(call), status, body, extra, cache_control);
}

static const char *type_of(unsigned status)
{
    switch (status) {
    case 401:
        return "unauthenticated";
    case 404:
        return "not_found";
    case 409:
        return "conflict";
    case 503:
        return "unavailable";
    default:
        return "invalid_request";
    }
}

void fg_orders_refuse(struct fg_orders_call *call, unsigned status, const char *code,
                      const char *message)
{
    fg_exchange_refuse(close_call(call), &(struct fg_backend_refusal){
                                             .status = status,
                                             .type = type_of(status),
                                             .code = code,
                                             .message = message,
                                         });
}

void fg_orders_refuse_with(struct fg_orders_call *call, unsigned status, const char *code,
                           const char *message, json_t *with, const struct fg_field *extra)
{
    json_t *error =
        json_pack("{s:s, s:s, s:s}", "type", type_of(status), "code", code, "message", message);
    if (call->ex->request_id.len > 0)
        json_object_set_new(error, "request_id", fg_orders_json_text(call->ex->request_id));
    json_t *body = json_object();
    json_object_set_new(body, "error", error);
    if (with != NULL)
        json_object_update(body, with);
    json_decref(with);
    fg_orders_reply(call, status, body, extra, NULL);
}

void fg_orders_unavailable(struct fg_orders_call *call, const char *message)
{
    fg_counter_add_owned(&call->thread->metrics->refused_unavailable, 1);
    fg_exchange_refuse(close_call(call), &(struct fg_backend_refusal){
                                             .status = 503,
                                             .type = "unavailable",
                                             .code = "orders_unavailable",
                                             .message = message,
                                             .retry_after_ms = RETRY_AFTER_MS,
                                         });
}

void fg_orders_busy(struct fg_orders_call *call)
{
    uint64_t most = call->thread->conf->redis.commands_in_flight_max;
    fg_exchange_refuse(
        close_call(call),
        &(struct fg_backend_refusal){
            .status = 503,
            .type = "unavailable",
            .code = "orders_busy",
            .message = "too many orders are under way; nothing was changed, try again",
            .policy = "commands_in_flight_max",
            .value = most,
            .limit = most,
            .retry_after_ms = RETRY_AFTER_MS,
        });
}

void fg_orders_too_many_streams(struct fg_orders_call *call, const char *policy, uint64_t held,
                                uint64_t most)
{
    fg_exchange_refuse(
        close_call(call),
        &(struct fg_backend_refusal){
            .status = 503,
            .type = "overloaded",
            .code = "too_many_streams",
            .message = "too many event streams are open here; ask for the order without /events",
            .policy = policy,
            .value = held,
            .limit = most,
            .retry_after_ms = RETRY_AFTER_MS,
        });
}

static const struct {
    const char *code;
    unsigned status;
    const char *message;
} refusals[] = {
    {"coupon_unknown", 404, "you have no coupon with this id"},
    {"coupon_used", 409, "this coupon has been used already"},
    {"sku_unknown", 404, "there is no such article in this campaign"},
    {"idempotency_key_reused", 422,
     "this Idempotency-Key was used with another body; expected a new key for a new order"},
    {"invite_unknown", 404, "there is no such invite"},
    {"own_invite", 409, "this invite is your own; expected one of somebody else"},
    {"already_accepted", 409, "you have accepted another invite already; one is all"},
};

void fg_orders_refuse_status(struct fg_orders_call *call, struct fg_span status)
{
    static struct fg_log_limit limit;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (fg_span_equal(status, fg_span_from_string(refusals[i].code))) {
            fg_orders_refuse(call, refusals[i].status, refusals[i].code, refusals[i].message);
            return;
        }
    }
    if (fg_span_equal(status,
                      FG_SPAN("id_taken"))) { /* once in 2^50 at most: another id is drawn */
        fg_orders_unavailable(call, "nothing was changed; try again");
        return;
    }
    fg_log_limited(&limit, 1, FG_LOG_ERROR, "orders_reply_unknown", "endpoint=%s",
                   call->endpoint->before);
    fg_exchange_fail(close_call(call), FG_FAILURE_INTERNAL, "an unknown reply of a script");
}

/* ---- replies ---- */

struct fg_span fg_orders_text(const redisReply *reply)
{
    if (reply == NULL || (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS))
        return (struct fg_span){NULL, 0};
    return fg_span_make(reply->str, (size_t)reply->len);
}

static const redisReply *element(const redisReply *reply, size_t index)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || index >= reply->elements)
        return NULL;
    return reply->element[index];
}

struct fg_span fg_orders_text_at(const redisReply *reply, size_t index)
{
    return fg_orders_text(element(reply, index));
}

uint64_t fg_orders_number(const redisReply *reply)
{
    uint64_t value = 0;
    if (reply == NULL)
        return 0;
    if (reply->type == REDIS_REPLY_INTEGER)
        return reply->integer < 0 ? 0 : (uint64_t)reply->integer;
    (void)fg_span_parse_u64(fg_orders_text(reply), &value);
    return value;
}

uint64_t fg_orders_number_at(const redisReply *reply, size_t index)
{
    return fg_orders_number(element(reply, index));
}

json_t *fg_orders_json_text(struct fg_span text)
{
    json_t *string = json_stringn(text.len == 0 ? "" : text.data, text.len);
    return string != NULL ? string : json_string(""); /* not UTF-8 */
}
