/*
 * fuzz_proxy_header.c: any bytes at the beginning of a load balancer's connection. A header that
 * was read must be read the same from exactly its bytes, and be incomplete with one less.
 */
#include "net/proxy_header.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_proxy_header header, again;
    struct fg_span bytes = {(const char *)data, size};
    enum fg_proxy_header_result result = fg_proxy_header_parse(bytes, &header);
    if (result == FG_PROXY_HEADER_PARTIAL)
        assert(size < FG_PROXY_HEADER_BYTES_MAX);
    if (result != FG_PROXY_HEADER_OK)
        return 0;
    assert(header.len > 0 && header.len <= size && header.len <= FG_PROXY_HEADER_BYTES_MAX);
    assert(fg_proxy_header_parse(fg_span_make(bytes.data, header.len), &again) ==
           FG_PROXY_HEADER_OK);
    assert(again.len == header.len && again.has_source == header.has_source);
    assert(memcmp(&again.source, &header.source, sizeof(again.source)) == 0);
    assert(fg_proxy_header_parse(fg_span_make(bytes.data, header.len - 1), &again) ==
           FG_PROXY_HEADER_PARTIAL);
    return 0;
}
