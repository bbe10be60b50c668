/*
 * scenario.c: a scenario from its file: read by the configuration's loader, then resolved against
 * the configuration: requests to routes, names to backends.
 * Memory   one heap block a scenario, and an arena inside it; bounded as a configuration is.
 */
#include "rehearse/scenario.h"

#include "base/clock.h"
#include "config/loader.h"
#include "config/nearest.h"
#include "config/text_file.h"
#include "pipeline/router.h"
#include "rehearse/scenario_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SCENARIO_BYTES_MAX ((size_t)64 << 20)

struct loaded {
    struct fg_scenario scenario; /* first, so that either pointer gives the other */
    struct fg_arena_pool pool;
    struct fg_arena arena;
    struct fg_config_report report;
    const struct fg_config *config;
    struct fg_router *router;
};

static const struct {
    const char *name;
    enum fg_method method;
    bool is_idempotent;
} methods[] = {
    {"GET", FG_METHOD_GET, true},       {"HEAD", FG_METHOD_HEAD, true},
    {"POST", FG_METHOD_POST, false},    {"PUT", FG_METHOD_PUT, true},
    {"DELETE", FG_METHOD_DELETE, true}, {"OPTIONS", FG_METHOD_OPTIONS, true},
    {"PATCH", FG_METHOD_PATCH, false},
};

/* At the value of `key` within `node`; at the node when it is not written. One error a value. */
static void error_at(struct loaded *loaded, const struct fg_yaml_node *node, const char *key,
                     const char *fmt, ...) FG_PRINTF(4, 5);

static void error_at(struct loaded *loaded, const struct fg_yaml_node *node, const char *key,
                     const char *fmt, ...)
{
    const struct fg_yaml_node *at = fg_yaml_find(node, key);
    at = at == NULL ? node : at;
    if (at == NULL || at->is_refused)
        return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fg_config_report_add(&loaded->report, at->line, at->column, "%s", text);
}

/* ---- requests to routes ---- */

/* Visible ASCII: a space would end the target, '#' is the client's own. */
static bool is_query(struct fg_span query)
{
    for (size_t i = 0; i < query.len; i++) {
        if (query.data[i] <= ' ' || query.data[i] >= 0x7f || query.data[i] == '#')
            return false;
    }
    return true;
}

static bool parse_request(struct fg_scenario_step *step)
{
    struct fg_span rest = fg_span_from_string(step->request);
    step->method_text = fg_span_split(&rest, ' ');
    step->target = rest;
    step->path = rest.data == NULL ? rest : fg_span_split(&rest, '?');
    step->query = rest;
    if (step->path.data == NULL || fg_text_check_url_path(step->path) != NULL ||
        !is_query(step->query))
        return false;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (fg_span_equal(step->method_text, fg_span_from_string(methods[i].name))) {
            step->method = methods[i].method;
            step->is_idempotent = methods[i].is_idempotent;
            return true;
        }
    }
    return false;
}

/* The step's fields as the router wants them. False without memory. */
static bool make_fields(struct loaded *loaded, const struct fg_scenario_step *step,
                        struct fg_exchange *ex)
{
    struct fg_field *fields =
        fg_config_alloc(&loaded->report, (step->header_count + 1) * sizeof(*fields));
    if (fields == NULL)
        return false;
    for (size_t i = 0; i < step->header_count; i++)
        fields[i] = (struct fg_field){fg_span_from_string(step->headers[i].name),
                                      fg_span_from_string(step->headers[i].value)};
    ex->fields = fields;
    ex->field_count = step->header_count;
    return true;
}

static void resolve_step(struct loaded *loaded, struct fg_scenario_step *step)
{
    if (step->request == NULL)
        return; /* reported as missing */
    if (!parse_request(step)) {
        error_at(loaded, step->node, "request",
                 "request: \"%s\" is not a request; expected METHOD /path such as GET /promo/",
                 step->request);
        return;
    }
    struct fg_exchange ex = {
        .method = step->method,
        .method_text = step->method_text,
        .scheme = FG_SPAN("https"),
        .authority = fg_span_from_string(loaded->scenario.host),
        .path = step->path,
        .query = step->query,
    };
    if (step->body != NULL)
        fg_token_scan_feed(&step->scan, step->body, strlen(step->body));
    if (!make_fields(loaded, step, &ex))
        return;
    uint32_t other_methods = 0;
    step->route = fg_router_find(loaded->router, &ex, &other_methods);
    if (step->route != NULL)
        return;
    if (other_methods != 0) {
        error_at(loaded, step->node, "request",
                 "request: \"%s\" has a method that no route at this path takes; expected another",
                 step->request);
        return;
    }
    struct fg_nearest nearest = {0};
    for (size_t i = 0; i < loaded->config->route_count; i++) {
        const struct fg_route_conf *route = &loaded->config->routes[i];
        const char *path = route->path != NULL ? route->path : route->path_prefix;
        if (path != NULL)
            fg_nearest_offer(&nearest, step->path, path);
    }
    bool is_near = nearest.word != NULL;
    error_at(loaded, step->node, "request",
             "request: \"%.160s\" matches no route of %.160s; %s%s%s", step->request,
             loaded->config->file, is_near ? "did you mean \"" : "expected one that does",
             is_near ? nearest.word : "", is_near ? "\"?" : "");
}

