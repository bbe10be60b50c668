/*
 * test_orders_backend.c: every endpoint and every refusal, against a real Redis.
 */
#include "orders_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TEA "{\"sku\":\"milk-tea\",\"quantity\":1}"

static void expect(struct fixture *f, enum fg_method method, const char *path, const char *user,
                   const char *key, const char *body, unsigned status, const char *code)
{
    struct request *r = request_run(f, method, path, user, key, body);
    const char *got =
        r->code[0] != '\0' ? r->code : request_text(r, r->status < 400 ? "none" : "code");
    if (r->status != status || strcmp(got, code) != 0)
        fail_msg("%s %s: %u %s; expected %u %s", path, body == NULL ? "" : body, r->status, got,
                 status, code);
    request_free(r);
}

static void claim(struct fixture *f, const char *user, char coupon[64])
{
    struct request *r = request_run(f, FG_METHOD_POST, "/api/coupons/claim", user, NULL, "{}");
    assert_int_equal(r->status, 201);
    snprintf(coupon, 64, "%s", request_text(r, "coupon_id"));
    assert_true(strlen(coupon) > 10);
    request_free(r);
}

static void a_coupon_is_claimed_once(void **state)
{
    struct fixture *f = *state;
    char coupon[64], body[128];
    claim(f, "ann", coupon);
    struct request *r = request_run(f, FG_METHOD_POST, "/api/coupons/claim", "ann", NULL, NULL);
    assert_int_equal(r->status, 409);
    assert_string_equal(request_text(r, "code"), "already_claimed");
    assert_string_equal(request_text(r, "coupon_id"), coupon);
    request_free(r);
    expect(f, FG_METHOD_POST, "/api/coupons/claim", "ann", NULL, "{\"campaign\":\"other\"}", 404,
           "campaign_unknown");
    snprintf(body, sizeof(body), "{\"sku\":\"milk-tea\",\"quantity\":1,\"coupon_id\":\"%s\"}",
             coupon);
    expect(f, FG_METHOD_POST, "/api/orders", "bob", "k", body, 404, "coupon_unknown");
    expect(f, FG_METHOD_POST, "/api/orders", "ann", "k", body, 201, "");
    expect(f, FG_METHOD_POST, "/api/orders", "ann", "k2", body, 409, "coupon_used");
    assert_int_equal(fixture_number(f, "stock:milk-tea"), 99);
}

static void an_order_is_replayed_by_its_key(void **state)
{
    struct fixture *f = *state;
    char order[64], path[96];
    struct request *r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k1", TEA);
    assert_int_equal(r->status, 201);
    assert_false(r->is_replayed);
    snprintf(order, sizeof(order), "%s", request_text(r, "order_id"));
    assert_string_equal(request_text(r, "status"), "accepted");
    assert_int_equal(request_number(r, "version"), 1);
    request_free(r);
    /* Another order of the members and other blanks are the same body. */
    r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "\"k1\"",
                    "{ \"quantity\": 1, \"sku\": \"milk-tea\" }");
    assert_int_equal(r->status, 201);
    assert_true(r->is_replayed);
    assert_string_equal(request_text(r, "order_id"), order);
    request_free(r);
    expect(f, FG_METHOD_POST, "/api/orders", "ann", "k1", "{\"sku\":\"milk-tea\",\"quantity\":2}",
           422, "idempotency_key_reused");
    r = request_run(f, FG_METHOD_POST, "/api/orders", "bob", "k1", TEA);
    assert_int_equal(r->status, 201);
    assert_false(r->is_replayed); /* keys are a user's own */
    request_free(r);
    assert_int_equal(fixture_number(f, "stock:milk-tea"), 98);

    snprintf(path, sizeof(path), "/api/orders/%s", order);
    r = request_run(f, FG_METHOD_GET, path, "ann", NULL, NULL);
    assert_int_equal(r->status, 200);
    assert_string_equal(request_text(r, "order_id"), order);
    assert_string_equal(request_text(r, "sku"), "milk-tea");
    assert_int_equal(request_number(r, "quantity"), 1);
    assert_int_equal(strlen(request_text(r, "created_at")), 24);
    request_free(r);
    expect(f, FG_METHOD_GET, path, "bob", NULL, NULL, 404, "order_unknown");
    expect(f, FG_METHOD_GET, "/api/orders/nothing", "ann", NULL, NULL, 404, "order_unknown");
    snprintf(path, sizeof(path), "/api/orders/%s/events", order);
    expect(f, FG_METHOD_GET, path, "bob", NULL, NULL, 404, "order_unknown");
}

