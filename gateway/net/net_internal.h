/*
 * net_internal.h: the net object of one loop, its listeners and its connections.
 *    net.c         create, listen, drain, limits
 *    acceptor.c    from a listening socket to a connection
 *    preamble.c    the PROXY header and the TLS hello, before the bytes are the codec's
 *    handshakes.c  how many TLS handshakes a turn
 *    shares.c      what one address may hold when there is little
 *    reads.c       whose bytes are read when in a turn
 *    writes.c      and who is written to when
 *    connection.c  bytes in, bytes out, the end of a connection
 * Thread   the loop's.
 */
#ifndef FG_NET_NET_INTERNAL_H
#define FG_NET_NET_INTERNAL_H

#include "base/cidr.h"
#include "http/codec.h"
#include "net/handshakes.h"
#include "net/ip_table.h"
#include "net/last_line.h"
#include "net/listener.h"
#include "net/tls.h"
#include "policies/address_share.h"
#include "policies/read_turn.h"
#include "policies/write_turn.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>

#define FG_CLIENT_USER_BYTES_MAX 128
#define FG_NET_IN_BYTES ((size_t)65536)    /* most that one read takes */
#define FG_NET_PLAIN_BYTES FG_TLS_DATA_MAX /* of one TLS record, which a codec fills */
#define FG_NET_OUT_BYTES ((size_t)131072)  /* most that one write gives */
#define FG_NET_OUT_SPARE ((size_t)18432)   /* room that one more record may need */

struct fg_listening {
    struct fg_list link; /* in net->listenings */
    struct fg_net *net;
    int fd; /* borrowed */
    const struct fg_listener_conf *conf;
    struct fg_tls_context *tls; /* NULL: plain */
    const struct fg_request_handler *handler;
    void *handler_ctx;
    struct event accept_event;
    struct event resume_event; /* accepting was paused: descriptors ran out */
    bool is_accepting;
    unsigned accepts;       /* taken in the last turn that had any; 0: all that there were */
    uint64_t accepted_turn; /* which turn that was */
};

struct fg_net {
    struct fg_net_options options;
    struct fg_codec_env env;
    struct fg_net_stats stats;
    struct fg_list listenings;
    struct fg_list connections;
    size_t connection_count;
    size_t handshakes_open;
    size_t connections_max; /* this loop's share */
    uint32_t per_ip_max;    /* this loop's share */
    struct fg_ip_table ip_table;
    struct fg_address_share share; /* of one address, on this loop */
    struct fg_read_turn read_turn;
    struct fg_last_line last_readers; /* have something to read, and go last in this turn */
    struct fg_write_turn write_turn;
    struct fg_last_line last_writers; /* have something to say, and go last in this turn */
    struct fg_handshakes handshakes;
    struct fg_tls_env tls_env;
    int fd_mark;    /* descriptors from here on are not for clients */
    int reserve_fd; /* given up to be able to accept and close when descriptors run out */

    /* overload */
    struct event *pulse; /* NULL: nothing is ever asked */
    uint64_t steps_seen; /* as of the last pulse */
    size_t adjust_left;  /* connections that have not been told of them yet */

    /* drain */
    bool has_drained;
    struct event *drain_event;
    void (*on_drained)(void *ctx);
    void *drained_ctx;

    /* scratch of the running callback; nothing in it outlives one */
    size_t out_len;
    char in[FG_NET_IN_BYTES];
    char plain[FG_TLS_OPEN_ROOM];
    char out[FG_NET_OUT_BYTES];
};

enum fg_connection_state {
    FG_CONNECTION_PREAMBLE,  /* a load balancer says whose connection it is */
    FG_CONNECTION_HANDSHAKE, /* TLS is being set up */
    FG_CONNECTION_SNIFFING,  /* in the clear: h1 or the preface of h2? */
    FG_CONNECTION_OPEN,      /* a codec has it */
    FG_CONNECTION_LINGERING, /* all is said; the client may finish talking */
    FG_CONNECTION_DEAD,      /* closed; freed at the end of the turn */
    FG_CONNECTION_STATE_COUNT,
};

