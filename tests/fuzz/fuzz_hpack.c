/*
 * fuzz_hpack.c: any bytes as header blocks of one connection, through our reader and nghttp2's,
 * which have to agree. Each block is preceded by its length in two bytes; the first byte of all
 * says how much room the reader has for texts.
 */
#include "tests/unit/backends/hpack_beside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct beside beside;
    beside_open(&beside);
    beside.room_bytes = data[0];
    size_t at = 1;
    bool goes_on = true;
    while (goes_on && size - at > 2) {
        size_t len = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        if (len > size - at)
            len = size - at;
        goes_on = beside_read(&beside, data + at, len);
        at += len;
    }
    beside_close(&beside);
    return 0;
}