static bool wants_body(struct fixture *f, enum fg_method method, const char *path, const char *user)
{
    const struct fg_exchange ex = {.method = method,
                                   .path = fg_span_from_string(path),
                                   .user_id = fg_span_from_string(user),
                                   .has_body = true};
    uint64_t bytes_max = 0;
    bool is_wanted = f->backend->ops->wants_body(f->thread, &ex, &bytes_max);
    assert_int_equal(bytes_max, 1024);
    return is_wanted;
}

static void a_body_is_wanted_whole_unless_the_head_decides(void **state)
{
    struct fixture *f = *state;
    assert_true(wants_body(f, FG_METHOD_POST, "/api/orders", "ann"));
    assert_true(wants_body(f, FG_METHOD_POST, "/api/coupons/claim", "ann"));
    assert_true(wants_body(f, FG_METHOD_POST, "/api/invites", "ann"));
    assert_false(wants_body(f, FG_METHOD_POST, "/api/orders", "")); /* 401 */
    assert_false(wants_body(f, FG_METHOD_PUT, "/api/orders", "ann"));
    assert_false(wants_body(f, FG_METHOD_POST, "/api/nothing", "ann"));
    assert_false(wants_body(f, FG_METHOD_GET, "/api/me", "ann"));
}

static void a_get_waits_for_no_body(void **state)
{
    struct fixture *f = *state;
    expect(f, FG_METHOD_GET, "/api/me", "ann", NULL, "never sent", 200, "");
}

static void what_is_wrong_is_refused(void **state)
{
    struct fixture *f = *state;
    const enum fg_method post = FG_METHOD_POST;
    char longer[101];
    expect(f, post, "/api/orders", NULL, "k", TEA, 401, "unauthenticated");
    expect(f, post, "/api/orders", "ann", NULL, TEA, 400, "idempotency_key_missing");
    expect(f, post, "/api/orders", "ann", "a b", TEA, 400, "idempotency_key_invalid");
    expect(f, post, "/api/orders", "ann", "k", "{", 400, "invalid_json");
    expect(f, post, "/api/orders", "ann", "k", NULL, 400, "invalid_json");
    expect(f, post, "/api/orders", "ann", "k", "{}", 400, "sku_missing");
    expect(f, post, "/api/orders", "ann", "k", "{\"sku\":\"beer\",\"quantity\":1}", 404,
           "sku_unknown");
    expect(f, post, "/api/orders", "ann", "k", "{\"sku\":\"milk-tea\"}", 400,
           "quantity_out_of_range");
    expect(f, post, "/api/orders", "ann", "k", "{\"sku\":\"milk-tea\",\"quantity\":0}", 400,
           "quantity_out_of_range");
    expect(f, post, "/api/orders", "ann", "k", "{\"sku\":\"milk-tea\",\"quantity\":6}", 400,
           "quantity_out_of_range");
    expect(f, post, "/api/orders", "ann", "k",
           "{\"sku\":\"milk-tea\",\"quantity\":1,\"coupon_id\":7}", 400, "coupon_invalid");
    expect(f, post, "/api/orders", "ann", "k",
           "{\"sku\":\"milk-tea\",\"quantity\":1,\"coupon_id\":\"{*}\"}", 404, "coupon_unknown");
    memset(longer, ',', 100); /* as many values, if anybody went on to read them */
    longer[0] = '{';
    longer[100] = '\0';
    expect(f, post, "/api/orders", "ann", "k", longer, 413, "body_too_complex");
    f->conf.coupon_required = true;
    expect(f, post, "/api/orders", "ann", "k", TEA, 400, "coupon_required");
    f->conf.coupon_required = false;
    expect(f, post, "/api/orders", "ann", "k", "{\"sku\":\"fruit-tea\",\"quantity\":2}", 409,
           "sold_out");
    expect(f, post, "/api/orders", "ann", "k", "{\"sku\":\"fruit-tea\",\"quantity\":1}", 201, "");
    expect(f, post, "/api/orders", "ann", "k2", "{\"sku\":\"fruit-tea\",\"quantity\":1}", 409,
           "sold_out");
    expect(f, FG_METHOD_GET, "/api/orders", "ann", NULL, NULL, 405, "method_not_allowed");
    expect(f, FG_METHOD_GET, "/api/nothing", "ann", NULL, NULL, 404, "not_found");
    expect(f, FG_METHOD_GET, "/api/stock/beer", NULL, NULL, NULL, 404, "sku_unknown");
    assert_int_equal(fixture_number(f, "stock:milk-tea"), 100);
    assert_int_equal(fixture_number(f, "stock:fruit-tea"), 0);
}

