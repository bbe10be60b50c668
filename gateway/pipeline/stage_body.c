/*
 * stage_body.c: have the whole request body before anything behind the gateway is bothered.
 * Job      where the backend can do nothing without it (orders, inference, sessions) and where the
 *          route says so: whoever announces a body and does not send it holds no place there. And
 *          where a signature covers the body: it is compared here, and then, where gateways share
 *          what was used before, its nonce is claimed.
 * Memory   the request's arena, within what the backend takes and the route's body_max. What is
 *          kept counts as consumed towards the codec, so that its window does not close; the
 *          backend's own count is held back then. All that wait hold a share of request memory at
 *          most (limits.awaiting_body_share): bodies that mean to come are not the oldest.
 */
#include "flow.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

/* Sets flow->body_bytes_max. */
static bool is_needed(struct fg_flow *flow)
{
    const struct fg_exchange *ex = &flow->req->ex;
    flow->body_bytes_max = ex->body_bytes_max;
    if (ex->upgrade.data != NULL)
        return false;
    if (ex->has_body && !fg_route_conf_answers_itself(flow->route)) {
        const struct fg_backend_thread *backend = fg_flow_backend(flow);
        uint64_t bytes_max;
        if (backend->backend->ops->wants_body != NULL &&
            backend->backend->ops->wants_body(backend, ex, &bytes_max)) {
            if (bytes_max < ex->body_bytes_max)
                flow->body_bytes_max = bytes_max;
            return true;
        }
    }
    return flow->route->buffer_request || flow->expects_digest;
}

static bool is_as_signed(const struct fg_flow *flow)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    return EVP_Digest(flow->body.data, flow->body.len, digest, &len, EVP_sha256(), NULL) == 1 &&
           CRYPTO_memcmp(digest, flow->body_digest, sizeof(flow->body_digest)) == 0;
}

static void refuse_as_too_large(struct fg_flow *flow, uint64_t bytes)
{
    char message[96];
    snprintf(message, sizeof(message),
             "the request body is too large; expected at most %" PRIu64 " bytes",
             flow->body_bytes_max);
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_BODY_TOO_LARGE,
                             .status = 413,
                             .type = "invalid_request",
                             .message = message,
                             .policy = "body_max",
                             .value = bytes,
                             .limit = flow->body_bytes_max,
                             .position = UINT64_MAX,
                         });
}

static void refuse_signature(struct fg_flow *flow, const char *message)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_UNAUTHENTICATED,
                             .status = 401,
                             .type = "authentication_error",
                             .message = message,
                             .position = UINT64_MAX,
                         });
}

/* The whole is here. False: answered. */
static bool accept_whole(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (flow->expects_digest && !is_as_signed(flow)) {
        refuse_signature(flow, "the body is not the one that was signed");
        return false;
    }
    /* Its length is known now, and a backend is better off with it. */
    if (ex->has_body && ex->content_length == -1 && ex->trailer_count == 0)
        ex->content_length = (int64_t)flow->body.len;
    flow->is_body_accepted = true;
    return true;
}

/* ---- the line of those that wait ---- */

/* Every arena in it holds something. */
static bool is_awaited(const struct fg_flow *flow)
{
    return flow->awaiting_chunks > 0;
}

/* What it holds by now. */
static void weigh(struct fg_flow *flow)
{
    const size_t chunks = flow->req->ex.arena->chunk_count;
    flow->thread->awaiting_chunks += chunks - flow->awaiting_chunks;
    flow->awaiting_chunks = chunks;
}

static void begin_wait(struct fg_flow *flow)
{
    fg_counter_add_owned(&flow->thread->metrics->awaiting_body, 1);
    fg_list_push_back(&flow->thread->awaiting_bodies, &flow->in_awaiting);
    weigh(flow);
}

static void end_wait(struct fg_flow *flow)
{
    fg_counter_sub_owned(&flow->thread->metrics->awaiting_body, 1);
    fg_list_remove(&flow->in_awaiting);
    flow->thread->awaiting_chunks -= flow->awaiting_chunks;
    flow->awaiting_chunks = 0;
}

static void refuse_as_longest(struct fg_flow *flow)
{
    const struct fg_pipeline_thread *thread = flow->thread;
    const struct fg_refusal refusal = {
        .reason = FG_REFUSED_NO_MEMORY,
        .status = 503,
        .type = "overloaded",
        .message = "the requests that wait for their bodies hold as much memory as they may, and "
                   "this one has waited longest",
        .retry_after_ns = FG_S,
        .policy = "awaiting_body_share",
        .value = thread->awaiting_chunks * FG_ARENA_CHUNK_BYTES,
        .limit = thread->awaiting_chunks_max * FG_ARENA_CHUNK_BYTES,
        .position = UINT64_MAX,
    };
    end_wait(flow);
    fg_flow_refuse(flow, &refusal);
}

