/*
 * test_config.c: files that load: what they become, their derived defaults, the effective form.
 * FG_SOURCE_ROOT is the repository, set by the build.
 */
#include "base/clock.h"
#include "config_fixture.h"

#define MIB (UINT64_C(1) << 20)

static struct fg_config *parse_good(const char *yaml)
{
    struct config_errors errors;
    struct fg_config *config = parse_text(yaml, &errors);
    for (size_t i = 0; i < errors.count && i < CONFIG_ERRORS_KEPT; i++)
        print_error("%s\n", errors.lines[i]);
    assert_non_null(config);
    assert_int_equal(errors.reported_count, 0);
    assert_int_equal(errors.status, FG_OK);
    return config;
}

static struct fg_config *parse_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", FG_SOURCE_ROOT, name);
    print_message("%s\n", path);
    char *text = read_whole(path);
    struct fg_config *config = parse_good(text);
    free(text);
    return config;
}

static const struct fg_route_conf *find_route(const struct fg_config *config, const char *name)
{
    for (size_t i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].name, name) == 0)
            return &config->routes[i];
    }
    fail_msg("no route %s", name);
    return NULL;
}

static void loads_the_demo(void **state)
{
    (void)state;
    struct fg_config *config = parse_file("conf/floodgate.yaml");
    assert_int_equal(config->listener_count, 2);
    assert_string_equal(config->listeners[0].address, "127.0.0.1:8443");
    assert_int_equal(config->listeners[0].kind, FG_LISTENER_TLS);
    assert_int_equal(config->listeners[1].kind, FG_LISTENER_REDIRECT);
    assert_true(config->has_orders);
    assert_true(config->orders.redis.embedded);
    assert_int_equal(config->orders.durability, FG_DURABILITY_AOF);
    assert_int_equal(config->orders.sku_count, 1);
    assert_string_equal(config->orders.skus[0].sku, "milk-tea");
    assert_int_equal(config->orders.skus[0].stock, 100000);
    assert_true(config->inference.enabled);
    assert_int_equal(config->inference.worker_count, 2);
    assert_int_equal(config->inference.kv_bytes, 64 * MIB);
    assert_int_equal(config->overload.memory_bytes_max, 0); /* auto */

    const struct fg_route_conf *promo = find_route(config, "promo");
    assert_int_equal(config->backends[promo->backend_index].kind, FG_BACKEND_STATIC);
    assert_true(promo->cache);
    assert_int_equal(promo->cache_ttl_ns, 0);
    assert_string_equal(promo->strip_prefix, "/promo");
    const struct fg_route_conf *order = find_route(config, "order");
    assert_int_equal(config->backends[order->backend_index].kind, FG_BACKEND_ORDERS);
    assert_int_equal(order->priority, FG_PRIORITY_CRITICAL);
    assert_int_equal(order->identity, FG_IDENTITY_REQUIRED);
    assert_int_equal(order->methods, 1u << FG_METHOD_POST);
    assert_int_equal(order->timeout_ns, 5 * FG_S);
    assert_int_equal(order->rate_limit_count, 1);
    assert_string_equal(config->rate_limits[order->rate_limits[0]].name, "per-user");
    const struct fg_route_conf *chat = find_route(config, "chat");
    assert_int_equal(config->backends[chat->backend_index].kind, FG_BACKEND_INFERENCE);
    assert_int_equal(chat->priority, FG_PRIORITY_LOW);
    assert_string_equal(config->rate_limits[chat->rate_limits[0]].name, "chat-per-user");
    assert_int_equal(config->rate_limits[chat->rate_limits[0]].rate.period_ns, 60 * FG_S);
    assert_int_equal(find_route(config, "session")->action, FG_ROUTE_SESSION);
    assert_int_equal(find_route(config, "home")->action, FG_ROUTE_REDIRECT);
    assert_int_equal(find_route(config, "stock")->cache_ttl_ns, 1 * FG_S);
    const struct fg_route_conf *claim = find_route(config, "claim");
    assert_true(claim->waiting_room.enabled);
    assert_int_equal(claim->waiting_room.admit.amount, 500);
    assert_int_equal(claim->waiting_room.grace_ns, 120 * FG_S);
    assert_false(chat->waiting_room.enabled);
    fg_config_destroy(config);
}

