/*
 * session.h: POST /api/session: a guest's identity from a device id. A backend like any other, but
 * the gateway's own: it signs with the key that the identity stage checks.
 * Job      {"device_id"} -> 201 {"token", "user_id", "expires_at"}. The same device is the same
 *          user: the id is a keyed hash of the device id, so nobody can choose another's.
 * Thread   as backends/backend.h.
 */
#ifndef FG_PIPELINE_SESSION_H
#define FG_PIPELINE_SESSION_H

#include "backends/backend.h"
#include "pipeline/jwt.h"

/* `key` outlives it. NULL without memory. */
struct fg_backend *fg_session_create(const struct fg_jwt_key *key, uint64_t lifetime_ns,
                                     uint64_t body_bytes_max, uint64_t body_values_max);

#endif
