/*
 * file_watch.h: has any of a few files changed since the last look?
 * Job      remember size, time and inode of each; a rename into its place counts, and so does a
 *          link that points elsewhere (the way of certbot and of Kubernetes).
 * Thread   the main thread of the gateway process: it asks the file system.
 * Memory   borrows the paths, which live as long as it.
 */
#ifndef FG_SUPERVISOR_FILE_WATCH_H
#define FG_SUPERVISOR_FILE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_FILE_WATCH_MAX 320u /* 64 certificates of a listener with 5 files each */

struct fg_file_mark {
    const char *path;
    bool is_there;
    uint64_t device;
    uint64_t inode;
    uint64_t bytes;
    int64_t changed_s;
    int64_t changed_ns;
};

/* Zeroed is empty. */
struct fg_file_watch {
    struct fg_file_mark marks[FG_FILE_WATCH_MAX];
    size_t count;
};

/* NULL is ignored, and so is what does not fit. Marks it as it is now. */
void fg_file_watch_add(struct fg_file_watch *watch, const char *path);
/* True when one is other than at the last call, or than when it was added. */
bool fg_file_watch_has_changed(struct fg_file_watch *watch);

#endif
