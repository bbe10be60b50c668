/*
 * client_hello.c: see client_hello.h. The hello is read where it lies in one record, as all clients
 * send it; one cut over several records is not put together and counts as full.
 */
#include "net/client_hello.h"

#define RECORD_HEADER 5
#define RECORD_MAX 16384
#define HANDSHAKE 22
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

enum fg_client_hello fg_client_hello_look(struct fg_span bytes)
{
    const unsigned char *data = (const unsigned char *)bytes.data;
    if (bytes.len > 0 && data[0] >= 'A' && data[0] <= 'Z')
        return FG_CLIENT_HELLO_HTTP; /* a method; records' types are all below that */
    if (bytes.len > 0 && data[0] != HANDSHAKE)
        return FG_CLIENT_HELLO_FULL;
    if (bytes.len < RECORD_HEADER + 1)
        return FG_CLIENT_HELLO_PARTIAL;
    size_t len = (size_t)data[3] << 8 | data[4];
    if (len > RECORD_MAX || data[RECORD_HEADER] != CLIENT_HELLO)
        return FG_CLIENT_HELLO_FULL;
    if (bytes.len < RECORD_HEADER + len)
        return FG_CLIENT_HELLO_PARTIAL;
    struct reader reader = {data + RECORD_HEADER, len, false};
    return offers_session(&reader) ? FG_CLIENT_HELLO_RESUMES : FG_CLIENT_HELLO_FULL;
}
