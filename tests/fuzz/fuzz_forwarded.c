/*
 * fuzz_forwarded.c: any bytes as forwarded fields, one a line, in both notations. All hops but the
 * last must be trusted ones, and the last must not be, unless the walk ended there.
 */
#include "http/forwarded.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as(enum fg_forwarded_kind kind, const struct fg_field *fields, size_t count)
{
    static const struct fg_cidr trusted[] = {
        {.ip = {{[10] = 0xff, [11] = 0xff, [12] = 10}}, .prefix_len = 104}}; /* 10.0.0.0/8 */
    const struct fg_listener_conf conf = {
        .trusted_proxies = trusted, .trusted_proxy_count = 1, .forwarded = kind};
    struct fg_forwarded forwarded;
    fg_forwarded_read(&conf, fields, count, &forwarded);
    assert(forwarded.hop_count <= FG_FORWARDED_HOPS_MAX);
    for (size_t i = 0; i + 1 < forwarded.hop_count; i++)
        assert(fg_cidr_list_contains(trusted, 1, &forwarded.hops[i]));
    assert(forwarded.scheme.len == 0 || forwarded.scheme.len == 4 || forwarded.scheme.len == 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fg_span names[] = {FG_SPAN_LITERAL("x-forwarded-for"),
                                           FG_SPAN_LITERAL("forwarded"),
                                           FG_SPAN_LITERAL("x-forwarded-proto")};
    struct fg_field fields[32];
    size_t count = 0;
    struct fg_span rest = {(const char *)data, size};
    while (rest.data != NULL && count < 32) {
        struct fg_span line = fg_span_split(&rest, '\n');
        size_t name = line.len > 0 ? (unsigned char)line.data[0] % 3u : 0;
        fields[count++] = (struct fg_field){
            names[name], line.len > 0 ? fg_span_make(line.data + 1, line.len - 1) : line};
    }
    read_as(FG_FORWARDED_X, fields, count);
    read_as(FG_FORWARDED_RFC7239, fields, count);
    return 0;
}
