/*
 * policy_conf.h: from the configuration to what the policies of the stages are given.
 * Thread   any; pure functions, used by the gateway and by the rehearsal.
 */
#ifndef FG_PIPELINE_POLICY_CONF_H
#define FG_PIPELINE_POLICY_CONF_H

#include "config/config.h"
#include "policies/overload.h"
#include "policies/waiting_room.h"

struct fg_overload_config fg_overload_config_of(const struct fg_overload_conf *conf);
struct fg_waiting_room_config fg_waiting_room_config_of(const struct fg_waiting_room_conf *conf);

#endif
