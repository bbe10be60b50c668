/*
 * fields.h: which header fields the gateway itself must understand, and what they may say.
 * Job      recognise the fields that frame a message; check lengths, lists and authorities. What
 * any name or value may look like is in base/field_text.h. Thread   any; pure. Source   RFC 9110
 * sections 5.1, 7.2 and 7.6.1; RFC 9112 section 6.
 */
#ifndef FG_HTTP_FIELDS_H
#define FG_HTTP_FIELDS_H

#include "backends/backend.h"
#include "base/field_text.h"

enum fg_field_id {
    FG_FIELD_OTHER,
    FG_FIELD_HOST,
    FG_FIELD_CONTENT_LENGTH,
    FG_FIELD_TRANSFER_ENCODING,
    FG_FIELD_CONNECTION,
    FG_FIELD_KEEP_ALIVE,
    FG_FIELD_PROXY_CONNECTION,
    FG_FIELD_TE,
    FG_FIELD_UPGRADE,
    FG_FIELD_HTTP2_SETTINGS,
    FG_FIELD_EXPECT,
    FG_FIELD_COOKIE,
    FG_FIELD_REQUEST_ID,
    FG_FIELD_TRACEPARENT,
    FG_FIELD_SERVER_TIMING,
};

/* `name` is in lower case. */
enum fg_field_id fg_field_identify(struct fg_span name);

/* Is it about one hop only, and never to be passed on? */
bool fg_field_is_hop_by_hop(enum fg_field_id id);

/* Does the comma-separated list hold `token` (any case)? */
bool fg_field_list_has(struct fg_span list, struct fg_span token);

/* Digits only, once: no sign, no blanks, no list, below 2^62; false otherwise. */
bool fg_field_parse_length(struct fg_span value, int64_t *length);

/*
 * host[:port] of Host, :authority or an absolute target: a name, an IPv4 address or an [IPv6]
 * address, at most 261 bytes, port 1 to 65535, no user information.
 */
bool fg_authority_is_valid(struct fg_span authority);

enum fg_method fg_method_of(struct fg_span text);

/* Is it registered with IANA, or in common use? What nobody knows is answered 501. */
bool fg_method_is_known(struct fg_span text);

#endif
