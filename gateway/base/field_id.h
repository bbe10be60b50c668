/*
 * field_id.h: which header fields codecs and proxies themselves must understand.
 * Thread   any; pure.
 */
#ifndef FG_BASE_FIELD_ID_H
#define FG_BASE_FIELD_ID_H

#include "base/span.h"

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
    FG_FIELD_TRAILER,
    FG_FIELD_PROXY,
};

/* `name` is in lower case. */
enum fg_field_id fg_field_identify(struct fg_span name);

#endif
