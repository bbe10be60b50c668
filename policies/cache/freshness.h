/*
 * freshness.h: may a response be stored, how long is it fresh, may it be served now (RFC 9111).
 * Thread   any; pure functions over parsed fields.
 */
#ifndef FG_POLICIES_CACHE_FRESHNESS_H
#define FG_POLICIES_CACHE_FRESHNESS_H

#include "policies/cache/cache_control.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_cache_method {
    FG_CACHE_METHOD_GET,
    FG_CACHE_METHOD_HEAD,
    FG_CACHE_METHOD_OTHER_SAFE, /* OPTIONS, TRACE */
    FG_CACHE_METHOD_UNSAFE,     /* also what nobody knows */
};

struct fg_cache_request {
    enum fg_cache_method method;
    bool has_authorization;
    bool has_cookie;
    bool has_pragma_no_cache; /* counts only without a Cache-Control field */
    bool has_cache_control;
    struct fg_cache_control control;
};

/*
 * An Expires that cannot be parsed (such as "0") has has_expires true and expires_s 0: long past. A
 * Date or Last-Modified that cannot be parsed counts as absent.
 */
struct fg_cache_response {
    unsigned status;
    struct fg_cache_control control;
    bool has_date;
    bool has_expires;
    bool has_last_modified;
    bool has_vary_star; /* Vary: * */
    bool has_set_cookie;
    bool has_etag;
    int64_t date_s; /* since 1970 */
    int64_t expires_s;
    int64_t last_modified_s;
    uint32_t age_s; /* the Age field; 0 without one */
};

/* What the operator decided; init gives what the RFC says by itself. */
struct fg_cache_rules {
    bool has_lifetime_override;
    uint32_t lifetime_override_s; /* instead of what the response says; not for no-store, private */
    uint32_t heuristic_permille;  /* share of (Date - Last-Modified); 0: no heuristic */
    uint32_t heuristic_max_s;
    uint32_t stale_while_revalidate_s; /* where the response says nothing */
    uint32_t stale_if_error_s;         /* likewise */
    uint32_t negative_lifetime_s;      /* of 404, 405, 410, 414 and 501 that say nothing */
    uint32_t pressure_stale_s;         /* under pressure, stale for so long is as good as fresh */
    bool obeys_request;                /* Cache-Control of requests counts, and their Pragma */
    bool is_pinned; /* stale is better than nothing, for ever and whatever the response says */
};

enum fg_cache_storable {
    FG_CACHE_STORABLE,
    FG_CACHE_NOT_METHOD,   /* only GET is stored */
    FG_CACHE_NOT_STATUS,   /* 1xx, 206, 304, or neither heuristic status nor explicit lifetime */
    FG_CACHE_NOT_NO_STORE, /* on either side */
    FG_CACHE_NOT_PRIVATE,
    FG_CACHE_NOT_AUTHORIZATION, /* RFC 9111 section 3.5 */
    FG_CACHE_NOT_VARY,
    FG_CACHE_NOT_SET_COOKIE,
    FG_CACHE_NOT_COOKIE, /* see fg_cache_may_be_personal */
    FG_CACHE_NOT_USEFUL, /* never fresh, and nothing to ask its origin by */
};

enum fg_cache_verdict {
    FG_CACHE_FRESH,                  /* or stale within what the request allows */
    FG_CACHE_STALE_WHILE_REVALIDATE, /* serve it and fetch a new one beside */
    FG_CACHE_STALE_IF_ERROR_ONLY,    /* fetch; serve this one if that fails */
    FG_CACHE_STALE,                  /* fetch or revalidate first */
};

struct fg_cache_rules fg_cache_rules_default(void);

/* No fields, status 200. Then fill in what the message had. */
void fg_cache_response_init(struct fg_cache_response *response);

enum fg_cache_storable fg_cache_is_storable(const struct fg_cache_request *request,
                                            const struct fg_cache_response *response,
                                            const struct fg_cache_rules *rules);

/* Says the response that whoever asks may have what was given to one with Authorization (RFC 9111
 * section 3.5)? */
bool fg_cache_is_open_to_all(const struct fg_cache_response *response);

/*
 * Is it not there for this one user alone? What somebody may not see is often said not to be there,
 * so a 404 or 410 that says nothing of caching, not even a Last-Modified to guess by, is not kept
 * for, nor given to, who has a cookie.
 */
bool fg_cache_may_be_personal(const struct fg_cache_request *request,
                              const struct fg_cache_response *response,
                              const struct fg_cache_rules *rules);

/* Seconds that the response is fresh from its origin on. `response_s`: when it came, since 1970. */
uint32_t fg_cache_lifetime_s(const struct fg_cache_response *response,
                             const struct fg_cache_rules *rules, int64_t response_s);

/* Is there any use in keeping it: fresh on arrival, allowed stale, or something to ask the origin
 * by?
 */
bool fg_cache_is_useful(const struct fg_cache_response *response, uint32_t lifetime_s,
                        uint64_t initial_age_ns);

/*
 * How old the response was when it arrived (RFC 9111 section 4.2.3). Monotonic times of sending the
 * request and getting the head; `response_s` is the wall time of the latter.
 */
uint64_t fg_cache_initial_age_ns(const struct fg_cache_response *response, uint64_t request_ns,
                                 uint64_t response_ns, int64_t response_s);

/* Initial age plus the time in store; a clock that went back counts as no time. */
uint64_t fg_cache_current_age_ns(uint64_t initial_age_ns, uint64_t response_ns, uint64_t now_ns);

/* May a stored response be served to `request` at this age? */
enum fg_cache_verdict fg_cache_judge(const struct fg_cache_request *request,
                                     const struct fg_cache_response *response,
                                     const struct fg_cache_rules *rules, uint32_t lifetime_s,
                                     uint64_t age_ns);

/* Can it ever be served without asking its origin first? */
bool fg_cache_is_ever_fresh(const struct fg_cache_response *response, uint32_t lifetime_s);

/*
 * After an answer of `status` to `method` (RFC 9111 section 4.4): what is stored for its target,
 * and for its Location and Content-Location of the same origin, is no longer true.
 */
bool fg_cache_is_invalidating(enum fg_cache_method method, unsigned status);

/*
 * Does a 304 leave the stored field `name` (lower case) as it is (RFC 9111 section 3.2)? These
 * describe the stored body, or are written anew for each answer.
 */
bool fg_cache_is_kept_by_304(const char *name, size_t name_len);

/* May stand for a failed origin: the stored response is used instead if it may be (section 4.2.4).
 */
bool fg_cache_is_error_status(unsigned status);

/* Constant strings for logs, metrics and Cache-Status. */
const char *fg_cache_storable_name(enum fg_cache_storable storable);
const char *fg_cache_verdict_name(enum fg_cache_verdict verdict);

#endif
