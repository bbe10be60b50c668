/*
 * toy_gguf.h: writes small GGUF files into memory, right or wrong as a test wishes.
 * Memory   a buffer on the heap, freed by toy_gguf_fini.
 */
#ifndef FG_TEST_TOY_GGUF_H
#define FG_TEST_TOY_GGUF_H

#include "base/span.h"

/* Numbers of value types in the file. */
enum {
    TOY_U8 = 0,
    TOY_I8 = 1,
    TOY_U16 = 2,
    TOY_I16 = 3,
    TOY_U32 = 4,
    TOY_I32 = 5,
    TOY_F32 = 6,
    TOY_BOOL = 7,
    TOY_STRING = 8,
    TOY_ARRAY = 9,
    TOY_U64 = 10,
    TOY_I64 = 11,
    TOY_F64 = 12,
};

struct toy_gguf {
    char *data;
    size_t len;
    size_t capacity;
};

void toy_gguf_fini(struct toy_gguf *toy);

/* Pieces of a file, appended in order. */
void toy_raw(struct toy_gguf *toy, const void *bytes, size_t count);
void toy_u32(struct toy_gguf *toy, uint32_t value);
void toy_u64(struct toy_gguf *toy, uint64_t value);
void toy_string(struct toy_gguf *toy, struct fg_span text);
void toy_header(struct toy_gguf *toy, uint32_t version, uint64_t tensor_count, uint64_t key_count);
/* A key and its type; the value's bytes follow. */
void toy_key(struct toy_gguf *toy, const char *key, uint32_t type);
void toy_key_u32(struct toy_gguf *toy, const char *key, uint32_t value);
void toy_key_bool(struct toy_gguf *toy, const char *key, bool value);
void toy_key_string(struct toy_gguf *toy, const char *key, const char *value);
void toy_key_array(struct toy_gguf *toy, const char *key, uint32_t element_type, uint64_t count);
void toy_tensor(struct toy_gguf *toy, const char *name, uint32_t dim_count, const uint64_t *dims,
                uint32_t type, uint64_t offset);
void toy_pad(struct toy_gguf *toy, size_t alignment);

/* What a vocabulary file says besides its tokens; NULL leaves a key out. */
struct toy_vocab {
    const char *model; /* "gpt2" */
    const char *pre;   /* "qwen2" */
    const char *chat_template;
    const char *const *merges; /* ends with NULL; spelled as GPT-2 does */
    const char *const *added;  /* ends with NULL; "c:TEXT" control, "u:TEXT" user-defined */
    const char *eos;           /* text of an added token */
    const char *bos;
};

/* The 256 bytes, the merges' results, then the added tokens. */
void toy_vocab_write(struct toy_gguf *toy, const struct toy_vocab *vocab);

/* A vocabulary that most tests and the fuzz target can use. */
extern const struct toy_vocab toy_chatml_vocab;

#endif
