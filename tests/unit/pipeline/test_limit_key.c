/*
 * test_limit_key.c: who shares a key and who does not: every part, alone and mixed.
 */
#include "pipeline/limit_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct who {
    const char *user;
    const char *address;
    const char *device; /* NULL: no such field */
    const char *path;
    const char *query;
    const char *route;
    const char *tier;
    const char *app; /* field x-app */
};

static const struct fg_siphash_key secret = {1, 2};

static struct fg_span span_of(const char *text)
{
    return text == NULL ? (struct fg_span){NULL, 0} : fg_span_from_string(text);
}

static struct fg_limit_key key_of(const struct fg_rate_limit_conf *conf, const struct who *who)
{
    struct fg_field fields[2];
    size_t count = 0;
    if (who->device != NULL)
        fields[count++] = (struct fg_field){FG_SPAN("x-device-id"), span_of(who->device)};
    if (who->app != NULL)
        fields[count++] = (struct fg_field){FG_SPAN("x-app"), span_of(who->app)};
    const struct fg_exchange ex = {
        .user_id = span_of(who->user),
        .client_addr = span_of(who->address == NULL ? "192.0.2.1" : who->address),
        .path = span_of(who->path == NULL ? "/" : who->path),
        .query = span_of(who->query),
        .route = span_of(who->route == NULL ? "r" : who->route),
        .fields = fields,
        .field_count = count,
    };
    return fg_limit_key_of(&secret, conf, &ex, span_of(who->tier));
}

static bool is_shared(const struct fg_rate_limit_conf *conf, struct who a, struct who b)
{
    struct fg_limit_key left = key_of(conf, &a), right = key_of(conf, &b);
    return left.hi == right.hi && left.lo == right.lo;
}

#define CONF(...)                                                                                  \
    {                                                                                              \
        .parts = (const struct fg_limit_part[]){__VA_ARGS__},                                      \
        .part_count =                                                                              \
            sizeof((const struct fg_limit_part[]){__VA_ARGS__}) / sizeof(struct fg_limit_part),    \
        .ipv4_prefix = 32, .ipv6_prefix = 64                                                       \
    }
#define WHO(...) ((struct who){__VA_ARGS__})

static void users_are_known_by_name_and_others_by_address(void **state)
{
    (void)state;
    const struct fg_rate_limit_conf conf = CONF({.kind = FG_LIMIT_BY_USER});
    assert_true(is_shared(&conf, WHO(.user = "a"), WHO(.user = "a", .address = "192.0.2.9")));
    assert_false(is_shared(&conf, WHO(.user = "a"), WHO(.user = "b")));
    assert_true(is_shared(&conf, WHO(.device = "x"), WHO(.device = "y")));
    assert_false(is_shared(&conf, WHO(.address = "192.0.2.1"), WHO(.address = "192.0.2.2")));
    /* a user whose name is an address is not that address */
    assert_false(is_shared(&conf, WHO(.user = "192.0.2.1"), WHO(.address = "192.0.2.1")));
}

static void addresses_by_their_network(void **state)
{
    (void)state;
    struct fg_rate_limit_conf conf = CONF({.kind = FG_LIMIT_BY_IP});
    assert_true(is_shared(&conf, WHO(.user = "a"), WHO(.user = "b")));
    assert_false(is_shared(&conf, WHO(.address = "192.0.2.1"), WHO(.address = "192.0.2.2")));
    assert_true(
        is_shared(&conf, WHO(.address = "2001:db8::1"), WHO(.address = "2001:db8::ffff:1")));
    assert_false(
        is_shared(&conf, WHO(.address = "2001:db8::1"), WHO(.address = "2001:db8:0:1::1")));
    conf.ipv4_prefix = 20;
    conf.ipv6_prefix = 61;
    assert_true(is_shared(&conf, WHO(.address = "192.0.16.1"), WHO(.address = "192.0.31.255")));
    assert_false(is_shared(&conf, WHO(.address = "192.0.15.1"), WHO(.address = "192.0.16.1")));
    assert_true(
        is_shared(&conf, WHO(.address = "2001:db8:0:8::"), WHO(.address = "2001:db8:0:f::")));
    assert_false(
        is_shared(&conf, WHO(.address = "2001:db8:0:7::"), WHO(.address = "2001:db8:0:8::")));
    conf.ipv6_prefix = 128;
    assert_false(is_shared(&conf, WHO(.address = "2001:db8::1"), WHO(.address = "2001:db8::2")));
}

