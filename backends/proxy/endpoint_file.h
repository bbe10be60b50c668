/*
 * endpoint_file.h: endpoints of a cluster that stand in a file of their own, followed as it
 * changes.
 *
 *    # one endpoint a line
 *    10.0.0.1:8080
 *    10.0.0.2:8080 weight=3
 *    backup.internal:8080 priority=1
 *
 * Thread   the first event loop of the cluster's; the file is read by a helper thread.
 */
#ifndef FG_PROXY_ENDPOINT_FILE_H
#define FG_PROXY_ENDPOINT_FILE_H

#include "base/span.h"
#include "base/status.h"
#include "proxy/address.h"

struct fg_endpoint_file;
struct fg_proxy;
struct fg_proxy_thread;

/* What a file says; init with zeroes, free specs. */
struct fg_endpoint_file_content {
    struct fg_host_spec *specs;
    size_t count;
    bool has_names;                   /* whose addresses may change though the file does not */
    char unknown[FG_HOST_NAME_BYTES]; /* one that was not found; empty: none */
};

/*
 * Take `text` apart, looking names up (may block). False with `error` set, its line too, when it is
 * not understood, has more than `most` addresses, or memory is short.
 */
FG_MUST_USE bool fg_endpoint_file_parse(struct fg_endpoint_file_content *content,
                                        struct fg_span text, size_t most, struct fg_error *error);

/* Start-up: the file as it is now, into the cluster's hosts. What is wrong is logged. */
void fg_endpoint_file_load(struct fg_proxy *proxy);

/* FG_OK with *file NULL when the cluster has none. Looks once a second whether it has changed. */
FG_MUST_USE enum fg_status fg_endpoint_file_open(struct fg_endpoint_file **file,
                                                 struct fg_proxy_thread *thread);
/* NULL is fine. */
void fg_endpoint_file_close(struct fg_endpoint_file *file);

#endif
