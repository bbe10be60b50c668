/*
 * h2_guard.c: what a client may do that moves no content, and frames for streams that are no more.
 * Job      each connection has an allowance of frames that cost us work and bring none: resets,
 *          pings, settings, priorities, empty DATA, content and heads for streams that we reset or
 *          that GOAWAY has excluded, window updates, heads that are answered as none.
 *          A request that has waited for a second is taken back for less.
 *          It fills with time and with the DATA that we send; a client that uses it up gets
 *          GOAWAY(ENHANCE_YOUR_CALM), and one that comes back for another has less of it. Whoever
 *          is ended for a flood owes a burst for that as well.
 *          Frames for a stream that the client has ended, or has passed over, end the connection;
 *          those for a stream that we reset are late, and ignored (RFC 9113 section 5.1).
 * Thread   the loop's.
 * Memory   fixed, in the connection.
 * Source   RFC 9113 section 10.5; CVE-2019-9511 to 9518 (floods), CVE-2023-44487 (rapid reset),
 *          CVE-2025-8671 (resets that the client provokes), CVE-2024-27316 (CONTINUATION:
 *          backends/h2_block.c bounds those of one block).
 */
#include "http/h2_internal.h"

#include "base/clock.h"
#include "config/config.h"
#include "net/listener.h"
#include "net/loop.h"
#include "policies/wide_math.h"

#include <assert.h>

#define OPENED_BITS 64
#define PADDING_MAX 256u /* with the byte that says how much; what is longer brings more content */
#define PATIENCE_NS FG_S /* with it, no more resets a second than a connection may have streams */
#define GIVEN_PART 8u    /* of a burst, whatever an address owes: 15 resets where it is 1,000 */

/* What a frame takes from the allowance. */
static uint32_t cost_of(const struct fg_h2_frame_head *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA:
        if (hd->length == 0)
            return (hd->flags & NGHTTP2_FLAG_END_STREAM) != 0 ? 0 : 2;
        return (hd->flags & NGHTTP2_FLAG_PADDED) != 0 && hd->length <= 2 * PADDING_MAX ? 1 : 0;
    case NGHTTP2_HEADERS:
        return 0; /* bounded by streams, and by what becomes of them */
    case NGHTTP2_RST_STREAM:
        return 0; /* by what it ends: fg_h2_guard_reset */
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
        return (hd->flags & NGHTTP2_FLAG_ACK) != 0 ? 1 : 4;
    default:
        return 1;
    }
}

static void gain(struct fg_h2 *h2, uint32_t gained)
{
    uint32_t most = h2->codec.transport->env->limits->h2_overhead_burst;
    if (h2->allowance < most)
        h2->allowance = most - h2->allowance < gained ? most : h2->allowance + gained;
}

bool fg_h2_spend(struct fg_h2 *h2, uint32_t cost)
{
    h2->spent += cost;
    if (cost <= h2->allowance) {
        h2->allowance -= cost;
        return true;
    }
    const struct fg_codec_env *env = h2->codec.transport->env;
    const struct fg_limits_conf *limits = env->limits;
    uint64_t now_ns = fg_loop_now_ns(env->loop);
    uint64_t passed_ns = now_ns - h2->allowance_ns;
    if (passed_ns > FG_S * 3600)
        passed_ns = FG_S * 3600;
    uint64_t gained = passed_ns / FG_MS * limits->h2_overhead_per_s / 1000;
    if (gained > 0) {
        h2->allowance_ns = now_ns;
        gain(h2, gained > limits->h2_overhead_burst ? limits->h2_overhead_burst : (uint32_t)gained);
    }
    if (cost > h2->allowance) {
        fg_h2_fail_flood(h2, "more frames that bring nothing than allowed");
        return false;
    }
    h2->allowance -= cost;
    return true;
}

void fg_h2_earn(struct fg_h2 *h2, uint32_t gained)
{
    h2->spent = fg_subtract_floor(h2->spent, gained);
    gain(h2, gained);
}

