/*
 * proxy_header.c: see proxy_header.h.
 */
#include "net/proxy_header.h"

#define V1_BYTES_MAX 107
#define V2_HEADER 16
#define V2_LOCAL 0
#define V2_PROXY 1
#define V2_TCP4 0x11
#define V2_TCP6 0x21
#define V2_FAMILY_MAX 3   /* a unix socket */
#define V2_PROTOCOL_MAX 2 /* datagrams */
#define V2_CRC32C 0x03
#define V2_TLV_HEAD 3u
#define V2_CRC_BYTES 4u

static enum fg_proxy_header_result refuse(struct fg_proxy_header *header, const char *fault)
{
    header->fault = fault;
    return FG_PROXY_HEADER_BAD;
}

static const struct fg_span v1_start = FG_SPAN_LITERAL("PROXY ");
static const struct fg_span v2_start = FG_SPAN_LITERAL("\r\n\r\n\0\r\nQUIT\n");

/* Is one the beginning of the other? */
static bool may_become(struct fg_span bytes, struct fg_span start)
{
    size_t len = bytes.len < start.len ? bytes.len : start.len;
    return memcmp(bytes.data, start.data, len) == 0;
}

static bool parse_port(struct fg_span text, uint16_t *port)
{
    uint64_t number;
    if (text.len > 5 || !fg_span_parse_u64(text, &number) || number > 65535 ||
        (text.len > 1 && text.data[0] == '0'))
        return false;
    *port = (uint16_t)number;
    return true;
}

static bool parse_ip(struct fg_span text, bool is_v4, struct fg_ip *ip)
{
    bool looks_v4 = memchr(text.data, ':', text.len) == NULL;
    return looks_v4 == is_v4 && fg_ip_parse(text, ip);
}

/* "TCP4 192.0.2.1 192.0.2.2 1000 443", without "PROXY " and the line's end. */
static bool parse_line(struct fg_span line, struct fg_proxy_header *header)
{
    struct fg_span family = fg_span_split(&line, ' ');
    if (fg_span_equal(family, FG_SPAN("UNKNOWN")))
        return true;
    bool is_v4 = fg_span_equal(family, FG_SPAN("TCP4"));
    if ((!is_v4 && !fg_span_equal(family, FG_SPAN("TCP6"))) || line.data == NULL)
        return false;
    struct fg_span parts[4];
    for (unsigned i = 0; i < 4; i++) {
        if (line.data == NULL)
            return false;
        parts[i] = fg_span_split(&line, ' ');
    }
    header->has_source = line.data == NULL && parse_ip(parts[0], is_v4, &header->source) &&
                         parse_ip(parts[1], is_v4, &header->destination) &&
                         parse_port(parts[2], &header->source_port) &&
                         parse_port(parts[3], &header->destination_port);
    return header->has_source;
}

static enum fg_proxy_header_result parse_v1(struct fg_span bytes, struct fg_proxy_header *header)
{
    size_t most = bytes.len < V1_BYTES_MAX ? bytes.len : V1_BYTES_MAX;
    const char *end = memchr(bytes.data, '\n', most);
    if (end == NULL)
        return bytes.len < V1_BYTES_MAX ? FG_PROXY_HEADER_PARTIAL
                                        : refuse(header, "a line of more than 107 bytes");
    size_t len = (size_t)(end - bytes.data);
    if (len <= v1_start.len || end[-1] != '\r')
        return refuse(header, "a line that is empty, or does not end in CRLF");
    header->len = len + 1;
    struct fg_span line = {bytes.data + v1_start.len, len - 1 - v1_start.len};
    return parse_line(line, header)
               ? FG_PROXY_HEADER_OK
               : refuse(header, "a line that is not TCP4 or TCP6, two addresses and two ports");
}

static const unsigned char *take_ip(const unsigned char *from, bool is_v4, struct fg_ip *ip)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    size_t bytes = is_v4 ? 4 : 16;
    memcpy(ip->bytes, mapped, sizeof(mapped));
    memcpy(ip->bytes + sizeof(ip->bytes) - bytes, from, bytes);
    return from + bytes;
}

