/*
 * file_open.c: openat2 does it in one call; where it is missing, every component is opened by
 * itself with O_NOFOLLOW.
 * Source   openat2(2).
 */
#include "file_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPONENT_BYTES_MAX ((size_t)256)
/* O_NONBLOCK: a FIFO or device must not hold a helper up; regular files do not care. */
#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

int fg_file_open_stepwise(int root_fd, const char *path)
{
    int at_fd = root_fd;
    for (;;) {
        char component[COMPONENT_BYTES_MAX];
        size_t len = strcspn(path, "/");
        if (len == 0 || len >= sizeof(component)) {
            errno = len == 0 ? ENOENT : ENAMETOOLONG;
            break;
        }
        memcpy(component, path, len);
        component[len] = '\0';
        path += len;
        while (*path == '/')
            path++;
        if (strcmp(component, "..") == 0) {
            errno = EXDEV;
            break;
        }
        bool is_last = *path == '\0';
        int flags = is_last ? FILE_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC;
        int next_fd = openat(at_fd, component, flags | O_NOFOLLOW);
        if (at_fd != root_fd)
            close(at_fd);
        if (next_fd == -1 || is_last)
            return next_fd;
        at_fd = next_fd;
    }
    if (at_fd != root_fd) {
        int error = errno;
        close(at_fd);
        errno = error;
    }
    return -1;
}

int fg_file_open_beneath(int root_fd, const char *path)
{
    const struct open_how how = {
        .flags = FILE_FLAGS,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd == -1 && (errno == ENOSYS || errno == EPERM))
        return fg_file_open_stepwise(root_fd, path);
    return (int)fd;
}
