/*
 * nonce_claim.c: see nonce_claim.h. The command is not sent again over a new connection: the first
 * may have had its effect, and its own nonce would look used.
 */
#include "pipeline/nonce_claim.h"

#include <inttypes.h>
#include <string.h>

struct fg_nonce_claim *fg_nonce_claim_make(struct fg_arena *arena, const char *prefix,
                                           struct fg_span key_id, struct fg_span nonce,
                                           uint64_t lifetime_s)
{
    struct fg_nonce_claim *claim = fg_arena_try_zalloc(arena, sizeof(*claim));
    if (claim == NULL)
        return NULL;
    claim->args[0] = FG_SPAN("SET");
    claim->args[1] = fg_arena_try_printf(arena, "%s:{nonces}:%.*s:%.*s", prefix,
                                         FG_SPAN_ARGS(key_id), FG_SPAN_ARGS(nonce));
    claim->args[2] = FG_SPAN("1");
    claim->args[3] = FG_SPAN("NX");
    claim->args[4] = FG_SPAN("EX");
    claim->args[5] = fg_arena_try_printf(arena, "%" PRIu64, lifetime_s);
    return claim->args[1].data == NULL || claim->args[5].data == NULL ? NULL : claim;
}

static enum fg_nonce_claimed verdict_of(enum fg_redis_outcome outcome, const redisReply *reply)
{
    if (outcome != FG_REDIS_REPLY || reply == NULL)
        return FG_NONCE_CLAIMED_UNKNOWN;
    if (reply->type == REDIS_REPLY_NIL)
        return FG_NONCE_CLAIMED_BEFORE;
    bool is_kept = reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0;
    return is_kept ? FG_NONCE_CLAIMED_FIRST : FG_NONCE_CLAIMED_UNKNOWN;
}

static void on_reply(void *owner, enum fg_redis_outcome outcome, const redisReply *reply)
{
    struct fg_nonce_claim *claim = owner;
    claim->command = NULL;
    claim->on_done(claim->owner, verdict_of(outcome, reply));
}

bool fg_nonce_claim_send(struct fg_nonce_claim *claim, struct fg_redis_link *link)
{
    const struct fg_redis_request request = {
        .args = claim->args,
        .arg_count = FG_NONCE_CLAIM_ARGS,
        .on_reply = on_reply,
        .owner = claim,
    };
    return link != NULL && fg_redis_link_submit(link, &request, &claim->command) == FG_OK;
}

void fg_nonce_claim_cancel(struct fg_nonce_claim *claim)
{
    if (claim->command != NULL)
        fg_redis_command_detach(claim->command);
    claim->command = NULL;
}
