/*
 * time_units.h: nanoseconds by name for policies and their tests, apart from the gateway's clock.
 * Thread   any; constants only.
 */
#ifndef FG_POLICIES_TIME_UNITS_H
#define FG_POLICIES_TIME_UNITS_H

#include <stdint.h>

#define FG_POLICY_US UINT64_C(1000)
#define FG_POLICY_MS UINT64_C(1000000)
#define FG_POLICY_S UINT64_C(1000000000)
#define FG_POLICY_HOUR (UINT64_C(3600) * FG_POLICY_S)

/* "Never" and "not known" wherever a policy hands out a time. */
#define FG_POLICY_NEVER UINT64_MAX

#endif
