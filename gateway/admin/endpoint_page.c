/*
 * endpoint_page.c: reads the query and calls the cluster. What it does lasts until the next start:
 * what should stay belongs into the configuration or the endpoints file.
 */
#include "admin/endpoint_page.h"

#include "admin/admin_query.h"
#include "base/log.h"
#include "proxy/proxy.h"

static const char usage[] =
    "expected ?cluster=NAME and one of add=, remove=, disable= and enable= with an address; "
    "add takes weight=1 to 1000 and priority=0 to 7\n";

enum change { CHANGE_NONE, CHANGE_ADD, CHANGE_REMOVE, CHANGE_DISABLE, CHANGE_ENABLE };

struct wish {
    struct fg_span cluster;
    enum change change;
    struct fg_span address;
    uint64_t weight;
    uint64_t priority;
};

static bool take_word(struct wish *wish, struct fg_span name, struct fg_span value)
{
    static const struct {
        struct fg_span name;
        enum change change;
    } changes[] = {
        {FG_SPAN_LITERAL("add"), CHANGE_ADD},
        {FG_SPAN_LITERAL("remove"), CHANGE_REMOVE},
        {FG_SPAN_LITERAL("disable"), CHANGE_DISABLE},
        {FG_SPAN_LITERAL("enable"), CHANGE_ENABLE},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        if (!fg_span_equal(name, changes[i].name))
            continue;
        bool is_first = wish->change == CHANGE_NONE;
        wish->change = changes[i].change;
        wish->address = value;
        return is_first && value.len > 0;
    }
    if (fg_span_equal(name, FG_SPAN("cluster"))) {
        wish->cluster = value;
        return true;
    }
    if (fg_span_equal(name, FG_SPAN("weight")))
        return fg_span_parse_u64(value, &wish->weight) && wish->weight >= 1 && wish->weight <= 1000;
    if (fg_span_equal(name, FG_SPAN("priority")))
        return fg_span_parse_u64(value, &wish->priority) && wish->priority <= 7;
    return false;
}

static bool read_wish(struct wish *wish, const struct fg_exchange *ex)
{
    *wish = (struct wish){.weight = 1};
    struct fg_admin_query query;
    struct fg_span name, value;
    fg_admin_query_init(&query, ex);
    while (fg_admin_query_next(&query, &name, &value)) {
        if (!take_word(wish, name, value))
            return false;
    }
    return !query.is_bad && wish->cluster.len > 0 && wish->change != CHANGE_NONE;
}

static struct fg_backend *find_cluster(const struct fg_admin_options *options, struct fg_span name)
{
    for (size_t i = 0; i < options->config->backend_count; i++) {
        const struct fg_backend_conf *conf = &options->config->backends[i];
        if (conf->kind == FG_BACKEND_CLUSTER &&
            fg_span_equal(fg_span_from_string(conf->name), name))
            return fg_pipeline_backend(options->pipeline, i);
    }
    return NULL;
}

static unsigned add(struct fg_backend *cluster, const struct wish *wish, const char **text)
{
    switch (fg_proxy_add_endpoint(cluster, wish->address, (uint32_t)wish->weight,
                                  (uint32_t)wish->priority)) {
    case FG_OK:
        *text = "added\n";
        return 200;
    case FG_ERR_LIMIT:
        *text = "endpoints_max is reached\n";
        return 409;
    case FG_ERR_INVALID:
        *text = "not an address; expected IP:PORT, [IPv6]:PORT or unix:/path\n";
        return 400;
    default:
        *text = "not enough memory\n";
        return 503;
    }
}

static unsigned change(struct fg_backend *cluster, const struct wish *wish, const char **text)
{
    bool is_done = false;
    switch (wish->change) {
    case CHANGE_ADD:
        return add(cluster, wish, text);
    case CHANGE_REMOVE:
        is_done = fg_proxy_remove_endpoint(cluster, wish->address);
        *text = is_done ? "removed\n"
                        : "no such endpoint was added here; one of the configuration can be "
                          "disabled\n";
        break;
    case CHANGE_DISABLE:
    case CHANGE_ENABLE:
        is_done =
            fg_proxy_set_endpoint_enabled(cluster, wish->address, wish->change == CHANGE_ENABLE);
        *text = !is_done                        ? "no such endpoint\n"
                : wish->change == CHANGE_ENABLE ? "enabled\n"
                                                : "disabled\n";
        break;
    case CHANGE_NONE:
        break;
    }
    return is_done ? 200 : 404;
}

unsigned fg_admin_change_endpoint(const struct fg_admin_options *options,
                                  const struct fg_exchange *ex, const char **text)
{
    struct wish wish;
    *text = usage;
    if (!read_wish(&wish, ex))
        return 400;
    struct fg_backend *cluster = find_cluster(options, wish.cluster);
    if (cluster == NULL) {
        *text = "no such cluster\n";
        return 404;
    }
    unsigned status = change(cluster, &wish, text);
    if (status == 200)
        fg_log(FG_LOG_INFO, "endpoint_changed", "cluster=%s endpoint=%.*s change=%.*s",
               cluster->name, FG_SPAN_ARGS(wish.address), (int)strlen(*text) - 1, *text);
    return status;
}
