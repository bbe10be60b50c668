/*
 * sampler.h: what loops and backends have in use, for the overload policy.
 * Thread   the admin loop; before it runs, and the others do, the main thread.
 */
#ifndef FG_ADMIN_SAMPLER_H
#define FG_ADMIN_SAMPLER_H

#include "admin/admin.h"

/*
 * One look at everything; steps are taken and given up by it. While the gateway drains, the pace of
 * its waiting rooms is left to who goes on with the line after it.
 */
void fg_admin_sample(const struct fg_admin_options *options, bool is_draining);

#endif
