/*
 * fixed_parts.h: what of a configuration was opened, mapped or started once and for all: a reload
 * cannot change it.
 */
#ifndef FG_SUPERVISOR_FIXED_PARTS_H
#define FG_SUPERVISOR_FIXED_PARTS_H

#include "config/config.h"

/*
 * Whether `now` differs from `old` in any such key; `text` then names them all, as in
 * "limits.threads, admin.address", cut to `room`. `threads` is how many event loops there are,
 * `threads_now` how many `now` asks for.
 */
bool fg_fixed_parts_differ(const struct fg_config *old, const struct fg_config *now,
                           unsigned threads, unsigned threads_now, char *text, size_t room);

#endif
