/*
 * test_router.c: first match wins, whole segments, hosts, methods and fields.
 */
#include "pipeline/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define BIT(method) (1u << FG_METHOD_##method)

static const struct fg_header_match beta[] = {{"x-beta", "1"}};
static const struct fg_header_match debug[] = {{"x-debug", NULL}};
static const struct fg_route_conf routes[] = {
    {.name = "beta", .path_prefix = "/api", .headers = beta, .header_count = 1},
    {.name = "home", .path = "/", .methods = BIT(GET)},
    {.name = "promo", .path_prefix = "/promo"},
    {.name = "orders-post", .path = "/api/orders", .methods = BIT(POST)},
    {.name = "orders-put", .path = "/api/orders", .methods = BIT(PUT)},
    {.name = "img-host", .host = "*.img.example.org", .path_prefix = "/"},
    {.name = "exact-host", .host = "shop.example.org", .path_prefix = "/"},
    {.name = "slash", .path_prefix = "/files/"},
    {.name = "debug", .path_prefix = "/", .headers = debug, .header_count = 1},
    {.name = "late", .path = "/promo/x"}, /* never: promo comes first */
};
static const struct fg_config config = {.routes = routes,
                                        .route_count = sizeof(routes) / sizeof(routes[0])};

static const char *find(enum fg_method method, const char *host, const char *path,
                        const struct fg_field *fields, size_t field_count, uint32_t *others)
{
    struct fg_router *router = fg_router_create(&config);
    struct fg_exchange ex = {.method = method,
                             .authority = fg_span_from_string(host),
                             .path = fg_span_from_string(path),
                             .fields = fields,
                             .field_count = field_count};
    const struct fg_route_conf *route = fg_router_find(router, &ex, others);
    fg_router_destroy(router);
    return route == NULL ? "none" : route->name;
}

static void finds_the_first_that_matches(void **state)
{
    (void)state;
    uint32_t others;
    const struct {
        enum fg_method method;
        const char *host, *path, *route;
    } cases[] = {
        {FG_METHOD_GET, "h", "/", "home"},
        {FG_METHOD_HEAD, "h", "/", "home"},
        {FG_METHOD_GET, "h", "/promo", "promo"},
        {FG_METHOD_GET, "h", "/promo/", "promo"},
        {FG_METHOD_GET, "h", "/promo/x", "promo"},
        {FG_METHOD_GET, "h", "/promotion", "none"},
        {FG_METHOD_POST, "h", "/api/orders", "orders-post"},
        {FG_METHOD_PUT, "h", "/api/orders", "orders-put"},
        {FG_METHOD_GET, "a.img.example.org", "/x", "img-host"},
        {FG_METHOD_GET, "A.IMG.example.org:8443", "/x", "img-host"},
        {FG_METHOD_GET, "img.example.org", "/x", "none"},
        {FG_METHOD_GET, ".img.example.org", "/x", "none"},
        {FG_METHOD_GET, "Shop.Example.org:443", "/x", "exact-host"},
        {FG_METHOD_GET, "shop.example.org.", "/x", "exact-host"},
        {FG_METHOD_GET, "a.img.example.org.:8443", "/x", "img-host"},
        {FG_METHOD_GET, "shop.example.org.evil", "/x", "none"},
        {FG_METHOD_GET, "[::1]:8443", "/files/a", "slash"},
        {FG_METHOD_GET, "h", "/files", "none"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(find(cases[i].method, cases[i].host, cases[i].path, NULL, 0, &others),
                            cases[i].route);
}

static void matches_fields(void **state)
{
    (void)state;
    uint32_t others;
    const struct fg_field on[] = {{FG_SPAN_LITERAL("x-beta"), FG_SPAN_LITERAL("1")}};
    const struct fg_field off[] = {{FG_SPAN_LITERAL("x-beta"), FG_SPAN_LITERAL("0")}};
    const struct fg_field any[] = {{FG_SPAN_LITERAL("x-debug"), FG_SPAN_LITERAL("")}};
    const struct fg_field both[] = {off[0], any[0], on[0]};
    assert_string_equal(find(FG_METHOD_POST, "h", "/api/orders", on, 1, &others), "beta");
    assert_string_equal(find(FG_METHOD_POST, "h", "/api/orders", both, 3, &others), "beta");
    assert_string_equal(find(FG_METHOD_POST, "h", "/api/orders", both, 2, &others), "orders-post");
    assert_string_equal(find(FG_METHOD_POST, "h", "/api/orders", off, 1, &others), "orders-post");
    assert_string_equal(find(FG_METHOD_GET, "h", "/other", any, 1, &others), "debug");
}

static void takes_an_underscore_for_a_hyphen(void **state)
{
    (void)state;
    uint32_t others;
    const struct fg_field other[] = {{FG_SPAN_LITERAL("x_beta"), FG_SPAN_LITERAL("1")}};
    const struct fg_field longer[] = {{FG_SPAN_LITERAL("x_beta_"), FG_SPAN_LITERAL("1")}};
    assert_string_equal(find(FG_METHOD_POST, "h", "/api/orders", other, 1, &others), "beta");
    assert_string_equal(find(FG_METHOD_POST, "h", "/api/orders", longer, 1, &others),
                        "orders-post");
}

static void tells_a_wrong_method_from_a_wrong_path(void **state)
{
    (void)state;
    uint32_t others;
    assert_string_equal(find(FG_METHOD_DELETE, "h", "/api/orders", NULL, 0, &others), "none");
    assert_int_equal(others, BIT(POST) | BIT(PUT));
    assert_string_equal(find(FG_METHOD_DELETE, "h", "/nowhere", NULL, 0, &others), "none");
    assert_int_equal(others, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_first_that_matches),
        cmocka_unit_test(matches_fields),
        cmocka_unit_test(takes_an_underscore_for_a_hyphen),
        cmocka_unit_test(tells_a_wrong_method_from_a_wrong_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
