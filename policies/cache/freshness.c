/*
 * freshness.c: may a response be stored, how long is it fresh, may it be served now.
 * Job      the decisions of a shared HTTP cache, on fields that somebody else has parsed.
 * Thread   any; pure functions.
 * Never    lets one user's answer reach another: private, Authorization without leave and
 *          Set-Cookie are not stored, whatever the operator's lifetime says.
 * Source   RFC 9111 sections 3 (storing), 4.2 (freshness), 4.2.4 (stale), 4.4 (invalidation), 5.2
 *          (directives), 5.4 (Pragma); RFC 5861; RFC 8246 (immutable).
 * Laws     lifetime = override, s-maxage, max-age, Expires - Date, a tenth of Date - Last-Modified
 *          age      = max(now - Date, Age + round trip) at arrival, + time in store
 *          fresh    = lifetime > age
 * Departs  An explicit stale-while-revalidate or stale-if-error beside s-maxage is obeyed, as the
 *          large CDNs do and origins expect; must-revalidate and proxy-revalidate still forbid it.
 *          The operator's allowances hold only for what was fresh once: a page that says nothing
 *          of caching is nobody else's, not even in an emergency. Set-Cookie is never stored, a
 *          field list of no-cache or private counts as the bare directive, and a 404 that nobody
 *          said to keep is not shared by those who have a cookie.
 */
#include "policies/cache/freshness.h"

#include "policies/time_units.h"
#include "policies/wide_math.h"

#include <assert.h>
#include <string.h>

static bool is_present(uint32_t seconds)
{
    return seconds != FG_CACHE_CONTROL_ABSENT;
}

/* Statuses that RFC 9110 section 15.1 lets us keep without being told; 206 we do not keep. */
static bool is_heuristic_status(unsigned status)
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 300:
    case 301:
    case 308:
    case 404:
    case 405:
    case 410:
    case 414:
    case 501:
        return true;
    default:
        return false;
    }
}

/* Statuses whose caching we know all about, for must-understand. */
static bool is_understood_status(unsigned status)
{
    return is_heuristic_status(status) || status == 302 || status == 303 || status == 307;
}

static bool has_explicit_lifetime(const struct fg_cache_response *response,
                                  const struct fg_cache_rules *rules)
{
    const struct fg_cache_control *control = &response->control;
    return rules->has_lifetime_override || response->has_expires || control->is_public ||
           is_present(control->max_age_s) || is_present(control->s_maxage_s);
}

static bool is_status_storable(const struct fg_cache_response *response,
                               const struct fg_cache_rules *rules)
{
    unsigned status = response->status;
    if (status < 200 || status > 599 || status == 206 || status == 304)
        return false;
    if (response->control.must_understand && !is_understood_status(status))
        return false;
    return is_heuristic_status(status) || has_explicit_lifetime(response, rules);
}

/* "Not there": what a flood of misspelt or expired addresses asks for. */
static bool is_negative_status(unsigned status)
{
    return status == 404 || status == 405 || status == 410 || status == 414 || status == 501;
}

static uint32_t clamp_seconds(int64_t seconds)
{
    if (seconds < 0)
        return 0;
    if (seconds > (int64_t)FG_CACHE_CONTROL_SECONDS_MAX)
        return FG_CACHE_CONTROL_SECONDS_MAX;
    return (uint32_t)seconds;
}

/* later - earlier, for any two times. */
static uint32_t seconds_between(int64_t earlier_s, int64_t later_s)
{
    int64_t difference;
    if (__builtin_sub_overflow(later_s, earlier_s, &difference))
        return later_s > earlier_s ? FG_CACHE_CONTROL_SECONDS_MAX : 0;
    return clamp_seconds(difference);
}

static uint32_t heuristic_lifetime_s(const struct fg_cache_response *response,
                                     const struct fg_cache_rules *rules, int64_t date_s)
{
    if (!response->has_last_modified)
        return 0;
    if (!is_heuristic_status(response->status) && !response->control.is_public)
        return 0;
    uint64_t unchanged_s = seconds_between(response->last_modified_s, date_s);
    uint64_t lifetime_s = unchanged_s * rules->heuristic_permille / 1000;
    return lifetime_s < rules->heuristic_max_s ? (uint32_t)lifetime_s : rules->heuristic_max_s;
}

/* What the client asks for beyond plain freshness. */
static bool satisfies_request(const struct fg_cache_request *request, bool is_immutable,
                              uint64_t lifetime_ns, uint64_t age_ns)
{
    const struct fg_cache_control *asked = &request->control;
    if (asked->no_cache || (request->has_pragma_no_cache && !request->has_cache_control))
        return false;
    /* A reload button's max-age=0 asks in vain of what never changes. */
    if (!is_immutable && is_present(asked->max_age_s) && age_ns > asked->max_age_s * FG_POLICY_S)
        return false;
    return !is_present(asked->min_fresh_s) ||
           fg_subtract_floor(lifetime_ns, age_ns) >= asked->min_fresh_s * FG_POLICY_S;
}