static void devices_invites_fields_tiers_and_routes(void **state)
{
    (void)state;
    const struct fg_rate_limit_conf device = CONF({.kind = FG_LIMIT_BY_DEVICE});
    const struct fg_rate_limit_conf invite = CONF({.kind = FG_LIMIT_BY_INVITE});
    const struct fg_rate_limit_conf app = CONF({.kind = FG_LIMIT_BY_HEADER, .header = "x-app"});
    const struct fg_rate_limit_conf tier = CONF({.kind = FG_LIMIT_BY_TIER});
    const struct fg_rate_limit_conf route = CONF({.kind = FG_LIMIT_BY_ROUTE});
    assert_true(is_shared(&device, WHO(.device = "x", .user = "a"), WHO(.device = "x")));
    assert_false(is_shared(&device, WHO(.device = "x"), WHO(.device = "y")));
    assert_false(is_shared(&device, WHO(.device = "x"), WHO(.app = "x")));
    assert_true(is_shared(&invite, WHO(.path = "/api/invites/c1/accept"),
                          WHO(.path = "/v2/invites/c1", .address = "192.0.2.7")));
    assert_true(
        is_shared(&invite, WHO(.path = "/api/invites/c1/accept"), WHO(.query = "a=b&invite=c1&c")));
    assert_false(is_shared(&invite, WHO(.path = "/api/invites/c1/accept"),
                           WHO(.path = "/api/invites/c2/accept")));
    assert_false(is_shared(&invite, WHO(.query = "invite=c1"), WHO(.query = "xinvite=c1")));
    assert_false(is_shared(&app, WHO(.app = "1"), WHO(.app = "2")));
    assert_true(is_shared(&app, WHO(.user = "a"), WHO(.app = ""))); /* empty is as good as none */
    assert_false(is_shared(&app, WHO(.address = "192.0.2.1"), WHO(.address = "192.0.2.2")));
    assert_true(is_shared(&tier, WHO(.tier = "gold", .user = "a"), WHO(.tier = "gold")));
    assert_false(is_shared(&tier, WHO(.tier = "gold"), WHO(.tier = "free")));
    assert_true(is_shared(&tier, WHO(.address = "192.0.2.1"), WHO(.address = "192.0.2.2")));
    assert_true(is_shared(&route, WHO(.user = "a"), WHO(.user = "b")));
    assert_false(is_shared(&route, WHO(.route = "a"), WHO(.route = "b")));
}

static void parts_together_are_one_key(void **state)
{
    (void)state;
    const struct fg_rate_limit_conf conf =
        CONF({.kind = FG_LIMIT_BY_USER}, {.kind = FG_LIMIT_BY_HEADER, .header = "x-app"},
             {.kind = FG_LIMIT_BY_ROUTE});
    assert_true(is_shared(&conf, WHO(.user = "a", .app = "1"), WHO(.user = "a", .app = "1")));
    assert_false(is_shared(&conf, WHO(.user = "a", .app = "1"), WHO(.user = "a", .app = "2")));
    assert_false(is_shared(&conf, WHO(.user = "a", .app = "1"), WHO(.user = "b", .app = "1")));
    assert_false(is_shared(&conf, WHO(.user = "a", .app = "b"), WHO(.user = "b", .app = "a")));
    assert_false(is_shared(&conf, WHO(.user = "ab", .app = "c"), WHO(.user = "a", .app = "bc")));
    assert_false(is_shared(&conf, WHO(.user = "a", .route = "1"), WHO(.user = "a", .route = "2")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_are_known_by_name_and_others_by_address),
        cmocka_unit_test(addresses_by_their_network),
        cmocka_unit_test(devices_invites_fields_tiers_and_routes),
        cmocka_unit_test(parts_together_are_one_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
