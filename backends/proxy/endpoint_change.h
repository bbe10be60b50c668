/*
 * endpoint_change.h: what operators have said about the endpoints of clusters at run time.
 * Thread   any; pure functions over a list that the caller owns.
 *
 *    add      one more; said again, its weight and priority change
 *    disable  it gets nothing; a name is meant with all its addresses, also those that it has later
 *    enable   takes that back, and is kept only where the name of the address stays disabled
 */
#ifndef FG_PROXY_ENDPOINT_CHANGE_H
#define FG_PROXY_ENDPOINT_CHANGE_H

#include "base/span.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_CLUSTER_NAME_BYTES 72u
#define FG_HOST_NAME_BYTES 320u

enum fg_endpoint_change_kind { FG_ENDPOINT_ADD, FG_ENDPOINT_DISABLE, FG_ENDPOINT_ENABLE };

struct fg_endpoint_change {
    char cluster[FG_CLUSTER_NAME_BYTES];
    char address[FG_HOST_NAME_BYTES]; /* as written, or as shown */
    enum fg_endpoint_change_kind kind;
    uint32_t weight; /* of an added one, as its priority */
    uint32_t priority;
};

struct fg_endpoint_changes {
    struct fg_endpoint_change *list; /* the oldest first */
    size_t count;
    size_t max;
};

/* With weight 1. False: a name or the address is too long. */
FG_MUST_USE bool fg_endpoint_change_make(struct fg_endpoint_change *change,
                                         enum fg_endpoint_change_kind kind, struct fg_span cluster,
                                         struct fg_span address);

/* In place of what was said before. FG_ERR_LIMIT: no room; nothing has changed. */
FG_MUST_USE enum fg_status fg_endpoint_changes_note(struct fg_endpoint_changes *changes,
                                                    const struct fg_endpoint_change *change);
/* What was added under the address goes, and all that was said about it. False: nothing was. */
bool fg_endpoint_changes_remove(struct fg_endpoint_changes *changes, struct fg_span cluster,
                                struct fg_span address);
void fg_endpoint_changes_forget(struct fg_endpoint_changes *changes, size_t index);

/* Has anything been said about the address? */
bool fg_endpoint_changes_know(const struct fg_endpoint_changes *changes, struct fg_span cluster,
                              struct fg_span address);
/* Of those of one cluster: is the host that is shown as `host_name` disabled? */
bool fg_endpoint_changes_disable(const struct fg_endpoint_changes *changes, const char *host_name);
/* "NAME" means also the hosts that are shown as "NAME (ADDRESS)". */
bool fg_endpoint_name_means(struct fg_span name, const char *host_name);

/* "added", ...: constant. */
const char *fg_endpoint_change_name(enum fg_endpoint_change_kind kind);

#endif
