/*
 * stage_identity.c: who is asking, if the route wants to know: by a signature over the request, an
 * API key, a bearer token, or the client's certificate. The first that the request has and the
 * route takes decides; one that is there and is no good is refused, never passed over for the next.
 */
#include "field_edit.h"

#include "pipeline/rate_texts.h"
#include "pipeline/signature.h"

#include <stdio.h>

enum outcome {
    OUTCOME_ABSENT,
    OUTCOME_KNOWN,   /* ex->user_id is set */
    OUTCOME_REFUSED, /* answered */
};

static const struct fg_span signature_field = FG_SPAN_LITERAL("x-floodgate-signature");

static enum outcome refuse_as(struct fg_flow *flow, const char *message, bool is_token_bad)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_UNAUTHENTICATED,
                             .status = 401,
                             .type = "authentication_error",
                             .message = message,
                             .is_token_bad = is_token_bad,
                             .position = UINT64_MAX,
                         });
    return OUTCOME_REFUSED;
}

static enum outcome refuse(struct fg_flow *flow, const char *message)
{
    return refuse_as(flow, message, false);
}

static enum outcome refuse_for_memory(struct fg_flow *flow)
{
    fg_flow_refuse_for_memory(flow, "the request's head");
    return OUTCOME_REFUSED;
}

/* ---- signatures ---- */

/* None of those that are remembered may be forgotten to take another. */
static enum outcome refuse_nonces(struct fg_flow *flow, uint32_t nonces_max)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_NO_MEMORY,
                             .status = 503,
                             .type = "overloaded",
                             .message = "too many signed requests: identity.signatures.nonces_max "
                                        "is reached",
                             .retry_after_ns = FG_S,
                             .policy = "signatures.nonces_max",
                             .value = nonces_max,
                             .limit = nonces_max,
                             .position = UINT64_MAX,
                         });
    return OUTCOME_REFUSED;
}

static size_t find_signer(const struct fg_identity_conf *conf, struct fg_span key_id)
{
    size_t i = 0;
    while (i < conf->signing_key_count &&
           !fg_span_equal(key_id, fg_span_from_string(conf->signing_keys[i].id)))
        i++;
    return i;
}

/* What is signed is this request, now, for the first time; its body is compared when it is here. */
static enum outcome by_signature(struct fg_flow *flow, struct fg_span field)
{
    const struct fg_pipeline *pipeline = flow->thread->pipeline;
    const struct fg_identity_conf *conf = &pipeline->config->identity;
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_signature signature;
    if (field.data == NULL)
        return OUTCOME_ABSENT;
    if (!fg_signature_parse(field, &signature))
        return refuse(flow, "the signature is malformed; expected v1;key=...;time=...;nonce=...;"
                            "body=...;mac=...");
    uint64_t now_s = fg_clock_wall_ns() / FG_S;
    uint64_t window_s = conf->signature_window_ns / FG_S;
    uint64_t apart_s =
        now_s > signature.time_s ? now_s - signature.time_s : signature.time_s - now_s;
    size_t signer = find_signer(conf, signature.key_id);
    const struct fg_key_ring *ring = fg_jwt_verifier_keys(flow->thread->verifier);
    if (signer == conf->signing_key_count ||
        !fg_signature_is_good(&signature, ex, ring->signers[signer].bytes,
                              ring->signers[signer].len))
        return refuse(flow, "the signature is not accepted");
    if (apart_s > window_s)
        return refuse(flow, "the time of the signature is too far from ours");
    if (signature.time_s < fg_nonce_table_since_s(pipeline->nonces))
        return refuse(flow,
                      "the signature is older than this process, which does not know what was "
                      "used before it; sign anew");
    switch (fg_nonce_table_use(pipeline->nonces, signature.key_id, signature.nonce, now_s,
                               signature.time_s + window_s + 1)) {
    case FG_NONCE_FRESH:
        break;
    case FG_NONCE_USED:
        return refuse(flow, "the nonce of the signature was used before");
    case FG_NONCE_FULL:
        return refuse_nonces(flow, conf->nonces_max);
    }
    if (conf->shares_nonces) {
        uint64_t lifetime_s = signature.time_s + 2 * window_s + 1 - now_s;
        flow->nonce_claim = fg_nonce_claim_make(ex->arena, pipeline->config->shared_state.prefix,
                                                signature.key_id, signature.nonce, lifetime_s);
        if (flow->nonce_claim == NULL)
            return refuse_for_memory(flow);
    }
    flow->expects_digest = true;
    memcpy(flow->body_digest, signature.body, sizeof(flow->body_digest));
    ex->user_id = fg_span_from_string(conf->signing_keys[signer].user);
    return OUTCOME_KNOWN;
}

/* ---- the other means ---- */

static enum outcome by_api_key(struct fg_flow *flow, struct fg_span presented)
{
    if (presented.data == NULL)
        return OUTCOME_ABSENT;
    const char *user = fg_api_keys_find(flow->thread->pipeline->api_keys, presented);
    if (user == NULL)
        return refuse(flow, "the API key is not accepted");
    flow->req->ex.user_id = fg_span_from_string(user);
    return OUTCOME_KNOWN;
}

static struct fg_span bearer_of(const struct fg_exchange *ex)
{
    struct fg_span value = fg_exchange_field(ex, FG_SPAN("authorization"));
    if (value.len <= 7 || !fg_span_equal_nocase(fg_span_make(value.data, 7), FG_SPAN("Bearer ")))
        return (struct fg_span){NULL, 0};
    return fg_span_trim(fg_span_make(value.data + 7, value.len - 7));
}

