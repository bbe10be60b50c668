/*
 * test_freshness.c: storing, lifetimes, ages and verdicts of RFC 9111.
 */
#include "policies/cache/freshness.h"
#include "policy_test.h"

#define T0 INT64_C(1770336000)

static struct fg_cache_request get(const char *cache_control)
{
    struct fg_cache_request request = {.method = FG_CACHE_METHOD_GET};
    fg_cache_control_init(&request.control);
    fg_cache_control_parse(&request.control, cache_control, strlen(cache_control));
    return request;
}

static struct fg_cache_response answer(unsigned status, const char *cache_control)
{
    struct fg_cache_response response;
    fg_cache_response_init(&response);
    response.status = status;
    fg_cache_control_parse(&response.control, cache_control, strlen(cache_control));
    return response;
}

static enum fg_cache_storable storable(const char *asked, unsigned status, const char *answered)
{
    struct fg_cache_request request = get(asked);
    struct fg_cache_response response = answer(status, answered);
    struct fg_cache_rules rules = fg_cache_rules_default();
    return fg_cache_is_storable(&request, &response, &rules);
}

static void stores_what_may_be_stored(void **state)
{
    (void)state;
    assert_int_equal(storable("", 200, ""), FG_CACHE_STORABLE);
    assert_int_equal(storable("", 404, ""), FG_CACHE_STORABLE);
    assert_int_equal(storable("", 302, ""), FG_CACHE_NOT_STATUS);
    assert_int_equal(storable("", 302, "max-age=5"), FG_CACHE_STORABLE);
    assert_int_equal(storable("", 503, "s-maxage=5"), FG_CACHE_STORABLE);
    assert_int_equal(storable("", 206, "max-age=5"), FG_CACHE_NOT_STATUS);
    assert_int_equal(storable("", 304, "max-age=5"), FG_CACHE_NOT_STATUS);
    assert_int_equal(storable("", 103, "max-age=5"), FG_CACHE_NOT_STATUS);
    assert_int_equal(storable("", 0, "max-age=5"), FG_CACHE_NOT_STATUS);
    assert_int_equal(storable("", 200, "no-store"), FG_CACHE_NOT_NO_STORE);
    assert_int_equal(storable("no-store", 200, ""), FG_CACHE_NOT_NO_STORE);
    assert_int_equal(storable("", 200, "private, max-age=5"), FG_CACHE_NOT_PRIVATE);
    assert_int_equal(storable("", 200, "must-understand, no-store, max-age=5"), FG_CACHE_STORABLE);
    assert_int_equal(storable("", 299, "must-understand, max-age=5"), FG_CACHE_NOT_STATUS);
}

static void keeps_users_apart(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    rules.has_lifetime_override = true;
    rules.lifetime_override_s = 60;
    struct fg_cache_request request = get("");
    request.has_authorization = true;
    struct fg_cache_response response = answer(200, "max-age=60");
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_NOT_AUTHORIZATION);
    static const char *const leave[] = {"public", "s-maxage=1", "must-revalidate"};
    for (size_t i = 0; i < 3; i++) {
        response = answer(200, leave[i]);
        assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_STORABLE);
    }
    response.has_set_cookie = true;
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_NOT_SET_COOKIE);
    response = answer(200, "private");
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_NOT_PRIVATE);
    response = answer(200, "public");
    response.has_vary_star = true;
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_NOT_VARY);
    request.method = FG_CACHE_METHOD_UNSAFE;
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_NOT_METHOD);
    request.method = FG_CACHE_METHOD_HEAD;
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_NOT_METHOD);
}

static void lifetime_takes_the_first_that_speaks(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    struct fg_cache_response response = answer(200, "max-age=60, s-maxage=30");
    response.has_expires = true;
    response.expires_s = T0 + 10;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 30);
    response.control.s_maxage_s = FG_CACHE_CONTROL_ABSENT;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 60);
    response.control.max_age_s = FG_CACHE_CONTROL_ABSENT;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 10);
    response.has_date = true; /* against the origin's clock where it shows one */
    response.date_s = T0 - 5;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 15);
    response.expires_s = 0; /* "Expires: 0" */
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
    response.date_s = INT64_MIN;
    response.expires_s = INT64_MAX;
    assert_true(fg_cache_lifetime_s(&response, &rules, T0) == FG_CACHE_CONTROL_SECONDS_MAX);
    response.date_s = INT64_MAX;
    response.expires_s = INT64_MIN;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
    rules.has_lifetime_override = true;
    rules.lifetime_override_s = 7;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 7);
}

static void heuristic_is_a_tenth_and_capped(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    struct fg_cache_response response = answer(200, "");
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
    response.has_last_modified = true;
    response.last_modified_s = T0 - 1000;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 100);
    response.last_modified_s = T0 + 1000; /* from the future */
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
    response.last_modified_s = 0;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 86400);
    response.status = 302;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
    response.control.is_public = true;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 86400);
    rules.heuristic_permille = 0;
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
}

