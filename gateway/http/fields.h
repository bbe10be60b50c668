/*
 * fields.h: what the fields and the method of a request may say.
 * Job      tell which fields are about one hop; check authorities and methods. What any name or
 *          value may look like is in base/field_text.h, which name is which in base/field_id.h.
 * Thread   any; pure.
 * Source   RFC 9110 sections 7.2, 7.6.1 and 9.1.
 */
#ifndef FG_HTTP_FIELDS_H
#define FG_HTTP_FIELDS_H

#include "backends/backend.h"
#include "base/field_id.h"
#include "base/field_text.h"

/* Is it about one hop only, and never to be passed on? */
bool fg_field_is_hop_by_hop(enum fg_field_id id);

/* False: no such name, nor content-length, is so long, and nobody need look which one it is. */
static inline bool fg_field_may_be_framing(struct fg_span name)
{
    const unsigned lengths = 1u << 2 | 1u << 7 | 1u << 10 | 1u << 14 | 1u << 16 | 1u << 17;
    return name.len < 32 && (lengths >> name.len & 1) != 0;
}

/*
 * host[:port] of Host, :authority or an absolute target: a name, an IPv4 address or an [IPv6]
 * address, at most 261 bytes, port 1 to 65535 or nothing behind its colon, no user information.
 */
bool fg_authority_is_valid(struct fg_span authority);

/* Of a valid one what stands before the port; an IPv6 address keeps its brackets. */
struct fg_span fg_authority_host(struct fg_span authority);

enum fg_method fg_method_of(struct fg_span text);

#define FG_METHOD_BYTES_MAX ((size_t)32)

/*
 * Of FG_METHOD_OTHER: any token is a method. Not "PRI", which begins HTTP/2 (RFC 9113 section 3.4),
 * what is longer than any that is registered (RFC 9112 section 3), and one of the usual in other
 * letters, which servers that do not heed them would take for it behind all that was decided.
 */
bool fg_method_may_pass(struct fg_span text);

#endif
