/*
 * tls_ends.c: see tls_ends.h.
 */
#include "net/tls_ends.h"

#include "base/log.h"

#include <inttypes.h>

#define DAYS_LEFT_MIN 14 /* less is worth a warning: renewals are due at 30 */
#define DAY_S INT64_C(86400)

bool fg_told_is_news(enum fg_told *told, enum fg_told now)
{
    bool is = now > *told;
    if (is)
        *told = now;
    return is;
}

void fg_tls_tell_ending(enum fg_told *told, enum fg_ending ending, const char *user,
                        const char *name, const char *file, int64_t left_s)
{
    static const struct {
        const char *soon, *over;
    } events[] = {
        [FG_ENDING_CERTIFICATE] = {"certificate_expires_soon", "certificate_expired"},
        [FG_ENDING_CLIENT_AUTHORITY] = {"client_authority_expires_soon",
                                        "client_authority_expired"},
    };
    const bool is_over = left_s < 0;
    const enum fg_told life = is_over                          ? FG_TOLD_OVER
                              : left_s < DAYS_LEFT_MIN * DAY_S ? FG_TOLD_SOON
                                                               : FG_TOLD_NOTHING;
    if (fg_told_is_news(told, life))
        fg_log(FG_LOG_WARN, is_over ? events[ending].over : events[ending].soon,
               "%s=%s file=\"%s\" days=%" PRId64, user, name, file,
               (left_s - (is_over ? DAY_S - 1 : 0)) / DAY_S);
}
