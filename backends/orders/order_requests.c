/*
 * order_requests.c: the endpoints, what they expect of a request, and the command it becomes.
 * Thread   the exchange's loop.
 * Never    trusts a client's text as a part of a key unless its characters and length are checked.
 */
#include "orders_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define KEY_LEN_MAX 255
#define TOKEN_LEN_MAX 64
#define RANDOM_LETTERS_MAX 24

/* ---- parts of a command ---- */

/* `prefix` and `letters` random ones of base 32 (Crockford's, lower case): 5 bits each. */
static bool make_id(char out[FG_ORDERS_ID_BYTES], const char *prefix, size_t letters)
{
    static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char random[RANDOM_LETTERS_MAX];
    char text[RANDOM_LETTERS_MAX + 1];
    assert(letters <= RANDOM_LETTERS_MAX);
    if (getrandom(random, letters, 0) != (ssize_t)letters)
        return false;
    for (size_t i = 0; i < letters; i++)
        text[i] = alphabet[random[i] & 31];
    text[letters] = '\0';
    snprintf(out, FG_ORDERS_ID_BYTES, "%s%s", prefix, text);
    return true;
}

static bool is_token(struct fg_span text)
{
    if (text.len == 0 || text.len > TOKEN_LEN_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.';
        if (!is_good)
            return false;
    }
    return true;
}

static void add(struct fg_orders_call *call, struct fg_span arg)
{
    assert(call->arg_count < FG_ORDERS_CALL_ARGS);
    call->args[call->arg_count++] = arg;
}

static void add_text(struct fg_orders_call *call, const char *text)
{
    add(call, fg_span_from_string(text));
}

static void add_number(struct fg_orders_call *call, unsigned slot, uint64_t number)
{
    snprintf(call->number[slot], sizeof(call->number[slot]), "%llu", (unsigned long long)number);
    add_text(call, call->number[slot]);
}

static void add_key(struct fg_orders_call *call, const char *kind, struct fg_span name)
{
    add(call, fg_arena_try_printf(call->ex->arena, "%s%s:%.*s", call->thread->orders->prefix, kind,
                                  FG_SPAN_ARGS(name)));
}

/* ---- submit ---- */

static void unavailable(struct fg_orders_call *call, const char *message)
{
    if (call->stream != NULL)
        fg_order_stream_unavailable(call, message);
    else
        fg_orders_unavailable(call, message);
}

static void on_reply(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    static struct fg_log_limit limit;
    struct fg_orders_call *call = owner;
    call->command = NULL;
    if (call->stream == NULL)
        fg_exchange_hop_time(call->ex, "redis", fg_clock_monotonic_ns() - call->submitted_ns);
    if (outcome == FG_REDIS_TIMEOUT) {
        unavailable(call, "the order store did not answer in time; whether the request "
                          "took effect is not known, try again with the same key");
    } else if (outcome == FG_REDIS_UNAVAILABLE) {
        unavailable(call, "the order store went away; whether the request took effect is "
                          "not known, try again with the same key");
    } else if (reply->type == REDIS_REPLY_ERROR) {
        fg_log_limited(&limit, 1, FG_LOG_ERROR, "redis_error_reply", "reply=\"%.120s\"",
                       reply->str);
        unavailable(call, "the order store cannot take this now; try again");
    } else {
        call->endpoint->answer(call, reply);
    }
}

static void submit(struct fg_orders_call *call, const struct fg_redis_request *request)
{
    for (size_t i = 0; i < call->arg_count; i++) {
        if (call->args[i].data == NULL) { /* an argument that the arena had no room for */
            fg_orders_no_memory(call);
            return;
        }
    }
    call->submitted_ns = fg_clock_monotonic_ns();
    switch (fg_redis_link_submit(&call->thread->link, request, &call->command)) {
    case FG_OK:
        return;
    case FG_ERR_CLOSED:
        unavailable(call, "the order store is away; nothing was changed, try again");
        return;
    default:
        if (call->stream != NULL)
            fg_order_stream_unavailable(call, "too many orders are under way; try again");
        else
            fg_orders_busy(call);
    }
}

/* Every script may be repeated: what it made the first time, it finds the second. */
void fg_orders_submit(struct fg_orders_call *call, bool is_script, enum fg_orders_script script)
{
    struct fg_redis_request request = {
        .is_script = is_script,
        .script = script,
        .key_count = 1,
        .args = call->args,
        .arg_count = call->arg_count,
        .is_repeatable = true,
        .on_reply = on_reply,
        .owner = call,
    };
    submit(call, &request);
}

/* ---- the endpoints ---- */

/* A body that is no JSON object is answered by the parser: nothing of ours is pending then. */
json_t *fg_orders_parse_body(struct fg_orders_call *call)
{
    call->ex->backend_state = NULL;
    json_t *root =
        fg_json_body_parse_object(call->ex, call->body, call->thread->conf->body_values_max);
    if (root != NULL)
        call->ex->backend_state = call;
    return root;
}