/* The operator's default holds where the response says nothing, unless s-maxage forbids. */
static uint64_t allowance_ns(const struct fg_cache_control *control, uint32_t own_s,
                             uint32_t default_s, uint32_t lifetime_s)
{
    if (is_present(own_s))
        return own_s * FG_POLICY_S;
    return lifetime_s == 0 || is_present(control->s_maxage_s) ? 0 : default_s * FG_POLICY_S;
}

/*
 * What the client may allow: where s-maxage does not speak for proxy-revalidate as well (section
 * 5.2.2.10), and of what was fresh once. A page that says nothing of caching, but has a tag, is
 * stored to be asked about, and may be of whoever asked for it first.
 */
static bool may_client_allow(const struct fg_cache_response *response,
                             const struct fg_cache_rules *rules, uint32_t lifetime_s)
{
    return rules->obeys_request && lifetime_s > 0 && !is_present(response->control.s_maxage_s);
}

/* Does the client take it stale by that much (section 5.2.1.2)? */
static bool is_stale_wanted(const struct fg_cache_request *request, uint64_t stale_ns)
{
    uint32_t max_stale_s = request->control.max_stale_s;
    return is_present(max_stale_s) &&
           (max_stale_s == FG_CACHE_CONTROL_SECONDS_MAX || stale_ns <= max_stale_s * FG_POLICY_S);
}

/* And if its origin fails (RFC 5861 section 4, in requests)? */
static bool is_stale_wanted_for_error(const struct fg_cache_request *request, uint64_t stale_ns)
{
    uint32_t stale_s = request->control.stale_if_error_s;
    return is_present(stale_s) && stale_ns < stale_s * FG_POLICY_S;
}

struct fg_cache_rules fg_cache_rules_default(void)
{
    return (struct fg_cache_rules){
        .heuristic_permille = 100,
        .heuristic_max_s = 24 * 3600,
        .obeys_request = true,
    };
}

void fg_cache_response_init(struct fg_cache_response *response)
{
    *response = (struct fg_cache_response){.status = 200};
    fg_cache_control_init(&response->control);
}

bool fg_cache_is_open_to_all(const struct fg_cache_response *response)
{
    const struct fg_cache_control *control = &response->control;
    return control->is_public || control->must_revalidate || is_present(control->s_maxage_s);
}

bool fg_cache_may_be_personal(const struct fg_cache_request *request,
                              const struct fg_cache_response *response,
                              const struct fg_cache_rules *rules)
{
    return request->has_cookie && (response->status == 404 || response->status == 410) &&
           !response->has_last_modified && !has_explicit_lifetime(response, rules);
}

enum fg_cache_storable fg_cache_is_storable(const struct fg_cache_request *request,
                                            const struct fg_cache_response *response,
                                            const struct fg_cache_rules *rules)
{
    const struct fg_cache_control *control = &response->control;
    if (request->method != FG_CACHE_METHOD_GET)
        return FG_CACHE_NOT_METHOD;
    if (!is_status_storable(response, rules))
        return FG_CACHE_NOT_STATUS;
    /* must-understand, with a status that we do understand, overrides the response's no-store */
    if (request->control.no_store || (control->no_store && !control->must_understand))
        return FG_CACHE_NOT_NO_STORE;
    if (control->is_private)
        return FG_CACHE_NOT_PRIVATE;
    if (request->has_authorization && !fg_cache_is_open_to_all(response))
        return FG_CACHE_NOT_AUTHORIZATION;
    if (response->has_vary_star)
        return FG_CACHE_NOT_VARY;
    if (response->has_set_cookie)
        return FG_CACHE_NOT_SET_COOKIE;
    if (fg_cache_may_be_personal(request, response, rules))
        return FG_CACHE_NOT_COOKIE;
    return FG_CACHE_STORABLE;
}

uint32_t fg_cache_lifetime_s(const struct fg_cache_response *response,
                             const struct fg_cache_rules *rules, int64_t response_s)
{
    int64_t date_s = response->has_date ? response->date_s : response_s;
    if (rules->has_lifetime_override)
        return rules->lifetime_override_s;
    if (is_present(response->control.s_maxage_s))
        return response->control.s_maxage_s;
    if (is_present(response->control.max_age_s))
        return response->control.max_age_s;
    if (response->has_expires)
        return seconds_between(date_s, response->expires_s);
    uint32_t lifetime_s = heuristic_lifetime_s(response, rules, date_s);
    if (is_negative_status(response->status) && lifetime_s < rules->negative_lifetime_s)
        return rules->negative_lifetime_s;
    return lifetime_s;
}

bool fg_cache_is_useful(const struct fg_cache_response *response, uint32_t lifetime_s,
                        uint64_t initial_age_ns)
{
    const struct fg_cache_control *control = &response->control;
    if (response->has_etag || response->has_last_modified)
        return true;
    if (control->no_cache)
        return false;
    /* Fresh on arrival, or stale by less than it allows by itself. */
    uint32_t stale_s = 0;
    if (is_present(control->stale_while_revalidate_s))
        stale_s = control->stale_while_revalidate_s;
    if (is_present(control->stale_if_error_s) && control->stale_if_error_s > stale_s)
        stale_s = control->stale_if_error_s;
    if (control->must_revalidate || control->proxy_revalidate)
        stale_s = 0;
    return ((uint64_t)lifetime_s + stale_s) * FG_POLICY_S > initial_age_ns;
}

