/*
 * golden.h: finds and reads the inference reference data. It is not part of the project: where it
 * is absent the tests that need it say so and skip.
 */
#ifndef FG_TEST_GOLDEN_H
#define FG_TEST_GOLDEN_H

#include "toy_gguf.h"
#include "inference/tokenizer/tokenizer.h"

#include <jansson.h>

/*
 * The path of `name` in FG_MODELS_DIR (or beside the checkout). NULL, after a line that begins with
 * "SKIPPED:", when it cannot be read. Valid until the next call.
 */
const char *golden_path(const char *name);

/* The JSON file `name`, which is there; ends the test when it does not parse. */
json_t *golden_load(const char *name);

/* A JSON string, any bytes. */
struct fg_span golden_text(const json_t *string);

/*
 * Qwen3's tokenizer as a GGUF file in memory: that of Qwen2.5 in the file at `path` with four more
 * added tokens, and with a chat template that is recognised as Qwen3's.
 */
void golden_write_qwen3(struct toy_gguf *toy, const char *path);

/* Whether `list` holds exactly the numbers in `ids`; prints both when not. */
bool golden_ids_equal(const struct fg_token_list *list, const json_t *ids, struct fg_span text);

#endif