static void begin_claim(struct fg_orders_call *call)
{
    if (call->body.len > 0) {
        json_t *root = fg_orders_parse_body(call);
        if (root == NULL)
            return;
        json_t *campaign = json_object_get(root, "campaign");
        bool is_ours = campaign == NULL || json_is_null(campaign) ||
                       (json_is_string(campaign) &&
                        strcmp(json_string_value(campaign), call->thread->conf->campaign) == 0);
        json_decref(root);
        if (!is_ours) {
            fg_orders_refuse(call, 404, "campaign_unknown", "there is no such campaign now");
            return;
        }
    }
    if (!make_id(call->id, "cpn_", 20)) {
        fg_orders_unavailable(call, "no random numbers; try again");
        return;
    }
    add_text(call, call->thread->orders->prefix);
    add(call, call->ex->user_id);
    add_text(call, call->id);
    fg_orders_submit(call, true, FG_SCRIPT_CLAIM);
}

static void begin_invite(struct fg_orders_call *call)
{
    if (!make_id(call->id, "", 10)) {
        fg_orders_unavailable(call, "no random numbers; try again");
        return;
    }
    add_text(call, call->thread->orders->prefix);
    add(call, call->ex->user_id);
    add_text(call, call->id);
    fg_orders_submit(call, true, FG_SCRIPT_INVITE_CREATE);
}

static void begin_accept(struct fg_orders_call *call)
{
    if (!is_token(call->parameter)) {
        fg_orders_refuse_status(call, FG_SPAN("invite_unknown"));
        return;
    }
    if (!make_id(call->id, "cpn_", 20)) {
        fg_orders_unavailable(call, "no random numbers; try again");
        return;
    }
    add_text(call, call->thread->orders->prefix);
    add(call, call->ex->user_id);
    add(call, call->parameter);
    add_text(call, call->id);
    fg_orders_submit(call, true, FG_SCRIPT_INVITE_ACCEPT);
}

/* A quoted string as the draft has it, or the bare characters that clients send. */
static bool check_order(struct fg_orders_call *call)
{
    struct fg_span key = fg_span_trim(fg_exchange_field(call->ex, FG_SPAN("idempotency-key")));
    if (key.len >= 2 && key.data[0] == '"' && key.data[key.len - 1] == '"')
        key = fg_span_make(key.data + 1, key.len - 2);
    if (key.len == 0) {
        fg_orders_refuse(call, 400, "idempotency_key_missing",
                         "an order needs the field Idempotency-Key, so that it can be sent again "
                         "without ordering twice");
        return false;
    }
    bool is_good = key.len <= KEY_LEN_MAX;
    for (size_t i = 0; i < key.len && is_good; i++)
        is_good = key.data[i] > ' ' && key.data[i] < 0x7f;
    if (!is_good) {
        fg_orders_refuse(call, 400, "idempotency_key_invalid",
                         "the Idempotency-Key is malformed; expected 1 to 255 printable ASCII "
                         "characters");
        return false;
    }
    call->key = key;
    return true;
}

static bool is_sku_configured(const struct fg_orders_conf *conf, const char *sku)
{
    for (size_t i = 0; i < conf->sku_count; i++) {
        if (strcmp(conf->skus[i].sku, sku) == 0)
            return true;
    }
    return false;
}

/* What is wrong with the order in `root`; true when nothing is. */
static bool check_order_body(struct fg_orders_call *call, const json_t *root)
{
    const struct fg_orders_conf *conf = call->thread->conf;
    const json_t *sku = json_object_get(root, "sku");
    const json_t *quantity = json_object_get(root, "quantity");
    const json_t *coupon = json_object_get(root, "coupon_id");
    if (!json_is_string(sku)) {
        fg_orders_refuse(call, 400, "sku_missing", "sku is missing; expected a string");
    } else if (!is_sku_configured(conf, json_string_value(sku))) {
        fg_orders_refuse_status(call, FG_SPAN("sku_unknown"));
    } else if (!json_is_integer(quantity) || json_integer_value(quantity) < 1 ||
               (uint64_t)json_integer_value(quantity) > conf->quantity_max) {
        char message[120];
        snprintf(message, sizeof(message),
                 "quantity is missing or out of range; expected an integer from 1 to %llu",
                 (unsigned long long)conf->quantity_max);
        fg_orders_refuse(call, 400, "quantity_out_of_range", message);
    } else if (coupon == NULL || json_is_null(coupon)) {
        if (!conf->coupon_required)
            return true;
        fg_orders_refuse(call, 400, "coupon_required",
                         "this campaign sells for coupons only; expected coupon_id");
    } else if (!json_is_string(coupon)) {
        fg_orders_refuse(call, 400, "coupon_invalid", "coupon_id is not a string");
    } else if (!is_token(fg_span_make(json_string_value(coupon), json_string_length(coupon)))) {
        fg_orders_refuse_status(call, FG_SPAN("coupon_unknown"));
    } else {
        return true;
    }
    return false;
}

