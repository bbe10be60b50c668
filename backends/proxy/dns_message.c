/*
 * dns_message.c: writes a question, reads addresses.
 * Never    follows a compressed name: where one ends is all that is asked, a pointer being its end.
 *          The records of an alias (CNAME) are passed over, since servers that recurse send the
 *          addresses behind it.
 * Source   RFC 1035 section 4.1; RFC 3596.
 */
#include "dns_message.h"

#include <string.h>

#define HEAD_BYTES ((size_t)12)
#define RECORD_BYTES ((size_t)10) /* type, class, ttl, length */
#define LABEL_BYTES_MAX ((size_t)63)
#define NAME_BYTES_MAX ((size_t)255)
#define FLAG_ANSWER 0x8000u
#define FLAG_TRUNCATED 0x0200u
#define FLAGS_WANTED 0x0100u /* recursion */
#define CODE_MASK 0x000fu
#define CODE_NO_NAME 3u
#define POINTER 0xc0u
#define CLASS_IN 1u

static void put_16(unsigned char *to, unsigned value)
{
    to[0] = (unsigned char)(value >> 8);
    to[1] = (unsigned char)value;
}

static unsigned get_16(const char *from)
{
    return (unsigned)(unsigned char)from[0] << 8 | (unsigned char)from[1];
}

size_t fg_dns_write_query(unsigned char to[FG_DNS_QUERY_BYTES_MAX], const char *host,
                          enum fg_dns_type type, uint16_t id)
{
    struct fg_span rest = fg_span_from_string(host);
    size_t at = HEAD_BYTES;
    if (rest.len > 0 && rest.data[rest.len - 1] == '.')
        rest.len--;
    memset(to, 0, HEAD_BYTES);
    put_16(to, id);
    put_16(to + 2, FLAGS_WANTED);
    put_16(to + 4, 1); /* questions */
    while (rest.data != NULL) {
        struct fg_span label = fg_span_split(&rest, '.');
        if (label.len == 0 || label.len > LABEL_BYTES_MAX ||
            at + 1 + label.len + 1 > HEAD_BYTES + NAME_BYTES_MAX)
            return 0;
        to[at++] = (unsigned char)label.len;
        memcpy(to + at, label.data, label.len);
        at += label.len;
    }
    to[at++] = 0;
    put_16(to + at, type);
    put_16(to + at + 2, CLASS_IN);
    return at + 4;
}

/* Takes `len` bytes off the front; NULL when there are fewer. */
static const char *take(struct fg_span *rest, size_t len)
{
    const char *taken = rest->data;
    if (len > rest->len)
        return NULL;
    *rest = fg_span_make(rest->data + len, rest->len - len);
    return taken;
}

static bool skip_name(struct fg_span *rest)
{
    for (;;) {
        const char *label = take(rest, 1);
        if (label == NULL)
            return false;
        unsigned len = (unsigned char)*label;
        if (len == 0)
            return true;
        if ((len & POINTER) == POINTER)
            return take(rest, 1) != NULL;
        if (len > LABEL_BYTES_MAX || take(rest, len) == NULL)
            return false;
    }
}

static bool read_record(struct fg_span *rest, enum fg_dns_type type, fg_dns_address_fn on_address,
                        void *arg)
{
    const char *record = skip_name(rest) ? take(rest, RECORD_BYTES) : NULL;
    if (record == NULL)
        return false;
    uint32_t ttl_s = (uint32_t)get_16(record + 4) << 16 | get_16(record + 6);
    size_t len = get_16(record + 8);
    const char *data = take(rest, len);
    if (data == NULL)
        return false;
    if (get_16(record) != type || get_16(record + 2) != CLASS_IN)
        return true;
    if (len != (type == FG_DNS_A ? 4u : 16u))
        return false;
    on_address(arg, data, ttl_s > INT32_MAX ? 0 : ttl_s); /* RFC 2181 section 8 */
    return true;
}

bool fg_dns_read_answer(struct fg_span message, enum fg_dns_type type, uint16_t id,
                        fg_dns_address_fn on_address, void *arg)
{
    const char *head = take(&message, HEAD_BYTES);
    if (head == NULL || get_16(head) != id)
        return false;
    unsigned flags = get_16(head + 2), code = flags & CODE_MASK;
    if ((flags & FLAG_ANSWER) == 0 || (flags & FLAG_TRUNCATED) != 0 || get_16(head + 4) != 1)
        return false;
    if (code == CODE_NO_NAME)
        return true;
    if (code != 0 || !skip_name(&message))
        return false;
    const char *question = take(&message, 4);
    if (question == NULL || get_16(question) != type)
        return false;
    for (unsigned left = get_16(head + 6); left > 0; left--) {
        if (!read_record(&message, type, on_address, arg))
            return false;
    }
    return true;
}
