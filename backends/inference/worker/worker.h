/*
 * worker.h: one inference worker process: a model, the shared KV arena, and a socket for gateways.
 * Job      take requests from the channel, run them in batches, send their tokens.
 * Thread   one loop for sockets and steps; helpers of its own for tokenising and for the kernels.
 * Never    waits for a gateway: one that does not read is disconnected, and its sequences
 *          cancelled. Never loses a stream by stopping: what runs is left in the arena for others.
 *
 *    start --> serving --SIGTERM, parent's death--> draining --empty, or drain_ns--> exit 0
 *      `--> exit 2: one line says what is wrong with the model or the arena
 */
#ifndef FG_INFERENCE_WORKER_H
#define FG_INFERENCE_WORKER_H

#include "base/log.h"
#include "inference/kv/kv_arena_shared.h"
#include "inference/worker/worker_model.h"

#include <sys/types.h>

struct fg_worker_options {
    const struct fg_inference_conf *conf; /* outlives the call */
    uint32_t worker_index;                /* below conf->worker_count */
    int arena_fd;                         /* from fg_kv_arena_create; stays the caller's */
    int listen_fd;     /* a listening unix stream socket, which outlives the worker's restarts */
    pid_t parent_pid;  /* drain when the thread that forked the worker ends; 0: do not care */
    uint64_t drain_ns; /* longest drain; 0: 10 s */
    size_t output_bytes_max; /* not yet read by one gateway connection; 0: 4 MiB */
    enum fg_log_level log;
    fg_kv_on_point_fn on_point; /* of the arena's critical sections; NULL but in tests */
    void *on_point_owner;
};

/*
 * Runs until told to stop; returns the process's exit code: 0 stopped, 1 failed while serving, 2
 * could not start. Takes over SIGTERM, SIGINT and SIGPIPE of the process.
 */
int fg_worker_run(const struct fg_worker_options *options);

#endif
