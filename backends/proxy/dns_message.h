/*
 * dns_message.h: the one question that the resolver asks by itself, and its answer (RFC 1035).
 * Thread   any; pure.
 */
#ifndef FG_PROXY_DNS_MESSAGE_H
#define FG_PROXY_DNS_MESSAGE_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define FG_DNS_QUERY_BYTES_MAX ((size_t)272) /* head, a name of 255 bytes, type and class */

enum fg_dns_type { FG_DNS_A = 1, FG_DNS_AAAA = 28 };

/* Returns its length; 0: `host` is no name that DNS could know. */
size_t fg_dns_write_query(unsigned char to[FG_DNS_QUERY_BYTES_MAX], const char *host,
                          enum fg_dns_type type, uint16_t id);

/* Each address, 4 or 16 bytes in network order, with its time to live. */
typedef void (*fg_dns_address_fn)(void *arg, const void *bytes, uint32_t ttl_s);

/*
 * Reads the answer to a query of that type and id. False: it is none, or one of failure; what was
 * told of it until then does not count. That there is no such name or address is an answer.
 */
bool fg_dns_read_answer(struct fg_span message, enum fg_dns_type type, uint16_t id,
                        fg_dns_address_fn on_address, void *arg);

#endif