/* ---- crowds ---- */

/* Users that arrive in the piece between two points, or after the last one. */
static double piece_users(const struct fg_scenario_crowd *crowd, size_t i, uint64_t duration_ns)
{
    const struct fg_scenario_point *point = &crowd->arrivals[i];
    uint64_t start_ns = point->at_ns < duration_ns ? point->at_ns : duration_ns;
    uint64_t end_ns = duration_ns;
    double end_per_s = point->per_s;
    if (i + 1 < crowd->arrival_count) {
        end_ns = crowd->arrivals[i + 1].at_ns;
        end_per_s = crowd->arrivals[i + 1].per_s;
    }
    if (end_ns > duration_ns) {
        double share = (double)(duration_ns - start_ns) / (double)(end_ns - start_ns);
        end_per_s = point->per_s + (end_per_s - point->per_s) * share;
        end_ns = duration_ns;
    }
    return (point->per_s + end_per_s) / 2 * (double)(end_ns - start_ns) / 1e9;
}

double fg_scenario_expected_users(const struct fg_scenario_crowd *crowd, uint64_t duration_ns)
{
    double users = 0;
    for (size_t i = 0; i < crowd->arrival_count; i++) {
        if (crowd->arrivals[i].at_ns < duration_ns)
            users += piece_users(crowd, i, duration_ns);
    }
    return users;
}

static void resolve_arrivals(struct loaded *loaded, struct fg_scenario_crowd *crowd)
{
    uint64_t duration_ns = loaded->scenario.duration_ns;
    for (size_t i = 0; i < crowd->arrival_count; i++) {
        struct fg_scenario_point *point = &crowd->arrivals[i];
        point->per_s = point->rate.period_ns == 0
                           ? 0
                           : (double)point->rate.amount * 1e9 / (double)point->rate.period_ns;
        if (i > 0 && point->at_ns <= crowd->arrivals[i - 1].at_ns)
            error_at(loaded, point->node, "at",
                     "at: not after the point before it; expected rising times in %s", crowd->name);
    }
    double users = fg_scenario_expected_users(crowd, duration_ns);
    if (crowd->users == 0)
        return;
    if (users <= 0) {
        error_at(loaded, crowd->node, "arrivals",
                 "arrivals: no rate above 0 within the duration; expected one for the users of %s",
                 crowd->name);
        return;
    }
    for (size_t i = 0; i < crowd->arrival_count; i++)
        crowd->arrivals[i].per_s *= (double)crowd->users / users;
}

/* ---- backends ---- */

static struct fg_scenario_backend usual_backend(const struct fg_backend_conf *conf)
{
    struct fg_scenario_backend backend = {
        .name = conf->name,
        .slots = 16,
        .service_ns = 20 * FG_MS,
        .spread = FG_SERVICE_EXPONENTIAL,
        .error_status = 500,
        .pending_max = 100000,
        .is_finishing_orphaned = true,
        .tokens = {.is_on = conf->kind == FG_BACKEND_INFERENCE,
                   .per_s = 1000,
                   .per_s_each = 50,
                   .prefill_per_s = 5000,
                   .kv = 65536,
                   .is_reserving = true},
    };
    if (conf->kind == FG_BACKEND_STATIC) {
        backend.slots = 64;
        backend.service_ns = 200 * FG_US;
    } else if (conf->kind == FG_BACKEND_ORDERS) {
        backend.slots = 1; /* Redis: one command after the other, many on their way */
        backend.service_ns = 60 * FG_US;
        backend.latency_ns = 2 * FG_MS;
    }
    return backend;
}

static bool find_backend(const struct fg_config *config, const char *name, uint32_t *index)
{
    for (size_t i = 0; i < config->backend_count; i++) {
        if (strcmp(config->backends[i].name, name) == 0) {
            *index = (uint32_t)i;
            return true;
        }
    }
    return false;
}

static void report_unknown_backend(struct loaded *loaded, const struct fg_scenario_backend *backend)
{
    const char *names[256];
    size_t count = 0;
    for (size_t i = 0; i < loaded->config->backend_count && count < 256; i++)
        names[count++] = loaded->config->backends[i].name;
    struct fg_loader loader = {.report = &loaded->report};
    fg_load_unknown_word(&loader, backend->node->key_line, backend->node->key_column,
                         "backends: no such backend in the configuration:",
                         fg_span_from_string(backend->name), names, count);
}

