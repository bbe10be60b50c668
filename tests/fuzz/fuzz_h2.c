/*
 * fuzz_h2.c: any bytes as HTTP/2 frames, through the codec and a handler, in memory. The preface
 * and an empty SETTINGS go first, so that all of the input is frames. The first byte says in how
 * large pieces it arrives.
 */
#include "tests/unit/http/fake_transport.h"

#include "policies/read_turn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char start[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    if (size < 1)
        return 0;
    struct fake fake;
    fake_open(&fake, true, NULL);
    fake.transport.begun_max = FG_READ_TURN_BEGINS; /* as net/reads.c */
    fake_feed(&fake, start, sizeof(start) - 1);
    size_t step = (data[0] & 0x80) != 0 ? size : (size_t)(data[0] & 0x3f) + 1;
    bool is_slow_reader = (data[0] & 0x40) != 0;
    data++;
    size--;
    for (size_t at = 0; at < size; at += step) {
        fake.is_stuck = is_slow_reader && at / step % 3 != 0;
        fake_feed(&fake, data + at, size - at < step ? size - at : step);
    }
    fake.is_stuck = false;
    fake_turn(&fake);
    if (!fake.is_cut)
        fake.codec->ops->drain(fake.codec);
    fg_timeouts_run(&fake.env.timeouts, UINT64_MAX);
    fake_turn(&fake);
    fake_close(&fake);
    return 0;
}
