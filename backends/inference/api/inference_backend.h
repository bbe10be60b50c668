/*
 * inference_backend.h: the inference pool as a backend: the OpenAI-compatible API over the channel
 * to the workers.
 * Job      POST /v1/chat/completions, POST /v1/completions, GET /v1/models; checks the request, has
 *          the least loaded worker do it, streams the text back, and carries a stream over to
 *          another worker when its own dies.
 * Thread   create and destroy: start-up; the rest as backends/backend.h says.
 */
#ifndef FG_INFERENCE_BACKEND_H
#define FG_INFERENCE_BACKEND_H

#include "backends/backend.h"
#include "inference/inference_conf.h"

struct fg_kv_arena;

/*
 * `worker_socket_paths` has conf->worker_count entries. `name`, `conf` and the paths are copied;
 * `arena`, which may be NULL, is only read for gauges and must outlive the backend. Workers need
 * not run yet. NULL with *error set.
 */
struct fg_backend *fg_inference_create(const char *name, const struct fg_inference_conf *conf,
                                       struct fg_kv_arena *arena,
                                       const char *const *worker_socket_paths,
                                       struct fg_error *error);

#endif
