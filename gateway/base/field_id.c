/*
 * field_id.c: names by length, then by text.
 */
#include "base/field_id.h"

#include <string.h>

/* Of that length; which the compiler knows, and needs no call for. */
#define IS_NAMED(name, text) (memcmp((name).data, text, sizeof(text) - 1) == 0)

enum fg_field_id fg_field_identify(struct fg_span name)
{
    switch (name.len) {
    case 2:
        return IS_NAMED(name, "te") ? FG_FIELD_TE : FG_FIELD_OTHER;
    case 4:
        return IS_NAMED(name, "host") ? FG_FIELD_HOST : FG_FIELD_OTHER;
    case 5:
        return IS_NAMED(name, "proxy") ? FG_FIELD_PROXY : FG_FIELD_OTHER;
    case 6:
        return IS_NAMED(name, "cookie")   ? FG_FIELD_COOKIE
               : IS_NAMED(name, "expect") ? FG_FIELD_EXPECT
                                          : FG_FIELD_OTHER;
    case 7:
        return IS_NAMED(name, "upgrade")   ? FG_FIELD_UPGRADE
               : IS_NAMED(name, "trailer") ? FG_FIELD_TRAILER
                                           : FG_FIELD_OTHER;
    case 10:
        return IS_NAMED(name, "connection")   ? FG_FIELD_CONNECTION
               : IS_NAMED(name, "keep-alive") ? FG_FIELD_KEEP_ALIVE
                                              : FG_FIELD_OTHER;
    case 11:
        return IS_NAMED(name, "traceparent") ? FG_FIELD_TRACEPARENT : FG_FIELD_OTHER;
    case 12:
        return IS_NAMED(name, "x-request-id") ? FG_FIELD_REQUEST_ID : FG_FIELD_OTHER;
    case 13:
        return IS_NAMED(name, "server-timing") ? FG_FIELD_SERVER_TIMING : FG_FIELD_OTHER;
    case 14:
        return IS_NAMED(name, "content-length")   ? FG_FIELD_CONTENT_LENGTH
               : IS_NAMED(name, "http2-settings") ? FG_FIELD_HTTP2_SETTINGS
                                                  : FG_FIELD_OTHER;
    case 16:
        return IS_NAMED(name, "proxy-connection") ? FG_FIELD_PROXY_CONNECTION : FG_FIELD_OTHER;
    case 17:
        return IS_NAMED(name, "transfer-encoding") ? FG_FIELD_TRANSFER_ENCODING : FG_FIELD_OTHER;
    default:
        return FG_FIELD_OTHER;
    }
}
