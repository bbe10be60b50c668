/*
 * h2_watch.c: the heads of a server's frames, before the session sees them.
 * Job      refuse what the session would read header blocks of, or take too long a time for; tell
 *          frames that are late from frames that cannot be. What comes for a stream that we have
 *          reset was on its way and is ignored, as far as the stream's window reached; a server
 *          that says more of a stream that it has ended or reset breaks the connection, and so does
 *          one whose frames bring nothing for too long (empty DATA, pings, settings, windows for
 *          what we did not send, frames of no known type).
 * Thread   the owning event loop, below the session.
 * Memory   fixed, in the connection.
 * Source   RFC 9113 sections 4.2, 5.1 (closed), 8.4 (we allow no promises), 10.5 (floods).
 */
#include "h2_internal.h"

#include "base/clock.h"

#define LATE_COST_MIN 64u /* of a frame for a stream that is no more, in bytes */

static struct fg_h2 *owner_of(struct fg_h2_input *input)
{
    return FG_CONTAINER_OF(input, struct fg_h2, input);
}

void fg_h2_watch_open(struct fg_h2 *h2)
{
    const struct fg_cluster_conf *conf = &h2->upstream->thread->proxy->conf;
    fg_token_bucket_init(&h2->idle_frames, conf->h2_overhead_per_s, FG_S, conf->h2_overhead_burst,
                         h2->heard_ns);
}

void fg_h2_watch_earn(struct fg_h2 *h2, uint32_t frames)
{
    if (h2->idle_frames_earned < h2->upstream->thread->proxy->conf.h2_overhead_burst)
        h2->idle_frames_earned += frames;
}

static bool may_be_idle(struct fg_h2 *h2)
{
    uint64_t wait_ns;
    if (h2->idle_frames_earned == 0)
        return fg_token_bucket_try_take(&h2->idle_frames, h2->heard_ns, 1, &wait_ns);
    h2->idle_frames_earned--;
    return true;
}

/* By its head: whether there is content beside the padding shows later, and is earned then. */
static bool brings_nothing(const struct fg_h2_frame_head *hd)
{
    if (hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_CONTINUATION)
        return false;
    return hd->type != NGHTTP2_DATA || (hd->flags & NGHTTP2_FLAG_PADDED) != 0 ||
           (hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0);
}

void fg_h2_watch_note_reset(struct fg_h2 *h2, int32_t stream_id)
{
    fg_h2_resets_note(&h2->resets, stream_id);
    h2->late_left += FG_H2_STREAM_WINDOW;
    if (h2->late_left > FG_H2_CONNECTION_WINDOW)
        h2->late_left = FG_H2_CONNECTION_WINDOW;
}

static uint32_t take_late(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    uint32_t cost = hd->length < LATE_COST_MIN ? LATE_COST_MIN : hd->length;
    if (cost > h2->late_left)
        return NGHTTP2_ENHANCE_YOUR_CALM;
    h2->late_left -= cost;
    return NGHTTP2_NO_ERROR;
}

/* A stream that was never begun is the session's to judge. */
static uint32_t check_stream(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    bool is_begun = hd->stream_id % 2 == 1 && hd->stream_id <= h2->newest_id;
    if (!is_begun || nghttp2_session_find_stream(h2->session, hd->stream_id) != NULL)
        return NGHTTP2_NO_ERROR;
    return fg_h2_resets_may_have(&h2->resets, hd->stream_id) ? take_late(h2, hd)
                                                             : NGHTTP2_STREAM_CLOSED;
}

/* May a frame that the session has not seen yet end this one's stream? */
static bool may_be_ended(const struct fg_h2 *h2, int32_t stream_id)
{
    return h2->ended_id == stream_id || h2->ended_id == FG_H2_ENDED_SEVERAL;
}

static void note_end(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    bool is_end = hd->type == NGHTTP2_RST_STREAM ||
                  (hd->type == NGHTTP2_DATA && (hd->flags & NGHTTP2_FLAG_END_STREAM) != 0);
    if (hd->type == NGHTTP2_HEADERS)
        h2->ended_id = 0; /* before a block is read the session sees all */
    else if (is_end)
        h2->ended_id = h2->ended_id == 0 ? hd->stream_id : FG_H2_ENDED_SEVERAL;
}

static uint32_t check_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd)
{
    if (hd->length > FG_H2_FRAME_BYTES)
        return NGHTTP2_FRAME_SIZE_ERROR;
    if (hd->type == NGHTTP2_PUSH_PROMISE)
        return NGHTTP2_PROTOCOL_ERROR;
    if (brings_nothing(hd) && !may_be_idle(h2))
        return NGHTTP2_ENHANCE_YOUR_CALM;
    return hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS ? check_stream(h2, hd)
                                                                   : NGHTTP2_NO_ERROR;
}

static int on_frame(struct fg_h2_input *input, const struct fg_h2_frame_head *hd)
{
    struct fg_h2 *h2 = owner_of(input);
    bool is_content = hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS;
    if (is_content && may_be_ended(h2, hd->stream_id)) {
        int error = fg_h2_input_catch_up(input);
        if (error != 0)
            return error;
        h2->ended_id = 0;
    }
    uint32_t code = check_frame(h2, hd);
    if (code != NGHTTP2_NO_ERROR)
        return fg_h2_input_end(input, code);
    note_end(h2, hd);
    return 0;
}

static int on_unread(struct fg_h2_input *input)
{
    return fg_h2_answer_read(owner_of(input), NULL);
}

const struct fg_h2_input_ops fg_h2_watch_ops = {.on_frame = on_frame, .on_unread = on_unread};

int fg_h2_watch_take(struct fg_h2 *h2, const uint8_t *data, size_t len)
{
    h2->ended_id = 0;
    int error = fg_h2_input_take(&h2->input, data, len);
    if (error != 0 || (h2->input.is_deaf && !h2->is_refusing))
        fg_counter_add_owned(&h2->upstream->thread->metrics->malformed, 1);
    h2->is_refusing = h2->input.is_deaf;
    return error;
}
