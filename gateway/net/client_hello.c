/*
 * client_hello.c: see client_hello.h. The hello is read where it lies in one record, as nearly all
 * clients send it; one cut over several records is not put together and counts as full.
 */
#include "net/client_hello.h"

#define RECORD_HEADER 5
#define RECORD_MAX 16384
#define SEALED_MAX (RECORD_MAX + 256)
#define MESSAGE_HEADER 4
#define CIPHER_CHANGE 20
#define HANDSHAKE 22
#define DATA 23
#define CLIENT_HELLO 1
#define EXTENSION_SESSION_TICKET 35
#define EXTENSION_PRE_SHARED_KEY 41

struct reader {
    const unsigned char *at;
    size_t left;
    bool has_failed;
};

static size_t take_number(struct reader *reader, unsigned bytes)
{
    size_t number = 0;
    if (reader->left < bytes) {
        reader->has_failed = true;
        reader->left = 0;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | reader->at[i];
    reader->at += bytes;
    reader->left -= bytes;
    return number;
}

static void skip(struct reader *reader, size_t bytes)
{
    if (reader->left < bytes) {
        reader->has_failed = true;
        bytes = reader->left;
    }
    reader->at += bytes;
    reader->left -= bytes;
}

static bool offers_session(struct reader *reader)
{
    skip(reader, 4 + 2 + 32);             /* message header, version, random */
    skip(reader, take_number(reader, 1)); /* session id */
    skip(reader, take_number(reader, 2)); /* cipher suites */
    skip(reader, take_number(reader, 1)); /* compression methods */
    size_t extensions = take_number(reader, 2);
    if (extensions < reader->left)
        reader->left = extensions;
    while (!reader->has_failed && reader->left > 0) {
        size_t type = take_number(reader, 2);
        size_t len = take_number(reader, 2);
        if (!reader->has_failed &&
            (type == EXTENSION_PRE_SHARED_KEY || (type == EXTENSION_SESSION_TICKET && len > 0)))
            return true;
        skip(reader, len);
    }
    return false;
}

/* What begins with them is idle; PARTIAL: not the first of them is there as a whole. */
static enum fg_client_hello look_at_idle(struct fg_span bytes, size_t *len)
{
    const unsigned char *data = (const unsigned char *)bytes.data;
    size_t at = 0;
    while (bytes.len - at >= RECORD_HEADER && (data[at] == CIPHER_CHANGE || data[at] == DATA)) {
        size_t record = (size_t)data[at + 3] << 8 | data[at + 4];
        if (data[at] == CIPHER_CHANGE && record != 1)
            return FG_CLIENT_HELLO_NONE;
        if (record > SEALED_MAX)
            return FG_CLIENT_HELLO_OVERFLOW;
        if (bytes.len - at - RECORD_HEADER < record)
            break;
        if (data[at] == CIPHER_CHANGE && data[at + RECORD_HEADER] != 1)
            return FG_CLIENT_HELLO_NONE;
        at += RECORD_HEADER + record;
    }
    if (at == 0)
        return FG_CLIENT_HELLO_PARTIAL;
    *len = at;
    return FG_CLIENT_HELLO_IDLE;
}

/* A message as far as it is there, over the records that it lies in. */
struct message {
    unsigned char header[MESSAGE_HEADER];
    size_t got;
    size_t len; /* with its header; 0: not known yet */
};

/* FG_CLIENT_HELLO_FULL: so far it is one. */
static enum fg_client_hello take_part(struct message *message, const unsigned char *part,
                                      size_t len)
{
    for (size_t i = 0; i < len && message->got + i < MESSAGE_HEADER; i++)
        message->header[message->got + i] = part[i];
    message->got += len;
    const unsigned char *header = message->header;
    if (message->got > 0 && header[0] != CLIENT_HELLO)
        return FG_CLIENT_HELLO_NONE;
    if (message->got < MESSAGE_HEADER)
        return FG_CLIENT_HELLO_FULL;
    message->len = MESSAGE_HEADER + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
    return message->len > FG_CLIENT_HELLO_MAX ? FG_CLIENT_HELLO_TOO_LONG : FG_CLIENT_HELLO_FULL;
}

static enum fg_client_hello kind_of(const unsigned char *record, size_t len, bool is_alone)
{
    struct reader reader = {record, len, false};
    return is_alone && offers_session(&reader) ? FG_CLIENT_HELLO_RESUMES : FG_CLIENT_HELLO_FULL;
}

enum fg_client_hello fg_client_hello_look(struct fg_span bytes, bool is_second, size_t *len)
{
    const unsigned char *data = (const unsigned char *)bytes.data;
    struct message message = {.got = 0};
    size_t at = 0;
    if (bytes.len > 0 && data[0] >= 'A' && data[0] <= 'Z')
        return FG_CLIENT_HELLO_HTTP; /* a method; records' types are all below that */
    if (is_second && bytes.len > 0 && (data[0] == CIPHER_CHANGE || data[0] == DATA))
        return look_at_idle(bytes, len);
    while (at < bytes.len) {
        if (data[at] != HANDSHAKE)
            return FG_CLIENT_HELLO_NONE;
        if (bytes.len - at < RECORD_HEADER)
            break;
        size_t record = (size_t)data[at + 3] << 8 | data[at + 4];
        if (record == 0 || record > RECORD_MAX)
            return record == 0 ? FG_CLIENT_HELLO_NONE : FG_CLIENT_HELLO_OVERFLOW;
        at += RECORD_HEADER;
        size_t part = bytes.len - at < record ? bytes.len - at : record;
        enum fg_client_hello so_far = take_part(&message, data + at, part);
        if (so_far != FG_CLIENT_HELLO_FULL)
            return so_far;
        at += part;
        if (part < record)
            break;
        if (message.len > 0 && message.got >= message.len) {
            *len = at;
            return kind_of(data + RECORD_HEADER, record, at == RECORD_HEADER + record);
        }
    }
    return bytes.len > FG_CLIENT_HELLO_HELD_MAX ? FG_CLIENT_HELLO_TOO_LONG
                                                : FG_CLIENT_HELLO_PARTIAL;
}
