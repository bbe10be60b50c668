/*
 * kept_cache.c: see kept_cache.h.
 */
#include "supervisor/kept_cache.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool has_pins(const struct fg_config *config)
{
    for (size_t i = 0; i < config->route_count; i++) {
        const struct fg_route_conf *route = &config->routes[i];
        if (route->cache && route->cache_keep == FG_CACHE_KEEP_PINNED)
            return true;
    }
    return false;
}

static void close_fd(int *fd)
{
    if (*fd != -1)
        close(*fd);
    *fd = -1;
}

bool fg_kept_cache_prepare(struct fg_page_memory *kept, const struct fg_config *config)
{
    if (!has_pins(config))
        return false;
    int fd = memfd_create("floodgate-pinned", MFD_CLOEXEC);
    if (fd == -1) {
        fg_log(FG_LOG_WARN, "pinned_pages_not_kept", "reason=\"%s\"", strerror(errno));
        return false;
    }
    if (kept->before_fd == -1)
        kept->before_fd = kept->fd;
    else
        close_fd(&kept->fd); /* of one that has not come up */
    kept->fd = fd;
    return true;
}

void fg_kept_cache_settle(struct fg_page_memory *kept, const struct fg_config *config)
{
    close_fd(&kept->before_fd);
    if (!has_pins(config))
        close_fd(&kept->fd);
}

void fg_kept_cache_fini(struct fg_page_memory *kept)
{
    close_fd(&kept->fd);
    close_fd(&kept->before_fd);
}