static void age_is_the_larger_of_two_views(void **state)
{
    (void)state;
    struct fg_cache_response response = answer(200, "");
    assert_int_equal(fg_cache_initial_age_ns(&response, 10 * S, 12 * S, T0), 2 * S);
    response.age_s = 5;
    assert_int_equal(fg_cache_initial_age_ns(&response, 10 * S, 12 * S, T0), 7 * S);
    response.has_date = true;
    response.date_s = T0 - 20;
    assert_int_equal(fg_cache_initial_age_ns(&response, 10 * S, 12 * S, T0), 20 * S);
    response.date_s = T0 + 20; /* its clock is ahead */
    assert_int_equal(fg_cache_initial_age_ns(&response, 10 * S, 12 * S, T0), 7 * S);
    assert_int_equal(fg_cache_initial_age_ns(&response, 12 * S, 10 * S, T0), 5 * S);
    assert_int_equal(fg_cache_current_age_ns(7 * S, 12 * S, 15 * S), 10 * S);
    assert_int_equal(fg_cache_current_age_ns(7 * S, 12 * S, 11 * S), 7 * S);
    assert_true(fg_cache_current_age_ns(UINT64_MAX, 0, YEAR) == UINT64_MAX);
    response.age_s = UINT32_MAX;
    response.date_s = INT64_MIN;
    assert_true(fg_cache_initial_age_ns(&response, 0, UINT64_MAX, INT64_MAX) == UINT64_MAX);
}

static enum fg_cache_verdict judge(const char *asked, const char *answered, uint32_t lifetime_s,
                                   uint64_t age_ns)
{
    struct fg_cache_request request = get(asked);
    struct fg_cache_response response = answer(200, answered);
    struct fg_cache_rules rules = fg_cache_rules_default();
    return fg_cache_judge(&request, &response, &rules, lifetime_s, age_ns);
}

static void fresh_until_the_exact_end(void **state)
{
    (void)state;
    assert_int_equal(judge("", "", 10, 10 * S - 1), FG_CACHE_FRESH);
    assert_int_equal(judge("", "", 10, 10 * S), FG_CACHE_STALE);
    assert_int_equal(judge("", "", 0, 0), FG_CACHE_STALE);
    assert_int_equal(judge("", "no-cache", 10, 0), FG_CACHE_STALE);
    assert_int_equal(judge("", "", UINT32_MAX, UINT64_MAX), FG_CACHE_STALE);
}

static void stale_may_be_served_as_allowed(void **state)
{
    (void)state;
    const char *both = "stale-while-revalidate=5, stale-if-error=9";
    assert_int_equal(judge("", both, 10, 15 * S - 1), FG_CACHE_STALE_WHILE_REVALIDATE);
    assert_int_equal(judge("", both, 10, 15 * S), FG_CACHE_STALE_IF_ERROR_ONLY);
    assert_int_equal(judge("", both, 10, 19 * S - 1), FG_CACHE_STALE_IF_ERROR_ONLY);
    assert_int_equal(judge("", both, 10, 19 * S), FG_CACHE_STALE);
    assert_int_equal(judge("", "stale-while-revalidate=5, must-revalidate", 10, 11 * S),
                     FG_CACHE_STALE);
    assert_int_equal(judge("", "stale-if-error=5, proxy-revalidate", 10, 11 * S), FG_CACHE_STALE);
    assert_int_equal(judge("", "s-maxage=10, stale-while-revalidate=5", 10, 11 * S),
                     FG_CACHE_STALE_WHILE_REVALIDATE);

    struct fg_cache_rules rules = fg_cache_rules_default();
    rules.stale_while_revalidate_s = 5;
    struct fg_cache_request request = get("");
    struct fg_cache_response response = answer(200, "");
    assert_int_equal(fg_cache_judge(&request, &response, &rules, 10, 11 * S),
                     FG_CACHE_STALE_WHILE_REVALIDATE);
    response = answer(200, "s-maxage=10"); /* forbids it, unless it says so itself */
    assert_int_equal(fg_cache_judge(&request, &response, &rules, 10, 11 * S), FG_CACHE_STALE);
}

static void requests_can_ask_for_more(void **state)
{
    (void)state;
    assert_int_equal(judge("no-cache", "", 10, 0), FG_CACHE_STALE);
    assert_int_equal(judge("max-age=3", "", 10, 3 * S), FG_CACHE_FRESH);
    assert_int_equal(judge("max-age=3", "", 10, 3 * S + 1), FG_CACHE_STALE);
    assert_int_equal(judge("min-fresh=4", "", 10, 6 * S), FG_CACHE_FRESH);
    assert_int_equal(judge("min-fresh=4", "", 10, 6 * S + 1), FG_CACHE_STALE);
    assert_int_equal(judge("max-age=0", "stale-if-error=5", 10, 1), FG_CACHE_STALE_IF_ERROR_ONLY);
    struct fg_cache_rules rules = fg_cache_rules_default();
    rules.obeys_request = false; /* in a flood nobody may order past the cache */
    struct fg_cache_request request = get("no-cache");
    struct fg_cache_response response = answer(200, "");
    assert_int_equal(fg_cache_judge(&request, &response, &rules, 10, 0), FG_CACHE_FRESH);
    assert_string_equal(fg_cache_verdict_name(FG_CACHE_STALE), "stale");
    assert_string_equal(fg_cache_storable_name(FG_CACHE_NOT_SET_COOKIE), "set_cookie");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_what_may_be_stored),
        cmocka_unit_test(keeps_users_apart),
        cmocka_unit_test(lifetime_takes_the_first_that_speaks),
        cmocka_unit_test(heuristic_is_a_tenth_and_capped),
        cmocka_unit_test(age_is_the_larger_of_two_views),
        cmocka_unit_test(fresh_until_the_exact_end),
        cmocka_unit_test(stale_may_be_served_as_allowed),
        cmocka_unit_test(requests_can_ask_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