static void loads_the_examples(void **state)
{
    (void)state;
    setenv("REDIS_PASSWORD", "hunter2", 1);
    struct fg_config *config = parse_file("conf/examples/production.yaml");
    assert_false(config->orders.redis.embedded);
    assert_string_equal(config->orders.redis.address, "redis.internal:6379");
    assert_string_equal(config->orders.redis.password, "hunter2");
    assert_int_equal(config->backend_count, 4);
    fg_config_destroy(config);
    unsetenv("REDIS_PASSWORD");

    config = parse_file("conf/examples/reverse-proxy.yaml");
    const struct fg_backend_conf *app = &config->backends[0];
    assert_string_equal(app->name, "app");
    assert_int_equal(app->cluster.endpoint_count, 3);
    assert_int_equal(app->cluster.endpoints[0].weight, 1);
    assert_int_equal(app->cluster.endpoints[2].weight, 2);
    const struct fg_route_conf *beta = find_route(config, "beta");
    assert_int_equal(beta->header_count, 1);
    assert_string_equal(beta->headers[0].name, "x-beta");
    assert_string_equal(beta->headers[0].value, "1");
    assert_string_equal(find_route(config, "health")->respond_body, "ok");
    fg_config_destroy(config);
}

/* The least that works, and the defaults that the manual promises. */
static void fills_in_defaults(void **state)
{
    (void)state;
    struct fg_config *config = parse_file("conf/examples/minimal.yaml");
    assert_string_equal(config->listeners[0].name, "0.0.0.0:8443");
    assert_string_equal(config->listeners[0].tls_min, "1.2");
    assert_int_equal(config->limits.threads, 0);
    assert_int_equal(config->limits.connections_max, 20000);
    assert_int_equal(config->limits.header_bytes_max, 32768);
    assert_int_equal(config->limits.body_bytes_max, MIB);
    assert_int_equal(config->limits.idle_timeout_ns, 60 * FG_S);
    assert_int_equal(config->identity.sessions_per_ip_max_per_minute, 600);
    assert_string_equal(config->identity.jwt.secret_file, "./jwt.key");
    assert_int_equal(config->orders.session_ttl_ns, 86400 * FG_S);
    struct fg_overload_config overload = fg_overload_config_default();
    assert_memory_equal(config->overload.ladder, overload.ladder, sizeof(overload.ladder));
    assert_string_equal(config->admin.address, "127.0.0.1:9901");
    assert_string_equal(config->observability.log_level, "info");
    assert_false(config->has_orders);
    assert_false(config->inference.enabled);
    assert_int_equal(config->backend_count, 1);
    assert_string_equal(config->backends[0].files.root, "/srv/www"); /* the shorthand */
    assert_string_equal(config->backends[0].files.index, "index.html");
    assert_int_equal(config->backends[0].queue.requests_max, 1024);
    assert_int_equal(config->backends[0].queue.wait_max_ns, 2 * FG_S);
    const struct fg_route_conf *route = &config->routes[0];
    assert_string_equal(route->name, "/");
    assert_int_equal(route->timeout_ns, config->limits.request_timeout_ns);
    assert_int_equal(route->body_bytes_max, config->limits.body_bytes_max);
    assert_int_equal(route->priority, FG_PRIORITY_NORMAL);
    assert_int_equal(route->identity, FG_IDENTITY_NONE);
    assert_int_equal(route->methods, 0);
    fg_config_destroy(config);
}

