/*
 * sockets.h: every listening socket of the program, opened before anything else runs, so that a
 * child can die and come back while clients wait in the listen queues.
 * Thread   the supervisor's only one. Ownership: the sockets object owns its fds.
 */
#ifndef FG_SUPERVISOR_SOCKETS_H
#define FG_SUPERVISOR_SOCKETS_H

#include "base/status.h"
#include "config/config.h"

struct fg_sockets {
    unsigned thread_count;
    size_t listener_count;
    int *listeners; /* [listener * thread_count + thread]; SO_REUSEPORT, one a loop */
    int admin;      /* -1: no admin listener */
    uint32_t worker_count;
    int *workers; /* unix sockets, one a worker */
    char **worker_paths;
};

/* Opens all; on failure closes what was opened and says which one failed and why. */
enum fg_status fg_sockets_open(struct fg_sockets *sockets, const struct fg_config *config,
                               unsigned thread_count, struct fg_error *error);
/* The backlogs of `config`, which has the same listeners: of open sockets they can change. */
void fg_sockets_set_backlogs(const struct fg_sockets *sockets, const struct fg_config *config);
/* Closes; `unlink_paths` also removes the unix sockets from the file system. Zeroed is fine. */
void fg_sockets_close(struct fg_sockets *sockets, bool unlink_paths);

/* The admin listener as a plain listener's configuration; `conf` is valid as long as `config`. */
struct fg_listener_conf fg_sockets_admin_conf(const struct fg_config *config);

#endif
