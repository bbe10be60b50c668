/*
 * gguf.h: a GGUF v2/v3 file mapped read-only: metadata and tensor directory, all bounds checked.
 * Job      answer "what does this key hold" and "where are this tensor's bytes".
 * Thread   immutable once open: any thread may read. The mapping is shared between processes.
 * Never    trusts a number in the file: counts, lengths, offsets and sizes are checked for
 *          overflow, overlap with the end of the file and absurdity before use.
 * Source   the GGUF specification (ggml-org/ggml docs/gguf.md).
 */
#ifndef FG_INFERENCE_GGUF_H
#define FG_INFERENCE_GGUF_H

#include "base/span.h"
#include "base/status.h"

/* Tensor element types, numbered as in the file format. */
enum fg_tensor_type {
    FG_TENSOR_F32 = 0,
    FG_TENSOR_F16 = 1,
    FG_TENSOR_Q4_0 = 2,
    FG_TENSOR_Q4_1 = 3,
    FG_TENSOR_Q5_0 = 6,
    FG_TENSOR_Q5_1 = 7,
    FG_TENSOR_Q8_0 = 8,
    FG_TENSOR_Q4_K = 12,
    FG_TENSOR_Q5_K = 13,
    FG_TENSOR_Q6_K = 14,
    FG_TENSOR_BF16 = 30,
};

#define FG_GGUF_DIMS_MAX 4

/* One tensor; `data` points into the mapping. Row-major: dims[0] is the length of a row. */
struct fg_tensor {
    struct fg_span name;
    uint32_t type; /* as in the file; fg_tensor_type_name() says whether we know it */
    uint32_t dim_count;
    uint64_t dims[FG_GGUF_DIMS_MAX]; /* unused ones are 1 */
    const void *data;
    size_t data_bytes;
};

struct fg_gguf;

/*
 * Map and check `path`. On failure *out is NULL and `error` (file, message naming the key, tensor
 * or byte offset and what was expected) is set; start-up thread only. Truncated files, overlapping
 * tensors, duplicate names, absurd counts and unknown value types are errors, never crashes.
 */
enum fg_status fg_gguf_open(struct fg_gguf **out, const char *path, struct fg_error *error);

/* The same over bytes in memory that outlive the object (used by fuzzing). */
enum fg_status fg_gguf_parse(struct fg_gguf **out, const void *bytes, size_t byte_count,
                             struct fg_error *error);

/* Unmaps; every span and tensor taken from it dies. NULL is fine. */
void fg_gguf_close(struct fg_gguf *gguf);

/* The metadata keys in file order (valid UTF-8, no control characters). */
size_t fg_gguf_key_count(const struct fg_gguf *gguf);
struct fg_span fg_gguf_key_at(const struct fg_gguf *gguf, size_t index);

/* Whether the key is there, whatever its type: tells "absent" from "of another type". */
bool fg_gguf_has(const struct fg_gguf *gguf, const char *key);

/* Metadata by full key. False when the key is absent or of another type; integers of any width and
 * sign are accepted when the value fits. */
bool fg_gguf_get_u64(const struct fg_gguf *gguf, const char *key, uint64_t *value);
bool fg_gguf_get_f64(const struct fg_gguf *gguf, const char *key, double *value);
bool fg_gguf_get_bool(const struct fg_gguf *gguf, const char *key, bool *value);
bool fg_gguf_get_string(const struct fg_gguf *gguf, const char *key, struct fg_span *value);

/* Arrays: the element count, or 0 when absent or of another element type. */
size_t fg_gguf_string_array_count(const struct fg_gguf *gguf, const char *key);
size_t fg_gguf_number_array_count(const struct fg_gguf *gguf, const char *key);

/*
 * Walk an array of strings from its start: `*cursor` is 0 at first. False at the end. (Strings have
 * their length before them, so there is no random access.)
 */
bool fg_gguf_next_string(const struct fg_gguf *gguf, const char *key, size_t *cursor,
                         struct fg_span *value);

/* Element `index` of an array of numbers, as a double (exact for the integer types used). */
bool fg_gguf_array_number(const struct fg_gguf *gguf, const char *key, size_t index, double *value);

size_t fg_gguf_tensor_count(const struct fg_gguf *gguf);
const struct fg_tensor *fg_gguf_tensor_at(const struct fg_gguf *gguf, size_t index);
/* By name, or NULL. Constant time on average. */
const struct fg_tensor *fg_gguf_find_tensor(const struct fg_gguf *gguf, const char *name);

/* "F16", "Q8_0", ..., or NULL for a type number that is not known. */
const char *fg_tensor_type_name(uint32_t type);

/* Bytes of one row of `row_length` elements; 0 when the type is unknown or does not divide it. */
size_t fg_tensor_row_bytes(uint32_t type, uint64_t row_length);

#endif
