/*
 * resolve_limits.c: rate limits: what makes up their keys, and the defaults that follow from
 * others.
 */
#include "config/loader.h"

#include <string.h>

#define RESERVED_BYTES 1
#define RESERVED_TOKENS 256

/* "user", "user and route", "user, address and value of x-app" */
static const char *whose(struct fg_snapshot *snapshot, const struct fg_limit_part *parts,
                         size_t count)
{
    static const char *const names[] = {
        [FG_LIMIT_BY_USER] = "user",        [FG_LIMIT_BY_DEVICE] = "device",
        [FG_LIMIT_BY_IP] = "address",       [FG_LIMIT_BY_INVITE] = "invite",
        [FG_LIMIT_BY_ROUTE] = "route",      [FG_LIMIT_BY_TIER] = "tier",
        [FG_LIMIT_BY_HEADER] = "value of ",
    };
    const char *text = "";
    for (size_t i = 0; i < count; i++) {
        bool has_header = parts[i].kind == FG_LIMIT_BY_HEADER;
        struct fg_span longer =
            fg_arena_try_printf(&snapshot->arena, "%s%s%s%s", text,
                                i == 0           ? ""
                                : i + 1 == count ? " and "
                                                 : ", ",
                                names[parts[i].kind], has_header ? parts[i].header : "");
        snapshot->report.is_exhausted = snapshot->report.is_exhausted || longer.data == NULL;
        if (longer.data == NULL)
            return "";
        text = longer.data;
    }
    return text;
}

static struct fg_limit_part part_of(const char *text)
{
    static const struct {
        const char *word;
        enum fg_limit_part_kind kind;
    } words[] = {
        {"user", FG_LIMIT_BY_USER},     {"device", FG_LIMIT_BY_DEVICE}, {"ip", FG_LIMIT_BY_IP},
        {"invite", FG_LIMIT_BY_INVITE}, {"route", FG_LIMIT_BY_ROUTE},   {"tier", FG_LIMIT_BY_TIER},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i].word) == 0)
            return (struct fg_limit_part){.kind = words[i].kind};
    }
    return (struct fg_limit_part){.kind = FG_LIMIT_BY_HEADER, .header = text + strlen("header:")};
}

static void resolve_key(struct fg_snapshot *snapshot, struct fg_raw_rate_limit *limit)
{
    static const char *by_user[] = {"user"};
    if (limit->key_count == 0) {
        limit->key = by_user;
        limit->key_count = 1;
    }
    struct fg_limit_part *parts =
        fg_config_alloc(&snapshot->report, limit->key_count * sizeof(*parts));
    if (parts == NULL)
        return;
    for (size_t i = 0; i < limit->key_count; i++)
        parts[i] = part_of(limit->key[i]);
    limit->conf.parts = parts;
    limit->conf.part_count = limit->key_count;
    limit->conf.whose = whose(snapshot, parts, limit->key_count);
}

void fg_config_resolve_rate_limits(struct fg_snapshot *snapshot)
{
    struct fg_raw_config *raw = &snapshot->raw;
    struct fg_rate_limit_conf *limits =
        fg_config_alloc(&snapshot->report, raw->rate_limit_count * sizeof(*limits));
    if (limits == NULL)
        return;
    for (size_t i = 0; i < raw->rate_limit_count; i++) {
        struct fg_rate_limit_conf *conf = &raw->rate_limits[i].conf;
        if (conf->burst == 0)
            conf->burst = conf->rate.amount;
        if (conf->reserve == 0)
            conf->reserve = conf->cost == FG_LIMIT_COST_TOKENS ? RESERVED_TOKENS : RESERVED_BYTES;
        uint64_t half = conf->burst / 2 > conf->reserve ? conf->burst / 2 : conf->reserve;
        if (conf->lease == 0)
            conf->lease = half < conf->burst ? half : conf->burst;
        if (conf->scope == FG_LIMIT_GLOBAL)
            raw->shared_state.enabled = true;
        resolve_key(snapshot, &raw->rate_limits[i]);
        limits[i] = *conf;
    }
    snapshot->config.rate_limits = limits;
    snapshot->config.rate_limit_count = raw->rate_limit_count;
}