static void take_addresses(struct fg_proxy_header *header, const unsigned char *from, bool is_v4)
{
    from = take_ip(from, is_v4, &header->source);
    from = take_ip(from, is_v4, &header->destination);
    header->source_port = (uint16_t)(from[0] << 8 | from[1]);
    header->destination_port = (uint16_t)(from[2] << 8 | from[3]);
    header->has_source = true;
}

/* Goes on with a checksum (RFC 9260 appendix A) bit by bit: headers are short, few have one. */
static uint32_t crc32c(uint32_t crc, const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return crc;
}

/* Is it what the header's bytes come to, with zeros in its own place? */
static bool is_checksum(const unsigned char *header, size_t len, const unsigned char *at)
{
    static const unsigned char zeros[V2_CRC_BYTES] = {0};
    size_t before = (size_t)(at - header);
    uint32_t crc = crc32c(UINT32_MAX, header, before);
    crc = crc32c(crc, zeros, V2_CRC_BYTES);
    crc = ~crc32c(crc, at + V2_CRC_BYTES, len - before - V2_CRC_BYTES);
    uint32_t said = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    return crc == said;
}

/* What stands behind the addresses: whole type, length and value each, and a checksum that fits. */
static bool check_tlvs(const unsigned char *header, size_t len, size_t from)
{
    while (from < len) {
        if (len - from < V2_TLV_HEAD)
            return false;
        const unsigned char *at = header + from;
        size_t value_len = (size_t)at[1] << 8 | at[2];
        if (len - from - V2_TLV_HEAD < value_len)
            return false;
        if (at[0] == V2_CRC32C &&
            (value_len != V2_CRC_BYTES || !is_checksum(header, len, at + V2_TLV_HEAD)))
            return false;
        from += V2_TLV_HEAD + value_len;
    }
    return true;
}

static enum fg_proxy_header_result parse_v2(struct fg_span bytes, struct fg_proxy_header *header)
{
    /* Two of IPv4, of IPv6 with ports, or of unix sockets' paths. */
    static const uint8_t address_bytes_of[V2_FAMILY_MAX + 1] = {0, 12, 36, 216};
    if (bytes.len < V2_HEADER)
        return FG_PROXY_HEADER_PARTIAL;
    const unsigned char *data = (const unsigned char *)bytes.data;
    unsigned command = data[12] & 0x0f;
    size_t len = (size_t)data[14] << 8 | data[15];
    if (data[12] >> 4 != 2 || command > V2_PROXY)
        return refuse(header, "a version or command of version 2 that is not defined");
    if (V2_HEADER + len > FG_PROXY_HEADER_BYTES_MAX)
        return refuse(header, "a header of more than 4096 bytes");
    if (bytes.len < V2_HEADER + len)
        return FG_PROXY_HEADER_PARTIAL;
    header->len = V2_HEADER + len;
    if (command == V2_LOCAL)
        return FG_PROXY_HEADER_OK; /* whatever else it says */
    if (data[13] >> 4 > V2_FAMILY_MAX || (data[13] & 0x0f) > V2_PROTOCOL_MAX)
        return refuse(header, "a family or protocol that is not defined");
    size_t address_bytes = address_bytes_of[data[13] >> 4];
    if (address_bytes == 0)
        return FG_PROXY_HEADER_OK; /* of no family: nobody knows what the rest is */
    if (len < address_bytes)
        return refuse(header, "fewer bytes than its addresses have");
    if (!check_tlvs(data, header->len, V2_HEADER + address_bytes))
        return refuse(header, "a value that is cut off, or a checksum that is wrong");
    if (data[13] == V2_TCP4 || data[13] == V2_TCP6)
        take_addresses(header, data + V2_HEADER, data[13] == V2_TCP4);
    return FG_PROXY_HEADER_OK;
}

enum fg_proxy_header_result fg_proxy_header_parse(struct fg_span bytes,
                                                  struct fg_proxy_header *header)
{
    *header = (struct fg_proxy_header){0};
    if (bytes.len == 0)
        return FG_PROXY_HEADER_PARTIAL;
    if (may_become(bytes, v1_start))
        return bytes.len < v1_start.len ? FG_PROXY_HEADER_PARTIAL : parse_v1(bytes, header);
    if (may_become(bytes, v2_start))
        return bytes.len < v2_start.len ? FG_PROXY_HEADER_PARTIAL : parse_v2(bytes, header);
    return refuse(header, "no PROXY header");
}
