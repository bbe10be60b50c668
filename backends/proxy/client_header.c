/*
 * client_header.c: see client_header.h.
 */
#include "proxy/client_header.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>

#define V2_ADDRESSES 16 /* where they begin: behind signature, command, family and length */
#define V2_LOCAL '\x20'
#define V2_PROXY '\x21'
#define V2_TCP4 '\x11'
#define V2_TCP6 '\x21'
#define TLV_ALPN 0x01
#define TLV_AUTHORITY 0x02
#define TLV_UNIQUE_ID 0x05
#define TLV_SSL 0x20
#define TLV_SSL_VERSION 0x21
#define SSL_CLIENT 0x01u
#define SSL_CERT_CONNECTION 0x02u
#define SSL_CERT_SESSION 0x04u
#define SSL_FIXED ((size_t)5) /* of its value: flags and the result of the verification */
#define TLV_HEAD ((size_t)3)
#define TLV_VALUE_MAX ((size_t)128) /* of the unique id, by the specification */
#define TLV_SERVER_NAME_MAX ((size_t)255)

/* Who is connected to whom. */
struct ends {
    struct fg_ip from;
    struct fg_ip to;
    uint16_t from_port;
    uint16_t to_port;
    bool is_v4;
};

/* False: there is no client, or its address cannot be told. */
static bool find_ends(const struct fg_exchange *ex, struct ends *ends)
{
    *ends = (struct ends){.from_port = 0};
    if (!fg_ip_parse(ex->client_addr, &ends->from))
        return false;
    ends->is_v4 = fg_ip_is_v4(&ends->from);
    if (ex->link != NULL && ex->link->local_port != 0) {
        ends->to = ex->link->local_ip;
        ends->to_port = ex->link->local_port;
        ends->is_v4 = ends->is_v4 && fg_ip_is_v4(&ends->to);
    } else if (ends->is_v4) {
        (void)fg_ip_parse(FG_SPAN("0.0.0.0"), &ends->to);
    }
    /* A client behind proxies has told no port: that of the connection is the last proxy's. */
    bool is_connected = ex->peer_addr.len == 0 || fg_span_equal(ex->peer_addr, ex->client_addr);
    if (ex->link != NULL && is_connected)
        ends->from_port = ex->link->client_port;
    return true;
}

static size_t address_bytes(const struct ends *ends)
{
    return ends->is_v4 ? 4 : 16;
}

/* An IPv4 address among IPv6 ones is written as a mapped one. */
static const uint8_t *address_of(const struct ends *ends, const struct fg_ip *ip)
{
    return ip->bytes + sizeof(ip->bytes) - address_bytes(ends);
}

/* ---- version 1 ---- */

static size_t make_v1(const struct fg_exchange *ex, char *to)
{
    struct ends ends;
    char from_text[INET6_ADDRSTRLEN], to_text[INET6_ADDRSTRLEN];
    if (!find_ends(ex, &ends))
        return (size_t)snprintf(to, FG_CLIENT_HEADER_BYTES_MAX, "PROXY UNKNOWN\r\n");
    int family = ends.is_v4 ? AF_INET : AF_INET6;
    inet_ntop(family, address_of(&ends, &ends.from), from_text, sizeof(from_text));
    inet_ntop(family, address_of(&ends, &ends.to), to_text, sizeof(to_text));
    return (size_t)snprintf(to, FG_CLIENT_HEADER_BYTES_MAX, "PROXY %s %s %s %u %u\r\n",
                            ends.is_v4 ? "TCP4" : "TCP6", from_text, to_text, ends.from_port,
                            ends.to_port);
}

/* ---- version 2 ---- */

struct writer {
    char *at;
};

static void put(struct writer *writer, const void *data, size_t len)
{
    memcpy(writer->at, data, len);
    writer->at += len;
}

static void put_u16(struct writer *writer, size_t number)
{
    const char bytes[2] = {(char)(number >> 8 & 0xff), (char)(number & 0xff)};
    put(writer, bytes, sizeof(bytes));
}

