/*
 * tls_records.c: see tls_records.h.
 *
 * Every way in which a record can be wrong has its alert from RFC 8446; what is wrong is never
 * looked at further, and nothing of it is handed out.
 */
#include "net/tls_records.h"

#include <assert.h>
#include <string.h>

#define TYPE_ALERT 21
#define TYPE_HANDSHAKE 22
#define TYPE_DATA 23
#define MESSAGE_KEY_UPDATE 24
#define LEVEL_WARNING 1
#define LEVEL_FATAL 2
#define STEPS_OF_AN_UPDATE 5u
#define PIECES_MAX                                                                                 \
    4 /* a record of 16 KiB lies in two segments, begun anywhere, and what came now */

/* Of what follows the head. More would be allowed to a cipher that adds more than these do. */
#define BODY_BYTES_MAX (FG_TLS_OPEN_ROOM + FG_TLS_TAG_BYTES)

bool fg_tls_records_init(struct fg_tls_records *records, struct fg_tls_crypto *crypto,
                         struct fg_segment_pool *segments, enum fg_tls_suite suite)
{
    const struct fg_tls_keys opening = records->opening, sealing = records->sealing;
    *records = (struct fg_tls_records){.crypto = crypto,
                                       .segments = segments,
                                       .sealed_max = FG_TLS_SEALED_MAX,
                                       .opening = opening,
                                       .sealing = sealing,
                                       .alert = FG_TLS_ALERT_NONE};
    return fg_tls_keys_derive(&records->opening, crypto, suite, false) &&
           fg_tls_keys_derive(&records->sealing, crypto, suite, true);
}

void fg_tls_records_fini(struct fg_tls_records *records)
{
    if (records->segments != NULL)
        fg_byte_queue_clear(&records->body, records->segments);
    fg_tls_keys_wipe(&records->opening);
    fg_tls_keys_wipe(&records->sealing);
}

static enum fg_tls_result fail(struct fg_tls_records *records, enum fg_tls_alert alert)
{
    records->has_failed = true;
    records->alert = (uint16_t)alert;
    return FG_TLS_FAILED;
}

/* Something that brought no data; FG_TLS_MORE: go on. */
static enum fg_tls_result count(struct fg_tls_records *records, unsigned steps)
{
    records->chatter += steps;
    return records->chatter > FG_TLS_CHATTER_MAX ? FG_TLS_FLOOD : FG_TLS_MORE;
}

/* ---- what a record says ---- */

/* Section 6. That one alert is one record is said there, too; that none is empty in 5.4. */
static enum fg_tls_result take_alert(struct fg_tls_records *records, const unsigned char *data,
                                     size_t len)
{
    if (len != 2)
        return fail(records,
                    len == 0 ? FG_TLS_ALERT_UNEXPECTED_MESSAGE : FG_TLS_ALERT_DECODE_ERROR);
    if (data[1] == FG_TLS_ALERT_USER_CANCELED)
        return count(records, 1); /* a goodbye follows */
    if (data[1] != FG_TLS_ALERT_CLOSE_NOTIFY)
        return fail(records, FG_TLS_ALERT_NONE);
    records->has_ended = true;
    return FG_TLS_EOF;
}

/* Section 4.6.3: a message of one byte, and the last under its key. */
static enum fg_tls_result take_key_update(struct fg_tls_records *records)
{
    bool wants_ours = records->message[4] == 1;
    if (records->message[4] > 1)
        return fail(records, FG_TLS_ALERT_ILLEGAL_PARAMETER);
    records->message_len = 0;
    if (!fg_tls_keys_update(&records->opening, records->crypto))
        return fail(records, FG_TLS_ALERT_INTERNAL_ERROR);
    records->owes_update |= wants_ours;
    return count(records, STEPS_OF_AN_UPDATE);
}

