/*
 * fuzz_h1.c: any bytes as an HTTP/1 client, through the codec and a handler, in memory.
 * The first byte says in how large pieces the rest arrives, and how willing the client is to read.
 */
#include "tests/unit/http/fake_transport.h"

#include "policies/read_turn.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct fake fake;
    fake_open(&fake, false, NULL);
    fake.transport.begun_max = FG_READ_TURN_BEGINS; /* as net/reads.c */
    size_t step = (size_t)(data[0] & 0x3f) + 1;
    bool is_slow_reader = (data[0] & 0x40) != 0;
    if ((data[0] & 0x80) != 0)
        step = size;
    data++;
    size--;
    for (size_t at = 0; at < size; at += step) {
        fake.is_stuck = is_slow_reader && at / step % 3 != 0;
        fake_feed(&fake, data + at, size - at < step ? size - at : step);
    }
    fake.is_stuck = false;
    fake_turn(&fake);
    if (fake.last != NULL && fake.is_armed)
        fake_eof(&fake, is_slow_reader);
    /* Bounded whatever the client does: answers are for requests, and requests are bytes. */
    if (fake.out_len > (fake.requests + 1) * (size_t)400000 + size)
        abort();
    fg_timeouts_run(&fake.env.timeouts, UINT64_MAX);
    fake_turn(&fake);
    fake_close(&fake);
    return 0;
}
