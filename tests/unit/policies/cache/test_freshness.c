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

static void what_is_not_there_for_one_user_is_not_kept_for_all(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    struct fg_cache_request request = get("");
    request.has_cookie = true;
    static const struct {
        unsigned status;
        const char *control;
        bool is_personal;
    } cases[] = {
        {404, "", true},           {410, "stale-if-error=5", true},
        {404, "max-age=0", false}, {404, "s-maxage=1", false},
        {404, "public", false},    {405, "", false},
        {200, "", false},          {501, "", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fg_cache_response response = answer(cases[i].status, cases[i].control);
        assert_int_equal(fg_cache_is_storable(&request, &response, &rules),
                         cases[i].is_personal ? FG_CACHE_NOT_COOKIE : FG_CACHE_STORABLE);
    }
    struct fg_cache_response response = answer(404, "");
    struct fg_cache_request anybody = get("");
    assert_int_equal(fg_cache_is_storable(&anybody, &response, &rules), FG_CACHE_STORABLE);
    rules.has_lifetime_override = true; /* the operator's word for this route */
    assert_int_equal(fg_cache_is_storable(&request, &response, &rules), FG_CACHE_STORABLE);
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
    assert_string_equal(fg_cache_storable_name(FG_CACHE_NOT_COOKIE), "cookie");
    assert_string_equal(fg_cache_storable_name(FG_CACHE_NOT_USEFUL), "useful");
}

static void stale_is_good_enough_for_who_says_so(void **state)
{
    (void)state;
    assert_int_equal(judge("max-stale=5", "", 10, 15 * S), FG_CACHE_FRESH);
    assert_int_equal(judge("max-stale=5", "", 10, 15 * S + 1), FG_CACHE_STALE);
    assert_int_equal(judge("max-stale", "", 10, UINT64_MAX), FG_CACHE_FRESH);
    assert_int_equal(judge("max-stale=5, max-age=3", "", 10, 11 * S), FG_CACHE_STALE);
    assert_int_equal(judge("max-stale", "must-revalidate", 10, 11 * S), FG_CACHE_STALE);
    assert_int_equal(judge("max-stale", "no-cache", 10, 0), FG_CACHE_STALE);
    assert_int_equal(judge("max-stale", "", 0, 0), FG_CACHE_STALE);
    assert_int_equal(judge("stale-if-error=5", "", 10, 15 * S - 1), FG_CACHE_STALE_IF_ERROR_ONLY);
    assert_int_equal(judge("stale-if-error=5", "", 10, 15 * S), FG_CACHE_STALE);
    assert_int_equal(judge("stale-if-error=5", "s-maxage=10", 10, 11 * S), FG_CACHE_STALE);
    assert_int_equal(judge("stale-if-error=5", "", 0, 0), FG_CACHE_STALE);
    assert_int_equal(judge("max-age=0", "immutable", 10, 5 * S), FG_CACHE_FRESH);
    assert_int_equal(judge("no-cache", "immutable", 10, 5 * S), FG_CACHE_STALE);
}

static enum fg_cache_verdict judge_by(const struct fg_cache_rules *rules, const char *answered,
                                      uint32_t lifetime_s, uint64_t age_ns)
{
    struct fg_cache_request request = get("");
    struct fg_cache_response response = answer(200, answered);
    return fg_cache_judge(&request, &response, rules, lifetime_s, age_ns);
}

static void pressure_and_pins_widen_what_may_be_served(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    rules.pressure_stale_s = 60;
    assert_int_equal(judge_by(&rules, "", 10, 70 * S - 1), FG_CACHE_STALE_WHILE_REVALIDATE);
    assert_int_equal(judge_by(&rules, "", 10, 70 * S), FG_CACHE_STALE);
    assert_int_equal(judge_by(&rules, "must-revalidate", 10, 11 * S), FG_CACHE_STALE);
    assert_int_equal(judge_by(&rules, "s-maxage=10", 10, 11 * S), FG_CACHE_STALE);
    assert_int_equal(judge_by(&rules, "", 0, 0), FG_CACHE_STALE); /* never meant for others */
    rules = fg_cache_rules_default();
    rules.stale_if_error_s = 60;
    assert_int_equal(judge_by(&rules, "", 10, 11 * S), FG_CACHE_STALE_IF_ERROR_ONLY);
    assert_int_equal(judge_by(&rules, "", 0, 0), FG_CACHE_STALE);
    rules = fg_cache_rules_default();
    rules.is_pinned = true;
    assert_int_equal(judge_by(&rules, "must-revalidate", 10, YEAR),
                     FG_CACHE_STALE_WHILE_REVALIDATE);
    assert_int_equal(judge_by(&rules, "no-cache", 10, 0), FG_CACHE_STALE_IF_ERROR_ONLY);
}

static void pragma_counts_where_nothing_else_is_said(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    struct fg_cache_request request = get("");
    struct fg_cache_response response = answer(200, "");
    request.has_pragma_no_cache = true;
    assert_int_equal(fg_cache_judge(&request, &response, &rules, 10, 0), FG_CACHE_STALE);
    request.has_cache_control = true;
    assert_int_equal(fg_cache_judge(&request, &response, &rules, 10, 0), FG_CACHE_FRESH);
}

static void what_is_not_there_is_fresh_for_as_long_as_configured(void **state)
{
    (void)state;
    struct fg_cache_rules rules = fg_cache_rules_default();
    rules.negative_lifetime_s = 7;
    struct fg_cache_response response = answer(404, "");
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 7);
    response = answer(404, "max-age=3");
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 3);
    response = answer(200, "");
    assert_int_equal(fg_cache_lifetime_s(&response, &rules, T0), 0);
}

