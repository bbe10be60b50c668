/*
 * http_error.h: what a codec answers by itself, when no handler has the request or may answer it.
 * Job      one table from cause to status, code and message; the JSON body of the answer.
 * Thread   any; constants.
 */
#ifndef FG_HTTP_ERROR_H
#define FG_HTTP_ERROR_H

#include "base/span.h"

#include <stdint.h>

enum fg_http_error {
    FG_HTTP_OK = 0,
    FG_HTTP_MALFORMED,
    FG_HTTP_NO_TLS, /* HTTP in the clear, where TLS was to come */
    FG_HTTP_BAD_TARGET,
    FG_HTTP_BAD_HOST,
    FG_HTTP_BAD_FIELD,
    FG_HTTP_BAD_LENGTH,
    FG_HTTP_BAD_CHUNK,
    FG_HTTP_BOTH_LENGTHS,
    FG_HTTP_BAD_CODING,
    FG_HTTP_UNKNOWN_CODING,
    FG_HTTP_BAD_METHOD,
    FG_HTTP_BAD_VERSION,
    FG_HTTP_BAD_EXPECTATION,
    FG_HTTP_BAD_UPGRADE,
    FG_HTTP_WRONG_SCHEME,
    FG_HTTP_URI_TOO_LONG,
    FG_HTTP_HEADER_TOO_LARGE,
    FG_HTTP_BODY_TOO_LARGE,
    FG_HTTP_HEADER_TIMEOUT,
    FG_HTTP_BODY_TIMEOUT,
    FG_HTTP_BODY_CUT,
    FG_HTTP_NO_MEMORY,
    FG_HTTP_ERROR_COUNT,
};

unsigned fg_http_error_status(enum fg_http_error error);
/* A constant: "bad_host". */
const char *fg_http_error_code(enum fg_http_error error);
/* A sentence for people, of printable ASCII without a percent sign. */
const char *fg_http_error_message(enum fg_http_error error);

#define FG_HTTP_ERROR_BODY_MAX ((size_t)512)

/*
 * {"error":{"type":...,"code":...,"message":...,"limit":...,"request_id":...}} to `text`
 * (FG_HTTP_ERROR_BODY_MAX bytes); returns its length. `request_id` may be empty and `limit` 0: they
 * are left out then.
 */
size_t fg_http_error_body(enum fg_http_error error, struct fg_span request_id, uint64_t limit,
                          char *text);

/* "Not Found"; "Unknown" for what no RFC names. */
const char *fg_http_reason(unsigned status);

#endif