/* What came of writing. */
enum fg_said {
    FG_SAID_ALL,  /* and the socket has it */
    FG_SAID_SOME, /* the socket would take more, but others want their turn */
    FG_SAID_LESS, /* than there is: the socket is full, or broken */
};

struct fg_connection {
    struct fg_transport transport; /* first */

    /* identity */
    struct fg_net *net;
    int fd;
    const struct fg_listening *listening;
    struct fg_ip_key ip_key;
    char addr_text[FG_IP_TEXT_MAX];
    char *client_user; /* of its certificate; on the heap, NULL without one */

    /* links */
    struct fg_list link;             /* in net->connections */
    struct fg_list handshake_link;   /* in net->handshakes */
    struct fg_last_place last_read;  /* in net->last_readers */
    struct fg_last_place last_write; /* in net->last_writers */
    struct fg_deferred work;
    struct event read_event;
    struct event write_event;
    struct fg_timeout timeout;
    struct fg_timeout write_timeout;
    struct fg_timeout rest; /* armed while TLS holds memory that it needs only when it speaks */
    enum fg_timeout_class timeout_class;

    /* state */
    enum fg_connection_state state;
    bool is_counted;     /* in the table of addresses */
    bool has_said_hello; /* TLS has the client's first message, and has not asked for another */
    bool waits_for_handshake;
    bool is_reading;       /* read_event is added */
    bool is_blocked;       /* the socket is full; write_event is added */
    bool is_flushing;      /* TLS output goes to net->out */
    bool has_failed;       /* TLS has; if there is an alert it is on its way, and is the last */
    bool is_closing;       /* the codec asked for it */
    bool has_said_goodbye; /* TLS close_notify */
    bool has_broken;       /* output was lost */
    bool wants_resume;     /* feed what is held */
    bool has_ended;        /* the client says no more; it may still read */
    bool is_end_held;      /* and the codec hears of it behind what is held */
    bool has_more_to_say;  /* than when its work was last done */
    enum fg_close_mode close_mode;
    size_t sniffed;      /* bytes of the h2 preface seen */
    size_t linger_bytes; /* discarded: behind our last word, or behind the client's */
    int unread_bytes;    /* while lingering: of what was said, when that was last looked at */
    size_t taken_bytes;  /* by the socket, since write_timeout was armed */
    size_t sole_bytes;   /* plaintext of OpenSSL's record that is all of this flush; 0: not known */

    struct fg_read_pace pace; /* of its reads */
    struct fg_write_pace write_pace;
    uint64_t handshake_due_ns; /* not before that, since its address owes; 0: as soon as may be */
    uint64_t gathers_since_ns; /* what it has to say, to say more at once; 0: it does not */

    struct fg_codec *codec; /* NULL until OPEN */
    struct fg_tls tls;      /* if transport.is_tls */

    /* buffers, empty while the connection rests */
    struct fg_byte_queue held; /* what nobody could take yet: plaintext, or a hello in parts */
    struct fg_byte_queue out;  /* what the socket did not take */
};

static inline struct fg_connection *fg_connection_of(struct fg_transport *transport)
{
    return FG_CONTAINER_OF(transport, struct fg_connection, transport);
}

/* Where a connection comes from, as far as the acceptor can tell. */
struct fg_origin {
    struct fg_ip ip;
    uint16_t port;
    struct fg_ip_key key;
    bool is_counted; /* key is in the table of addresses */
    bool has_header; /* a PROXY header comes first */
};

/* Takes over `fd`, which is counted and within limits; on failure closes it and counts it back. */
void fg_connection_start(struct fg_listening *listening, int fd, const struct fg_origin *origin);
/* Its address, for whoever asks. */
void fg_connection_set_address(struct fg_connection *connection, const struct fg_ip *ip,
                               uint16_t port);
