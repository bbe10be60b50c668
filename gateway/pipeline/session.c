/*
 * session.c: read a small body, derive the user, sign a token.
 */
#include "session.h"

#include "backends/json_body.h"
#include "backends/json_reply.h"
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEVICE_ID_BYTES_MAX 256

struct session_backend {
    struct fg_backend base;
    const struct fg_jwt_key *key;
    uint64_t lifetime_ns;
    uint64_t body_bytes_max;
    uint64_t body_values_max;
};

struct session_thread {
    struct fg_backend_thread base;
    struct fg_jwt_signer *signer;
};

static struct fg_backend_thread *
thread_open(struct fg_backend *backend, const struct fg_backend_env *env, struct fg_error *error)
{
    (void)env;
    struct session_thread *thread = calloc(1, sizeof(*thread));
    if (thread != NULL) {
        thread->base.backend = backend;
        thread->signer = fg_jwt_signer_create(((struct session_backend *)backend)->key);
    }
    if (thread == NULL || thread->signer == NULL) {
        free(thread);
        fg_error_set(error, "identity: no memory for the token signer");
        return NULL;
    }
    return &thread->base;
}

static void thread_close(struct fg_backend_thread *base)
{
    struct session_thread *thread = (struct session_thread *)base;
    fg_jwt_signer_destroy(thread->signer);
    free(thread);
}

/* "u_" and 24 hex digits of HMAC("guest|", device id). */
static bool derive_user(struct fg_jwt_signer *signer, struct fg_span device_id, char user_id[27])
{
    unsigned char mac[32];
    if (!fg_jwt_mac(signer, FG_SPAN("guest|"), device_id, mac))
        return false;
    snprintf(user_id, 27, "u_%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x", mac[0], mac[1],
             mac[2], mac[3], mac[4], mac[5], mac[6], mac[7], mac[8], mac[9], mac[10], mac[11]);
    return true;
}

static void answer(struct fg_exchange *ex, struct session_thread *thread, struct fg_span device_id)
{
    const struct session_backend *backend = (const struct session_backend *)thread->base.backend;
    uint64_t now_s = fg_clock_wall_ns() / FG_S;
    uint64_t expires_s = now_s + backend->lifetime_ns / FG_S;
    char user_id[27], expires_at[32];
    struct fg_span token = {NULL, 0};
    if (derive_user(thread->signer, device_id, user_id))
        token =
            fg_jwt_sign(thread->signer, ex->arena, fg_span_from_string(user_id), now_s, expires_s);
    if (token.data == NULL) {
        fg_exchange_fail(ex, FG_FAILURE_INTERNAL, "a token could not be signed");
        return;
    }
    time_t expires = (time_t)expires_s;
    struct tm utc;
    gmtime_r(&expires, &utc);
    strftime(expires_at, sizeof(expires_at), "%Y-%m-%dT%H:%M:%SZ", &utc);
    fg_json_reply(ex, 201,
                  json_pack("{s:s%,s:s,s:s}", "token", token.data, token.len, "user_id", user_id,
                            "expires_at", expires_at),
                  NULL, NULL);
}

static void on_complete(struct fg_exchange *ex, struct session_thread *thread, struct fg_span body)
{
    const struct session_backend *backend = (const struct session_backend *)thread->base.backend;
    json_t *root = fg_json_body_parse_object(ex, body, backend->body_values_max);
    if (root == NULL)
        return;
    const json_t *device = json_object_get(root, "device_id");
    size_t len = json_string_length(device);
    if (!json_is_string(device) || len == 0 || len > DEVICE_ID_BYTES_MAX)
        fg_exchange_refuse(
            ex,
            &(struct fg_backend_refusal){
                .status = 400,
                .type = "invalid_request",
                .code = "device_id_invalid",
                .message = "device_id is missing or malformed; expected a string of 1 to 256 bytes",
            });
    else
        answer(ex, thread, fg_span_make(json_string_value(device), len));
    json_decref(root);
}

static void refuse_method(struct fg_exchange *ex)
{
    static const struct fg_field allow = {FG_SPAN_LITERAL("allow"), FG_SPAN_LITERAL("POST")};
    fg_json_reply(ex, 405,
                  json_pack("{s:{s:s,s:s,s:s,s:s%}}", "error", "type", "invalid_request", "code",
                            "method_not_allowed", "message", "a session is made with POST",
                            "request_id", ex->request_id.data, ex->request_id.len),
                  &allow, NULL);
}

static bool wants_body(const struct fg_backend_thread *thread, const struct fg_exchange *ex,
                       uint64_t *bytes_max)
{
    *bytes_max = ((const struct session_backend *)thread->backend)->body_bytes_max;
    return ex->method == FG_METHOD_POST;
}

static void start(struct fg_backend_thread *thread, struct fg_exchange *ex)
{
    ex->backend_state = thread;
    if (ex->method != FG_METHOD_POST)
        refuse_method(ex);
    else if (!ex->has_body)
        on_complete(ex, (struct session_thread *)thread, fg_span_make(NULL, 0));
}

static void on_body(struct fg_exchange *ex, const void *data, size_t len, bool is_last)
{
    assert(is_last); /* wants_body says so */
    on_complete(ex, ex->backend_state, fg_span_make(data, len));
}

static void on_writable(struct fg_exchange *ex)
{
    (void)ex; /* the whole answer was written at once */
}

static void cancel(struct fg_exchange *ex)
{
    ex->backend_state = NULL;
}

static bool is_ready(struct fg_backend *backend, const char **why)
{
    (void)backend;
    *why = "ready";
    return true;
}

static void stats(struct fg_backend *backend, json_t *into)
{
    (void)backend;
    (void)into; /* the route's metrics say it all */
}

static void destroy(struct fg_backend *backend)
{
    free(backend);
}

static const struct fg_backend_ops ops = {
    .kind = "session",
    .thread_open = thread_open,
    .thread_close = thread_close,
    .wants_body = wants_body,
    .start = start,
    .on_body = on_body,
    .on_writable = on_writable,
    .cancel = cancel,
    .is_ready = is_ready,
    .stats = stats,
    .destroy = destroy,
};

struct fg_backend *fg_session_create(const struct fg_jwt_key *key, uint64_t lifetime_ns,
                                     uint64_t body_bytes_max, uint64_t body_values_max)
{
    struct session_backend *backend = calloc(1, sizeof(*backend));
    if (backend == NULL)
        return NULL;
    *backend = (struct session_backend){.base = {.ops = &ops, .name = "session"},
                                        .key = key,
                                        .lifetime_ns = lifetime_ns,
                                        .body_bytes_max = body_bytes_max,
                                        .body_values_max = body_values_max};
    return &backend->base;
}