static void derives_what_depends(void **state)
{
    (void)state;
    struct fg_config *config = parse_good(
        LISTENERS "limits: {request_timeout: 7s, body_max: 3MiB, connections_max: 10}\n"
                  "policies: {rate_limits: {a: {rate: 5/10s}}, cache: {memory_max: 512KiB}}\n"
                  "clusters:\n"
                  "  small: {endpoints: [\"h:1\"], max_connections: 8}\n"
                  "  wide: {endpoints: [\"h:1\"], concurrency: {kind: fixed, limit: 100}}\n"
                  "  slow: {endpoints: [\"h:1\"], breaker: {open: 1m}}\n"
                  "routes:\n"
                  "  - {match: {path: /a, methods: GET}, to: cluster:small, rate_limits: a}\n"
                  "  - {match: {path: /a}, to: cluster:wide, waiting_room: {admit: 30/s}}\n");
    assert_int_equal(config->limits.connections_per_ip_max, 10);
    assert_int_equal(config->cache.object_bytes_max, 512 * 1024);
    assert_int_equal(config->rate_limits[0].burst, 5);
    assert_int_equal(config->rate_limits[0].part_count, 1);
    assert_int_equal(config->rate_limits[0].parts[0].kind, FG_LIMIT_BY_USER);
    assert_string_equal(config->rate_limits[0].whose, "user");
    assert_int_equal(config->backend_count, 3); /* one that no route uses is kept */
    const struct fg_backend_conf *small = &config->backends[0];
    assert_int_equal(small->cluster.max_idle_connections, 8);
    assert_int_equal(small->concurrency.limit_max, 8);
    assert_int_equal(small->concurrency.limit, 4);
    assert_int_equal(small->concurrency.limit_min, 1);
    assert_int_equal(config->backends[1].concurrency.limit, 100);
    assert_int_equal(config->backends[1].concurrency.limit_min, 100);
    assert_int_equal(config->backends[1].concurrency.limit_max, 100);
    assert_int_equal(config->backends[2].breaker.open_max_ns, 60 * FG_S);
    assert_string_equal(config->routes[0].name, "/a");
    assert_string_equal(config->routes[1].name, "/a#2");
    assert_int_equal(config->routes[0].methods, 1u << FG_METHOD_GET);
    assert_int_equal(config->routes[0].rate_limit_count, 1);
    assert_int_equal(config->routes[1].timeout_ns, 7 * FG_S);
    assert_int_equal(config->routes[1].body_bytes_max, 3 * MIB);
    assert_int_equal(config->routes[1].waiting_room.burst, 30);
    fg_config_destroy(config);
}

static void reads_the_environment(void **state)
{
    (void)state;
    setenv("FG_TEST_PORT", "7001", 1);
    setenv("FG_TEST_SECRET", "a: b # c\n- d", 1);
    struct fg_config *config = parse_good(
        LISTENERS ROUTES "admin: {address: \"127.0.0.1:${FG_TEST_PORT}\"}\n"
                         "limits: {threads: \"${FG_TEST_THREADS:-3}\"}\n"
                         "orders: {redis: {address: \"h:1\", password: \"${FG_TEST_SECRET}\"}}\n");
    assert_string_equal(config->admin.address, "127.0.0.1:7001");
    assert_int_equal(config->limits.threads, 3);
    assert_string_equal(config->orders.redis.password, "a: b # c\n- d"); /* never YAML again */
    fg_config_destroy(config);
}

static void treats_an_empty_value_as_not_written(void **state)
{
    (void)state;
    struct fg_config *config = parse_good(LISTENERS ROUTES "limits:\nadmin:\n  address:\n");
    assert_int_equal(config->limits.connections_max, 20000);
    assert_string_equal(config->admin.address, "127.0.0.1:9901");
    fg_config_destroy(config);
}

