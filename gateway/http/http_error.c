/*
 * http_error.c: the tables.
 */
#include "http/http_error.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static const struct {
    unsigned status;
    const char *type;
    const char *code;
    const char *message;
} errors[FG_HTTP_ERROR_COUNT] = {
    [FG_HTTP_MALFORMED] = {400, "invalid_request", "malformed_request",
                           "The request is not valid HTTP."},
    [FG_HTTP_NO_TLS] = {400, "invalid_request", "plain_http_to_tls",
                        "This port speaks HTTPS: the request came without TLS."},
    [FG_HTTP_BAD_TARGET] = {400, "invalid_request", "bad_target",
                            "The request target is not valid."},
    [FG_HTTP_BAD_HOST] = {400, "invalid_request", "bad_host",
                          "The host is missing, doubled or not valid."},
    [FG_HTTP_BAD_FIELD] = {400, "invalid_request", "bad_header", "A header field is not valid."},
    [FG_HTTP_BAD_LENGTH] = {400, "invalid_request", "bad_content_length",
                            "The content length is not one plain number."},
    [FG_HTTP_BAD_CHUNK] = {400, "invalid_request", "bad_chunk", "The chunked body is not valid."},
    [FG_HTTP_BOTH_LENGTHS] = {400, "invalid_request", "ambiguous_length",
                              "Content length and transfer encoding exclude each other."},
    [FG_HTTP_BAD_CODING] = {400, "invalid_request", "bad_transfer_encoding",
                            "The transfer encoding is not chunked, once, of HTTP/1.1."},
    [FG_HTTP_UNKNOWN_CODING] = {501, "invalid_request", "unsupported_transfer_encoding",
                                "The only transfer encoding taken is chunked."},
    [FG_HTTP_BAD_METHOD] = {501, "invalid_request", "unsupported_method",
                            "The method is not supported."},
    [FG_HTTP_BAD_VERSION] = {505, "invalid_request", "unsupported_version",
                             "The versions taken are HTTP/1.0, HTTP/1.1 and HTTP/2."},
    [FG_HTTP_BAD_EXPECTATION] = {417, "invalid_request", "unsupported_expectation",
                                 "The only expectation taken is 100-continue."},
    [FG_HTTP_BAD_UPGRADE] = {400, "invalid_request", "unsupported_upgrade",
                             "HTTP/2 over TLS begins with ALPN, not with an upgrade."},
    [FG_HTTP_WRONG_SCHEME] = {421, "invalid_request", "wrong_scheme",
                              "The target is one of https, and the connection is in the clear."},
    [FG_HTTP_URI_TOO_LONG] = {414, "invalid_request", "uri_too_long",
                              "The request target is too long."},
    [FG_HTTP_HEADER_TOO_LARGE] = {431, "invalid_request", "header_too_large",
                                  "The request head has too many or too large fields."},
    [FG_HTTP_BODY_TOO_LARGE] = {413, "invalid_request", "body_too_large",
                                "The request body is too large."},
    [FG_HTTP_HEADER_TIMEOUT] = {408, "invalid_request", "header_timeout",
                                "The request head did not arrive in time."},
    [FG_HTTP_BODY_TIMEOUT] = {408, "invalid_request", "body_timeout",
                              "The request body did not arrive in time."},
    [FG_HTTP_BODY_CUT] = {400, "invalid_request", "incomplete_body",
                          "The connection was closed before the end of the request body."},
    [FG_HTTP_NO_MEMORY] = {503, "overloaded", "no_memory", "No memory is left for this request."},
};

unsigned fg_http_error_status(enum fg_http_error error)
{
    assert(error > FG_HTTP_OK && error < FG_HTTP_ERROR_COUNT);
    return errors[error].status;
}

const char *fg_http_error_code(enum fg_http_error error)
{
    assert(error > FG_HTTP_OK && error < FG_HTTP_ERROR_COUNT);
    return errors[error].code;
}

const char *fg_http_error_message(enum fg_http_error error)
{
    assert(error > FG_HTTP_OK && error < FG_HTTP_ERROR_COUNT);
    return errors[error].message;
}

size_t fg_http_error_body(enum fg_http_error error, struct fg_span request_id, uint64_t limit,
                          char *text)
{
    char limit_text[40] = "";
    assert(error > FG_HTTP_OK && error < FG_HTTP_ERROR_COUNT && request_id.len <= 64);
    if (limit > 0)
        snprintf(limit_text, sizeof(limit_text), ",\"limit\":%" PRIu64, limit);
    int len =
        snprintf(text, FG_HTTP_ERROR_BODY_MAX,
                 "{\"error\":{\"type\":\"%s\",\"code\":\"%s\",\"message\":\"%s\"%s%s%.*s%s}}\n",
                 errors[error].type, errors[error].code, errors[error].message, limit_text,
                 request_id.len > 0 ? ",\"request_id\":\"" : "", FG_SPAN_ARGS(request_id),
                 request_id.len > 0 ? "\"" : "");
    assert(len > 0 && (size_t)len < FG_HTTP_ERROR_BODY_MAX);
    return (size_t)len;
}

static const char *const reasons[] = {
    [0] = NULL,
    [100] = "Continue",
    [101] = "Switching Protocols",
    [102] = "Processing",
    [103] = "Early Hints",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [207] = "Multi-Status",
    [208] = "Already Reported",
    [226] = "IM Used",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [305] = "Use Proxy",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Content Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [416] = "Range Not Satisfiable",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Content",
    [423] = "Locked",
    [424] = "Failed Dependency",
    [425] = "Too Early",
    [426] = "Upgrade Required",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [451] = "Unavailable For Legal Reasons",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
    [506] = "Variant Also Negotiates",
    [507] = "Insufficient Storage",
    [508] = "Loop Detected",
    [510] = "Not Extended",
    [511] = "Network Authentication Required",
};

const char *fg_http_reason(unsigned status)
{
    const char *reason = status < sizeof(reasons) / sizeof(reasons[0]) ? reasons[status] : NULL;
    return reason == NULL ? "Unknown" : reason;
}
