/*
 * dashboard.h: the files of the dashboard page, carried in the program.
 * Thread   any; constants.
 */
#ifndef FG_ADMIN_DASHBOARD_H
#define FG_ADMIN_DASHBOARD_H

#include "base/span.h"

struct fg_dashboard_file {
    struct fg_span type; /* content-type */
    struct fg_span body;
};

/* The file at `path` ("/" is the page), or NULL. */
const struct fg_dashboard_file *fg_dashboard_find(struct fg_span path);

#endif
