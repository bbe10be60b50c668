/*
 * executor.h: one step of the model over a mixed batch (prefill chunks and decodes together).
 * Thread   one owner calls step; helper threads of the executor's own sleep between steps.
 * Memory   all scratch is made at create, sized by batch_tokens_max; a step allocates nothing.
 */
#ifndef FG_INFERENCE_EXECUTOR_H
#define FG_INFERENCE_EXECUTOR_H

#include "inference/model/model.h"

/*
 * A run of consecutive positions of one sequence. Positions start .. start+count-1 are computed,
 * their keys and values written into the sequence's blocks; attention sees positions 0 .. own.
 */
struct fg_batch_run {
    const uint32_t *tokens; /* (count) ids below vocab_count */
    uint32_t count;         /* 1 for a decode, more for a prefill chunk */
    uint32_t start_position;
    const uint32_t *block_table; /* block ids covering positions 0 .. start+count-1 */
    float *logits;  /* (vocab_count), of the last position of the run; NULL: not wanted */
    float *pooled;  /* (width): the final states are added to it; NULL: not wanted */
    bool pools_all; /* of every position of the run, not of the last alone */
};

struct fg_counter;
struct fg_executor;
struct fg_kernels;

/*
 * `store` and `model` outlive the executor. `thread_count` >= 1 counts the calling thread.
 * Fails with a message when memory is short.
 */
enum fg_status fg_executor_create(struct fg_executor **out, const struct fg_model *model,
                                  const struct fg_kv_store *store, unsigned thread_count,
                                  uint32_t batch_tokens_max, struct fg_error *error);

/* The same with kernels of the caller's choice (kernels/kernels.h): for tests and measurements. */
enum fg_status fg_executor_create_with(struct fg_executor **out, const struct fg_model *model,
                                       const struct fg_kv_store *store, unsigned thread_count,
                                       uint32_t batch_tokens_max, const struct fg_kernels *kernels,
                                       struct fg_error *error);

/* Ends the helper threads; the KV store is the caller's. NULL is fine. */
void fg_executor_destroy(struct fg_executor *executor);

/*
 * Run the batch; the sum of counts is at most batch_tokens_max (asserted). The same sequence gives
 * bit-identical logits whatever else is in the batch and however its prompt was cut into runs.
 */
void fg_executor_step(struct fg_executor *executor, const struct fg_batch_run *runs,
                      size_t run_count);

/* Every portion of a step that is done is counted here, by whichever thread did it; a portion is a
 * millisecond's work or so. Between steps only. `beats` outlives the executor. */
void fg_executor_set_beats(struct fg_executor *executor, struct fg_counter *beats);

/* "avx2" or "scalar": which kernels were chosen at create. */
const char *fg_executor_kernels(const struct fg_executor *executor);

#endif
