/*
 * kept_lines.c: see kept_lines.h.
 */
#include "supervisor/kept_lines.h"

#include "base/log.h"
#include "pipeline/policy_conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Known by the route's name, as its tickets are. */
struct fg_kept_line {
    char *route;
    uint64_t capacity; /* places that `fd` was made for */
    struct fg_room_memory memory;
};

static bool needs_one(const struct fg_route_conf *route)
{
    const struct fg_waiting_room_conf *conf = &route->waiting_room;
    return conf->enabled && conf->state_file == NULL && !conf->is_shared;
}

static struct fg_kept_line *find(struct fg_kept_lines *kept, const char *route)
{
    for (size_t i = 0; i < kept->count; i++) {
        if (strcmp(kept->lines[i].route, route) == 0)
            return &kept->lines[i];
    }
    return NULL;
}

/* NULL: no memory. */
static struct fg_kept_line *add(struct fg_kept_lines *kept, const char *route)
{
    struct fg_kept_line *lines = realloc(kept->lines, (kept->count + 1) * sizeof(*lines));
    char *name = strdup(route);
    if (lines != NULL)
        kept->lines = lines;
    if (lines == NULL || name == NULL) {
        free(name);
        return NULL;
    }
    lines[kept->count] = (struct fg_kept_line){.route = name, .memory = {-1, -1}};
    return &lines[kept->count++];
}

static void close_fd(int *fd)
{
    if (*fd != -1)
        close(*fd);
    *fd = -1;
}

/* Empty memory for so many places; what was there is kept for the gateway to move it. A gateway
 * that was to move it before has not come up: it begins again. */
static void renew(struct fg_kept_line *line, uint64_t capacity)
{
    int fd = memfd_create("floodgate-line", MFD_CLOEXEC);
    if (fd == -1) {
        fg_log(FG_LOG_WARN, "waiting_room_not_kept", "route=%s error=\"%s\"", line->route,
               strerror(errno));
        return;
    }
    if (line->memory.before_fd == -1)
        line->memory.before_fd = line->memory.fd;
    else
        close_fd(&line->memory.fd);
    line->memory.fd = fd;
    line->capacity = capacity;
}

static struct fg_room_memory memory_for(struct fg_kept_lines *kept,
                                        const struct fg_route_conf *route)
{
    const struct fg_waiting_room_config room = fg_waiting_room_config_of(&route->waiting_room);
    uint64_t capacity = fg_waiting_room_capacity(&room);
    struct fg_kept_line *line = find(kept, route->name);
    if (line == NULL)
        line = add(kept, route->name);
    if (line == NULL)
        return (struct fg_room_memory){-1, -1};
    if (line->memory.fd == -1 || line->memory.before_fd != -1 || line->capacity < capacity)
        renew(line, capacity);
    return line->memory;
}

void fg_kept_lines_prepare(struct fg_kept_lines *kept, const struct fg_config *config)
{
    free(kept->by_route);
    kept->by_route = calloc(config->route_count + 1, sizeof(*kept->by_route));
    for (size_t i = 0; kept->by_route != NULL && i < config->route_count; i++) {
        kept->by_route[i] = (struct fg_room_memory){-1, -1};
        if (needs_one(&config->routes[i]))
            kept->by_route[i] = memory_for(kept, &config->routes[i]);
    }
}

static bool is_in_use(const struct fg_config *config, const char *route)
{
    for (size_t i = 0; i < config->route_count; i++) {
        if (needs_one(&config->routes[i]) && strcmp(config->routes[i].name, route) == 0)
            return true;
    }
    return false;
}

static void let_go(struct fg_kept_line *line)
{
    close_fd(&line->memory.fd);
    close_fd(&line->memory.before_fd);
    free(line->route);
}

void fg_kept_lines_settle(struct fg_kept_lines *kept, const struct fg_config *config)
{
    size_t left = 0;
    for (size_t i = 0; i < kept->count; i++) {
        struct fg_kept_line *line = &kept->lines[i];
        close_fd(&line->memory.before_fd);
        if (is_in_use(config, line->route))
            kept->lines[left++] = *line;
        else
            let_go(line);
    }
    kept->count = left;
}

void fg_kept_lines_fini(struct fg_kept_lines *kept)
{
    for (size_t i = 0; i < kept->count; i++)
        let_go(&kept->lines[i]);
    free(kept->lines);
    free(kept->by_route);
    *kept = (struct fg_kept_lines){.lines = NULL};
}
