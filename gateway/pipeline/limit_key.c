/*
 * limit_key.c: a hash of each part, then a hash over those and what they are: no value of one part
 * can pass for another's, or for two.
 */
#include "limit_key.h"

#include <assert.h>

/* The value behind `name=`, as it is sent. */
static struct fg_span parameter_of(struct fg_span query, struct fg_span name)
{
    struct fg_span rest = query;
    while (rest.data != NULL) {
        struct fg_span value = fg_span_split(&rest, '&');
        struct fg_span key = fg_span_split(&value, '=');
        if (fg_span_equal(key, name))
            return value;
    }
    return (struct fg_span){NULL, 0};
}

/* "/api/invites/CODE/accept", or "?invite=CODE" */
static struct fg_span invite_of(const struct fg_exchange *ex)
{
    const struct fg_span marker = FG_SPAN_LITERAL("/invites/");
    const char *found = memmem(ex->path.data, ex->path.len, marker.data, marker.len);
    if (found == NULL)
        return parameter_of(ex->query, FG_SPAN("invite"));
    const char *code = found + marker.len;
    struct fg_span rest = fg_span_make(code, (size_t)(ex->path.data + ex->path.len - code));
    return fg_span_split(&rest, '/');
}

static struct fg_span value_of(const struct fg_limit_part *part, const struct fg_exchange *ex)
{
    switch (part->kind) {
    case FG_LIMIT_BY_USER:
        return ex->user_id;
    case FG_LIMIT_BY_DEVICE:
        return fg_exchange_field(ex, FG_SPAN("x-device-id"));
    case FG_LIMIT_BY_INVITE:
        return invite_of(ex);
    case FG_LIMIT_BY_HEADER:
        return fg_exchange_field(ex, fg_span_from_string(part->header));
    case FG_LIMIT_BY_ROUTE:
        return ex->route;
    case FG_LIMIT_BY_IP:
    case FG_LIMIT_BY_TIER:
        break;
    }
    return (struct fg_span){NULL, 0};
}

/* The network that the address is in, in `bytes`; the text as it is where all of it counts. */
static struct fg_span network_of(const struct fg_rate_limit_conf *conf, struct fg_span address,
                                 struct fg_ip *ip)
{
    bool is_v4 = memchr(address.data, ':', address.len) == NULL;
    if ((is_v4 && conf->ipv4_prefix == 32) || !fg_ip_parse(address, ip))
        return address;
    unsigned kept = fg_ip_is_v4(ip) ? 96 + conf->ipv4_prefix : conf->ipv6_prefix;
    for (unsigned bit = kept; bit < 128; bit++)
        ip->bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    return fg_span_make((const char *)ip->bytes, sizeof(ip->bytes));
}

struct fg_limit_key fg_limit_key_of(const struct fg_siphash_key *secret,
                                    const struct fg_rate_limit_conf *conf,
                                    const struct fg_exchange *ex, struct fg_span tier)
{
    uint64_t parts[FG_LIMIT_PARTS_MAX][3]; /* what it is, and the hash of its value */
    struct fg_limit_key key;
    assert(conf->part_count > 0 && conf->part_count <= FG_LIMIT_PARTS_MAX);
    for (size_t i = 0; i < conf->part_count; i++) {
        struct fg_ip ip;
        enum fg_limit_part_kind kind = conf->parts[i].kind;
        struct fg_span value = kind == FG_LIMIT_BY_TIER ? tier : value_of(&conf->parts[i], ex);
        if (value.len == 0 && kind != FG_LIMIT_BY_TIER && kind != FG_LIMIT_BY_ROUTE) {
            kind = FG_LIMIT_BY_IP;
            value = network_of(conf, ex->client_addr, &ip);
        }
        parts[i][0] = kind;
        fg_siphash_128(secret, value.data, value.len, &parts[i][1], &parts[i][2]);
    }
    fg_siphash_128(secret, parts, conf->part_count * sizeof(parts[0]), &key.hi, &key.lo);
    return key;
}
