/*
 * h2_guard.c: what a client may do that moves no content, and frames for streams that are no more.
 * Job      each connection has an allowance of frames that cost us work and bring none: resets,
 *          pings, settings, priorities, empty DATA, DATA for streams that we reset, window updates.
 *          It fills with time and with the DATA that we send; a client that uses it up gets
 *          GOAWAY(ENHANCE_YOUR_CALM), and one that comes back for another has less of it.
 *          Frames for a stream that the client has ended, or has passed over, end the connection;
 *          those for a stream that we reset are late, and ignored (RFC 9113 section 5.1).
 *          The session tells nothing of frames that it ignores, so their heads are read here.
 * Thread   the loop's.
 * Memory   fixed, in the connection.
 * Source   RFC 9113 section 10.5; CVE-2019-9511 to 9518 (floods), CVE-2023-44487 (rapid reset),
 *          CVE-2025-8671 (resets that the client provokes), CVE-2024-27316 (CONTINUATION; the
 *          library bounds those of one block).
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
#define LATE_COST 1u     /* of DATA for a stream that we reset */
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
        return FG_H2_RESET_COST;
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
        fg_counter_add_owned(&env->stats->h2_floods, 1);
        h2->failure_code = NGHTTP2_ENHANCE_YOUR_CALM;
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
    h2->spent = 0;
}

void fg_h2_note_opened(struct fg_h2 *h2, int32_t id)
{
    uint32_t passed = (uint32_t)(id - h2->newest_id) / 2;
    h2->opened = passed >= OPENED_BITS ? 1 : h2->opened << passed | 1;
    h2->newest_id = id;
}

/*
 * For most of these the session has told of a frame that it did not like, and that was paid for. Of
 * DATA that does not keep to Content-Length it tells nothing.
 */
void fg_h2_note_reset_sent(struct fg_h2 *h2, int32_t id, uint32_t error_code)
{
    fg_h2_resets_note(&h2->resets, id);
    switch (error_code) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_REFUSED_STREAM:
        if (h2->resets_paid > 0)
            h2->resets_paid--;
        else
            h2->resets_owed++;
        break;
    default:
        break;
    }
}

/* A client that sends on pays what it owes. */
static bool settle_debt(struct fg_h2 *h2)
{
    uint32_t owed = h2->resets_owed;
    h2->resets_owed = 0;
    return owed == 0 || fg_h2_spend(h2, owed * FG_H2_RESET_COST);
}

/* Was it ever opened? Only the newest can be told. */
static bool is_passed_over(const struct fg_h2 *h2, int32_t id)
{
    uint32_t behind = (uint32_t)(h2->newest_id - id) / 2;
    return behind < OPENED_BITS && (h2->opened >> behind & 1) == 0;
}

/* No client may promise anything (RFC 9113 section 8.4): the session is not to read its fields. */
static uint32_t check_promise(const struct fg_h2_frame_head *hd)
{
    return hd->type == NGHTTP2_PUSH_PROMISE ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
}

/*
 * The session looks at no priority of RFC 7540, not even at its form (RFC 9113 section 6.3). A
 * stream that depends on itself was an error (RFC 7540 section 5.3.1), and is one in HEADERS.
 */
static uint32_t check_priority(const struct fg_h2_frame_head *hd)
{
    if (hd->type != NGHTTP2_PRIORITY)
        return NGHTTP2_NO_ERROR;
    if (hd->length != FG_H2_PRIORITY_BYTES)
        return hd->stream_id == 0 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_FRAME_SIZE_ERROR;
    return hd->stream_id == 0 || hd->depends_on == hd->stream_id ? NGHTTP2_PROTOCOL_ERROR
                                                                 : NGHTTP2_NO_ERROR;
}

/* What was on its way when we reset a stream is at most its window, and few frames. */
static uint32_t take_late(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    bool may_come = hd->type != NGHTTP2_DATA || fg_h2_spend(h2, LATE_COST);
    return may_come ? NGHTTP2_NO_ERROR : NGHTTP2_ENHANCE_YOUR_CALM;
}

static uint32_t check_stream(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    bool is_for_content = hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS;
    bool is_gone = hd->stream_id % 2 == 1 && hd->stream_id <= h2->newest_id;
    if (!is_for_content || !is_gone || nghttp2_session_find_stream(h2->session, hd->stream_id))
        return NGHTTP2_NO_ERROR;
    if (is_passed_over(h2, hd->stream_id))
        return NGHTTP2_PROTOCOL_ERROR;
    return fg_h2_resets_may_have(&h2->resets, hd->stream_id) ? take_late(h2, hd)
                                                             : NGHTTP2_STREAM_CLOSED;
}

/* Looks at a frame's head. */
static bool check_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    if (hd->length > FG_H2_FRAME_BYTES) { /* the session takes any CONTINUATION */
        h2->failure_code = NGHTTP2_FRAME_SIZE_ERROR;
        return false;
    }
    uint32_t cost = cost_of(hd);
    if (cost > 0 && !fg_h2_spend(h2, cost))
        return false;
    h2->failure_code = check_promise(hd);
    if (h2->failure_code == NGHTTP2_NO_ERROR)
        h2->failure_code = check_priority(hd);
    if (h2->failure_code == NGHTTP2_NO_ERROR)
        h2->failure_code = check_stream(h2, hd);
    return h2->failure_code == NGHTTP2_NO_ERROR;
}

/* Must the session have seen all before, so that its streams are as this frame finds them? */
static bool depends_on_streams(const struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    bool is_new = hd->type == NGHTTP2_HEADERS && hd->stream_id > h2->newest_id;
    return (hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS) && !is_new;
}

static int on_frame(struct fg_h2_input *input, const struct fg_h2_frame_head *hd)
{
    struct fg_h2 *h2 = FG_CONTAINER_OF(input, struct fg_h2, input);
    if (depends_on_streams(h2, hd)) {
        int error = fg_h2_input_catch_up(input);
        if (error != 0)
            return error;
    }
    return check_frame(h2, hd) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_unread(struct fg_h2_input *input)
{
    struct fg_h2 *h2 = FG_CONTAINER_OF(input, struct fg_h2, input);
    return fg_h2_read_block(h2, input->block.stream_id, NULL, NULL, false);
}

const struct fg_h2_input_ops fg_h2_guard_ops = {.on_frame = on_frame, .on_unread = on_unread};

int fg_h2_guarded_recv(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    if (!settle_debt(h2))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    int error = fg_h2_input_take(&h2->input, data, len);
    if (error == NGHTTP2_ERR_FLOODED)
        fg_counter_add_owned(&h2->codec.transport->env->stats->h2_floods, 1);
    return error;
}
