/*
 * fuzz_client_hello.c: any bytes at the beginning of a TLS connection. What is whole stays so with
 * more bytes behind it, and nothing is waited for that cannot come.
 */
#include "net/client_hello.h"

#include <assert.h>
#include <stdint.h>

#define HELLO_BYTES_MAX ((size_t)16384 + 5)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_span bytes = {(const char *)data, size};
    enum fg_client_hello whole = fg_client_hello_look(bytes);
    if (whole == FG_CLIENT_HELLO_PARTIAL)
        assert(size < HELLO_BYTES_MAX);
    for (size_t cut = 0; cut < size && cut < 64; cut++) {
        enum fg_client_hello part = fg_client_hello_look(fg_span_make(bytes.data, size - cut));
        assert(part == whole || part == FG_CLIENT_HELLO_PARTIAL ||
               whole != FG_CLIENT_HELLO_PARTIAL);
    }
    return 0;
}
