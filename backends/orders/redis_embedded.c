/*
 * redis_embedded.c: directory, redis.conf, exec.
 *    DIRECTORY/redis.conf  redis.sock  redis.pid  redis.log  appendonlydir/
 * A server that still answers on redis.sock is stopped only when it is the process that redis.pid
 * names and no floodgate is its parent any more.
 */
#include "redis_embedded.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/span.h"
#include "orders/redis_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define STOP_WAIT_MS 10000
#define POLL_NS (5 * FG_MS)

/* ---- directory and program ---- */

static enum fg_status make_directory(const char *directory, struct fg_error *error)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s", directory);
    if (len < 0 || (size_t)len >= sizeof(path))
        return fg_error_set(error, "the directory of Redis has too long a path");
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(path, 0755) == -1 && errno != EEXIST)
            return fg_error_set(error, "cannot make the directory %s: %s", path, strerror(errno));
        *at = '/';
    }
    if (mkdir(path, 0700) == -1 && errno != EEXIST)
        return fg_error_set(error, "cannot make the directory %s: %s", path, strerror(errno));
    if (access(path, R_OK | W_OK | X_OK) == -1)
        return fg_error_set(error, "cannot use the directory %s: %s", path, strerror(errno));
    return FG_OK;
}

static enum fg_status find_server(char path[PATH_MAX], struct fg_error *error)
{
    struct fg_span rest = fg_span_from_string(getenv("PATH"));
    while (rest.data != NULL) {
        struct fg_span folder = fg_span_split(&rest, ':');
        int len = snprintf(path, PATH_MAX, "%.*s/redis-server", FG_SPAN_ARGS(folder));
        if (folder.len > 0 && len > 0 && len < PATH_MAX && access(path, X_OK) == 0)
            return FG_OK;
    }
    return fg_error_set(error, "redis-server is not in PATH; expected it to be installed (Debian: "
                               "redis-server), or orders.redis.address to name a Redis of yours");
}

/* ---- what an earlier run left behind ---- */

static bool read_first_line(const char *path, char *line, int line_bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool is_read = fgets(line, line_bytes, file) != NULL;
    fclose(file);
    line[is_read ? strcspn(line, "\n") : 0] = '\0';
    return is_read;
}

/* The process that listens on the socket; 0: nobody does. */
static pid_t listener_of(const char *socket_path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct ucred peer = {.pid = 0};
    socklen_t peer_bytes = sizeof(peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return 0;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == -1 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == -1)
        peer.pid = 0;
    close(fd);
    return peer.pid;
}

/* Is the parent of `pid` alive and the same program as this one? */
static bool has_floodgate_parent(pid_t pid)
{
    char path[64], line[512], ours[64], theirs[64];
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_first_line(path, line, sizeof(line)))
        return false;
    const char *after_name = strrchr(line, ')');
    if (after_name == NULL || sscanf(after_name, ") %*c %d", &parent) != 1 || parent <= 1)
        return false;
    if (parent == getpid())
        return false;
    snprintf(path, sizeof(path), "/proc/%d/comm", parent);
    return read_first_line("/proc/self/comm", ours, sizeof(ours)) &&
           read_first_line(path, theirs, sizeof(theirs)) && strcmp(ours, theirs) == 0;
}

static bool stop_process(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd == -1)
        return errno == ESRCH;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    kill(pid, SIGTERM);
    bool is_gone = poll(&wait, 1, STOP_WAIT_MS) == 1;
    if (!is_gone) {
        kill(pid, SIGKILL);
        is_gone = poll(&wait, 1, STOP_WAIT_MS) == 1;
    }
    close(fd);
    return is_gone;
}

static enum fg_status clear_leftover(const char *directory, const char *socket_path,
                                     struct fg_error *error)
{
    char path[PATH_MAX + 16], line[32] = "";
    uint64_t named = 0;
    pid_t pid = listener_of(socket_path);
    if (pid == 0)
        return FG_OK;
    snprintf(path, sizeof(path), "%s/redis.pid", directory);
    read_first_line(path, line, sizeof(line));
    if (!fg_span_parse_u64(fg_span_from_string(line), &named) || named != (uint64_t)pid)
        return fg_error_set(error,
                            "process %d listens on %s and is no Redis of ours; stop it, or "
                            "choose another orders.redis.directory",
                            (int)pid, socket_path);
    if (has_floodgate_parent(pid))
        return fg_error_set(error,
                            "another floodgate runs its Redis (process %d) in %s; expected "
                            "a directory for each",
                            (int)pid, directory);
    fg_log(FG_LOG_WARN, "redis_leftover", "pid=%d directory=%s action=stop", (int)pid, directory);
    if (!stop_process(pid))
        return fg_error_set(error,
                            "the Redis of an earlier run (process %d) in %s cannot be "
                            "stopped",
                            (int)pid, directory);
    return FG_OK;
}

/* ---- redis.conf ---- */

/* `text` as a double-quoted argument of redis.conf. */
static void write_quoted(FILE *out, const char *keyword, const char *directory, const char *name)
{
    fprintf(out, "%s \"", keyword);
    for (unsigned part = 0; part < 2; part++) {
        for (const char *at = part == 0 ? directory : name; *at != '\0'; at++) {
            if (*at == '"' || *at == '\\')
                fputc('\\', out);
            if ((unsigned char)*at < ' ')
                fprintf(out, "\\x%02x", (unsigned)(unsigned char)*at);
            else
                fputc(*at, out);
        }
    }
    fputs("\"\n", out);
}

