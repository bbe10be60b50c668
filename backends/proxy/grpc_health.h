/*
 * grpc_health.h: the messages of a health check by gRPC.
 * Thread   any; pure functions.
 * Source   gRPC Health Checking Protocol (grpc/doc/health-checking.md), health.proto:
 *          HealthCheckRequest {string service = 1}, HealthCheckResponse {ServingStatus status = 1};
 *          length-prefixed messages: PROTOCOL-HTTP2.md; Protocol Buffers encoding.
 */
#ifndef FG_PROXY_GRPC_HEALTH_H
#define FG_PROXY_GRPC_HEALTH_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>

#define FG_GRPC_SERVICE_BYTES_MAX 127u
#define FG_GRPC_ASK_BYTES (5u + 2u + FG_GRPC_SERVICE_BYTES_MAX)

/* Writes the request's body; returns its length. `service` empty: the server as a whole. */
size_t fg_grpc_health_ask(struct fg_span service, unsigned char body[FG_GRPC_ASK_BYTES]);

/* Is the body of an answer one whole message that says SERVING? */
bool fg_grpc_health_is_serving(const unsigned char *body, size_t len);

#endif
