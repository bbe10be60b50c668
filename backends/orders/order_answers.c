/*
 * order_answers.c: what the scripts reply, as the answers that the API promises.
 * Thread   the exchange's loop.
 */
#include "orders_internal.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static bool is(struct fg_span status, const char *name)
{
    return fg_span_equal(status, fg_span_from_string(name));
}

/* RFC 3339 in UTC with milliseconds. */
static json_t *json_time(uint64_t ms)
{
    char text[40];
    char seconds[24];
    time_t at = (time_t)(ms / 1000);
    struct tm utc;
    gmtime_r(&at, &utc);
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof(text), "%s.%03uZ", seconds, (unsigned)(ms % 1000));
    return json_string(text);
}

static json_t *json_number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

bool fg_orders_is_final(struct fg_span status)
{
    return is(status, "completed") || is(status, "cancelled");
}

bool fg_orders_parse_order(const redisReply *reply, struct fg_span id, struct fg_order *order)
{
    *order = (struct fg_order){
        .id = id,
        .user = fg_orders_text_at(reply, 0),
        .sku = fg_orders_text_at(reply, 1),
        .quantity = fg_orders_number_at(reply, 2),
        .status = fg_orders_text_at(reply, 3),
        .version = fg_orders_number_at(reply, 4),
        .created_ms = fg_orders_number_at(reply, 5),
    };
    return order->user.len > 0 && order->status.len > 0;
}

json_t *fg_orders_order_json(const struct fg_order *order)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "order_id", fg_orders_json_text(order->id),
                     "sku", fg_orders_json_text(order->sku), "quantity",
                     json_number(order->quantity), "status", fg_orders_json_text(order->status),
                     "version", json_number(order->version), "created_at",
                     json_time(order->created_ms));
}

void fg_orders_answer_claim(struct fg_orders_call *call, const redisReply *reply)
{
    struct fg_span status = fg_orders_text_at(reply, 0);
    bool is_new = is(status, "created");
    if (!is_new && !is(status, "already_claimed")) {
        fg_orders_refuse_status(call, status);
        return;
    }
    json_t *coupon = json_object();
    json_object_set_new(coupon, "coupon_id", fg_orders_json_text(fg_orders_text_at(reply, 1)));
    json_object_set_new(coupon, "version", json_number(fg_orders_number_at(reply, 2)));
    if (is_new)
        fg_orders_reply(call, 201, coupon, NULL, NULL);
    else
        fg_orders_refuse_with(call, 409, "already_claimed",
                              "you have claimed the coupon of this campaign already; coupon_id "
                              "names it",
                              coupon, NULL);
}

void fg_orders_answer_invite(struct fg_orders_call *call, const redisReply *reply)
{
    struct fg_span status = fg_orders_text_at(reply, 0);
    bool is_new = is(status, "created");
    if (!is_new && !is(status, "exists")) {
        fg_orders_refuse_status(call, status);
        return;
    }
    json_t *invite = json_object();
    json_object_set_new(invite, "code", fg_orders_json_text(fg_orders_text_at(reply, 1)));
    json_object_set_new(invite, "version", json_number(fg_orders_number_at(reply, 2)));
    fg_orders_reply(call, is_new ? 201 : 200, invite, NULL, NULL);
}

static void refuse_sold_out(struct fg_orders_call *call, uint64_t left)
{
    char message[120] = "sold out";
    if (left > 0)
        snprintf(message, sizeof(message), "not enough is left for this order: %" PRIu64, left);
    fg_counter_add_owned(&call->thread->metrics->sold_out, 1);
    fg_orders_refuse_with(call, 409, "sold_out", message,
                          json_pack("{s:o}", "left", json_number(left)), NULL);
}

