/*
 * file_watch.c: stat, and compare. inotify would see it sooner, and would need a watch on every
 * directory on the way of every link.
 */
#include "supervisor/file_watch.h"

#include <string.h>
#include <sys/stat.h>

static struct fg_file_mark mark_of(const char *path)
{
    struct stat info;
    struct fg_file_mark mark = {.path = path};
    if (stat(path, &info) == -1)
        return mark;
    mark.is_there = true;
    mark.device = (uint64_t)info.st_dev;
    mark.inode = (uint64_t)info.st_ino;
    mark.bytes = (uint64_t)info.st_size;
    mark.changed_s = (int64_t)info.st_mtim.tv_sec;
    mark.changed_ns = (int64_t)info.st_mtim.tv_nsec;
    return mark;
}

static bool is_same(const struct fg_file_mark *a, const struct fg_file_mark *b)
{
    return a->is_there == b->is_there && a->device == b->device && a->inode == b->inode &&
           a->bytes == b->bytes && a->changed_s == b->changed_s && a->changed_ns == b->changed_ns;
}

void fg_file_watch_add(struct fg_file_watch *watch, const char *path)
{
    if (path != NULL && watch->count < FG_FILE_WATCH_MAX)
        watch->marks[watch->count++] = mark_of(path);
}

bool fg_file_watch_has_changed(struct fg_file_watch *watch)
{
    bool has_changed = false;
    for (size_t i = 0; i < watch->count; i++) {
        struct fg_file_mark now = mark_of(watch->marks[i].path);
        has_changed = has_changed || !is_same(&now, &watch->marks[i]);
        watch->marks[i] = now;
    }
    return has_changed;
}
