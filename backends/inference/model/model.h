/*
 * model.h: a transformer's weights and shape, found and checked in a GGUF file.
 * Job      the llama, qwen2 and qwen3 architectures; anything else is refused by name.
 * Thread   immutable once open. The weights stay in the mapping, shared by all workers.
 */
#ifndef FG_INFERENCE_MODEL_H
#define FG_INFERENCE_MODEL_H

#include "inference/kv/kv_layout.h"
#include "inference/model/gguf.h"

enum fg_model_arch { FG_ARCH_LLAMA, FG_ARCH_QWEN2, FG_ARCH_QWEN3 };

struct fg_model_shape {
    enum fg_model_arch arch;
    uint32_t layer_count;
    uint32_t width;         /* embedding length */
    uint32_t head_count;    /* query heads */
    uint32_t kv_head_count; /* divides head_count */
    uint32_t head_dim;      /* even */
    uint32_t ff_width;
    uint32_t vocab_count;
    uint32_t context_length; /* positions the model was trained for */
    uint32_t rope_dim;
    float rope_base;
    float norm_epsilon;
};

struct fg_model;

/*
 * Map the file, check that architecture, every needed tensor, its type and its shape are what we
 * can run, and refuse at once by name otherwise ("tensor blk.3.ffn_up.weight: type IQ2_XS is not
 * supported; expected one of F32, F16, ..., Q6_K"). Start-up thread.
 */
enum fg_status fg_model_open(struct fg_model **out, const char *path, struct fg_error *error);

/* The same over a parsed file, which the model owns and closes from here when FG_OK is returned. */
enum fg_status fg_model_from_gguf(struct fg_model **out, struct fg_gguf *gguf,
                                  struct fg_error *error);

/* NULL is fine. */
void fg_model_close(struct fg_model *model);

const struct fg_model_shape *fg_model_shape(const struct fg_model *model);
const struct fg_gguf *fg_model_gguf(const struct fg_model *model);
struct fg_kv_shape fg_model_kv_shape(const struct fg_model *model);

#endif
