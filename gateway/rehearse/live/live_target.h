/*
 * live_target.h: from "https://host:port" to what a connection needs.
 * Thread   start-up only: it looks the name up.
 */
#ifndef FG_REHEARSE_LIVE_TARGET_H
#define FG_REHEARSE_LIVE_TARGET_H

#include "base/status.h"
#include "rehearse/live/h2_client.h"

struct fg_live_target {
    struct fg_h2_target h2; /* points into this struct */
    char host[256];
    char port[8];
    char authority[272];
    char name[256]; /* of the server in TLS */
};

enum fg_status fg_live_target_open(struct fg_live_target *target, const char *url,
                                   const char *authority, bool is_insecure, struct fg_error *error);
void fg_live_target_close(struct fg_live_target *target);

#endif
