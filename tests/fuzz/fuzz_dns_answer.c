/*
 * fuzz_dns_answer.c: any bytes as the answer of a name server. Of what it tells, each address lies
 * within the message; without its last byte a message that says something is none.
 */
#include "proxy/dns_message.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct look {
    struct fg_span message;
    size_t bytes;
    unsigned count;
};

static void on_address(void *arg, const void *bytes, uint32_t ttl_s)
{
    struct look *look = arg;
    const char *at = bytes;
    assert(at >= look->message.data && at + look->bytes <= look->message.data + look->message.len);
    assert(ttl_s <= INT32_MAX);
    look->count++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint16_t id = (uint16_t)(data[0] << 8 | data[1]);
    for (unsigned i = 0; i < 2; i++) {
        enum fg_dns_type type = i == 0 ? FG_DNS_A : FG_DNS_AAAA;
        struct look look = {{(const char *)data, size}, i == 0 ? 4 : 16, 0};
        (void)fg_dns_read_answer(look.message, type, id, on_address, &look);
        assert(look.count <= size / (11 + look.bytes));
    }
    return 0;
}
