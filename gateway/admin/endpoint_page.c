/*
 * endpoint_page.c: reads the query, changes a copy of the board's list, has the cluster obey it and
 * writes it back, or begins again where another gateway was faster. What is on the board lasts
 * until the next start: what should stay longer belongs into the configuration or the endpoints
 * file.
 */
#include "admin/endpoint_page.h"

#include "admin/admin_query.h"
#include "base/log.h"
#include "proxy/proxy.h"

#include <stdlib.h>

#define TRIES_MAX 8

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

/* ---- one change ---- */

static unsigned say_status(enum fg_status status, const char **text)
{
    switch (status) {
    case FG_OK:
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

static const char *done_text(enum change change)
{
    static const char *const texts[] = {
        [CHANGE_ADD] = "added\n",
        [CHANGE_REMOVE] = "removed\n",
        [CHANGE_DISABLE] = "disabled\n",
        [CHANGE_ENABLE] = "enabled\n",
    };
    return texts[change];
}

/* 200: the list says it now. */
static unsigned edit(struct fg_backend *cluster, const struct wish *wish,
                     struct fg_change_board *board, struct fg_endpoint_changes *changes,
                     const char **text)
{
    static const enum fg_endpoint_change_kind kinds[] = {
        [CHANGE_ADD] = FG_ENDPOINT_ADD,
        [CHANGE_DISABLE] = FG_ENDPOINT_DISABLE,
        [CHANGE_ENABLE] = FG_ENDPOINT_ENABLE,
    };
    struct fg_endpoint_change one;
    if (wish->change == CHANGE_REMOVE) {
        *text = "no such endpoint was added here; one of the configuration can be disabled\n";
        return fg_endpoint_changes_remove(changes, wish->cluster, wish->address) ? 200 : 404;
    }
    if (!fg_endpoint_change_make(&one, kinds[wish->change], wish->cluster, wish->address))
        return say_status(FG_ERR_INVALID, text);
    one.weight = (uint32_t)wish->weight;
    one.priority = (uint32_t)wish->priority;
    if (wish->change == CHANGE_ADD && fg_proxy_is_configured(cluster, one.address)) {
        *text = "the cluster has it by its configuration or endpoints file\n";
        return 409;
    }
    if (wish->change != CHANGE_ADD && !fg_proxy_has_endpoint(cluster, wish->address) &&
        !fg_endpoint_changes_know(changes, wish->cluster, wish->address)) {
        *text = "no such endpoint\n";
        return 404;
    }
    if (fg_endpoint_changes_note(changes, &one) == FG_OK)
        return 200;
    fg_change_board_note_refused(board);
    *text = "admin.endpoint_changes_max, as it was at the last start, is reached\n";
    return 409;
}

static unsigned change(struct fg_change_board *board, struct fg_backend *cluster,
                       const struct wish *wish, struct fg_endpoint_changes *changes,
                       const char **text)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        uint64_t version = fg_change_board_read(board, changes);
        unsigned status = edit(cluster, wish, board, changes, text);
        if (status == 200)
            status = say_status(fg_proxy_obey(cluster, changes), text);
        if (status != 200)
            return status;
        *text = done_text(wish->change);
        if (fg_change_board_write(board, changes, version))
            return 200;
    }
    *text = "others change endpoints all the time; try again\n";
    return 503;
}

static struct fg_endpoint_changes make_list(const struct fg_change_board *board)
{
    size_t max = fg_change_board_max(board);
    return (struct fg_endpoint_changes){
        .list = calloc(max, sizeof(struct fg_endpoint_change)),
        .max = max,
    };
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
    struct fg_endpoint_changes changes = make_list(options->changes);
    if (changes.list == NULL)
        return say_status(FG_ERR_NO_MEMORY, text);
    unsigned status = change(options->changes, cluster, &wish, &changes, text);
    free(changes.list);
    if (status == 200)
        fg_log(FG_LOG_INFO, "endpoint_changed", "cluster=%s endpoint=%.*s change=%.*s",
               cluster->name, FG_SPAN_ARGS(wish.address), (int)strlen(*text) - 1, *text);
    return status;
}

/* ---- what others have changed ---- */

