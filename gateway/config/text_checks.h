/*
 * text_checks.h: what a string of the configuration must look like, where any text will not do.
 * Job      each check returns NULL for a good text, else a constant "is wrong; expected ...".
 * Thread   any; pure functions, and no look at the machine.
 */
#ifndef FG_CONFIG_TEXT_CHECKS_H
#define FG_CONFIG_TEXT_CHECKS_H

#include "base/span.h"

#include <netinet/in.h>

typedef const char *(*fg_text_check_fn)(struct fg_span text);

/* A numeric IP address with a port from 1: "0.0.0.0:8443", "[::]:8443". */
const char *fg_text_check_listen_address(struct fg_span text);

/* "host:port", "192.0.2.1:80", "[2001:db8::1]:80" or "unix:/path" */
const char *fg_text_check_upstream_address(struct fg_span text);

/* "example.org" or "example.org:8443" */
const char *fg_text_check_authority(struct fg_span text);

/* "example.org", "*.example.org", an address without a port */
const char *fg_text_check_host_pattern(struct fg_span text);

/* "example.org", without a port */
const char *fg_text_check_host_name(struct fg_span text);

/* "/promo/", without query, fragment, dot segments, double slashes or percent-encoding */
const char *fg_text_check_url_path(struct fg_span text);

/* "/health?full=1", as it is sent */
const char *fg_text_check_request_target(struct fg_span text);

/* "/promo/" or "https://example.org/x" */
const char *fg_text_check_redirect_target(struct fg_span text);

/* "10.0.0.0/8", "2001:db8::/32", or one address */
const char *fg_text_check_cidr(struct fg_span text);

/* A field value of RFC 9110 section 5.5, without blanks at the ends. */
const char *fg_text_check_field_value(struct fg_span text);

/* A field name: a token of RFC 9110 section 5.6.2. */
const char *fg_text_check_field_name(struct fg_span text);

/* A field name that a route may set: none that frames a message or names a hop. */
const char *fg_text_check_editable_field(struct fg_span text);
/* The same in lower case. */
const char *fg_text_check_removable_field(struct fg_span text);

/* A parameter's name in a query, as it is sent. */
const char *fg_text_check_parameter_name(struct fg_span text);

/* "https://example.org", with "*." before the host for every name below it; or "*" */
const char *fg_text_check_origin(struct fg_span text);

/* The same, written in lower case. */
const char *fg_text_check_field_name_lower(struct fg_span text);

/* A user id: printable, without blanks, 128 bytes at most. */
const char *fg_text_check_user(struct fg_span text);

/* 64 hexadecimal digits. */
const char *fg_text_check_sha256(struct fg_span text);
/* The bytes of a text that passed this check. */
void fg_text_to_sha256(struct fg_span text, unsigned char out[32]);

/* A name given by the user: letters, digits, '.', '_', '-', '~', 64 bytes at most. */
const char *fg_text_check_name(struct fg_span text);

/* A route's name may also be a path. */
const char *fg_text_check_label(struct fg_span text);

/* A file's name without any directory. */
const char *fg_text_check_file_name(struct fg_span text);

/* A service of gRPC, whose health is asked for. */
const char *fg_text_check_grpc_service(struct fg_span text);

/* What binds requests to an endpoint: "client", "user", "path", "prompt", "header:NAME",
 * "cookie:NAME". */
const char *fg_text_check_hash_key(struct fg_span text);

/* A part of a rate limit's key: "user", "ip"..., "header:NAME". */
const char *fg_text_check_limit_part(struct fg_span text);

/* A numeric IP address, with or without a port. */
const char *fg_text_check_dns_server(struct fg_span text);

const char *fg_text_check_not_empty(struct fg_span text);

/* The socket address of a listen address that passed its check. */
void fg_text_to_socket_address(struct fg_span text, struct sockaddr_in6 *out);

#endif
