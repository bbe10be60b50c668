/*
 * health.h: is a host up, by the checks that are made of it, and when is the next one due?
 * Thread   one owner at a time.
 *
 *    UNKNOWN --first check--> HEALTHY <--healthy_after good / unhealthy_after bad in a row-->
 * UNHEALTHY
 */
#ifndef FG_POLICIES_HEALTH_H
#define FG_POLICIES_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct fg_health_conf {
    uint64_t interval_ns;
    uint32_t jitter_permille; /* of the interval, added by chance */
    uint32_t healthy_after;   /* good checks in a row, 1 or more */
    uint32_t unhealthy_after; /* bad checks in a row, 1 or more */
};

enum fg_health_state { FG_HEALTH_UNKNOWN, FG_HEALTH_HEALTHY, FG_HEALTH_UNHEALTHY };

/* Zeroed is unknown. */
struct fg_health {
    enum fg_health_state state;
    uint32_t run; /* checks in a row that speak against the state */
    uint64_t good_total;
    uint64_t bad_total;
};

/* A check has ended. True: the state has changed. */
bool fg_health_note(struct fg_health *health, const struct fg_health_conf *conf, bool is_good);

/* How long until the next check; `random` is 64 fresh bits. */
uint64_t fg_health_pause_ns(const struct fg_health_conf *conf, uint64_t random);

#endif