/* Of its address, for who keeps things by address. A trusted proxy's says nothing: is_counted. */
uint64_t fg_connection_address_hash(const struct fg_connection *connection);
/* Whose it is, in lines that are served by turns: nobody's is one like any other, so that a trusted
 * proxy's is not all that it has at once. */
uint64_t fg_connection_owner(const struct fg_connection *connection);
/* Whatever `data` is to the connection in its state. */
void fg_connection_take_bytes(struct fg_connection *connection, const char *data, size_t len);
/* On with the handshake, and whatever follows it in `data`. */
void fg_connection_take_ciphertext(struct fg_connection *connection, const char *data, size_t len);
/* There is nothing more to read. */
void fg_connection_end_input(struct fg_connection *connection);
/* On with what is held: others had their turn. */
void fg_connection_take_held(struct fg_connection *connection);
/* Its work is done at the end of the turn. */
void fg_connection_schedule(struct fg_connection *connection);
/* Says some `most` bytes of what there is to say, and goes on with what follows that. */
void fg_connection_write(struct fg_connection *connection, size_t most);
/* Says at once what there is to say, where nobody works for it. */
void fg_connection_settle(struct fg_connection *connection);
void fg_connection_set_reading(struct fg_connection *connection, bool is_wanted);
void fg_connection_set_state(struct fg_connection *connection, enum fg_connection_state next);
/* Sends it and ends the connection; what the client still says is thrown away for a while. */
void fg_connection_say_last(struct fg_connection *connection, const void *data, size_t len);
/* The state after the preamble, with its timeout. */
void fg_connection_begin(struct fg_connection *connection);

/* reads.c */
void fg_reads_init(struct fg_net *net);
void fg_reads_on_readable(evutil_socket_t fd, short what, void *connection);
/* It holds what its codec takes when others had their turn. */
void fg_reads_cut(struct fg_connection *connection);

/* output.c */
/* Some `most` bytes of what there is to say, in one write; what is left over waits. */
enum fg_said fg_output_flush(struct fg_connection *connection, size_t most);
/*
 * Ciphertext from OpenSSL, or an alert: what is all that a flush has to say goes out from where it
 * lies, more of it into the scratch buffer, and what comes between flushes (handshake, alerts)
 * aside. An fg_tls_output_fn.
 */
bool fg_output_on_tls(void *connection, const void *data, size_t len);
/* TLS speaks: once it has not for a while, it can do with less memory. */
void fg_output_keep_awake(struct fg_connection *connection);
void fg_output_on_rest(struct fg_timeout *timeout);

/* writes.c */
void fg_writes_init(struct fg_net *net);
/* Now, or behind all others. */
void fg_writes_begin(struct fg_connection *connection);
/* So many bytes are out. FG_SAID_SOME: it goes on behind all others. */
void fg_writes_note(struct fg_connection *connection, size_t bytes, enum fg_said said);

/* preamble.c: both are given what was read, in net->in. */
void fg_preamble_take_header(struct fg_connection *connection, size_t len);
void fg_preamble_take_hello(struct fg_connection *connection, size_t len);
/* It waited for its turn. */
void fg_connection_continue_handshake(struct fg_connection *connection);

/* What overload asks for has changed. */
void fg_connection_adjust(struct fg_connection *connection);

/* Tell its codec to come to an end. */
void fg_connection_drain(struct fg_connection *connection);
/* End it now. From event callbacks and end-of-turn work, never from inside a handler's call. */
void fg_connection_cut(struct fg_connection *connection, enum fg_gone_reason reason);

/* The last step of a connection's end: counts it out; `key` NULL: it is in no table. */
void fg_net_forget_connection(struct fg_net *net, const struct fg_ip_key *key);

void fg_listening_start(struct fg_listening *listening);
void fg_listening_stop(struct fg_listening *listening);

/* Answers every request with 308 to the same place at https. handler_ctx: the fg_listening. */
extern const struct fg_request_handler fg_redirect_handler;

#endif
