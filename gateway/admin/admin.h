/*
 * admin.h: the operator's side: dashboard, /stats, /metrics, health, /config; and the thread that
 * samples the process's pressure.
 * Thread   a loop of its own, so that it answers while the gateway's loops are busy; reads others'
 *          counters (base/counters_shared.h), never their objects.
 */
#ifndef FG_ADMIN_H
#define FG_ADMIN_H

#include "admin/change_board_shared.h"
#include "admin/reload_board_shared.h"
#include "base/counters_shared.h"
#include "config/config.h"
#include "net/listener.h"
#include "pipeline/pipeline.h"

struct fg_admin;

/* Of files that are read anew when they change, those of one listener, cluster or secret at a
 * time. */
struct fg_file_counters {
    struct fg_counter reloaded; /* times, in all */
    struct fg_counter stale;    /* now: what was found could not be used, the old is in use */
};

struct fg_admin_options {
    const struct fg_config *config;
    int listen_fd; /* -1: only the sampling */
    struct fg_pipeline *pipeline;
    struct fg_net *const *nets;   /* (thread_count) of the loops; copied */
    struct fg_loop *const *loops; /* (thread_count); copied */
    unsigned thread_count;
    uint64_t started_ns;               /* monotonic; when the process began to serve */
    struct fg_reload_board *reloads;   /* NULL: nobody to ask */
    struct fg_change_board *changes;   /* what operators have changed about endpoints */
    struct fg_tls_context *const *tls; /* by listener, NULL for a plain one; NULL: none is shown */
    const struct fg_file_counters *files; /* NULL: none are looked after */
};

/* Starts the thread. NULL with `error` set. Everything in options outlives it. */
struct fg_admin *fg_admin_start(const struct fg_admin_options *options, struct fg_error *error);

/* Closes its connections at once and joins the thread. NULL is fine. */
void fg_admin_stop(struct fg_admin *admin);

/* The gateway is draining: /readyz says so from now on. Any thread. */
void fg_admin_set_draining(struct fg_admin *admin);

#endif