static void stock_is_public(void **state)
{
    struct fixture *f = *state;
    struct request *r = request_run(f, FG_METHOD_GET, "/api/stock/milk-tea", NULL, NULL, NULL);
    assert_int_equal(r->status, 200);
    assert_int_equal(request_number(r, "left"), 100);
    request_free(r);
}

static void invites_credit_once(void **state)
{
    struct fixture *f = *state;
    char code[64], path[96], other[96];
    struct request *r = request_run(f, FG_METHOD_POST, "/api/invites", "ann", NULL, NULL);
    assert_int_equal(r->status, 201);
    snprintf(code, sizeof(code), "%s", request_text(r, "code"));
    request_free(r);
    r = request_run(f, FG_METHOD_POST, "/api/invites", "ann", NULL, "{}");
    assert_int_equal(r->status, 200);
    assert_string_equal(request_text(r, "code"), code);
    request_free(r);
    snprintf(path, sizeof(path), "/api/invites/%s/accept", code);
    expect(f, FG_METHOD_POST, path, "ann", NULL, NULL, 409, "own_invite");
    expect(f, FG_METHOD_POST, "/api/invites/zzz/accept", "bob", NULL, NULL, 404, "invite_unknown");
    expect(f, FG_METHOD_POST, path, "bob", NULL, NULL, 201, "");
    expect(f, FG_METHOD_POST, path, "bob", NULL, NULL, 200, "");
    r = request_run(f, FG_METHOD_POST, "/api/invites", "cat", NULL, NULL);
    snprintf(other, sizeof(other), "/api/invites/%s/accept", request_text(r, "code"));
    request_free(r);
    expect(f, FG_METHOD_POST, other, "bob", NULL, NULL, 409, "already_accepted");

    r = request_run(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL);
    json_t *me = json_loads(r->body, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(me, "coupons")), 1);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(me, "coupons"), 0), "source")),
                        "invite");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(me, "invites"), "accepted")), 1);
    json_decref(me);
    request_free(r);
}

static void me_reads_what_was_written(void **state)
{
    struct fixture *f = *state;
    char coupon[64], key[16];
    long long version = 0;
    struct request *r = request_run(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL);
    assert_int_equal(r->status, 200);
    assert_int_equal(request_number(r, "version"), 0);
    request_free(r);
    claim(f, "ann", coupon);
    for (int i = 0; i < 5; i++) { /* three of them are listed */
        snprintf(key, sizeof(key), "k%d", i);
        expect(f, FG_METHOD_POST, "/api/orders", "ann", key, TEA, 201, "");
        r = request_run(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL);
        assert_true(request_number(r, "version") > version);
        version = request_number(r, "version");
        json_t *me = json_loads(r->body, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(me, "orders")), i < 3 ? i + 1 : 3);
        assert_int_equal(json_array_size(json_object_get(me, "coupons")), 1);
        json_decref(me);
        request_free(r);
    }
}

/* Odd names must not reach the records of others. */
static void users_and_keys_do_not_mix(void **state)
{
    struct fixture *f = *state;
    expect(f, FG_METHOD_POST, "/api/orders", "a:b", "c", TEA, 201, "");
    struct request *r = request_run(f, FG_METHOD_POST, "/api/orders", "a", "b:c", TEA);
    assert_int_equal(r->status, 201);
    assert_false(r->is_replayed);
    request_free(r);
}

