/*
 * request_head.h: an exchange as the head of a request to a server.
 * Job      the client's fields but for those of its hop; Host or :authority; who asked, as
 *          configured (x-forwarded-*, Forwarded: lists are appended to); x-request-id; what is left
 *          of the deadline as x-request-timeout-ms, and as grpc-timeout for gRPC; the wish for an
 *          upgrade (HTTP/1.1), or for trailers where the client can read them.
 * Thread   the exchange's loop; pure but for the arena.
 */
#ifndef FG_PROXY_REQUEST_HEAD_H
#define FG_PROXY_REQUEST_HEAD_H

#include "backends/backend.h"
#include "proxy/cluster_conf.h"

struct fg_request_head_conf {
    struct fg_span host;
    uint32_t forwarded; /* bits 1 << fg_forwarded_field */
    bool is_h2;
    bool is_tunnel; /* in HTTP/2 a WebSocket is asked for by extended CONNECT (RFC 8441) */
    bool has_tls;   /* to the server: its scheme */
    struct fg_span websocket_key; /* of fg_request_websocket_key(), where HTTP/1.1 is spoken */
};

/*
 * Sec-WebSocket-Key that a server of HTTP/1.1 needs where its client sends none, which then cannot
 * look at the answer's Sec-WebSocket-Accept: we have to (RFC 6455 section 4.1). Empty where the key
 * is the client's affair; data NULL without memory.
 */
struct fg_span fg_request_websocket_key(const struct fg_exchange *ex, uint64_t now_ns);

/* Sec-WebSocket-Accept for a key: empty for what could be none; data NULL without memory. */
struct fg_span fg_request_websocket_accept(struct fg_arena *arena, struct fg_span key);

/* All fields in the exchange's arena, pseudo fields first; NULL without memory. */
const struct fg_field *fg_request_fields_make(const struct fg_exchange *ex,
                                              const struct fg_request_head_conf *conf,
                                              uint64_t now_ns, size_t *count);

/*
 * The whole head of an HTTP/1.1 request in the exchange's arena, data NULL without memory. A body
 * of unknown length is announced as chunked.
 */
struct fg_span fg_request_head_make(const struct fg_exchange *ex,
                                    const struct fg_request_head_conf *conf, uint64_t now_ns);

/* "0" and the exchange's trailers, in its arena; data NULL without memory. Behind a chunked body.
 */
struct fg_span fg_request_last_chunk_make(const struct fg_exchange *ex);

#endif