static void put_tlv_head(struct writer *writer, char type, size_t len)
{
    put(writer, &type, 1);
    put_u16(writer, len);
}

static void put_tlv(struct writer *writer, char type, struct fg_span value, size_t most)
{
    if (value.len == 0 || value.len > most)
        return;
    put_tlv_head(writer, type, value.len);
    put(writer, value.data, value.len);
}

/* On this connection, or on the one whose session it resumes: either is of the session. */
static unsigned certificate_flags(const struct fg_client_link *link)
{
    if (!link->has_certificate)
        return 0;
    return link->is_resumed ? SSL_CERT_SESSION : SSL_CERT_SESSION | SSL_CERT_CONNECTION;
}

/* That the client came over TLS, by which version, and whether it showed a certificate. */
static void put_ssl(struct writer *writer, const struct fg_client_link *link)
{
    struct fg_span version = fg_span_from_string(link->tls_version);
    const char fixed[SSL_FIXED] = {(char)(SSL_CLIENT | certificate_flags(link)), 0, 0, 0,
                                   link->has_certificate ? 0 : 1};
    put_tlv_head(writer, TLV_SSL, sizeof(fixed) + TLV_HEAD + version.len);
    put(writer, fixed, sizeof(fixed));
    put_tlv(writer, TLV_SSL_VERSION, version, TLV_VALUE_MAX);
}

static bool is_wanted(const struct fg_cluster_conf *conf, enum fg_proxy_tlv tlv)
{
    return (conf->proxy_tlvs & 1u << tlv) != 0;
}

static size_t make_v2(const struct fg_exchange *ex, const struct fg_cluster_conf *conf,
                      struct fg_span alpn, char *to)
{
    struct writer writer = {to};
    struct ends ends;
    bool has_client = find_ends(ex, &ends);
    char family = !has_client ? 0 : ends.is_v4 ? V2_TCP4 : V2_TCP6;
    char command = has_client ? V2_PROXY : V2_LOCAL;
    put(&writer, "\r\n\r\n\0\r\nQUIT\n", 12);
    put(&writer, &command, 1);
    put(&writer, &family, 1);
    put_u16(&writer, 0);
    if (has_client) {
        put(&writer, address_of(&ends, &ends.from), address_bytes(&ends));
        put(&writer, address_of(&ends, &ends.to), address_bytes(&ends));
        put_u16(&writer, ends.from_port);
        put_u16(&writer, ends.to_port);
        if (is_wanted(conf, FG_PROXY_TLV_ALPN))
            put_tlv(&writer, TLV_ALPN, alpn, TLV_VALUE_MAX);
        if (is_wanted(conf, FG_PROXY_TLV_AUTHORITY) && ex->link != NULL)
            put_tlv(&writer, TLV_AUTHORITY, ex->link->server_name, TLV_SERVER_NAME_MAX);
        if (is_wanted(conf, FG_PROXY_TLV_UNIQUE_ID))
            put_tlv(&writer, TLV_UNIQUE_ID, ex->request_id, TLV_VALUE_MAX);
        if (is_wanted(conf, FG_PROXY_TLV_SSL) && ex->link != NULL && ex->link->tls_version != NULL)
            put_ssl(&writer, ex->link);
    }
    size_t len = (size_t)(writer.at - to);
    writer.at = to + V2_ADDRESSES - 2;
    put_u16(&writer, len - V2_ADDRESSES);
    return len;
}

size_t fg_client_header_make(const struct fg_exchange *ex, const struct fg_cluster_conf *conf,
                             struct fg_span alpn, char to[FG_CLIENT_HEADER_BYTES_MAX])
{
    size_t len = conf->proxy_version == FG_PROXY_V1 ? make_v1(ex, to) : make_v2(ex, conf, alpn, to);
    assert(len > 0 && len <= FG_CLIENT_HEADER_BYTES_MAX);
    return len;
}