/* A part of a handshake message. There is but one that a client may send now. */
static enum fg_tls_result take_handshake(struct fg_tls_records *records, const unsigned char *data,
                                         size_t len)
{
    static const unsigned char begin[4] = {MESSAGE_KEY_UPDATE, 0, 0, 1};
    if (len == 0)
        return fail(records, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
    while (len > 0 && records->message_len < sizeof(records->message)) {
        unsigned at = records->message_len++;
        records->message[at] = *data++;
        len--;
        if (at < sizeof(begin) && records->message[at] != begin[at])
            return fail(records,
                        at == 0 ? FG_TLS_ALERT_UNEXPECTED_MESSAGE : FG_TLS_ALERT_DECODE_ERROR);
    }
    if (len > 0)
        return fail(records, FG_TLS_ALERT_UNEXPECTED_MESSAGE); /* nothing may share its record */
    if (records->message_len == sizeof(records->message))
        return take_key_update(records);
    return count(records, 1);
}

/* The inner plaintext (5.4): content, type, zeroes. FG_TLS_MORE: it was understood, and no data. */
static enum fg_tls_result take_content(struct fg_tls_records *records, const unsigned char *inner,
                                       size_t len, size_t *got)
{
    while (len > 0 && inner[len - 1] == 0)
        len--;
    if (len == 0)
        return fail(records, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
    unsigned type = inner[--len];
    if (type == TYPE_HANDSHAKE)
        return take_handshake(records, inner, len);
    if (records->message_len > 0) /* a message's parts follow each other (5.1) */
        return fail(records, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
    if (type == TYPE_ALERT)
        return take_alert(records, inner, len);
    if (type != TYPE_DATA)
        return fail(records, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
    if (len == 0)
        return count(records, 1);
    fg_tls_chatter_pay(&records->chatter, len);
    *got = len;
    return FG_TLS_OK;
}

/* ---- records out of bytes ---- */

/*
 * FG_TLS_OK: the head is whole, and may be one. Its version is looked at by nobody (5.2). What is
 * not data by the head is in the clear, and so from anybody.
 */
static enum fg_tls_result take_head(struct fg_tls_records *records, const char **in, size_t *in_len,
                                    size_t *body_len)
{
    size_t part = FG_TLS_HEAD_BYTES - records->head_len;
    if (part > *in_len)
        part = *in_len;
    memcpy(records->head + records->head_len, *in, part);
    records->head_len = (uint8_t)(records->head_len + part);
    *in += part;
    *in_len -= part;
    if (records->head_len > 0 && records->head[0] != TYPE_DATA)
        return fail(records, FG_TLS_ALERT_UNEXPECTED_MESSAGE);
    if (records->head_len < FG_TLS_HEAD_BYTES)
        return FG_TLS_MORE;
    *body_len = (size_t)records->head[3] << 8 | records->head[4];
    if (*body_len > BODY_BYTES_MAX)
        return fail(records, FG_TLS_ALERT_RECORD_OVERFLOW);
    if (*body_len < FG_TLS_TAG_BYTES)
        return fail(records, FG_TLS_ALERT_BAD_RECORD_MAC);
    return FG_TLS_OK;
}

/* Opens the record of which all is there: in records->body, and the rest of it at `in`. */
static enum fg_tls_result open_record(struct fg_tls_records *records, const char *in,
                                      size_t body_len, unsigned char *to, size_t *got)
{
    struct iovec pieces[PIECES_MAX];
    size_t count = fg_byte_queue_peek(&records->body, pieces, PIECES_MAX - 1);
    size_t inner_len = body_len - FG_TLS_TAG_BYTES;
    pieces[count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)in, .iov_len = body_len - records->body.len};
    if (!fg_tls_keys_wake(&records->opening, records->crypto))
        return fail(records, FG_TLS_ALERT_INTERNAL_ERROR);
    bool is_genuine =
        fg_tls_keys_open(&records->opening, records->head, pieces, count, inner_len, to);
    fg_byte_queue_clear(&records->body, records->segments);
    records->head_len = 0;
    records->was_used = true;
    if (!is_genuine)
        return fail(records, FG_TLS_ALERT_BAD_RECORD_MAC);
    return take_content(records, to, inner_len, got);
}

/* FG_TLS_MORE: with or without a record that brought no data. */
static enum fg_tls_result next_record(struct fg_tls_records *records, const char **in,
                                      size_t *in_len, char *to, size_t *got)
{
    size_t body_len;
    enum fg_tls_result result = take_head(records, in, in_len, &body_len);
    if (result != FG_TLS_OK)
        return result;
    size_t wanted = body_len - records->body.len;
    if (*in_len < wanted) {
        if (!fg_byte_queue_append(&records->body, records->segments, *in, *in_len))
            return fail(records, FG_TLS_ALERT_INTERNAL_ERROR);
        *in += *in_len;
        *in_len = 0;
        return FG_TLS_MORE;
    }
    result = open_record(records, *in, body_len, (unsigned char *)to, got);
    *in += wanted;
    *in_len -= wanted;
    return result;
}

enum fg_tls_result fg_tls_records_open(struct fg_tls_records *records, const char **in,
                                       size_t *in_len, char *to, size_t *got)
{
    *got = 0;
    if (records->has_failed)
        return records->chatter > FG_TLS_CHATTER_MAX ? FG_TLS_FLOOD : FG_TLS_FAILED;
    if (records->has_ended)
        return FG_TLS_EOF;
    enum fg_tls_result result = FG_TLS_MORE;
    while (result == FG_TLS_MORE && *in_len > 0)
        result = next_record(records, in, in_len, to, got);
    if (result == FG_TLS_FLOOD)
        (void)fail(records, FG_TLS_ALERT_NONE);
    return result;
}

/* ---- records to the peer ---- */

/* The content lies behind the head's place; returns the record's length, or 0. */
static size_t seal_record(struct fg_tls_records *records, unsigned type, unsigned char *at,
                          size_t len)
{
    size_t body_len = len + FG_TLS_TAIL_BYTES;
    unsigned char *content = at + FG_TLS_HEAD_BYTES;
    const unsigned char head[FG_TLS_HEAD_BYTES] = {TYPE_DATA, 3, 3, (unsigned char)(body_len >> 8),
                                                   (unsigned char)body_len};
    memcpy(at, head, sizeof(head));
    content[len] = (unsigned char)type;
    records->was_used = true;
    if (!fg_tls_keys_wake(&records->sealing, records->crypto) ||
        !fg_tls_keys_seal(&records->sealing, head, content, len + 1))
        return 0;
    return FG_TLS_HEAD_BYTES + body_len;
}

/* "I do not ask for yours": it is answered by none. */
static size_t seal_key_update(struct fg_tls_records *records, unsigned char *at)
{
    static const unsigned char message[5] = {MESSAGE_KEY_UPDATE, 0, 0, 1, 0};
    memcpy(at + FG_TLS_HEAD_BYTES, message, sizeof(message));
    size_t len = seal_record(records, TYPE_HANDSHAKE, at, sizeof(message));
    if (len == 0 || !fg_tls_keys_update(&records->sealing, records->crypto))
        return 0;
    records->owes_update = false;
    return len;
}

size_t fg_tls_records_seal(struct fg_tls_records *records, char *at, size_t len)
{
    unsigned char *to = (unsigned char *)at;
    size_t before = 0, sealed = 0;
    assert(len > 0 && len <= FG_TLS_DATA_MAX);
    if (records->has_closed)
        return 0;
    if (records->owes_update || records->sealing.sequence >= records->sealed_max) {
        memmove(to + FG_TLS_UPDATE_BYTES + FG_TLS_HEAD_BYTES, to + FG_TLS_HEAD_BYTES, len);
        before = seal_key_update(records, to);
        records->has_closed = before == 0;
    }
    if (!records->has_closed)
        sealed = seal_record(records, TYPE_DATA, to + before, len);
    records->has_closed = sealed == 0;
    return records->has_closed ? 0 : before + sealed;
}

size_t fg_tls_records_say_last(struct fg_tls_records *records, enum fg_tls_alert alert, char *to)
{
    unsigned char *at = (unsigned char *)to;
    assert(alert < FG_TLS_ALERT_NONE);
    if (records->has_closed)
        return 0;
    records->has_closed = true;
    at[FG_TLS_HEAD_BYTES] = alert == FG_TLS_ALERT_CLOSE_NOTIFY ? LEVEL_WARNING : LEVEL_FATAL;
    at[FG_TLS_HEAD_BYTES + 1] = (unsigned char)alert;
    return seal_record(records, TYPE_ALERT, at, 2);
}

bool fg_tls_records_rest(struct fg_tls_records *records)
{
    if (records->was_used) {
        records->was_used = false;
        return false;
    }
    fg_tls_keys_rest(&records->opening);
    fg_tls_keys_rest(&records->sealing);
    return true;
}
