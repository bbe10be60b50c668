/*
 * worker_program.c: see worker_program.h.
 */
#include "supervisor/worker_program.h"

#include "base/log.h"
#include "base/span.h"
#include "inference/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* program worker CONFIG INDEX ARENA_FD LISTEN_FD PARENT_PID */
#define ARGUMENT_COUNT 7

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_size == b->st_size;
}

void fg_worker_program_init(struct fg_worker_program *program)
{
    *program = (struct fg_worker_program){0};
    ssize_t len = readlink("/proc/self/exe", program->path, sizeof(program->path) - 1);
    if (len <= 0 || stat("/proc/self/exe", &program->own) == -1)
        program->path[0] = '\0';
}

bool fg_worker_program_is_new(const struct fg_worker_program *program)
{
    struct stat now;
    if (program->path[0] == '\0' || stat(program->path, &now) == -1 || !S_ISREG(now.st_mode))
        return false;
    return !is_same(&now, &program->own) &&
           !(program->has_refused && is_same(&now, &program->refused));
}

void fg_worker_program_refuse(struct fg_worker_program *program)
{
    program->has_refused = stat(program->path, &program->refused) == 0;
    fg_log(FG_LOG_ERROR, "worker_program_refused",
           "path=%s reason=\"its worker ended before it served\" kept=old", program->path);
}

static bool keep_open(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    return flags != -1 && fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == 0;
}

void fg_worker_program_exec(const struct fg_worker_program *program,
                            const struct fg_worker_place *place)
{
    char numbers[4][16];
    snprintf(numbers[0], sizeof(numbers[0]), "%u", place->index);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", place->arena_fd);
    snprintf(numbers[2], sizeof(numbers[2]), "%d", place->listen_fd);
    snprintf(numbers[3], sizeof(numbers[3]), "%d", (int)place->parent_pid);
    const char *const arguments[ARGUMENT_COUNT + 1] = {program->path, "worker",   place->config,
                                                       numbers[0],    numbers[1], numbers[2],
                                                       numbers[3],    NULL};
    if (keep_open(place->arena_fd) && keep_open(place->listen_fd))
        execv(program->path, (char *const *)(uintptr_t)arguments);
    fg_log(FG_LOG_ERROR, "worker_program_failed", "path=%s error=\"%s\"", program->path,
           strerror(errno));
}

int fg_worker_program_run(const struct fg_config *config, const struct fg_worker_place *place)
{
    struct fg_worker_options options = {
        .conf = &config->inference,
        .worker_index = place->index,
        .arena_fd = place->arena_fd,
        .listen_fd = place->listen_fd,
        .parent_pid = place->parent_pid,
        .drain_ns = config->limits.drain_timeout_ns,
        .log = fg_config_log_level(config),
    };
    return fg_worker_run(&options);
}

static void print_config_error(const struct fg_error *error, void *ctx)
{
    (void)ctx;
    fg_log(FG_LOG_ERROR, "worker_config", "line=%u error=\"%s\"", error->line, error->message);
}

static bool read_numbers(char **argv, uint64_t numbers[4])
{
    for (int i = 0; i < 4; i++) {
        if (!fg_span_parse_u64(fg_span_from_string(argv[3 + i]), &numbers[i]) ||
            numbers[i] > INT32_MAX)
            return false;
    }
    return true;
}

int fg_worker_program_main(int argc, char **argv)
{
    struct fg_config *config = NULL;
    size_t error_count = 0;
    uint64_t numbers[4];
    if (argc != ARGUMENT_COUNT || !read_numbers(argv, numbers)) {
        fprintf(stderr, "floodgate: worker is for the supervisor; see floodgate serve\n");
        return 2;
    }
    if (fg_config_load(&config, argv[2], print_config_error, NULL, &error_count) != FG_OK)
        return 2;
    struct fg_worker_place place = {
        .config = argv[2],
        .index = (unsigned)numbers[0],
        .arena_fd = (int)numbers[1],
        .listen_fd = (int)numbers[2],
        .parent_pid = (pid_t)numbers[3],
    };
    int code = fg_worker_program_run(config, &place);
    fg_config_destroy(config);
    return code;
}
