/*
 * grpc.h: what the gateway must know of gRPC to answer its clients in their own terms.
 * Thread   any; pure but for the arena.
 * Source   gRPC over HTTP/2 (PROTOCOL-HTTP2.md) and its status codes.
 */
#ifndef FG_GRPC_H
#define FG_GRPC_H

#include "backends/backend.h"

/* By its content-type: application/grpc, with or without a format behind it. */
bool fg_grpc_is_call(const struct fg_exchange *ex);

/* The grpc-timeout field: at most eight digits and a unit out of "HMSmun". False: malformed. */
bool fg_grpc_parse_timeout(struct fg_span text, uint64_t *timeout_ns);

/* What a refusal with this HTTP status is to a gRPC client, as a decimal constant. */
struct fg_span fg_grpc_status_of(unsigned http_status);

/*
 * Do these fields, the last of a call's answer, say that the server has failed? UNAVAILABLE does.
 * What is no protocol buffer gets INTERNAL or UNKNOWN from the servers' own libraries, and a short
 * deadline DEADLINE_EXCEEDED: any client can bring these about, and would take a server from all.
 */
bool fg_grpc_is_fault(const struct fg_field *fields, size_t count);

/* `text` percent-encoded for grpc-message; data is NULL without memory. */
struct fg_span fg_grpc_message(struct fg_arena *arena, const char *text);

#endif