/* A fault of some endpoints is one of a cluster that has so many. */
static void check_faults(struct loaded *loaded, const struct fg_scenario_backend *described,
                         const struct fg_backend_conf *conf)
{
    size_t count = conf->kind == FG_BACKEND_CLUSTER ? conf->cluster.endpoint_count : 0;
    for (size_t i = 0; i < described->fault_count; i++) {
        const struct fg_scenario_fault *fault = &described->faults[i];
        if (fault->endpoint_count > count)
            error_at(loaded, fault->node, "endpoints",
                     "endpoints: more than %s has in the configuration; expected at most %zu",
                     described->name, count);
    }
}

/* One for each of the configuration's, described ones in place of the usual ones. */
static void resolve_backends(struct loaded *loaded)
{
    struct fg_scenario *scenario = &loaded->scenario;
    const struct fg_config *config = loaded->config;
    struct fg_scenario_backend *all =
        fg_config_alloc(&loaded->report, (config->backend_count + 1) * sizeof(*all));
    if (all == NULL)
        return;
    for (size_t i = 0; i < config->backend_count; i++) {
        all[i] = usual_backend(&config->backends[i]);
        all[i].backend_index = (uint32_t)i;
    }
    for (size_t i = 0; i < scenario->backend_count; i++) {
        struct fg_scenario_backend *described = &scenario->backends[i];
        uint32_t index = 0;
        if (!find_backend(config, described->name, &index)) {
            report_unknown_backend(loaded, described);
            continue;
        }
        described->backend_index = index;
        check_faults(loaded, described, &config->backends[index]);
        all[index] = *described;
    }
    scenario->backends = all;
    scenario->backend_count = config->backend_count;
}

/* ---- steps of the load ---- */

static void run_steps(struct loaded *loaded, struct fg_span text)
{
    if (text.len > FG_TEXT_FILE_BYTES_MAX) {
        fg_config_report_add(&loaded->report, 0, 0, "the file is too large; expected at most 1MiB");
        return;
    }
    struct fg_yaml_node *root = fg_yaml_tree_parse(&loaded->report, text);
    if (root == NULL || loaded->report.is_exhausted)
        return;
    struct fg_loader loader = {.report = &loaded->report, .directory = "."};
    fg_load_table(&loader, &fg_table_scenario, root, &loaded->scenario);
    if (loaded->report.is_exhausted)
        return;
    resolve_backends(loaded);
    for (size_t i = 0; i < loaded->scenario.crowd_count; i++) {
        struct fg_scenario_crowd *crowd = &loaded->scenario.crowds[i];
        resolve_arrivals(loaded, crowd);
        for (size_t j = 0; j < crowd->step_count; j++)
            resolve_step(loaded, &crowd->steps[j]);
    }
}

void fg_scenario_destroy(struct fg_scenario *scenario)
{
    if (scenario == NULL)
        return;
    struct loaded *loaded = (struct loaded *)scenario;
    fg_arena_fini(&loaded->arena);
    fg_arena_pool_fini(&loaded->pool);
    free(loaded);
}

enum fg_status fg_scenario_parse(struct fg_scenario **out, const char *name, struct fg_span text,
                                 const struct fg_config *config, fg_config_error_fn on_error,
                                 void *ctx, size_t *error_count)
{
    *out = NULL;
    *error_count = 0;
    struct loaded *loaded = calloc(1, sizeof(*loaded));
    struct fg_router *router = fg_router_create(config);
    if (loaded == NULL || router == NULL) {
        fg_config_tell(name, on_error, ctx, error_count, "out of memory");
        free(loaded);
        fg_router_destroy(router);
        return FG_ERR_NO_MEMORY;
    }
    loaded->config = config;
    loaded->router = router;
    fg_arena_pool_init(&loaded->pool, SIZE_MAX);
    fg_arena_init(&loaded->arena, &loaded->pool, SCENARIO_BYTES_MAX);
    fg_config_report_init(&loaded->report, &loaded->arena);
    run_steps(loaded, text);
    loaded->scenario.file = fg_config_copy(&loaded->report, fg_span_from_string(name)).data;
    fg_router_destroy(router);
    loaded->router = NULL;
    fg_config_report_tell(&loaded->report, name, on_error, ctx);
    *error_count = loaded->report.count;
    if (loaded->report.is_exhausted)
        fg_config_tell(name, on_error, ctx, error_count, "the scenario needs too much memory");
    if (*error_count == 0) {
        *out = &loaded->scenario;
        return FG_OK;
    }
    fg_scenario_destroy(&loaded->scenario);
    return FG_ERR_CONFIG;
}

enum fg_status fg_scenario_load(struct fg_scenario **out, const char *path,
                                const struct fg_config *config, fg_config_error_fn on_error,
                                void *ctx, size_t *error_count)
{
    *out = NULL;
    *error_count = 0;
    char message[128];
    size_t len = 0;
    char *text = fg_text_file_read(path, "the scenario", &len, message, sizeof(message));
    if (text == NULL) {
        fg_config_tell(path, on_error, ctx, error_count, message);
        return FG_ERR_CONFIG;
    }
    enum fg_status status =
        fg_scenario_parse(out, path, fg_span_make(text, len), config, on_error, ctx, error_count);
    fg_text_file_free(text);
    return status;
}
