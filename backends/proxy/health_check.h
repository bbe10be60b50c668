/*
 * health_check.h: active checks of a cluster's hosts, and the sweep of its outlier detection.
 * Thread   the first event loop of the cluster's; it alone checks, for all loops.
 */
#ifndef FG_PROXY_HEALTH_CHECK_H
#define FG_PROXY_HEALTH_CHECK_H

#include "base/status.h"

struct fg_health_checker;
struct fg_proxy_thread;

/* FG_OK with *checker NULL where the configuration asks for neither. The first checks go at once.
 */
FG_MUST_USE enum fg_status fg_health_checker_open(struct fg_health_checker **checker,
                                                  struct fg_proxy_thread *thread);
/* Ends the checks that run. NULL is fine. */
void fg_health_checker_close(struct fg_health_checker *checker);

#endif
