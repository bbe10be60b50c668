/*
 * sockets.c: bind everything or nothing.
 */
#include "sockets.h"

#include "net/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WORKER_BACKLOG 128

struct fg_listener_conf fg_sockets_admin_conf(const struct fg_config *config)
{
    return (struct fg_listener_conf){
        .name = "admin",
        .address = config->admin.address,
        .kind = FG_LISTENER_PLAIN,
        .backlog = 64,
    };
}

static enum fg_status open_listeners(struct fg_sockets *sockets, const struct fg_config *config,
                                     struct fg_error *error)
{
    size_t count = sockets->listener_count * sockets->thread_count;
    sockets->listeners = malloc((count + 1) * sizeof(int));
    if (sockets->listeners == NULL)
        return fg_error_set(error, "not enough memory for the listeners");
    for (size_t i = 0; i < count; i++)
        sockets->listeners[i] = -1;
    for (size_t i = 0; i < count; i++) {
        sockets->listeners[i] = fg_listener_bind(&config->listeners[i / sockets->thread_count],
                                                 i % sockets->thread_count == 0, error);
        if (sockets->listeners[i] == -1)
            return FG_ERR_CONFIG;
    }
    return FG_OK;
}

static int bind_unix(const char *path, struct fg_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        fg_error_set(error,
                     "inference.socket_directory: '%s' is too long for a unix socket; expected "
                     "at most %zu bytes",
                     path, sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(path); /* what an earlier run left behind */
    if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        chmod(path, 0600) == -1 || listen(fd, WORKER_BACKLOG) == -1) {
        fg_error_set(error, "inference.socket_directory: cannot listen on '%s': %s", path,
                     strerror(errno));
        if (fd != -1)
            close(fd);
        return -1;
    }
    return fd;
}

static enum fg_status open_workers(struct fg_sockets *sockets, const struct fg_config *config,
                                   struct fg_error *error)
{
    const struct fg_inference_conf *conf = &config->inference;
    if (!conf->enabled)
        return FG_OK;
    sockets->workers = malloc((conf->worker_count + 1) * sizeof(int));
    sockets->worker_paths = calloc(conf->worker_count + 1, sizeof(char *));
    if (sockets->workers == NULL || sockets->worker_paths == NULL)
        return fg_error_set(error, "not enough memory for the worker sockets");
    if (mkdir(conf->socket_directory, 0700) == -1 && errno != EEXIST)
        return fg_error_set(error, "inference.socket_directory: cannot create '%s': %s",
                            conf->socket_directory, strerror(errno));
    for (uint32_t i = 0; i < conf->worker_count; i++) {
        if (asprintf(&sockets->worker_paths[i], "%s/worker-%u.sock", conf->socket_directory, i) ==
            -1)
            return fg_error_set(error, "not enough memory for the worker sockets");
        sockets->workers[i] = bind_unix(sockets->worker_paths[i], error);
        if (sockets->workers[i] == -1)
            return FG_ERR_CONFIG;
        sockets->worker_count++;
    }
    return FG_OK;
}

enum fg_status fg_sockets_open(struct fg_sockets *sockets, const struct fg_config *config,
                               unsigned thread_count, struct fg_error *error)
{
    *sockets = (struct fg_sockets){
        .thread_count = thread_count, .listener_count = config->listener_count, .admin = -1};
    enum fg_status status = open_listeners(sockets, config, error);
    if (status == FG_OK && config->admin.address != NULL) {
        struct fg_listener_conf admin = fg_sockets_admin_conf(config);
        sockets->admin = fg_listener_bind(&admin, true, error);
        status = sockets->admin == -1 ? FG_ERR_CONFIG : FG_OK;
    }
    if (status == FG_OK)
        status = open_workers(sockets, config, error);
    if (status != FG_OK)
        fg_sockets_close(sockets, true);
    return status;
}

void fg_sockets_set_backlogs(const struct fg_sockets *sockets, const struct fg_config *config)
{
    for (size_t i = 0; i < sockets->listener_count * sockets->thread_count; i++)
        fg_listener_set_backlog(sockets->listeners[i],
                                &config->listeners[i / sockets->thread_count]);
}

void fg_sockets_close(struct fg_sockets *sockets, bool unlink_paths)
{
    for (size_t i = 0;
         sockets->listeners != NULL && i < sockets->listener_count * sockets->thread_count; i++) {
        if (sockets->listeners[i] != -1)
            close(sockets->listeners[i]);
    }
    if (sockets->thread_count > 0 && sockets->admin != -1)
        close(sockets->admin);
    for (uint32_t i = 0; i < sockets->worker_count; i++) {
        close(sockets->workers[i]);
        if (unlink_paths)
            unlink(sockets->worker_paths[i]);
    }
    for (size_t i = 0; sockets->worker_paths != NULL && sockets->worker_paths[i] != NULL; i++)
        free(sockets->worker_paths[i]);
    free(sockets->listeners);
    free(sockets->workers);
    free(sockets->worker_paths);
    *sockets = (struct fg_sockets){.admin = -1};
}
