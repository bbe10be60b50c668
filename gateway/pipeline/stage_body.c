/*
 * stage_body.c: have the whole request body before anything behind the gateway is bothered.
 * Job      where the route says so (a slow client then holds no slot of a backend), and where a
 *          signature covers the body: it is compared here, and then, where gateways share what was
 *          used before, its nonce is claimed.
 * Memory   the request's arena, within the route's body_max. What is kept counts as consumed
 * towards the codec, so that its window does not close; the backend's own count is held back then.
 */
#include "flow.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

static bool is_needed(const struct fg_flow *flow)
{
    return (flow->route->buffer_request || flow->expects_digest) &&
           flow->req->ex.upgrade.data == NULL;
}

static bool is_as_signed(const struct fg_flow *flow)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_fine = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (const struct fg_body_piece *at = flow->body_first; is_fine && at != NULL; at = at->next)
        is_fine = EVP_DigestUpdate(ctx, at->data, at->len) == 1;
    is_fine = is_fine && EVP_DigestFinal_ex(ctx, digest, &len) == 1 &&
              CRYPTO_memcmp(digest, flow->body_digest, sizeof(flow->body_digest)) == 0;
    EVP_MD_CTX_free(ctx);
    return is_fine;
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
    if (ex->has_body && ex->content_length == -1 && ex->trailer_count == 0) {
        ex->content_length = 0;
        for (const struct fg_body_piece *at = flow->body_first; at != NULL; at = at->next)
            ex->content_length += (int64_t)at->len;
    }
    return true;
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
        fg_flow_retry_stage(flow, FG_HOP_SHARED);
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
        return FG_STAGE_WAIT;
    }
    flow->nonce_claim = NULL;
    refuse_unclaimed(flow);
    return FG_STAGE_RESPOND;
}

void fg_stage_body_on_piece(struct fg_flow *flow, size_t len)
{
    flow->consumed_early += len;
    if (len > 0)
        fg_request_consumed(flow->req, len);
    bool is_claiming = flow->nonce_claim != NULL && flow->nonce_claim->command != NULL;
    if (flow->is_body_complete && !is_claiming)
        fg_flow_retry_stage(flow, FG_HOP_UPLOAD);
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    if (is_needed(flow) && !flow->is_body_accepted) {
        if (flow->req->ex.has_body && !flow->is_body_complete)
            return FG_STAGE_WAIT;
        if (!accept_whole(flow))
            return FG_STAGE_RESPOND;
        flow->is_body_accepted = true;
    }
    return flow->nonce_claim != NULL ? claim_nonce(flow) : go_on(flow);
}

static void cancel(struct fg_flow *flow)
{
    if (flow->nonce_claim != NULL)
        fg_nonce_claim_cancel(flow->nonce_claim);
    flow->nonce_claim = NULL;
}

const struct fg_stage fg_stage_body = {.name = "body", .run = run, .cancel = cancel};
