/*
 * stage_body.c: have the whole request body before anything behind the gateway is bothered.
 * Job      where the route says so (a slow client then holds no slot of a backend), and where a
 *          signature covers the body: it is compared here.
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

/* The whole is here. False: answered. */
static bool accept_whole(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (flow->expects_digest && !is_as_signed(flow)) {
        fg_flow_refuse(flow, &(struct fg_refusal){
                                 .reason = FG_REFUSED_UNAUTHENTICATED,
                                 .status = 401,
                                 .type = "authentication_error",
                                 .message = "the body is not the one that was signed",
                                 .position = UINT64_MAX,
                             });
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

void fg_stage_body_on_piece(struct fg_flow *flow, size_t len)
{
    flow->consumed_early += len;
    if (len > 0)
        fg_request_consumed(flow->req, len);
    if (!flow->is_body_complete || !accept_whole(flow))
        return;
    if (fg_route_conf_answers_itself(flow->route))
        fg_route_answer(flow);
    else
        fg_flow_resume(flow, FG_HOP_UPLOAD);
}

/* What has no backend is answered here: who asks is known by now, and what he may. */
static enum fg_stage_verdict go_on(struct fg_flow *flow)
{
    if (!fg_route_conf_answers_itself(flow->route))
        return FG_STAGE_CONTINUE;
    fg_route_answer(flow);
    return FG_STAGE_RESPOND;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    if (!is_needed(flow))
        return go_on(flow);
    if (flow->req->ex.has_body && !flow->is_body_complete)
        return FG_STAGE_WAIT;
    return accept_whole(flow) ? go_on(flow) : FG_STAGE_RESPOND;
}

static void cancel(struct fg_flow *flow)
{
    (void)flow; /* nobody else knows of the wait */
}

const struct fg_stage fg_stage_body = {.name = "body", .run = run, .cancel = cancel};
