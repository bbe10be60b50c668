/*
 * own_limits.h: refusals for limits that more than one kind of backend meets.
 * Thread   the exchange's loop; `ex` is gone after each call.
 */
#ifndef FG_OWN_LIMITS_H
#define FG_OWN_LIMITS_H

#include "backends/backend.h"

/* The process has as many descriptors open as it may. */
void fg_refuse_for_descriptors(struct fg_exchange *ex);

/* As many jobs wait for the helper threads as may. */
void fg_refuse_for_helpers(struct fg_exchange *ex, const struct fg_helper_pool *pool);

/* Its client leaves `held` answers unread and may leave `share`, while there are few places. */
void fg_refuse_for_unread(struct fg_exchange *ex, uint32_t held, uint32_t share);

#endif
