/*
 * stage_identity.c: who is asking: the "sub" of a bearer token, if the route wants to know.
 */
#include "flow.h"

#include <stdio.h>

static struct fg_span bearer_of(const struct fg_exchange *ex)
{
    struct fg_span value = fg_exchange_field(ex, FG_SPAN("authorization"));
    if (value.len <= 7 || !fg_span_equal_nocase(fg_span_make(value.data, 7), FG_SPAN("Bearer ")))
        return (struct fg_span){NULL, 0};
    return fg_span_trim(fg_span_make(value.data + 7, value.len - 7));
}

static enum fg_stage_verdict refuse(struct fg_flow *flow, const char *message)
{
    fg_flow_refuse(flow, &(struct fg_refusal){
                             .reason = FG_REFUSED_UNAUTHENTICATED,
                             .status = 401,
                             .type = "authentication_error",
                             .message = message,
                             .position = UINT64_MAX,
                         });
    return FG_STAGE_RESPOND;
}

static enum fg_stage_verdict run(struct fg_flow *flow)
{
    struct fg_exchange *ex = &flow->req->ex;
    if (flow->route->identity == FG_IDENTITY_NONE)
        return FG_STAGE_CONTINUE;
    struct fg_span token = bearer_of(ex);
    if (token.data == NULL) {
        if (flow->route->identity == FG_IDENTITY_OPTIONAL)
            return FG_STAGE_CONTINUE;
        return refuse(flow, "this route needs a token in the authorization field, as POST "
                            "/api/session gives: \"Bearer <token>\"");
    }
    enum fg_jwt_verdict verdict = fg_jwt_verify(flow->thread->signer, ex->arena, token,
                                                fg_clock_wall_ns() / FG_S, &ex->user_id);
    if (verdict == FG_JWT_OK)
        return FG_STAGE_CONTINUE;
    char message[96];
    snprintf(message, sizeof(message), "the bearer token is not accepted: %s",
             fg_jwt_verdict_name(verdict));
    return refuse(flow, message);
}

const struct fg_stage fg_stage_identity = {.name = "identity", .run = run};