/* `flow` has begun to wait, or grown; it may be in the way itself, and is answered. */
static void make_room(struct fg_flow *flow)
{
    struct fg_pipeline_thread *thread = flow->thread;
    const struct fg_list *line = &thread->awaiting_bodies;
    while (thread->awaiting_chunks > thread->awaiting_chunks_max && line->next != line->prev) {
        struct fg_flow *longest = FG_CONTAINER_OF(line->next, struct fg_flow, in_awaiting);
        refuse_as_longest(longest);
        if (longest == flow)
            return;
    }
}

/* ---- the stage ---- */

bool fg_stage_body_takes(struct fg_flow *flow, size_t len)
{
    if (!is_awaited(flow) || len <= flow->body_bytes_max - flow->body.len)
        return true;
    end_wait(flow);
    refuse_as_too_large(flow, flow->body.len + len);
    return false;
}

void fg_stage_body_on_piece(struct fg_flow *flow, size_t len)
{
    flow->consumed_early += len;
    if (len > 0)
        fg_request_consumed(flow->req, len);
    if (!is_awaited(flow))
        return;
    if (!flow->is_body_complete) {
        weigh(flow);
        make_room(flow);
        return;
    }
    end_wait(flow);
    if (accept_whole(flow))
        fg_flow_retry_stage(flow);
}

/* What has no backend is answered here: who asks is known by now, and what he may. */
static enum fg_stage_verdict go_on(struct fg_flow *flow)
{
    if (!fg_route_conf_answers_itself(flow->route))
        return FG_STAGE_CONTINUE;
    fg_route_answer(flow);
    return FG_STAGE_RESPOND;
}

static void refuse_unclaimed(struct fg_flow *flow)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_BACKEND_BUSY,
                             .status = 503,
                             .type = "overloaded",
                             .message = "whether the signature was used at another gateway cannot "
                                        "be told now; sign anew",
                             .retry_after_ns = FG_S,
                             .policy = "signatures.shared",
                             .position = UINT64_MAX,
                         });
}

static void on_claimed(void *owner, enum fg_nonce_claimed claimed)
{
    struct fg_flow *flow = owner;
    flow->nonce_claim = NULL;
    fg_loop_refresh_now(flow->thread->loop);
    switch (claimed) {
    case FG_NONCE_CLAIMED_FIRST:
        fg_flow_retry_stage(flow);
        break;
    case FG_NONCE_CLAIMED_BEFORE:
        refuse_signature(flow, "the nonce of the signature was used before, at another gateway");
        break;
    case FG_NONCE_CLAIMED_UNKNOWN:
        refuse_unclaimed(flow);
        break;
    }
}

/* Last of all, so that nothing but a request that goes on uses a nonce up. */
static enum fg_stage_verdict claim_nonce(struct fg_flow *flow)
{
    struct fg_nonce_claim *claim = flow->nonce_claim;
    claim->on_done = on_claimed;
    claim->owner = flow;
    if (fg_nonce_claim_send(claim, flow->thread->shared_state)) {
        fg_flow_arm_deadline(flow, flow->req->ex.deadline_ns);
        return fg_flow_wait(flow, FG_HOP_SHARED);
    }
    flow->nonce_claim = NULL;
    refuse_unclaimed(flow);
    return FG_STAGE_RESPOND;
}

static enum fg_stage_verdict wait_for_rest(struct fg_flow *flow)
{
    begin_wait(flow);
    make_room(flow); /* the newest has not waited longest */
    /* What came while it waited for something else: the client may send as much again. */
    flow->consumed_early = flow->body.len;
    if (flow->body.len > 0)
        fg_request_consumed(flow->req, flow->body.len);
    return fg_flow_wait(flow, FG_HOP_UPLOAD);
}

/* False: `verdict` is what becomes of it. */
static bool has_whole(struct fg_flow *flow, enum fg_stage_verdict *verdict)
{
    const struct fg_exchange *ex = &flow->req->ex;
    const uint64_t announced = ex->content_length > 0 ? (uint64_t)ex->content_length : 0;
    const uint64_t bytes = announced > flow->body.len ? announced : flow->body.len;
    *verdict = FG_STAGE_RESPOND;
    if (bytes > flow->body_bytes_max) {
        refuse_as_too_large(flow, bytes);
        return false;
    }
    if (ex->has_body && !flow->is_body_complete) {
        *verdict = wait_for_rest(flow);
        return false;
    }
    return accept_whole(flow);
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    enum fg_stage_verdict verdict;
    if (!flow->is_body_accepted && is_needed(flow) && !has_whole(flow, &verdict))
        return verdict;
    return flow->nonce_claim != NULL ? claim_nonce(flow) : go_on(flow);
}

static void cancel(struct fg_flow *flow)
{
    if (is_awaited(flow))
        end_wait(flow);
    if (flow->nonce_claim != NULL)
        fg_nonce_claim_cancel(flow->nonce_claim);
    flow->nonce_claim = NULL;
}

const struct fg_stage fg_stage_body = {.name = "body", .run = run, .cancel = cancel};