void fg_orders_answer_order(struct fg_orders_call *call, const redisReply *reply)
{
    static const struct fg_field replayed = {FG_SPAN_LITERAL("idempotency-replayed"),
                                             FG_SPAN_LITERAL("true")};
    struct fg_span status = fg_orders_text_at(reply, 0);
    bool is_replayed = is(status, "replayed");
    if (is(status, "sold_out")) {
        refuse_sold_out(call, fg_orders_number_at(reply, 1));
        return;
    }
    if (!is_replayed && !is(status, "created")) {
        fg_orders_refuse_status(call, status);
        return;
    }
    if (is_replayed)
        fg_counter_add_owned(&call->thread->metrics->replayed, 1);
    json_t *order =
        json_pack("{s:o, s:o, s:o}", "order_id", fg_orders_json_text(fg_orders_text_at(reply, 1)),
                  "status", fg_orders_json_text(fg_orders_text_at(reply, 2)), "version",
                  json_number(fg_orders_number_at(reply, 3)));
    fg_orders_reply(call, 201, order, is_replayed ? &replayed : NULL, NULL);
}

void fg_orders_answer_order_read(struct fg_orders_call *call, const redisReply *reply)
{
    struct fg_order order;
    if (!fg_orders_parse_order(reply, call->parameter, &order) ||
        !fg_span_equal(order.user, call->ex->user_id))
        fg_orders_refuse(call, 404, "order_unknown", "you have no order with this id");
    else
        fg_orders_reply(call, 200, fg_orders_order_json(&order), NULL, NULL);
}

static const redisReply *array_at(const redisReply *reply, size_t index)
{
    if (reply->type != REDIS_REPLY_ARRAY || index >= reply->elements ||
        reply->element[index]->type != REDIS_REPLY_ARRAY)
        return NULL;
    return reply->element[index];
}

static json_t *coupons_json(const redisReply *list)
{
    json_t *coupons = json_array();
    for (size_t i = 0; list != NULL && i < list->elements; i++) {
        const redisReply *one = list->element[i];
        struct fg_span order = fg_orders_text_at(one, 3);
        json_t *coupon = json_object();
        json_object_set_new(coupon, "coupon_id", fg_orders_json_text(fg_orders_text_at(one, 0)));
        json_object_set_new(coupon, "status", fg_orders_json_text(fg_orders_text_at(one, 1)));
        json_object_set_new(coupon, "source", fg_orders_json_text(fg_orders_text_at(one, 2)));
        if (order.len > 0)
            json_object_set_new(coupon, "order_id", fg_orders_json_text(order));
        json_array_append_new(coupons, coupon);
    }
    return coupons;
}

static json_t *orders_json(const redisReply *list)
{
    json_t *orders = json_array();
    for (size_t i = 0; list != NULL && i < list->elements; i++) {
        const redisReply *one = list->element[i];
        struct fg_order order;
        const redisReply *fields = array_at(one, 1);
        if (fields != NULL && fg_orders_parse_order(fields, fg_orders_text_at(one, 0), &order))
            json_array_append_new(orders, fg_orders_order_json(&order));
    }
    return orders;
}

static json_t *text_or_null(struct fg_span text)
{
    return text.len == 0 ? json_null() : fg_orders_json_text(text);
}

void fg_orders_answer_me(struct fg_orders_call *call, const redisReply *reply)
{
    json_t *invites =
        json_pack("{s:o, s:o, s:o}", "code", text_or_null(fg_orders_text_at(reply, 1)), "accepted",
                  json_number(fg_orders_number_at(reply, 2)), "accepted_code",
                  text_or_null(fg_orders_text_at(reply, 3)));
    json_t *me = json_pack(
        "{s:o, s:o, s:o, s:o, s:o}", "user_id", fg_orders_json_text(call->ex->user_id), "coupons",
        coupons_json(array_at(reply, 4)), "invites", invites, "orders",
        orders_json(array_at(reply, 5)), "version", json_number(fg_orders_number_at(reply, 0)));
    fg_orders_reply(call, 200, me, NULL, NULL);
}

void fg_orders_answer_stock(struct fg_orders_call *call, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_NIL) {
        fg_orders_refuse_status(call, FG_SPAN("sku_unknown"));
        return;
    }
    fg_orders_reply(call, 200,
                    json_pack("{s:o, s:o}", "sku", fg_orders_json_text(call->parameter), "left",
                              json_number(fg_orders_number(reply))),
                    NULL, "public, max-age=1");
}