static void write_conf(FILE *out, const struct fg_orders_conf *conf, const char *directory,
                       const char *socket_path)
{
    bool is_durable = conf->durability == FG_DURABILITY_AOF;
    fputs("# Written at each start; changes here are lost.\n"
          "port 0\n"
          "daemonize no\n"
          "supervised no\n"
          "unixsocketperm 700\n"
          "databases 1\n"
          "timeout 0\n"
          "tcp-backlog 511\n"
          "maxclients 4096\n"
          "always-show-logo no\n"
          "save \"\"\n",
          out);
    write_quoted(out, "unixsocket", socket_path, "");
    write_quoted(out, "dir", directory, "");
    write_quoted(out, "pidfile", directory, "/redis.pid");
    write_quoted(out, "logfile", directory, "/redis.log");
    fprintf(out, "appendonly %s\n", is_durable ? "yes" : "no");
    fprintf(out, "appendfsync %s\n", is_durable ? "always" : "everysec");
    fputs("no-appendfsync-on-rewrite no\n"
          "aof-load-truncated yes\n"
          "auto-aof-rewrite-percentage 100\n"
          "auto-aof-rewrite-min-size 64mb\n"
          "maxmemory-policy noeviction\n",
          out);
    fprintf(out, "maxmemory %llu\n", (unsigned long long)conf->redis.max_memory_bytes);
}

static enum fg_status write_conf_file(const struct fg_orders_conf *conf, const char *directory,
                                      const char *socket_path, struct fg_error *error)
{
    char path[PATH_MAX + 16], next[PATH_MAX + 24];
    snprintf(path, sizeof(path), "%s/redis.conf", directory);
    snprintf(next, sizeof(next), "%s.next", path);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fd == -1 ? NULL : fdopen(fd, "w");
    if (out == NULL) {
        if (fd != -1)
            close(fd);
        return fg_error_set(error, "cannot write %s: %s", next, strerror(errno));
    }
    write_conf(out, conf, directory, socket_path);
    bool is_bad = ferror(out) != 0;
    is_bad = fclose(out) != 0 || is_bad;
    if (is_bad || rename(next, path) == -1)
        return fg_error_set(error, "cannot write %s: %s", path, strerror(errno));
    return FG_OK;
}

/* ---- public ---- */

enum fg_status fg_redis_embedded_prepare(const struct fg_orders_conf *conf, struct fg_error *error)
{
    struct fg_redis_address address;
    char server[PATH_MAX], directory[PATH_MAX];
    enum fg_status status = fg_redis_address(&conf->redis, &address, error);
    if (status == FG_OK)
        status = find_server(server, error);
    if (status == FG_OK)
        status = make_directory(conf->redis.directory, error);
    if (status != FG_OK)
        return status;
    if (realpath(conf->redis.directory, directory) == NULL)
        return fg_error_set(error, "cannot find the directory %s: %s", conf->redis.directory,
                            strerror(errno));
    /* Redis changes into its directory; a relative path of ours would mean another place there. */
    const char *socket_path = conf->redis.directory[0] == '/' ? address.path : "redis.sock";
    status = clear_leftover(directory, address.path, error);
    if (status == FG_OK)
        status = write_conf_file(conf, directory, socket_path, error);
    return status;
}

enum fg_status fg_redis_embedded_exec(const struct fg_orders_conf *conf, struct fg_error *error)
{
    char server[PATH_MAX], path[PATH_MAX];
    sigset_t none;
    enum fg_status status = find_server(server, error);
    if (status != FG_OK)
        return status;
    setsid(); /* fails only for the leader of a group, which a forked child is not */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1)
        return fg_error_set(error, "redis-server cannot be bound to its parent: %s",
                            strerror(errno));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* what cannot be changed stays */
    snprintf(path, sizeof(path), "%s/redis.conf", conf->redis.directory);
    execl(server, "redis-server", path, (char *)NULL);
    return fg_error_set(error, "cannot start %s: %s", server, strerror(errno));
}

enum fg_status fg_redis_wait_ready(const struct fg_orders_conf *conf, uint64_t timeout_ns,
                                   struct fg_error *error)
{
    const struct timespec pause = {.tv_nsec = (long)POLL_NS};
    uint64_t deadline_ns = fg_clock_monotonic_ns() + timeout_ns;
    for (;;) {
        redisContext *context = fg_redis_sync_connect(&conf->redis, error);
        if (context != NULL) {
            redisReply *reply = redisCommand(context, "PING");
            bool is_ready = reply != NULL && reply->type == REDIS_REPLY_STATUS;
            if (reply == NULL)
                fg_error_set(error, "Redis does not answer PING: %s", context->errstr);
            else if (!is_ready)
                fg_error_set(error, "Redis is not ready: %s", reply->str);
            freeReplyObject(reply);
            redisFree(context);
            if (is_ready)
                return FG_OK;
        }
        if (fg_clock_monotonic_ns() >= deadline_ns)
            return FG_ERR_TIMEOUT;
        nanosleep(&pause, NULL);
    }
}