static void shows_the_effective_configuration(void **state)
{
    (void)state;
    struct fg_config *config = parse_good(
        LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 5/10s}}}\n"
                         "orders: {redis: {address: \"h:1\", password: hunter2}, skus: {tea: 5}}\n"
                         "inference: {kv_memory: 96MiB}\n");
    json_t *json = fg_config_to_json(config);
    char *text = json_dumps(json, 0);
    assert_null(strstr(text, "hunter2"));
    json_t *orders = json_object_get(json, "orders");
    json_t *redis = json_object_get(orders, "redis");
    assert_string_equal(json_string_value(json_object_get(redis, "password")), "(removed)");
    assert_true(json_is_false(json_object_get(redis, "embedded")));
    json_t *tea = json_object_get(json_object_get(orders, "skus"), "tea");
    assert_int_equal(json_integer_value(json_object_get(tea, "stock")), 5);
    json_t *limits = json_object_get(json, "limits");
    assert_string_equal(json_string_value(json_object_get(limits, "threads")), "auto");
    assert_string_equal(json_string_value(json_object_get(limits, "header_max")), "32KiB");
    json_t *a =
        json_object_get(json_object_get(json_object_get(json, "policies"), "rate_limits"), "a");
    assert_string_equal(json_string_value(json_object_get(a, "rate")), "5/10s");
    assert_int_equal(json_integer_value(json_object_get(a, "burst")), 5);
    json_t *kv = json_object_get(json_object_get(json, "inference"), "kv_memory");
    assert_string_equal(json_string_value(kv), "96MiB");
    json_t *route = json_array_get(json_object_get(json, "routes"), 0);
    assert_true(json_is_false(json_object_get(route, "cache")));
    assert_string_equal(json_string_value(json_object_get(route, "timeout")), "30s");
    free(text);
    json_decref(json);
    fg_config_destroy(config);
}

/* The keys of which a written 0 can mean nothing else than `off`. */
static const char nothing_of_it[] =
    LISTENERS "limits: {write_gather: @, gather_pause: @}\n"
              "observability: {recent_requests: @}\n"
              "identity: {token_cache: @}\n"
              "orders: {skus: {tea: 5}, fulfil: {workers: @}}\n"
              "clusters: {a: {endpoints: [\"h:1\"], panic_threshold: @, slow_start: @, "
              "retries: {attempts: @}, reserve: {memory: @}, "
              "breaker: {half_open_interval: @}, endpoint_breaker: {half_open_interval: @}}, "
              "b: {endpoints: [\"h:1\"], protocol: h2, retries: {attempts: 1, backoff: @}, "
              "connection_keepalive: {interval: @}}}\n"
              "routes: [{match: {prefix: /}, to: \"cluster:a\", "
              "waiting_room: {admit: 5/s, draw_window: @, session: @}}]\n";

static json_t *effective_with(const char *word)
{
    char text[sizeof(nothing_of_it) + 64];
    size_t len = 0;
    for (const char *at = nothing_of_it; *at != '\0'; at++) {
        size_t piece = *at == '@' ? strlen(word) : 1;
        assert_true(len + piece < sizeof(text));
        memcpy(text + len, *at == '@' ? word : at, piece);
        len += piece;
    }
    text[len] = '\0';
    struct fg_config *config = parse_good(text);
    json_t *json = fg_config_to_json(config);
    fg_config_destroy(config);
    return json;
}

static void takes_a_zero_for_off_where_it_can_mean_nothing_else(void **state)
{
    (void)state;
    json_t *zero = effective_with("0"), *off = effective_with("off");
    assert_true(json_equal(zero, off));
    const json_t *limits = json_object_get(zero, "limits");
    assert_string_equal(json_string_value(json_object_get(limits, "gather_pause")), "off");
    json_decref(zero);
    json_decref(off);
}

static void accepts_no_output_arguments(void **state)
{
    (void)state;
    struct fg_config *config = NULL;
    assert_int_equal(fg_config_parse(&config, "t.yaml", FG_SPAN("x: 1\n"), false, NULL, NULL, NULL),
                     FG_ERR_CONFIG);
    assert_null(config);
    fg_config_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_the_demo),
        cmocka_unit_test(loads_the_examples),
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(derives_what_depends),
        cmocka_unit_test(reads_the_environment),
        cmocka_unit_test(treats_an_empty_value_as_not_written),
        cmocka_unit_test(shows_the_effective_configuration),
        cmocka_unit_test(takes_a_zero_for_off_where_it_can_mean_nothing_else),
        cmocka_unit_test(accepts_no_output_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
