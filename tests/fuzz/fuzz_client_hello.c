/*
 * fuzz_client_hello.c: any bytes at the beginning of a TLS connection. What is whole stays so with
 * more bytes behind it, and nothing is waited for that cannot come.
 */
#include "net/client_hello.h"

#include <assert.h>
#include <stdint.h>

#define RECORD_BYTES_MAX ((size_t)16384 + 5)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(struct fg_span bytes, bool is_second)
{
    size_t len = 0, part_len = 0;
    enum fg_client_hello whole = fg_client_hello_look(bytes, is_second, &len);
    bool is_hello = whole == FG_CLIENT_HELLO_FULL || whole == FG_CLIENT_HELLO_RESUMES;
    bool is_idle = whole == FG_CLIENT_HELLO_IDLE;
    assert(!is_idle || is_second);
    assert(is_hello || is_idle ? len > 0 && len <= bytes.len : len == 0);
    assert(!is_hello || len <= FG_CLIENT_HELLO_HELD_MAX + RECORD_BYTES_MAX);
    if (whole == FG_CLIENT_HELLO_PARTIAL)
        assert(bytes.len <= FG_CLIENT_HELLO_HELD_MAX);
    for (size_t cut = 0; cut < bytes.len && cut < 64; cut++) {
        struct fg_span begin = fg_span_make(bytes.data, bytes.len - cut);
        enum fg_client_hello part = fg_client_hello_look(begin, is_second, &part_len);
        assert(part == whole || part == FG_CLIENT_HELLO_PARTIAL ||
               whole != FG_CLIENT_HELLO_PARTIAL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    look(fg_span_make((const char *)data, size), false);
    look(fg_span_make((const char *)data, size), true);
    return 0;
}
