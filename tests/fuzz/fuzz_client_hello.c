/*
 * fuzz_client_hello.c: any bytes at the beginning of a TLS connection. What is whole stays so with
 * more bytes behind it, and nothing is waited for that cannot come.
 */
#include "net/client_hello.h"

#include <assert.h>
#include <stdint.h>

#define RECORD_BYTES_MAX ((size_t)16384 + 5)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_span bytes = {(const char *)data, size};
    size_t len = 0, part_len = 0;
    enum fg_client_hello whole = fg_client_hello_look(bytes, &len);
    bool is_hello = whole == FG_CLIENT_HELLO_FULL || whole == FG_CLIENT_HELLO_RESUMES;
    assert(is_hello ? len > 0 && len <= size && len <= FG_CLIENT_HELLO_HELD_MAX + RECORD_BYTES_MAX
                    : len == 0);
    if (whole == FG_CLIENT_HELLO_PARTIAL)
        assert(size <= FG_CLIENT_HELLO_HELD_MAX);
    for (size_t cut = 0; cut < size && cut < 64; cut++) {
        struct fg_span begin = fg_span_make(bytes.data, size - cut);
        enum fg_client_hello part = fg_client_hello_look(begin, &part_len);
        assert(part == whole || part == FG_CLIENT_HELLO_PARTIAL ||
               whole != FG_CLIENT_HELLO_PARTIAL);
    }
    return 0;
}
