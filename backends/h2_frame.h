/*
 * h2_frame.h: the head of an HTTP/2 frame, found in bytes that come in any pieces.
 * Thread   the owner's loop.
 * Source   RFC 9113 section 4.1. Names of frame types, flags and error codes are nghttp2's.
 */
#ifndef FG_H2_FRAME_H
#define FG_H2_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FG_H2_FRAME_HEAD ((size_t)9)
#define FG_H2_FRAME_BYTES ((size_t)16384) /* of content; we allow no more */
#define FG_H2_PRIORITY_BYTES ((size_t)5)  /* what a PRIORITY is, by itself and in HEADERS */
#define FG_H2_BOMB_HEADS 4u               /* so many of the largest head in one head are none */

struct fg_h2_frame_head {
    uint32_t length;
    uint8_t type;
    uint8_t flags;
    int32_t stream_id;
};

/* A head on its way in; zeroed: none has begun. */
struct fg_h2_scan {
    uint8_t head_len;
    uint8_t head[FG_H2_FRAME_HEAD];
};

static inline uint32_t fg_h2_read_u32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* An id, or an increment: without the reserved bit. */
static inline int32_t fg_h2_read_u31(const uint8_t *from)
{
    return (int32_t)(fg_h2_read_u32(from) & 0x7fffffff);
}

static inline void fg_h2_write_u32(uint8_t *to, uint32_t number)
{
    to[0] = (uint8_t)(number >> 24);
    to[1] = (uint8_t)(number >> 16);
    to[2] = (uint8_t)(number >> 8);
    to[3] = (uint8_t)number;
}

/* Writes FG_H2_FRAME_HEAD bytes. */
static inline void fg_h2_write_head(uint8_t *to, size_t length, uint8_t type, uint8_t flags,
                                    int32_t stream_id)
{
    to[0] = (uint8_t)(length >> 16);
    to[1] = (uint8_t)(length >> 8);
    to[2] = (uint8_t)length;
    to[3] = type;
    to[4] = flags;
    fg_h2_write_u32(to + 5, (uint32_t)stream_id);
}

static inline void fg_h2_read_head(const uint8_t *from, struct fg_h2_frame_head *hd)
{
    *hd = (struct fg_h2_frame_head){
        .length = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2],
        .type = from[3],
        .flags = from[4],
        .stream_id = fg_h2_read_u31(from + 5),
    };
}

/* Takes bytes of a head; true when it is complete. */
static inline bool fg_h2_scan_head(struct fg_h2_scan *scan, const uint8_t **at, const uint8_t *end,
                                   struct fg_h2_frame_head *hd)
{
    size_t there = (size_t)(end - *at);
    if (scan->head_len == 0 && there >= FG_H2_FRAME_HEAD) {
        fg_h2_read_head(*at, hd);
        *at += FG_H2_FRAME_HEAD;
        return true;
    }
    size_t missing = FG_H2_FRAME_HEAD - scan->head_len;
    size_t part = there < missing ? there : missing;
    memcpy(scan->head + scan->head_len, *at, part);
    *at += part;
    if (part < missing) {
        scan->head_len = (uint8_t)(scan->head_len + part);
        return false;
    }
    fg_h2_read_head(scan->head, hd);
    scan->head_len = 0;
    return true;
}

/* ---- streams that we have reset ---- */

#define FG_H2_RESETS_NOTED ((size_t)32)

/* What comes for one was on its way, and is ignored (RFC 9113 section 5.1). Zeroed: none. */
struct fg_h2_resets {
    int32_t ids[FG_H2_RESETS_NOTED]; /* newest over oldest */
    size_t count;
};

static inline void fg_h2_resets_note(struct fg_h2_resets *resets, int32_t id)
{
    resets->ids[resets->count++ % FG_H2_RESETS_NOTED] = id;
}

/* Where too many were to be noted, that is taken for true. */
static inline bool fg_h2_resets_may_have(const struct fg_h2_resets *resets, int32_t id)
{
    for (size_t i = 0; i < FG_H2_RESETS_NOTED; i++) {
        if (resets->ids[i] == id)
            return true;
    }
    return resets->count > FG_H2_RESETS_NOTED;
}

#endif
