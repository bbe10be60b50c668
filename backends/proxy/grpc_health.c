/*
 * grpc_health.c: see grpc_health.h. Of the answer's fields those that are not known are passed
 * over, and of one that is there twice the last counts, as the encoding wants it.
 */
#include "proxy/grpc_health.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define FRAME_BYTES 5u
#define TAG_SERVICE 0x0au /* field 1, with a length */
#define FIELD_STATUS 1u
#define SERVING 1u

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

struct reader {
    const unsigned char *at;
    const unsigned char *end;
};

size_t fg_grpc_health_ask(struct fg_span service, unsigned char body[FG_GRPC_ASK_BYTES])
{
    assert(service.len <= FG_GRPC_SERVICE_BYTES_MAX);
    size_t len = service.len > 0 ? 2 + service.len : 0;
    memset(body, 0, FRAME_BYTES);
    body[FRAME_BYTES - 1] = (unsigned char)len;
    if (len == 0)
        return FRAME_BYTES;
    body[FRAME_BYTES] = TAG_SERVICE;
    body[FRAME_BYTES + 1] = (unsigned char)service.len;
    memcpy(body + FRAME_BYTES + 2, service.data, service.len);
    return FRAME_BYTES + len;
}

static bool read_varint(struct reader *reader, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        unsigned char byte = *reader->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool skip(struct reader *reader, uint64_t bytes)
{
    if (bytes > (uint64_t)(reader->end - reader->at))
        return false;
    reader->at += bytes;
    return true;
}

/* A field's value; *number is that of a varint. */
static bool read_value(struct reader *reader, unsigned wire_type, uint64_t *number)
{
    switch (wire_type) {
    case WIRE_VARINT:
        return read_varint(reader, number);
    case WIRE_64:
        return skip(reader, 8);
    case WIRE_LENGTH:
        return read_varint(reader, number) && skip(reader, *number);
    case WIRE_32:
        return skip(reader, 4);
    default:
        return false;
    }
}

bool fg_grpc_health_is_serving(const unsigned char *body, size_t len)
{
    if (len < FRAME_BYTES || body[0] != 0) /* compressed: nobody said that we could read it */
        return false;
    size_t stated = (size_t)body[1] << 24 | (size_t)body[2] << 16 | (size_t)body[3] << 8 | body[4];
    if (len - FRAME_BYTES != stated)
        return false;
    struct reader reader = {body + FRAME_BYTES, body + len};
    uint64_t status = 0;
    while (reader.at < reader.end) {
        uint64_t tag = 0, number = 0;
        if (!read_varint(&reader, &tag) || !read_value(&reader, tag & 7, &number))
            return false;
        if (tag == (FIELD_STATUS << 3 | WIRE_VARINT))
            status = number;
    }
    return status == SERVING;
}
