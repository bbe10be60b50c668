/*
 * fake_transport.h: a codec with a connection made of memory and a handler that writes down what it
 * hears; for unit tests and fuzzing. No socket, no TLS, no sleeping.
 *
 * What the handler does is in the path:
 *    /            answers "hello" (content-length)
 *    /chunks      answers "hello " and "world", framed by the codec
 *    /lasting     200 with fields that need not be copied
 *    /none        204
 *    /bytes       answers 300000 bytes, as fast as it may
 *    /read        consumes the body, then answers its length
 *    /echo        the body, with back-pressure
 *    /hold        takes the body but consumes nothing; answered by hand
 *    /wait        nothing; answered by hand
 *    /short       promises 10 bytes and ends after 5
 *    /abort       aborts at once; /abort-late after the head and 5 bytes
 *    /behind      103, then "hello" and two trailers
 *    /ws          101 and "hello ", then as /echo, if an upgrade is asked for; else 404
 *    /small       sets body_bytes_max to 10, then as /read
 *    else         404 without a body
 */
#ifndef FG_TESTS_FAKE_TRANSPORT_H
#define FG_TESTS_FAKE_TRANSPORT_H

#include "config/config.h"
#include "http/codec.h"
#include "net/listener.h"
#include "net/loop.h"

struct fake {
    struct fg_transport transport; /* first */
    struct fg_loop *loop;
    struct fg_limits_conf limits;
    struct fg_net_stats stats;
    struct fg_codec_env env;
    struct fg_codec *codec;

    /* what came out for the client */
    char *out;
    size_t out_len;
    size_t out_room;

    /* input that the codec did not take */
    char *held;
    size_t held_len;

    /* what the codec asked for */
    bool is_closing;
    bool is_cut; /* on_cut was called */
    enum fg_close_mode close_mode;
    bool is_armed;
    enum fg_timeout_class armed;
    bool is_stuck;             /* the client takes nothing */
    bool is_spared;            /* of overload: what the connection says of itself */
    uint64_t stalled_since_ns; /* the same of its socket */
    bool wants_resume;

    /* what the handler heard */
    unsigned requests;
    unsigned dones;
    unsigned aborted; /* of these */
    unsigned gones;
    unsigned lasts;
    unsigned codec_answers;
    unsigned codec_status;  /* of the newest of them */
    const char *codec_code; /* likewise */
    char codec_path[64];    /* likewise, with a NUL behind it */
    size_t codec_id_len;
    enum fg_gone_reason gone_reason;
    size_t body_bytes;
    unsigned pieces; /* calls of on_body, of all requests */
    size_t writables;
    size_t held_max;         /* most request body unconsumed at once */
    struct fg_request *last; /* the newest request that is not done; NULL */
    char heard[8192];        /* "METHOD authority path ?query\nname: value\n" of the newest head */
};

/* What the paths above describe; its context is a struct fake, of which it uses only what it heard.
 */
extern const struct fg_request_handler fake_handler;

/* Limits that most tests are happy with. */
struct fg_limits_conf fake_limits(void);

void fake_open(struct fake *fake, bool is_h2, const struct fg_limits_conf *limits);
/* Cuts what is open, checks that each on_request had its on_done, frees everything. */
void fake_close(struct fake *fake);

/* Bytes from the client, and then the end of the turn. */
void fake_feed(struct fake *fake, const void *data, size_t len);
void fake_feed_text(struct fake *fake, const char *text);
void fake_eof(struct fake *fake, bool may_listen);
/* The end of a turn. */
void fake_turn(struct fake *fake);
void fake_forget_output(struct fake *fake);

/* Is `text` in what came out? */
bool fake_said(const struct fake *fake, const char *text);
bool fake_heard(const struct fake *fake, const char *text);
/* The first status line's number; 0 when there is none. */
unsigned fake_status(const struct fake *fake);

/* Answers the request of /wait or /hold: 200 "done". */
void fake_answer(struct fake *fake);

/* The handler of /hold has used `len` bytes of the body. */
void fake_consume(struct fake *fake, size_t len);

#endif