static enum outcome refuse_tries(struct fg_flow *flow)
{
    const struct fg_identity_conf *conf = &flow->thread->pipeline->config->identity;
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_RATE_LIMIT,
                             .status = 429,
                             .type = FG_RATE_LIMITED,
                             .message = "too many tokens from this address were not accepted",
                             .retry_after_ns = FG_S,
                             .policy = "identity.failed_tokens_burst",
                             .value = conf->failed_tokens_burst,
                             .limit = conf->failed_tokens_burst,
                             .position = UINT64_MAX,
                         });
    return OUTCOME_REFUSED;
}

static enum outcome by_token(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    struct fg_span token = bearer_of(ex);
    if (token.data == NULL)
        return OUTCOME_ABSENT;
    enum fg_jwt_verdict verdict =
        fg_jwt_verifier_check(flow->thread->verifier, ex->arena, ex->client_addr, token,
                              fg_clock_wall_ns() / FG_S, &ex->user_id, &flow->tier);
    if (verdict == FG_JWT_OK)
        return OUTCOME_KNOWN;
    if (verdict == FG_JWT_TOO_MANY_TRIES)
        return refuse_tries(flow);
    char message[96];
    snprintf(message, sizeof(message), "the bearer token is not accepted: %s",
             fg_jwt_verdict_name(verdict));
    return refuse_as(flow, message, true);
}

static enum outcome by_certificate(struct fg_flow *flow)
{
    if (flow->req->client_user.len == 0)
        return OUTCOME_ABSENT;
    flow->req->ex.user_id = flow->req->client_user;
    return OUTCOME_KNOWN;
}

/* ---- the stage ---- */

/* Backends have no use for what opens the gateway. False: no memory to leave them out. */
static bool remove_fields(struct fg_exchange *ex, struct fg_span one, struct fg_span other)
{
    struct fg_field *fields =
        fg_arena_try_alloc(ex->arena, (ex->field_count + 1) * sizeof(*fields));
    if (fields == NULL)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, one) && !fg_span_equal(ex->fields[i].name, other))
            fields[count++] = ex->fields[i];
    }
    ex->fields = fields;
    ex->field_count = count;
    return true;
}

/* Who reads the first and who reads the last would see two users. */
static bool is_said_twice(const struct fg_exchange *ex, struct fg_span name)
{
    size_t count = 0;
    for (size_t i = 0; i < ex->field_count; i++)
        count += fg_span_equal(ex->fields[i].name, name);
    return count > 1;
}

static enum outcome find_user(struct fg_flow *flow, struct fg_span signature, struct fg_span key)
{
    uint32_t means = flow->route->identity_by == 0 ? UINT32_MAX : flow->route->identity_by;
    enum outcome outcome = OUTCOME_ABSENT;
    if ((means & 1u << FG_IDENTITY_BY_SIGNATURE) != 0)
        outcome = by_signature(flow, signature);
    if (outcome == OUTCOME_ABSENT && (means & 1u << FG_IDENTITY_BY_API_KEY) != 0)
        outcome = by_api_key(flow, key);
    if (outcome == OUTCOME_ABSENT && (means & 1u << FG_IDENTITY_BY_TOKEN) != 0)
        outcome = by_token(flow);
    if (outcome == OUTCOME_ABSENT && (means & 1u << FG_IDENTITY_BY_CERTIFICATE) != 0)
        outcome = by_certificate(flow);
    return outcome;
}

static const char *how_to(uint32_t means)
{
    if (means == 0 || (means & 1u << FG_IDENTITY_BY_TOKEN) != 0)
        return "this route needs a token in the authorization field, as POST /api/session gives: "
               "\"Bearer <token>\"";
    if ((means & 1u << FG_IDENTITY_BY_SIGNATURE) != 0)
        return "this route needs a signature in the field x-floodgate-signature";
    if ((means & 1u << FG_IDENTITY_BY_API_KEY) != 0)
        return "this route needs an API key";
    return "this route needs a certificate of the client, with a name that can be a user id";
}

/* The route's edits of the request, which may name the user: so they are done here. */
static enum fg_stage_verdict edit_fields(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (fg_field_edit(flow, &flow->route->request_edits, &ex->fields, &ex->field_count))
        return FG_STAGE_CONTINUE;
    (void)refuse_for_memory(flow);
    return FG_STAGE_RESPOND;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    const struct fg_identity_conf *conf = &flow->thread->pipeline->config->identity;
    struct fg_span key_field = fg_span_from_string(conf->api_key_header);
    struct fg_span signature = {NULL, 0};
    struct fg_span key = {NULL, 0};
    if (conf->signing_key_count > 0)
        signature = fg_exchange_field(ex, signature_field);
    if (conf->api_key_count > 0)
        key = fg_exchange_field(ex, key_field);
    bool is_unclear = flow->route->identity != FG_IDENTITY_NONE &&
                      (is_said_twice(ex, FG_SPAN("authorization")) ||
                       (signature.data != NULL && is_said_twice(ex, signature_field)) ||
                       (key.data != NULL && is_said_twice(ex, key_field)));
    bool has_secrets = signature.data != NULL || key.data != NULL;
    if (has_secrets && !remove_fields(ex, signature_field, key_field)) {
        (void)refuse_for_memory(flow);
        return FG_STAGE_RESPOND;
    }
    if (flow->route->identity == FG_IDENTITY_NONE)
        return edit_fields(flow);
    enum outcome outcome =
        is_unclear ? refuse(flow, "two fields say who is asking; expected one of each kind")
                   : find_user(flow, signature, key);
    if (outcome == OUTCOME_ABSENT && flow->route->identity == FG_IDENTITY_REQUIRED)
        outcome = refuse(flow, how_to(flow->route->identity_by));
    return outcome == OUTCOME_REFUSED ? FG_STAGE_RESPOND : edit_fields(flow);
}

const struct fg_stage fg_stage_identity = {.name = "identity", .run = run};
