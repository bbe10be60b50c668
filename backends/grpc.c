/*
 * grpc.c: see grpc.h.
 */
#include "backends/grpc.h"

#include "base/clock.h"

bool fg_grpc_is_call(const struct fg_exchange *ex)
{
    static const struct fg_span type = FG_SPAN_LITERAL("application/grpc");
    struct fg_span given = fg_exchange_field(ex, FG_SPAN("content-type"));
    if (!fg_span_starts_with(given, type))
        return false;
    return given.len == type.len || given.data[type.len] == '+' || given.data[type.len] == ';';
}

bool fg_grpc_parse_timeout(struct fg_span text, uint64_t *timeout_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'H', 3600 * FG_S}, {'M', 60 * FG_S}, {'S', FG_S},
                 {'m', FG_MS},       {'u', FG_US},     {'n', 1}};
    uint64_t number = 0;
    if (text.len < 2 || text.len > 9 ||
        !fg_span_parse_u64(fg_span_make(text.data, text.len - 1), &number))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text.data[text.len - 1] != units[i].unit)
            continue;
        *timeout_ns = number > UINT64_MAX / units[i].ns ? UINT64_MAX : number * units[i].ns;
        return true;
    }
    return false;
}

struct fg_span fg_grpc_status_of(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return FG_SPAN("3"); /* INVALID_ARGUMENT */
    case 401:
        return FG_SPAN("16"); /* UNAUTHENTICATED */
    case 403:
        return FG_SPAN("7"); /* PERMISSION_DENIED */
    case 404:
    case 405:
    case 501:
        return FG_SPAN("12"); /* UNIMPLEMENTED */
    case 413:
    case 414:
    case 429:
    case 431:
        return FG_SPAN("8"); /* RESOURCE_EXHAUSTED */
    case 502:
    case 503:
        return FG_SPAN("14"); /* UNAVAILABLE */
    case 408:
    case 504:
        return FG_SPAN("4"); /* DEADLINE_EXCEEDED */
    default:
        return http_status >= 500 ? FG_SPAN("13") /* INTERNAL */ : FG_SPAN("2") /* UNKNOWN */;
    }
}

bool fg_grpc_is_fault(const struct fg_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fg_span_equal(fields[i].name, FG_SPAN("grpc-status")))
            return fg_span_equal(fields[i].value, FG_SPAN("14"));
    }
    return false;
}

struct fg_span fg_grpc_message(struct fg_arena *arena, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = strlen(text);
    char *out = fg_arena_try_alloc(arena, len * 3 + 1);
    if (out == NULL)
        return (struct fg_span){NULL, 0};
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[at++] = (char)c;
        } else {
            out[at++] = '%';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        }
    }
    return fg_span_make(out, at);
}