uint64_t fg_cache_initial_age_ns(const struct fg_cache_response *response, uint64_t request_ns,
                                 uint64_t response_ns, int64_t response_s)
{
    uint64_t apparent_s = response->has_date ? seconds_between(response->date_s, response_s) : 0;
    uint64_t apparent_ns = apparent_s * FG_POLICY_S;
    uint64_t told_ns = fg_add_saturating(response->age_s * FG_POLICY_S,
                                         fg_subtract_floor(response_ns, request_ns));
    return apparent_ns > told_ns ? apparent_ns : told_ns;
}

uint64_t fg_cache_current_age_ns(uint64_t initial_age_ns, uint64_t response_ns, uint64_t now_ns)
{
    return fg_add_saturating(initial_age_ns, fg_subtract_floor(now_ns, response_ns));
}

static enum fg_cache_verdict judge_stale(const struct fg_cache_request *request,
                                         const struct fg_cache_response *response,
                                         const struct fg_cache_rules *rules, uint32_t lifetime_s,
                                         uint64_t stale_ns, bool is_wanted)
{
    const struct fg_cache_control *control = &response->control;
    if (rules->is_pinned)
        return is_wanted ? FG_CACHE_STALE_WHILE_REVALIDATE : FG_CACHE_STALE_IF_ERROR_ONLY;
    if (control->must_revalidate || control->proxy_revalidate)
        return FG_CACHE_STALE;
    bool may_allow = may_client_allow(response, rules, lifetime_s);
    if (is_wanted && may_allow && is_stale_wanted(request, stale_ns))
        return FG_CACHE_FRESH;
    uint64_t pressure_ns = lifetime_s == 0 || is_present(control->s_maxage_s)
                               ? 0
                               : rules->pressure_stale_s * FG_POLICY_S;
    uint64_t while_ns = allowance_ns(control, control->stale_while_revalidate_s,
                                     rules->stale_while_revalidate_s, lifetime_s);
    if (is_wanted && (stale_ns < while_ns || stale_ns < pressure_ns))
        return FG_CACHE_STALE_WHILE_REVALIDATE;
    uint64_t error_ns =
        allowance_ns(control, control->stale_if_error_s, rules->stale_if_error_s, lifetime_s);
    bool is_fallback = stale_ns < error_ns || stale_ns < pressure_ns ||
                       (may_allow && is_stale_wanted_for_error(request, stale_ns));
    return is_fallback ? FG_CACHE_STALE_IF_ERROR_ONLY : FG_CACHE_STALE;
}

enum fg_cache_verdict fg_cache_judge(const struct fg_cache_request *request,
                                     const struct fg_cache_response *response,
                                     const struct fg_cache_rules *rules, uint32_t lifetime_s,
                                     uint64_t age_ns)
{
    const struct fg_cache_control *control = &response->control;
    if (control->no_cache)
        return rules->is_pinned ? FG_CACHE_STALE_IF_ERROR_ONLY : FG_CACHE_STALE;
    uint64_t lifetime_ns = lifetime_s * FG_POLICY_S;
    bool is_wanted = !rules->obeys_request ||
                     satisfies_request(request, control->is_immutable, lifetime_ns, age_ns);
    if (lifetime_ns > age_ns && is_wanted)
        return FG_CACHE_FRESH;
    return judge_stale(request, response, rules, lifetime_s, fg_subtract_floor(age_ns, lifetime_ns),
                       is_wanted);
}

bool fg_cache_is_ever_fresh(const struct fg_cache_response *response, uint32_t lifetime_s)
{
    return lifetime_s > 0 && !response->control.no_cache;
}

bool fg_cache_is_invalidating(enum fg_cache_method method, unsigned status)
{
    return method == FG_CACHE_METHOD_UNSAFE && status >= 200 && status <= 399;
}

bool fg_cache_is_kept_by_304(const char *name, size_t name_len)
{
    static const char *const kept[] = {"content-digest", "content-encoding", "content-length",
                                       "content-md5",    "content-range",    "etag",
                                       "set-cookie",     "transfer-encoding"};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        if (strlen(kept[i]) == name_len && memcmp(kept[i], name, name_len) == 0)
            return true;
    }
    return false;
}

bool fg_cache_is_error_status(unsigned status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

const char *fg_cache_storable_name(enum fg_cache_storable storable)
{
    static const char *const names[] = {"storable", "method",        "status", "no_store",
                                        "private",  "authorization", "vary",   "set_cookie",
                                        "cookie",   "useful"};
    assert((unsigned)storable < sizeof(names) / sizeof(names[0]));
    return names[storable];
}

const char *fg_cache_verdict_name(enum fg_cache_verdict verdict)
{
    static const char *const names[] = {"fresh", "stale_while_revalidate", "stale_if_error_only",
                                        "stale"};
    assert((unsigned)verdict < sizeof(names) / sizeof(names[0]));
    return names[verdict];
}
