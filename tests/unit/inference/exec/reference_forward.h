/*
 * reference_forward.h: a float64 forward pass over F32 models, written without the code it judges.
 */
#ifndef FG_TEST_REFERENCE_FORWARD_H
#define FG_TEST_REFERENCE_FORWARD_H

#include "tiny_gguf.h"

/* Logits (vocab) after the last of `count` tokens. Only what tiny_gguf.h makes. */
void reference_forward(const struct fg_model *model, const struct tiny_options *options,
                       const uint32_t *tokens, uint32_t count, double *logits);

#endif
