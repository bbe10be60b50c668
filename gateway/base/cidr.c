/*
 * cidr.c: see cidr.h.
 */
#include "cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool fg_ip_is_v4(const struct fg_ip *ip)
{
    return memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

static void set_v4(struct fg_ip *ip, const void *four)
{
    memcpy(ip->bytes, mapped, sizeof(mapped));
    memcpy(ip->bytes + sizeof(mapped), four, 4);
}

bool fg_ip_parse(struct fg_span text, struct fg_ip *ip)
{
    char copy[FG_IP_TEXT_MAX];
    struct in_addr v4;
    struct in6_addr v6;
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        set_v4(ip, &v4);
        return true;
    }
    if (inet_pton(AF_INET6, copy, &v6) != 1)
        return false;
    memcpy(ip->bytes, &v6, sizeof(ip->bytes));
    return true;
}

bool fg_ip_from_sockaddr(const struct sockaddr *address, struct fg_ip *ip)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        set_v4(ip, &v4.sin_addr);
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof(v6));
    memcpy(ip->bytes, &v6.sin6_addr, sizeof(ip->bytes));
    return true;
}

uint16_t fg_ip_port_of(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    switch (address->sa_family) {
    case AF_INET:
        memcpy(&v4, address, sizeof(v4));
        return ntohs(v4.sin_port);
    case AF_INET6:
        memcpy(&v6, address, sizeof(v6));
        return ntohs(v6.sin6_port);
    default:
        return 0;
    }
}

/* Every connection has its address written down: without printf, which inet_ntop uses. */
static size_t format_v4(const uint8_t four[4], char *text)
{
    size_t at = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned number = four[i];
        if (number >= 100)
            text[at++] = (char)('0' + number / 100);
        if (number >= 10)
            text[at++] = (char)('0' + number / 10 % 10);
        text[at++] = (char)('0' + number % 10);
        text[at++] = i < 3 ? '.' : '\0';
    }
    return at - 1;
}

size_t fg_ip_format(const struct fg_ip *ip, char text[FG_IP_TEXT_MAX])
{
    if (fg_ip_is_v4(ip))
        return format_v4(ip->bytes + sizeof(mapped), text);
    if (inet_ntop(AF_INET6, ip->bytes, text, FG_IP_TEXT_MAX) == NULL)
        text[0] = '\0';
    return strlen(text);
}

static uint8_t mask_of(unsigned bits)
{
    return (uint8_t)(bits >= 8 ? 0xffu : (0xff00u >> bits) & 0xffu);
}

bool fg_cidr_contains(const struct fg_cidr *cidr, const struct fg_ip *ip)
{
    unsigned whole = cidr->prefix_len / 8;
    unsigned rest = cidr->prefix_len % 8;
    if (memcmp(cidr->ip.bytes, ip->bytes, whole) != 0)
        return false;
    return rest == 0 || ((cidr->ip.bytes[whole] ^ ip->bytes[whole]) & mask_of(rest)) == 0;
}

static bool is_network(const struct fg_cidr *cidr)
{
    for (unsigned i = 0; i < sizeof(cidr->ip.bytes); i++) {
        unsigned before = i * 8;
        unsigned bits = cidr->prefix_len > before ? cidr->prefix_len - before : 0;
        if ((cidr->ip.bytes[i] & ~mask_of(bits)) != 0)
            return false;
    }
    return true;
}

bool fg_cidr_parse(struct fg_span text, struct fg_cidr *cidr)
{
    struct fg_cidr out;
    struct fg_span rest = text;
    struct fg_span address = fg_span_split(&rest, '/');
    if (!fg_ip_parse(address, &out.ip))
        return false;
    unsigned most = memchr(address.data, ':', address.len) == NULL ? 32 : 128;
    uint64_t bits = most;
    if (rest.data != NULL && (rest.len > 3 || !fg_span_parse_u64(rest, &bits) || bits > most))
        return false;
    out.prefix_len = (unsigned)bits + 128 - most;
    if (!is_network(&out))
        return false;
    *cidr = out;
    return true;
}

bool fg_cidr_list_contains(const struct fg_cidr *list, size_t count, const struct fg_ip *ip)
{
    for (size_t i = 0; i < count; i++) {
        if (fg_cidr_contains(&list[i], ip))
            return true;
    }
    return false;
}
