/*
 * field_id.c: names by length, then by text.
 */
#include "base/field_id.h"

#include <string.h>

static bool is_named(struct fg_span name, const char *text)
{
    return memcmp(name.data, text, name.len) == 0;
}

enum fg_field_id fg_field_identify(struct fg_span name)
{
    switch (name.len) {
    case 2:
        return is_named(name, "te") ? FG_FIELD_TE : FG_FIELD_OTHER;
    case 4:
        return is_named(name, "host") ? FG_FIELD_HOST : FG_FIELD_OTHER;
    case 6:
        return is_named(name, "cookie")   ? FG_FIELD_COOKIE
               : is_named(name, "expect") ? FG_FIELD_EXPECT
                                          : FG_FIELD_OTHER;
    case 7:
        return is_named(name, "upgrade")   ? FG_FIELD_UPGRADE
               : is_named(name, "trailer") ? FG_FIELD_TRAILER
                                           : FG_FIELD_OTHER;
    case 10:
        return is_named(name, "connection")   ? FG_FIELD_CONNECTION
               : is_named(name, "keep-alive") ? FG_FIELD_KEEP_ALIVE
                                              : FG_FIELD_OTHER;
    case 11:
        return is_named(name, "traceparent") ? FG_FIELD_TRACEPARENT : FG_FIELD_OTHER;
    case 12:
        return is_named(name, "x-request-id") ? FG_FIELD_REQUEST_ID : FG_FIELD_OTHER;
    case 13:
        return is_named(name, "server-timing") ? FG_FIELD_SERVER_TIMING : FG_FIELD_OTHER;
    case 14:
        return is_named(name, "content-length")   ? FG_FIELD_CONTENT_LENGTH
               : is_named(name, "http2-settings") ? FG_FIELD_HTTP2_SETTINGS
                                                  : FG_FIELD_OTHER;
    case 16:
        return is_named(name, "proxy-connection") ? FG_FIELD_PROXY_CONNECTION : FG_FIELD_OTHER;
    case 17:
        return is_named(name, "transfer-encoding") ? FG_FIELD_TRANSFER_ENCODING : FG_FIELD_OTHER;
    default:
        return FG_FIELD_OTHER;
    }
}
