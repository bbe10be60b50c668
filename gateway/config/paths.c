/*
 * paths.c: paths of the file, made whole from the directory that the file is in.
 * Source   taking "../" off textually is exact only where no part of the directory is a symbolic
 *          link; the loader resolves the directory once (realpath), so it is here.
 */
#include "config/loader.h"

/* "/a/b" to "/a"; false at the root. */
static bool go_up(struct fg_span *directory)
{
    if (directory->len <= 1)
        return false;
    size_t len = directory->len;
    while (len > 0 && directory->data[len - 1] != '/')
        len--;
    directory->len = len > 1 ? len - 1 : 1;
    return true;
}

const char *fg_load_join_path(struct fg_loader *loader, struct fg_span path)
{
    if (path.len > 0 && path.data[0] == '/')
        return fg_config_copy(loader->report, path).data;
    struct fg_span directory = fg_span_from_string(loader->directory);
    bool is_whole = directory.len > 0 && directory.data[0] == '/';
    for (;;) {
        if (fg_span_starts_with(path, FG_SPAN("./")))
            path = fg_span_make(path.data + 2, path.len - 2);
        else if (is_whole && fg_span_starts_with(path, FG_SPAN("../")) && go_up(&directory))
            path = fg_span_make(path.data + 3, path.len - 3);
        else
            break;
    }
    bool is_root = directory.len == 1 && is_whole;
    size_t bytes = directory.len + (is_root ? 0 : 1) + path.len + 1;
    char *joined = fg_config_alloc(loader->report, bytes);
    if (joined == NULL)
        return NULL;
    memcpy(joined, directory.data, directory.len);
    size_t at = directory.len;
    if (!is_root)
        joined[at++] = '/';
    if (path.len > 0)
        memcpy(joined + at, path.data, path.len);
    return joined;
}
