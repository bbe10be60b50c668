/*
 * worker_program.h: which program an inference worker runs: our own code, or the program's file
 * when that has been replaced since we started.
 * Job      notice a new file, run it as a worker, and remember one that was no good.
 * Thread   the supervisor's only one, and its children after fork.
 * Never    insists: a new program whose worker ends before it serves (another arena layout, a file
 *          that is no program) is not tried again, and workers run our own code as before.
 */
#ifndef FG_SUPERVISOR_WORKER_PROGRAM_H
#define FG_SUPERVISOR_WORKER_PROGRAM_H

#include "config/config.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

struct fg_worker_program {
    char path[PATH_MAX]; /* of the file that we were started from; empty: unknown */
    struct stat own;
    struct stat refused; /* valid if has_refused */
    bool has_refused;
};

void fg_worker_program_init(struct fg_worker_program *program);

/* Whether the file is another one than ours, and not one that was refused. */
bool fg_worker_program_is_new(const struct fg_worker_program *program);

/* The file that is there now is no good. */
void fg_worker_program_refuse(struct fg_worker_program *program);

/* What a worker needs of the supervisor; descriptors are inherited. */
struct fg_worker_place {
    const char *config; /* path, as the supervisor was given it */
    unsigned index;
    int arena_fd;
    int listen_fd;
    pid_t parent_pid;
};

/* In the child: become `floodgate worker` of the new file. Returns only when that fails. */
void fg_worker_program_exec(const struct fg_worker_program *program,
                            const struct fg_worker_place *place);

/* Run a worker in this process; its exit code. */
int fg_worker_program_run(const struct fg_config *config, const struct fg_worker_place *place);

/* The command line that exec made: `floodgate worker ...`; the exit code. */
int fg_worker_program_main(int argc, char **argv);

#endif