void fg_h2_guard_open(struct fg_h2 *h2)
{
    const struct fg_transport *transport = h2->codec.transport;
    uint32_t burst = transport->env->limits->h2_overhead_burst;
    uint32_t most_owed = burst - burst / GIVEN_PART;
    h2->allowance =
        burst -
        (transport->overhead_owed < most_owed ? (uint32_t)transport->overhead_owed : most_owed);
    h2->allowance_ns = fg_loop_now_ns(transport->env->loop);
    h2->opened_ns = h2->allowance_ns;
    if (transport->overhead_owed > 0)
        fg_counter_add_owned(&transport->env->stats->h2_indebted, 1);
}

void fg_h2_guard_close(struct fg_h2 *h2)
{
    struct fg_transport *transport = h2->codec.transport;
    const struct fg_limits_conf *limits = transport->env->limits;
    uint64_t open_ns = fg_subtract_floor(fg_loop_now_ns(transport->env->loop), h2->opened_ns);
    uint64_t given = fg_multiply_divide(open_ns, limits->h2_overhead_per_s, FG_S) +
                     limits->h2_overhead_burst / GIVEN_PART;
    transport->overhead_spent = fg_subtract_floor(h2->spent, given);
    if (transport->has_flooded) /* a bomb spends nothing, and another connection is dear */
        transport->overhead_spent += limits->h2_overhead_burst;
    h2->spent = 0;
}

void fg_h2_note_opened(struct fg_h2 *h2, int32_t id)
{
    uint32_t passed = (uint32_t)(id - h2->newest_id) / 2;
    h2->opened = passed >= OPENED_BITS ? 1 : h2->opened << passed | 1;
    h2->newest_id = id;
}

bool fg_h2_blame(struct fg_h2 *h2, const char *reason)
{
    fg_codec_note_error(h2->codec.transport, "h2", reason);
    return fg_h2_spend(h2, FG_H2_RESET_COST);
}

void fg_h2_reset_for(struct fg_h2 *h2, struct fg_h2_wire *wire, uint32_t error_code,
                     const char *reason)
{
    fg_h2_reset_wire(h2, wire, error_code);
    (void)fg_h2_blame(h2, reason); /* or the connection has failed */
}

/* Was it ever opened? Only the newest can be told. */
static bool is_passed_over(const struct fg_h2 *h2, int32_t id)
{
    uint32_t behind = (uint32_t)(h2->newest_id - id) / 2;
    return behind < OPENED_BITS && (h2->opened >> behind & 1) == 0;
}

bool fg_h2_guard_gone(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    if (is_passed_over(h2, hd->stream_id)) {
        fg_h2_fail(h2, NGHTTP2_PROTOCOL_ERROR, "a stream that was passed over");
        return false;
    }
    if (fg_h2_resets_may_have(&h2->resets, hd->stream_id))
        return fg_h2_spend(h2, FG_H2_LATE_COST);
    fg_h2_fail(h2, NGHTTP2_STREAM_CLOSED, "a stream that is closed");
    return false;
}

/* Who has waited for long has not asked in order to take it back: a deadline of the client's. */
bool fg_h2_guard_reset(struct fg_h2 *h2, struct fg_h2_wire *wire)
{
    const struct fg_stream *stream = wire != NULL ? fg_h2_stream_of(wire) : NULL;
    uint64_t now_ns = fg_loop_now_ns(h2->codec.transport->env->loop);
    bool is_late =
        stream != NULL && fg_subtract_floor(now_ns, stream->req.ex.started_ns) >= PATIENCE_NS;
    return fg_h2_spend(h2, is_late ? FG_H2_LATE_COST : FG_H2_RESET_COST);
}

/* No client may promise anything (section 8.4), nor say anything before its settings (3.4). */
bool fg_h2_guard_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    bool is_settings = hd->type == NGHTTP2_SETTINGS &&
                       (h2->has_heard_settings || (hd->flags & NGHTTP2_FLAG_ACK) == 0);
    if (hd->length > FG_H2_FRAME_BYTES) {
        fg_h2_fail(h2, NGHTTP2_FRAME_SIZE_ERROR, "a frame that is too large");
        return false;
    }
    if (hd->type == NGHTTP2_PUSH_PROMISE || (!h2->has_heard_settings && !is_settings)) {
        fg_h2_fail(h2, NGHTTP2_PROTOCOL_ERROR, "a frame that no client may send there");
        return false;
    }
    h2->has_heard_settings = true;
    uint32_t cost = cost_of(hd);
    return cost == 0 || fg_h2_spend(h2, cost);
}
