/*
 * worker_model.c: open the parts of a model file in order, close them in reverse.
 * Thread   start-up only.
 */
#include "inference/worker/worker_model.h"

#include <stdio.h>

enum fg_status fg_worker_model_open(struct fg_worker_model *out,
                                    const struct fg_inference_conf *conf, struct fg_error *error)
{
    *out = (struct fg_worker_model){0};
    enum fg_status status = fg_model_open(&out->model, conf->model, error);
    if (status != FG_OK)
        goto failed;
    const struct fg_gguf *gguf = fg_model_gguf(out->model);
    const struct fg_model_shape *shape = fg_model_shape(out->model);
    status = fg_tokenizer_create(&out->tokenizer, gguf, error);
    if (status != FG_OK)
        goto failed;
    status = fg_chat_template_detect(&out->chat, gguf, conf->chat_template, error);
    if (status != FG_OK)
        goto failed;
    if (fg_tokenizer_vocab_count(out->tokenizer) > shape->vocab_count) {
        status = fg_error_set(error,
                              "the tokenizer has %u tokens; expected at most the %u that the "
                              "model's output has",
                              fg_tokenizer_vocab_count(out->tokenizer), shape->vocab_count);
        goto failed;
    }
    out->kv_shape = fg_model_kv_shape(out->model);
    out->kv_shape.type = conf->kv_type;
    if (!fg_kv_type_fits(conf->kv_type, shape->head_dim)) {
        status =
            fg_error_set(error,
                         "heads of %u elements cannot be kept as inference.kv_type q8_0, which "
                         "needs a multiple of %u; expected f16",
                         shape->head_dim, FG_KV_Q8_GROUP);
        goto failed;
    }
    out->vocab_count = shape->vocab_count;
    out->width = shape->width;
    out->context_max = shape->context_length;
    if (conf->context_max != 0 && conf->context_max < out->context_max)
        out->context_max = conf->context_max;
    return FG_OK;
failed:
    if (error != NULL && error->file[0] == '\0')
        snprintf(error->file, sizeof(error->file), "%s", conf->model);
    fg_worker_model_close(out);
    return status;
}

void fg_worker_model_close(struct fg_worker_model *model)
{
    if (model->tokenizer != NULL)
        fg_tokenizer_destroy(model->tokenizer);
    if (model->model != NULL)
        fg_model_close(model->model);
    *model = (struct fg_worker_model){0};
}

enum fg_status fg_inference_probe(const struct fg_inference_conf *conf, struct fg_kv_shape *shape,
                                  struct fg_error *error)
{
    struct fg_worker_model model;
    enum fg_status status = fg_worker_model_open(&model, conf, error);
    if (status != FG_OK)
        return status;
    *shape = model.kv_shape;
    fg_worker_model_close(&model);
    return FG_OK;
}
