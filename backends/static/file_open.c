/*
 * file_open.c: openat2 does it in one call; where it is missing, every component is opened by
 * itself with O_NOFOLLOW, and links are followed by hand.
 * Source   openat2(2); the links of a Kubernetes volume: pkg/volume/util/atomic_writer.go.
 */
#include "file_open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPONENT_BYTES_MAX ((size_t)256)
#define DEPTH_MAX 64u /* directories below the root; each is a descriptor for the moment */
#define LINKS_MAX 40u /* as the kernel has it */
#define TRIES 4u
/* O_NONBLOCK: a FIFO or device must not hold a helper up; regular files do not care. */
#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* ---- step by step ---- */

struct walk {
    int dirs[DEPTH_MAX + 1]; /* the root, which is the caller's, and the way to where we are */
    unsigned depth;
    unsigned links_left; /* that may be followed */
    char rest[PATH_MAX]; /* still to go */
    char component[COMPONENT_BYTES_MAX];
};

static int here(const struct walk *walk)
{
    return walk->dirs[walk->depth];
}

/* Takes the first component off the rest. */
static bool next_component(struct walk *walk)
{
    size_t len = strcspn(walk->rest, "/");
    if (len >= sizeof(walk->component)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(walk->component, walk->rest, len);
    walk->component[len] = '\0';
    len += strspn(walk->rest + len, "/");
    memmove(walk->rest, walk->rest + len, strlen(walk->rest + len) + 1);
    return true;
}

static bool step_up(struct walk *walk)
{
    if (walk->depth == 0) {
        errno = EXDEV;
        return false;
    }
    close(here(walk));
    walk->depth--;
    return true;
}

/* The component could not be opened, for `error`. Is it a link? Then it is on the way now. */
static bool follow(struct walk *walk, int error)
{
    char target[PATH_MAX];
    ssize_t got = readlinkat(here(walk), walk->component, target, sizeof(target));
    size_t len = got < 0 ? 0 : (size_t)got, rest_len = strlen(walk->rest);
    if (got <= 0)
        errno = error;
    else if (walk->links_left == 0)
        errno = ELOOP;
    else if (target[0] == '/')
        errno = EXDEV;
    else if (len + 1 + rest_len >= sizeof(walk->rest))
        errno = ENAMETOOLONG;
    else
        errno = 0;
    if (errno != 0)
        return false;
    memmove(walk->rest + len + 1, walk->rest, rest_len + 1);
    memcpy(walk->rest, target, len);
    walk->rest[len] = rest_len > 0 ? '/' : '\0';
    walk->links_left--;
    return true;
}

static bool step_down(struct walk *walk)
{
    int fd = openat(here(walk), walk->component, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd == -1)
        return (errno == ENOTDIR || errno == ELOOP) && follow(walk, errno);
    if (walk->depth == DEPTH_MAX) {
        close(fd);
        errno = ENAMETOOLONG;
        return false;
    }
    walk->dirs[++walk->depth] = fd;
    return true;
}

/* The descriptor, or -1 and errno. */
static int run(struct walk *walk)
{
    for (;;) {
        if (!next_component(walk))
            return -1;
        bool is_last = walk->rest[0] == '\0';
        bool is_up = strcmp(walk->component, "..") == 0;
        bool is_dots = is_up || strcmp(walk->component, ".") == 0;
        if (is_up && !step_up(walk))
            return -1;
        if (is_last && is_dots)
            return openat(here(walk), ".", FILE_FLAGS);
        if (is_last) {
            int fd = openat(here(walk), walk->component, FILE_FLAGS | O_NOFOLLOW);
            if (fd != -1 || errno != ELOOP || !follow(walk, ELOOP))
                return fd;
        } else if (!is_dots && !step_down(walk)) {
            return -1;
        }
    }
}

int fg_file_open_stepwise(int root_fd, const char *path, enum fg_file_symlinks symlinks)
{
    struct walk walk;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(walk.rest)) {
        errno = len == 0 ? ENOENT : ENAMETOOLONG;
        return -1;
    }
    walk.dirs[0] = root_fd;
    walk.depth = 0;
    walk.links_left = symlinks == FG_FILE_SYMLINKS_INSIDE ? LINKS_MAX : 0;
    memcpy(walk.rest, path, len + 1);
    int fd = run(&walk);
    int error = errno;
    while (walk.depth > 0)
        (void)step_up(&walk);
    errno = error;
    return fd;
}

/* ---- at once ---- */

static int open_at_once(int root_fd, const char *path, unsigned long long resolve)
{
    const struct open_how how = {
        .flags = FILE_FLAGS,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
    };
    return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

/*
 * Files that are exchanged as a whole, as a Kubernetes volume is, stand behind one link, and
 * the old ones go as soon as it is another: who has just followed it looks again. EAGAIN: so
 * much was renamed that the kernel cannot tell where ".." leads.
 */
static int open_by_links(int root_fd, const char *path)
{
    int fd = -1;
    for (unsigned tries = 0; tries < TRIES && fd == -1; tries++) {
        fd = open_at_once(root_fd, path, 0);
        if (fd == -1 && errno == EAGAIN)
            fd = fg_file_open_stepwise(root_fd, path, FG_FILE_SYMLINKS_INSIDE);
        if (fd == -1 && errno != ENOENT)
            break;
    }
    return fd;
}

int fg_file_open_beneath(int root_fd, const char *path, enum fg_file_symlinks symlinks)
{
    int fd = open_at_once(root_fd, path, RESOLVE_NO_SYMLINKS);
    if (fd == -1 && (errno == ENOSYS || errno == EPERM))
        return fg_file_open_stepwise(root_fd, path, symlinks);
    if (fd == -1 && errno == ELOOP && symlinks == FG_FILE_SYMLINKS_INSIDE)
        return open_by_links(root_fd, path);
    return fd;
}
