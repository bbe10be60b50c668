/*
 * h2_client.h: one HTTP/2 connection to a gateway under rehearsal, over TLS or in the clear.
 * Job      many calls at a time; each is answered once, or given back when the connection breaks.
 *          A lost connection is made again after a pause.
 * Thread   the loop's. Memory: one a connection, and what nghttp2 and OpenSSL take; the calls are
 *          the caller's.
 * Never    waits for anything, or follows a redirect.
 */
#ifndef FG_REHEARSE_H2_CLIENT_H
#define FG_REHEARSE_H2_CLIENT_H

#include "base/span.h"

#include <event2/util.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct fg_h2_client;

#define FG_H2_CALL_BODY_BYTES 512
#define FG_H2_CALL_TICKET_BYTES 128

/* One request. The first part is set by the caller, the second by the client. */
struct fg_h2_call {
    struct fg_span method;
    struct fg_span path;
    struct fg_span body;         /* empty: none */
    struct fg_h2_client *client; /* NULL: not under way */
    struct fg_h2_call *next;
    struct fg_h2_call *prev;
    int32_t stream_id;
    size_t body_sent;
    unsigned status; /* 0: broke off before one */
    uint64_t retry_after_s;
    char ticket[FG_H2_CALL_TICKET_BYTES]; /* of the waiting room; empty: none */
    char answer[FG_H2_CALL_BODY_BYTES];   /* how its body begins */
    size_t answer_len;
};

/* The call is over and the caller's again; is_complete: false when it broke off. */
typedef void (*fg_h2_done_fn)(void *object, struct fg_h2_call *call, bool is_complete);

struct fg_h2_target {
    struct sockaddr_storage address;
    socklen_t address_len;
    const char *authority; /* "host:port" */
    const char *host;      /* for SNI and the certificate */
    SSL_CTX *tls;          /* NULL: in the clear, with prior knowledge */
};

/* NULL without memory. `target` is borrowed; it connects on its own. */
struct fg_h2_client *fg_h2_client_create(struct event_base *base, const struct fg_h2_target *target,
                                         fg_h2_done_fn on_done, void *object);

/* Calls under way are given back as broken off, but not through on_done. */
void fg_h2_client_destroy(struct fg_h2_client *client);

/* A field of a request, by name and value; both are copied. */
struct fg_h2_field {
    struct fg_span name;
    struct fg_span value;
};

/*
 * False: not connected, or no memory; the call was not taken. on_done is never called from inside.
 */
bool fg_h2_client_send(struct fg_h2_client *client, struct fg_h2_call *call,
                       const struct fg_h2_field *fields, size_t field_count);

/* Resets its stream; on_done is not called for it any more. */
void fg_h2_client_cancel(struct fg_h2_client *client, struct fg_h2_call *call);

bool fg_h2_client_is_ready(const struct fg_h2_client *client);
/* Calls under way; and the most that the server lets run at a time. */
/* The server takes no more requests on it (GOAWAY); those that it has may still end. */
bool fg_h2_client_is_leaving(const struct fg_h2_client *client);
uint32_t fg_h2_client_load(const struct fg_h2_client *client);
uint32_t fg_h2_client_streams_max(const struct fg_h2_client *client);
/* Why it could not connect, or broke last: a constant string, or NULL. */
const char *fg_h2_client_problem(const struct fg_h2_client *client);

#endif