static void a_flood_sells_exactly_the_stock(void **state)
{
    enum { COUNT = 2000 };
    struct fixture *f = *state;
    struct request **all = calloc(COUNT, sizeof(struct request *));
    char user[16], body[128], coupon[64];
    unsigned accepted = 0, with_coupon = 0;
    claim(f, "ann", coupon);
    snprintf(body, sizeof(body), "{\"sku\":\"black-tea\",\"quantity\":1,\"coupon_id\":\"%s\"}",
             coupon);
    for (int i = 0; i < COUNT; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        all[i] = request_start(f, FG_METHOD_POST, "/api/orders", user, "k", TEA);
    }
    fixture_run_until_answered(f);
    for (int i = 0; i < COUNT; i++) {
        if (all[i]->status == 201)
            accepted++;
        else
            assert_string_equal(request_text(all[i], "code"), "sold_out");
        request_free(all[i]);
    }
    assert_int_equal(accepted, 100);
    assert_int_equal(fixture_number(f, "stock:milk-tea"), 0);
    for (int i = 0; i < 50; i++) { /* one coupon, many at once */
        snprintf(user, sizeof(user), "key%d", i);
        all[i] = request_start(f, FG_METHOD_POST, "/api/orders", "ann", user, body);
    }
    fixture_run_until_answered(f);
    for (int i = 0; i < 50; i++) {
        with_coupon += all[i]->status == 201;
        request_free(all[i]);
    }
    assert_int_equal(with_coupon, 1);
    free(all);
}

static void one_command_too_many_is_busy(void **state)
{
    struct fixture *f = *state;
    struct request *all[3];
    f->conf.redis.commands_in_flight_max = 2;
    fixture_run_until_ready(f);
    for (int i = 0; i < 3; i++)
        all[i] = request_start(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL);
    assert_int_equal(all[2]->status, 503);
    assert_string_equal(all[2]->code, "orders_busy");
    assert_true(all[2]->retry_after_ms > 0);
    fixture_run_until_answered(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(all[i]->status, i < 2 ? 200 : 503);
        request_free(all[i]);
    }
}

static void a_cancelled_request_is_forgotten(void **state)
{
    struct fixture *f = *state;
    fixture_run_until_ready(f);
    struct request *r = request_start(f, FG_METHOD_POST, "/api/orders", "ann", "k", TEA);
    request_free(r); /* cancels; the reply finds nobody */
    r = request_run(f, FG_METHOD_POST, "/api/orders", "ann", "k", TEA);
    assert_int_equal(r->status, 201);
    assert_true(r->is_replayed);
    request_free(r);
}

static void scripts_are_loaded_again(void **state)
{
    struct fixture *f = *state;
    fixture_run_until_ready(f);
    freeReplyObject(fixture_redis(f, "SCRIPT FLUSH"));
    expect(f, FG_METHOD_POST, "/api/orders", "ann", "k", TEA, 201, "");
    expect(f, FG_METHOD_GET, "/api/me", "ann", NULL, NULL, 200, "");
}

static bool has_stock_figure(void *object)
{
    struct fixture *f = object;
    json_t *stats = json_object();
    f->backend->ops->stats(f->backend, stats);
    json_t *left = json_object_get(json_object_get(stats, "stock"), "milk-tea");
    bool is_there =
        json_integer_value(left) == 99 &&
        json_integer_value(json_object_get(json_object_get(stats, "orders"), "accepted")) == 1;
    json_decref(stats);
    return is_there;
}

static void stats_show_the_campaign(void **state)
{
    struct fixture *f = *state;
    expect(f, FG_METHOD_POST, "/api/orders", "ann", "k", TEA, 201, "");
    fixture_run_until(f, has_stock_figure, f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_coupon_is_claimed_once),     TEST(an_order_is_replayed_by_its_key),
        TEST(what_is_wrong_is_refused),     TEST(stock_is_public),
        TEST(a_get_waits_for_no_body),      TEST(a_body_is_wanted_whole_unless_the_head_decides),
        TEST(invites_credit_once),          TEST(me_reads_what_was_written),
        TEST(users_and_keys_do_not_mix),    TEST(a_flood_sells_exactly_the_stock),
        TEST(one_command_too_many_is_busy), TEST(a_cancelled_request_is_forgotten),
        TEST(scripts_are_loaded_again),     TEST(stats_show_the_campaign),
    };
    if (!fixture_has_redis())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
