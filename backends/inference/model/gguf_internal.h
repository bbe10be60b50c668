/*
 * gguf_internal.h: what a parsed GGUF file looks like to gguf.c (which reads it) and gguf_parse.c
 * (which makes it); nobody else includes this.
 */
#ifndef FG_INFERENCE_GGUF_INTERNAL_H
#define FG_INFERENCE_GGUF_INTERNAL_H

#include "inference/model/gguf.h"

enum fg_gguf_value {
    FG_GGUF_U8,
    FG_GGUF_I8,
    FG_GGUF_U16,
    FG_GGUF_I16,
    FG_GGUF_U32,
    FG_GGUF_I32,
    FG_GGUF_F32,
    FG_GGUF_BOOL,
    FG_GGUF_STRING,
    FG_GGUF_ARRAY,
    FG_GGUF_U64,
    FG_GGUF_I64,
    FG_GGUF_F64,
    FG_GGUF_TYPE_COUNT,
};

/* One key and its checked value. */
struct fg_gguf_entry {
    struct fg_span key;
    uint32_t type; /* enum fg_gguf_value; of the elements when is_array */
    bool is_array;
    uint64_t count;       /* elements of an array, else 1 */
    struct fg_span value; /* the string's text, the number's bytes, or the array's elements */
};

/* Open addressing over positions in another array; 0 is empty, else position + 1. */
struct fg_gguf_names {
    uint32_t *slots;
    size_t mask;
};

struct fg_gguf {
    const unsigned char *bytes;
    size_t byte_count;
    bool is_mapped;
    uint32_t alignment;
    struct fg_gguf_entry *entries;
    size_t entry_count;
    struct fg_gguf_names entry_index;
    struct fg_tensor *tensors;
    size_t tensor_count;
    struct fg_gguf_names tensor_index;
};

/* Bytes of a value of a fixed-size type; 0 for strings and arrays. */
size_t fg_gguf_value_bytes(uint32_t type);

/*
 * The slot for `name`: the one that holds it, or the empty one where it belongs. `names` is an
 * array of structs of `stride` bytes that start with their name.
 */
uint32_t *fg_gguf_name_slot(const struct fg_gguf_names *index, const void *names, size_t stride,
                            struct fg_span name);

#endif
