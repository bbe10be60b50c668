/*
 * admin_access.h: who may ask the operators' side, which has no password.
 * Job      keep out the pages of other sites that an operator has open: those that name
 *          themselves, and those whose name has been made to lead here (DNS rebinding).
 * Thread   the admin server's.
 */
#ifndef FG_ADMIN_ACCESS_H
#define FG_ADMIN_ACCESS_H

#include "config/config.h"
#include "http/request.h"

struct fg_admin_access {
    const struct fg_admin_conf *conf;
    bool is_loopback; /* whoever has a name for it beside localhost has made it up */
};

/* `listen_fd` may be -1: nobody asks. */
void fg_admin_access_init(struct fg_admin_access *access, const struct fg_admin_conf *conf,
                          int listen_fd);

/* NULL: it may ask; else what to tell it, with 403. `is_change`: it asks for more than to see. */
const char *fg_admin_access_refuses(const struct fg_admin_access *access,
                                    const struct fg_request *req, bool is_change);

#endif
