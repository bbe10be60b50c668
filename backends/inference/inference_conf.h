/*
 * inference_conf.h: what the configuration says about the inference pool. Filled by gateway/config;
 * strings belong to the configuration snapshot.
 */
#ifndef FG_INFERENCE_CONF_H
#define FG_INFERENCE_CONF_H

#include "inference/kv/kv_layout.h"

#include <stdbool.h>
#include <stdint.h>

enum fg_prefix_sharing {
    FG_PREFIX_TENANT, /* blocks are found by the same user only */
    FG_PREFIX_ALL,
    FG_PREFIX_OFF,
};

enum fg_kv_admission_mode {
    FG_KV_ADMIT_PEAK,    /* what is needed now, if all that run could grow to their end */
    FG_KV_ADMIT_RESERVE, /* all that can be needed, at once */
};

struct fg_inference_conf {
    bool enabled;
    const char *model;         /* path of the GGUF file */
    const char *model_name;    /* in /v1/models; NULL: the file's name without .gguf */
    const char *chat_template; /* NULL: from the file */
    uint64_t turn_max_ns;      /* of a loop's turn, for what workers say; 0: no bound */
    uint32_t worker_count;
    uint32_t prefill_workers; /* the first of them: prompts only, others go on with the streams */
    uint32_t decode_workers;  /* the next of them: no prompts */
    uint32_t threads_per_worker;
    uint64_t kv_bytes;       /* data area of the arena, shared by all workers */
    enum fg_kv_type kv_type; /* how keys and values are kept */
    enum fg_prefix_sharing prefix_sharing;
    enum fg_kv_admission_mode admission;
    uint64_t orphan_keep_ns;   /* how long a sequence without a worker is kept for another */
    uint32_t sequences_max;    /* live sequences (waiting and running) in the arena */
    uint32_t context_max;      /* prompt + output tokens of one request; 0: the model's */
    uint32_t step_tokens_max;  /* token budget of one step */
    uint32_t prefill_chunk;    /* most prompt tokens of one sequence in one step */
    uint32_t prefill_long;     /* prompts with more left than this give way to shorter ones */
    uint64_t step_time_max_ns; /* prompts get what fits into a step of this length */
    uint32_t batch_max;        /* sequences running at once in one worker */
    uint32_t waiting_max;      /* sequences waiting in one worker; one more is refused */
    uint64_t wait_max_ns;      /* longest wait for KV blocks before a refusal */
    uint32_t max_tokens_default;
    uint32_t max_tokens_limit;
    uint64_t body_bytes_max;
    uint64_t logprobs_bytes_max;  /* memory of an answer in one piece with logprobs, at most */
    uint64_t worker_hang_ns;      /* time it may have for a heartbeat until it is killed */
    const char *socket_directory; /* where workers listen for the gateway */
};

#endif