/* Why the configuration of this gateway has no place for it; NULL: it has. */
static const char *why_not(const struct fg_admin_options *options,
                           const struct fg_endpoint_change *change)
{
    struct fg_backend *cluster = find_cluster(options, fg_span_from_string(change->cluster));
    if (cluster == NULL)
        return "its cluster is gone";
    if (change->kind == FG_ENDPOINT_ADD && fg_proxy_is_configured(cluster, change->address))
        return "the cluster has it itself now";
    return NULL;
}

static void forget(struct fg_endpoint_changes *changes, size_t index, const char *reason)
{
    const struct fg_endpoint_change *one = &changes->list[index];
    fg_log(FG_LOG_INFO, "endpoint_change_forgotten",
           "cluster=%s endpoint=%s change=%s reason=\"%s\"", one->cluster, one->address,
           fg_endpoint_change_name(one->kind), reason);
    fg_endpoint_changes_forget(changes, index);
}

/* The last one that was added, when there are too many. False: none was. */
static bool forget_last_added(struct fg_endpoint_changes *changes, const char *cluster)
{
    for (size_t i = changes->count; i-- > 0;) {
        if (changes->list[i].kind == FG_ENDPOINT_ADD &&
            strcmp(changes->list[i].cluster, cluster) == 0) {
            forget(changes, i, "endpoints_max is reached");
            return true;
        }
    }
    return false;
}

/* With `may_forget`, what there is no place for is taken from the list. */
static void obey_all(const struct fg_admin_options *options, struct fg_endpoint_changes *changes,
                     bool may_forget)
{
    for (size_t i = 0; i < options->config->backend_count; i++) {
        if (options->config->backends[i].kind != FG_BACKEND_CLUSTER)
            continue;
        struct fg_backend *cluster = fg_pipeline_backend(options->pipeline, i);
        enum fg_status status;
        do
            status = fg_proxy_obey(cluster, changes);
        while (status == FG_ERR_LIMIT && may_forget && forget_last_added(changes, cluster->name));
        if (status != FG_OK)
            fg_log(FG_LOG_WARN, "endpoint_changes_failed", "cluster=%s reason=\"%s\"",
                   cluster->name,
                   status == FG_ERR_LIMIT ? "endpoints_max is reached" : "not enough memory");
    }
}

void fg_admin_follow_changes(const struct fg_admin_options *options, uint64_t *version)
{
    if (fg_change_board_version(options->changes) == *version)
        return;
    struct fg_endpoint_changes changes = make_list(options->changes);
    if (changes.list == NULL)
        return;
    bool is_first = *version == 0;
    *version = fg_change_board_read(options->changes, &changes);
    size_t count = changes.count;
    for (size_t i = count; is_first && i-- > 0;) {
        const char *reason = why_not(options, &changes.list[i]);
        if (reason != NULL)
            forget(&changes, i, reason);
    }
    obey_all(options, &changes, is_first);
    if (changes.count != count && !fg_change_board_write(options->changes, &changes, *version))
        *version = 0; /* somebody else was faster: the next round is the first again */
    free(changes.list);
}

/* ---- what is shown ---- */

static json_t *change_json(const struct fg_admin_options *options,
                           const struct fg_endpoint_change *change)
{
    struct fg_backend *cluster = find_cluster(options, fg_span_from_string(change->cluster));
    bool is_found =
        cluster != NULL && fg_proxy_has_endpoint(cluster, fg_span_from_string(change->address));
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:b}", "cluster", change->cluster, "endpoint", change->address,
                  "change", fg_endpoint_change_name(change->kind), "in_force", is_found);
    if (change->kind == FG_ENDPOINT_ADD) {
        json_object_set_new(json, "weight", json_integer(change->weight));
        json_object_set_new(json, "priority", json_integer(change->priority));
    }
    return json;
}

json_t *fg_admin_changes_json(const struct fg_admin_options *options)
{
    struct fg_endpoint_changes changes = make_list(options->changes);
    if (changes.list == NULL)
        return NULL;
    (void)fg_change_board_read(options->changes, &changes);
    json_t *list = json_array();
    for (size_t i = 0; i < changes.count; i++)
        json_array_append_new(list, change_json(options, &changes.list[i]));
    free(changes.list);
    return json_pack("{s:I,s:I,s:I,s:o}", "count", (json_int_t)changes.count, "max",
                     (json_int_t)changes.max, "refused",
                     (json_int_t)fg_change_board_refused(options->changes), "list", list);
}
