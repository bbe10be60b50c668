/*
 * health.c: rise and fall of a host under active checks.
 * Job      the first check decides alone, so that a start is quick; after it a change of state
 *          takes several checks in a row, so that one lost packet changes nothing.
 * Thread   one owner at a time.
 * Never    checks; it is told how a check went.
 * Source   HAProxy's rise and fall; jitter keeps gateways from checking in step.
 */
#include "policies/health.h"

#include "policies/wide_math.h"

bool fg_health_note(struct fg_health *health, const struct fg_health_conf *conf, bool is_good)
{
    if (is_good)
        health->good_total++;
    else
        health->bad_total++;
    enum fg_health_state seen = is_good ? FG_HEALTH_HEALTHY : FG_HEALTH_UNHEALTHY;
    if (health->state == seen) {
        health->run = 0;
        return false;
    }
    health->run++;
    uint32_t needed = is_good ? conf->healthy_after : conf->unhealthy_after;
    if (health->state != FG_HEALTH_UNKNOWN && health->run < needed)
        return false;
    health->state = seen;
    health->run = 0;
    return true;
}

uint64_t fg_health_pause_ns(const struct fg_health_conf *conf, uint64_t random)
{
    uint64_t spread_ns = fg_multiply_divide(conf->interval_ns, conf->jitter_permille, 1000);
    uint64_t extra_ns = spread_ns == 0 ? 0 : random % spread_ns;
    return extra_ns > UINT64_MAX - conf->interval_ns ? UINT64_MAX : conf->interval_ns + extra_ns;
}
