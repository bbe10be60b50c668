/*
 * worker_model.h: all that comes from the model's file: weights, tokenizer, chat template.
 * Thread   opened at start-up; immutable after.
 */
#ifndef FG_INFERENCE_WORKER_MODEL_H
#define FG_INFERENCE_WORKER_MODEL_H

#include "inference/inference_conf.h"
#include "inference/model/model.h"
#include "inference/tokenizer/chat_template.h"

struct fg_worker_model {
    struct fg_model *model;
    struct fg_tokenizer *tokenizer;
    enum fg_chat_template chat;
    uint32_t width;       /* of its states */
    uint32_t context_max; /* conf->context_max, at most what the model was trained for */
    uint32_t vocab_count;
    struct fg_kv_shape kv_shape; /* of the model, with conf->kv_type */
};

/* On failure everything is closed again and `error` says what is wrong with which file. */
enum fg_status fg_worker_model_open(struct fg_worker_model *out,
                                    const struct fg_inference_conf *conf, struct fg_error *error);
/* A zeroed one is fine. */
void fg_worker_model_close(struct fg_worker_model *model);

/*
 * Open the file once, to tell a person what is wrong with it and to learn the shape that sizes the
 * arena. Start-up thread of the supervisor.
 */
enum fg_status fg_inference_probe(const struct fg_inference_conf *conf, struct fg_kv_shape *shape,
                                  struct fg_error *error);

#endif