static struct fg_span copy_member(struct fg_orders_call *call, const json_t *root, const char *name)
{
    const json_t *member = json_object_get(root, name);
    if (!json_is_string(member))
        return FG_SPAN("");
    return fg_arena_try_copy(call->ex->arena,
                             fg_span_make(json_string_value(member), json_string_length(member)));
}

static void add_order_args(struct fg_orders_call *call, const json_t *root)
{
    const struct fg_orders_conf *conf = call->thread->conf;
    uint64_t ttl_ms = conf->idempotency_ttl_ns / FG_MS;
    uint64_t listed = conf->orders_per_user_max;
    char *canonical = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    add_text(call, call->thread->orders->prefix);
    add(call, call->ex->user_id);
    add(call, call->key);
    add(call, fg_arena_try_copy(call->ex->arena, fg_span_from_string(canonical)));
    free(canonical);
    add_text(call, call->id);
    add(call, copy_member(call, root, "sku"));
    add_number(call, 0, (uint64_t)json_integer_value(json_object_get(root, "quantity")));
    add(call, copy_member(call, root, "coupon_id"));
    add_number(call, 1, ttl_ms == 0 ? 1 : ttl_ms);
    add(call, fg_arena_try_printf(call->ex->arena, "%llu",
                                  (unsigned long long)(listed == 0 ? 1 : listed)));
}

static void begin_order(struct fg_orders_call *call)
{
    json_t *root = fg_orders_parse_body(call);
    if (root == NULL)
        return;
    if (!check_order_body(call, root)) {
        json_decref(root);
        return;
    }
    if (!make_id(call->id, "ord_", 20)) {
        json_decref(root);
        fg_orders_unavailable(call, "no random numbers; try again");
        return;
    }
    add_order_args(call, root);
    json_decref(root);
    fg_orders_submit(call, true, FG_SCRIPT_ORDER);
}

void fg_orders_submit_order_read(struct fg_orders_call *call)
{
    call->arg_count = 0;
    add_text(call, "HMGET");
    add_key(call, "o", call->parameter);
    add_text(call, "user");
    add_text(call, "sku");
    add_text(call, "quantity");
    add_text(call, "status");
    add_text(call, "version");
    add_text(call, "created");
    fg_orders_submit(call, false, FG_SCRIPT_COUNT);
}

static bool check_order_id(struct fg_orders_call *call)
{
    if (is_token(call->parameter))
        return true;
    fg_orders_refuse(call, 404, "order_unknown", "you have no order with this id");
    return false;
}

static void begin_me(struct fg_orders_call *call)
{
    uint64_t listed = call->thread->conf->orders_per_user_max;
    add_text(call, call->thread->orders->prefix);
    add(call, call->ex->user_id);
    add_number(call, 0, listed == 0 ? 1 : listed);
    fg_orders_submit(call, true, FG_SCRIPT_ME);
}

static bool check_stock(struct fg_orders_call *call)
{
    if (is_token(call->parameter))
        return true;
    fg_orders_refuse_status(call, FG_SPAN("sku_unknown"));
    return false;
}

static void begin_stock(struct fg_orders_call *call)
{
    add_text(call, "GET");
    add_key(call, "stock", call->parameter);
    fg_orders_submit(call, false, FG_SCRIPT_COUNT);
}

const struct fg_orders_endpoint fg_orders_endpoints[] = {
    {.method = FG_METHOD_POST,
     .before = "/api/coupons/claim",
     .begin = begin_claim,
     .answer = fg_orders_answer_claim},
    {.method = FG_METHOD_POST,
     .before = "/api/invites",
     .begin = begin_invite,
     .answer = fg_orders_answer_invite},
    {.method = FG_METHOD_POST,
     .before = "/api/invites/",
     .after = "/accept",
     .begin = begin_accept,
     .answer = fg_orders_answer_invite},
    {.method = FG_METHOD_POST,
     .before = "/api/orders",
     .check = check_order,
     .begin = begin_order,
     .answer = fg_orders_answer_order},
    {.method = FG_METHOD_GET,
     .before = "/api/orders/",
     .after = "",
     .check = check_order_id,
     .begin = fg_orders_submit_order_read,
     .answer = fg_orders_answer_order_read},
    {.method = FG_METHOD_GET,
     .before = "/api/orders/",
     .after = "/events",
     .check = check_order_id,
     .begin = fg_order_stream_begin,
     .answer = fg_order_stream_answer},
    {.method = FG_METHOD_GET,
     .before = "/api/me",
     .begin = begin_me,
     .answer = fg_orders_answer_me},
    {.method = FG_METHOD_GET,
     .before = "/api/stock/",
     .after = "",
     .is_public = true,
     .check = check_stock,
     .begin = begin_stock,
     .answer = fg_orders_answer_stock},
};
const size_t fg_orders_endpoint_count =
    sizeof(fg_orders_endpoints) / sizeof(fg_orders_endpoints[0]);
