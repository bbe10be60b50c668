/*
 * fuzz_channel.c: any bytes as a stream of channel frames, read by every reader. What a reader
 * accepts is written again and must come out as the same bytes.
 */
#include "inference/worker/channel.h"

#include <assert.h>
#include <stdlib.h>

static struct fg_channel_submit submit;

/* Writes what was read from `payload`; true when there was nothing to write or it is the same. */
static bool comes_back(enum fg_channel_type type, struct fg_span payload, unsigned char *out,
                       size_t room)
{
    struct fg_channel_hello hello;
    struct fg_channel_token token;
    struct fg_channel_done done;
    struct fg_channel_refused refused;
    uint32_t prompt_tokens;
    size_t bytes = 0;
    if (type == FG_CHANNEL_SUBMIT && fg_channel_read_submit(payload, &submit) == FG_OK) {
        assert(fg_channel_submit_bytes(&submit) == FG_CHANNEL_HEADER_BYTES + payload.len);
        bytes = fg_channel_write_submit(out, room, 1, &submit);
    } else if (type == FG_CHANNEL_HELLO && fg_channel_read_hello(payload, &hello) == FG_OK) {
        bytes = fg_channel_write_hello(out, room, &hello);
    } else if (type == FG_CHANNEL_TOKEN && fg_channel_read_token(payload, &token) == FG_OK) {
        bytes = fg_channel_write_token(out, room, 1, &token);
    } else if (type == FG_CHANNEL_DONE && fg_channel_read_done(payload, &done) == FG_OK) {
        bytes = fg_channel_write_done(out, room, 1, &done);
    } else if (type == FG_CHANNEL_REFUSED && fg_channel_read_refused(payload, &refused) == FG_OK) {
        bytes = fg_channel_write_refused(out, room, 1, &refused);
    } else if (type == FG_CHANNEL_BEGUN &&
               fg_channel_read_begun(payload, &prompt_tokens) == FG_OK) {
        bytes = fg_channel_write_begun(out, room, 1, prompt_tokens);
    } else {
        return true;
    }
    return bytes == room && (payload.len == 0 ||
                             memcmp(out + FG_CHANNEL_HEADER_BYTES, payload.data, payload.len) == 0);
}

static void read_all_ways(struct fg_span payload)
{
    size_t room = FG_CHANNEL_HEADER_BYTES + payload.len;
    unsigned char *out = malloc(room);
    char *copy = malloc(payload.len + 1); /* of its own, so that a read beyond it is seen */
    assert(out != NULL && copy != NULL);
    if (payload.len > 0)
        memcpy(copy, payload.data, payload.len);
    for (enum fg_channel_type type = FG_CHANNEL_HELLO; type < FG_CHANNEL_TYPE_END; type++) {
        bool is_same = comes_back(type, fg_span_make(copy, payload.len), out, room);
        assert(is_same);
        (void)is_same;
    }
    free(copy);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_channel_header header;
    while (size >= FG_CHANNEL_HEADER_BYTES && fg_channel_read_header(data, &header) == FG_OK) {
        data += FG_CHANNEL_HEADER_BYTES;
        size -= FG_CHANNEL_HEADER_BYTES;
        if (header.payload_bytes > size)
            break;
        read_all_ways(fg_span_make((const char *)data, header.payload_bytes));
        data += header.payload_bytes;
        size -= header.payload_bytes;
    }
    read_all_ways(fg_span_make((const char *)data, size));
    return 0;
}
