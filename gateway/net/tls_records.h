/*
 * tls_records.h: the record layer of a TLS 1.3 connection after its handshake, in memory.
 * Job      open what the peer sent, seal what it is to get; alerts and key updates, which are all
 *          that may still be said beside data (RFC 8446 sections 4.6.3, 5 and 6).
 * Thread   the loop's.
 * Never    makes a system call, does a handshake, or makes one message of two records of data.
 * Memory   some 400 bytes and what tls_keys.h says; a record that has come in part waits in the
 *          segments of the loop's pool, one at most.
 *
 *      head: 23, 3.3, length        ciphertext                              tag
 *    [ 5 bytes | data, at most 2^14 | its true type, 1 | zeroes, any number | 16 ]
 *
 *     peer --> open --> data                          READY --failed--> told why, once; no more
 *                  |--> alert: end, or failure          | `--flood----> not told
 *                  `--> KeyUpdate: next keys            |
 *     data --> [ KeyUpdate of ours, if one is due ] --> seal --> peer
 */
#ifndef FG_NET_TLS_RECORDS_H
#define FG_NET_TLS_RECORDS_H

#include "base/byte_queue.h"
#include "net/tls_keys.h"

enum fg_tls_result {
    FG_TLS_OK,
    FG_TLS_MORE,   /* all input is used up; more is needed to go on */
    FG_TLS_EOF,    /* the peer said goodbye properly */
    FG_TLS_FLOOD,  /* the peer says too much that brings no data */
    FG_TLS_FAILED, /* broken, for good */
};

/*
 * Key updates, alerts, empty records and attempts to renegotiate, after the handshake: each costs
 * as much as some KiB of data (new keys, a record in answer). A peer may say so many steps' worth
 * of them at once (a key update is five), and one more for so many bytes of data in a read.
 */
#define FG_TLS_CHATTER_MAX 300u
#define FG_TLS_CHATTER_DATA ((size_t)2048)

#define FG_TLS_DATA_MAX ((size_t)16384)                  /* of a record, to either side */
#define FG_TLS_OPEN_ROOM (FG_TLS_DATA_MAX + 1)           /* what it may be opened into */
#define FG_TLS_TAIL_BYTES ((size_t)1 + FG_TLS_TAG_BYTES) /* type and tag, behind the data */
#define FG_TLS_UPDATE_BYTES (FG_TLS_HEAD_BYTES + 5 + FG_TLS_TAIL_BYTES)
#define FG_TLS_ALERT_BYTES (FG_TLS_HEAD_BYTES + 2 + FG_TLS_TAIL_BYTES)
/* What sealing may add to data, in front and behind. */
#define FG_TLS_SEAL_BYTES (FG_TLS_UPDATE_BYTES + FG_TLS_HEAD_BYTES + FG_TLS_TAIL_BYTES)

/*
 * AES-GCM is safe for 2^24.5 records under one key (RFC 8446 section 5.5); what a peer seals is
 * its own to watch.
 */
#define FG_TLS_SEALED_MAX (UINT64_C(1) << 24)

/* RFC 8446 section 6: those that are said or treated apart here. */
enum fg_tls_alert {
    FG_TLS_ALERT_CLOSE_NOTIFY = 0,
    FG_TLS_ALERT_UNEXPECTED_MESSAGE = 10,
    FG_TLS_ALERT_BAD_RECORD_MAC = 20,
    FG_TLS_ALERT_RECORD_OVERFLOW = 22,
    FG_TLS_ALERT_ILLEGAL_PARAMETER = 47,
    FG_TLS_ALERT_DECODE_ERROR = 50,
    FG_TLS_ALERT_INTERNAL_ERROR = 80,
    FG_TLS_ALERT_USER_CANCELED = 90,
    FG_TLS_ALERT_NONE = 256, /* no alert; the peer has said one itself, or floods */
};

struct fg_tls_records {
    /* configuration */
    struct fg_tls_crypto *crypto;
    struct fg_segment_pool *segments;
    uint64_t sealed_max; /* records under one key of ours; behind them it is changed */

    /* state */
    struct fg_tls_keys opening;
    struct fg_tls_keys sealing;
    unsigned chatter; /* steps of that kind, less those that data has paid for */
    uint16_t alert;   /* enum fg_tls_alert; once it has failed: what the peer is to be told */
    bool has_ended;   /* the peer said goodbye */
    bool has_failed;
    bool has_closed;  /* we said our last */
    bool owes_update; /* the peer wants our key changed before the next data */
    bool was_used;    /* since it was asked to rest */

    /* a record, and a handshake message, that have come in part */
    uint8_t head_len;
    uint8_t message_len;
    unsigned char head[FG_TLS_HEAD_BYTES];
    unsigned char message[5];
    struct fg_byte_queue body;
};

/*
 * From the secrets in `opening` and `sealing`, which the caller has put there; all else is set
 * here, the sequence numbers to 0. False: there is no memory; `fini` nevertheless.
 */
FG_MUST_USE bool fg_tls_records_init(struct fg_tls_records *records, struct fg_tls_crypto *crypto,
                                     struct fg_segment_pool *segments, enum fg_tls_suite suite);
void fg_tls_records_fini(struct fg_tls_records *records);

/*
 * Takes from *in, of *in_len bytes, what is needed for the next data; they go to `to`, which has
 * FG_TLS_OPEN_ROOM, and are never none with FG_TLS_OK. On FG_TLS_FAILED records->alert is what the
 * peer should be told. EOF, FLOOD and FAILED are for good.
 */
enum fg_tls_result fg_tls_records_open(struct fg_tls_records *records, const char **in,
                                       size_t *in_len, char *to, size_t *got);

/*
 * Seals `len` bytes of data, 1 to FG_TLS_DATA_MAX, that lie at `at` + FG_TLS_HEAD_BYTES. Returns
 * how many bytes at `at` are for the peer, at most len + FG_TLS_SEAL_BYTES, for which there must be
 * room; 0: broken, and there is nothing to send any more.
 */
size_t fg_tls_records_seal(struct fg_tls_records *records, char *at, size_t len);

/* An alert into `to`, of FG_TLS_ALERT_BYTES; it is the last that is sealed. Returns as above. */
size_t fg_tls_records_say_last(struct fg_tls_records *records, enum fg_tls_alert alert, char *to);

/* Gives the ciphers' memory back, unless they were used since the last call; true: it has. */
bool fg_tls_records_rest(struct fg_tls_records *records);

/* What data in a read pay for. */
static inline void fg_tls_chatter_pay(unsigned *chatter, size_t data_bytes)
{
    size_t paid = data_bytes / FG_TLS_CHATTER_DATA;
    *chatter -= paid < *chatter ? (unsigned)paid : *chatter;
}

#endif