static void keeps_what_is_of_use(void **state)
{
    (void)state;
    struct fg_cache_response response = answer(200, "");
    assert_false(fg_cache_is_useful(&response, 0, 0));
    assert_true(fg_cache_is_useful(&response, 1, 0));
    assert_false(fg_cache_is_useful(&response, 1, S));
    response.has_etag = true;
    assert_true(fg_cache_is_useful(&response, 0, 0));
    assert_true(fg_cache_is_ever_fresh(&response, 1));
    assert_false(fg_cache_is_ever_fresh(&response, 0));
    response = answer(200, "stale-if-error=5");
    assert_true(fg_cache_is_useful(&response, 1, 6 * S - 1));
    assert_false(fg_cache_is_useful(&response, 1, 6 * S));
    response = answer(200, "stale-while-revalidate=5, must-revalidate");
    assert_false(fg_cache_is_useful(&response, 1, 2 * S));
    response = answer(200, "no-cache");
    assert_false(fg_cache_is_useful(&response, 10, 0));
    assert_false(fg_cache_is_ever_fresh(&response, 10));
}

static void unsafe_methods_invalidate_unless_they_fail(void **state)
{
    (void)state;
    assert_true(fg_cache_is_invalidating(FG_CACHE_METHOD_UNSAFE, 200));
    assert_true(fg_cache_is_invalidating(FG_CACHE_METHOD_UNSAFE, 399));
    assert_false(fg_cache_is_invalidating(FG_CACHE_METHOD_UNSAFE, 400));
    assert_false(fg_cache_is_invalidating(FG_CACHE_METHOD_UNSAFE, 199));
    assert_false(fg_cache_is_invalidating(FG_CACHE_METHOD_OTHER_SAFE, 200));
    assert_false(fg_cache_is_invalidating(FG_CACHE_METHOD_GET, 200));
    assert_true(fg_cache_is_kept_by_304("content-range", 13));
    assert_true(fg_cache_is_kept_by_304("content-md5", 11));
    assert_true(fg_cache_is_kept_by_304("content-digest", 14));
    assert_false(fg_cache_is_kept_by_304("repr-digest", 11));
    assert_false(fg_cache_is_kept_by_304("content-type", 12));
    assert_false(fg_cache_is_kept_by_304("vary", 4));
    assert_false(fg_cache_is_kept_by_304("cache-control", 13));
    assert_true(fg_cache_is_error_status(502));
    assert_false(fg_cache_is_error_status(501));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_what_may_be_stored),
        cmocka_unit_test(keeps_users_apart),
        cmocka_unit_test(what_is_not_there_for_one_user_is_not_kept_for_all),
        cmocka_unit_test(lifetime_takes_the_first_that_speaks),
        cmocka_unit_test(heuristic_is_a_tenth_and_capped),
        cmocka_unit_test(age_is_the_larger_of_two_views),
        cmocka_unit_test(fresh_until_the_exact_end),
        cmocka_unit_test(stale_may_be_served_as_allowed),
        cmocka_unit_test(requests_can_ask_for_more),
        cmocka_unit_test(stale_is_good_enough_for_who_says_so),
        cmocka_unit_test(pressure_and_pins_widen_what_may_be_served),
        cmocka_unit_test(pragma_counts_where_nothing_else_is_said),
        cmocka_unit_test(what_is_not_there_is_fresh_for_as_long_as_configured),
        cmocka_unit_test(keeps_what_is_of_use),
        cmocka_unit_test(unsafe_methods_invalidate_unless_they_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
