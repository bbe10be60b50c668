/*
 * gguf_parse.c: one pass over a GGUF file's head: every key, value, tensor entry and tensor range
 * is checked here, so that the getters can take what they find without a second look.
 * Thread   the start-up thread parses; after that nothing changes and any thread may read.
 * Memory   an index of keys and tensors on the heap, bounded by the limits below and by the
 *          file's own size; names, strings and weights stay in the mapping.
 * Never    writes to the mapping, or follows a number before comparing it with the bytes left.
 * Source   ggml-org/ggml docs/gguf.md.
 *
 *    magic version tensors keys | key type value .. | name dims type offset .. | pad | data
 *    '-------- header --------'  '----- keys -----'  '------ tensors -------'
 */
#include "inference/model/gguf_internal.h"
#include "inference/model/utf8.h"

#include <stdlib.h>

#define KEYS_MAX UINT64_C(65536)
#define TENSORS_MAX UINT64_C(1048576)
#define NAME_BYTES_MAX UINT64_C(65535) /* of the specification, for keys */
#define ALIGNMENT_DEFAULT 32u
#define ALIGNMENT_MAX 65536u
#define KEY_BYTES_MIN 14u    /* length, one character, type, one byte of value */
#define ARRAY_BYTES_MIN 12u  /* element type and length */
#define ARRAYS_DEEP_MAX 8    /* in each other, below the outermost */
#define TENSOR_BYTES_MIN 33u /* length, one character, dim count, one dim, type, offset */

/* The file is little endian and so must the machine be: values are read as they lie. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF values are read in place");

/* Bytes of a fixed-size value; 0 for strings and arrays. */
static const uint8_t value_bytes[FG_GGUF_TYPE_COUNT] = {
    [FG_GGUF_U8] = 1,  [FG_GGUF_I8] = 1,  [FG_GGUF_U16] = 2, [FG_GGUF_I16] = 2,
    [FG_GGUF_U32] = 4, [FG_GGUF_I32] = 4, [FG_GGUF_F32] = 4, [FG_GGUF_BOOL] = 1,
    [FG_GGUF_U64] = 8, [FG_GGUF_I64] = 8, [FG_GGUF_F64] = 8,
};

size_t fg_gguf_value_bytes(uint32_t type)
{
    return type < FG_GGUF_TYPE_COUNT ? value_bytes[type] : 0;
}

struct reader {
    const unsigned char *bytes;
    size_t size;
    size_t at;
    struct fg_error *error;
};

static bool fail_truncated(struct reader *r, const char *what, uint64_t wanted)
{
    fg_error_set(r->error,
                 "truncated at byte %zu while reading %s; expected %llu more bytes, %zu are left",
                 r->at, what, (unsigned long long)wanted, r->size - r->at);
    return false;
}

static bool take(struct reader *r, uint64_t count, const char *what, struct fg_span *out)
{
    if (count > r->size - r->at)
        return fail_truncated(r, what, count);
    *out = fg_span_make((const char *)r->bytes + r->at, (size_t)count);
    r->at += (size_t)count;
    return true;
}

static bool read_u32(struct reader *r, const char *what, uint32_t *out)
{
    struct fg_span raw;
    if (!take(r, sizeof(*out), what, &raw))
        return false;
    memcpy(out, raw.data, sizeof(*out));
    return true;
}

static bool read_u64(struct reader *r, const char *what, uint64_t *out)
{
    struct fg_span raw;
    if (!take(r, sizeof(*out), what, &raw))
        return false;
    memcpy(out, raw.data, sizeof(*out));
    return true;
}

static bool read_string(struct reader *r, const char *what, struct fg_span *out)
{
    uint64_t length;
    return read_u64(r, what, &length) && take(r, length, what, out);
}

/* A key or tensor name: short, not empty, and fit to be printed. */
static bool read_name(struct reader *r, const char *what, struct fg_span *out)
{
    size_t start = r->at;
    uint64_t length;
    if (!read_u64(r, what, &length))
        return false;
    if (length == 0 || length > NAME_BYTES_MAX) {
        fg_error_set(r->error, "%s at byte %zu is %llu bytes long; expected 1 to %llu", what, start,
                     (unsigned long long)length, (unsigned long long)NAME_BYTES_MAX);
        return false;
    }
    if (!take(r, length, what, out))
        return false;
    for (size_t i = 0; i < out->len;) {
        size_t step = fg_utf8_sequence(out->data + i, out->len - i);
        unsigned char c = (unsigned char)out->data[i];
        if (step == 0 || c < 0x20 || c == 0x7f) {
            fg_error_set(r->error, "%s at byte %zu is not UTF-8 text that can be printed", what,
                         start);
            return false;
        }
        i += step;
    }
    return true;
}

/* "%.*s" arguments for a name in a message: long names are cut. */
#define NAME_ARGS(span) (int)((span).len > 100 ? 100 : (span).len), (span).data

static bool index_init(struct fg_gguf_names *index, size_t count)
{
    size_t slots = 8;
    while (slots < 2 * count)
        slots *= 2;
    index->slots = calloc(slots, sizeof(*index->slots));
    index->mask = slots - 1;
    return index->slots != NULL;
}

/*
 * The slot for `name`: the one that holds it, or the empty one where it belongs. The seed is an
 * address, so that names which collide in every process cannot be prepared. `names` is the first
 * name of an array of structs of `stride` bytes.
 */
uint32_t *fg_gguf_name_slot(const struct fg_gguf_names *index, const void *names, size_t stride,
                            struct fg_span name)
{
    size_t at = (size_t)fg_span_hash(name, (uint64_t)(uintptr_t)index->slots) & index->mask;
    while (index->slots[at] != 0) {
        const char *holder = (const char *)names + (index->slots[at] - 1) * stride;
        struct fg_span held;
        memcpy(&held, holder, sizeof(held));
        if (fg_span_equal(held, name))
            break;
        at = (at + 1) & index->mask;
    }
    return &index->slots[at];
}

_Static_assert(offsetof(struct fg_gguf_entry, key) == 0, "index_slot reads the name at the start");
_Static_assert(offsetof(struct fg_tensor, name) == 0, "index_slot reads the name at the start");

static bool check_bools(struct reader *r, const struct fg_gguf_entry *entry)
{
    for (size_t i = 0; i < entry->value.len; i++) {
        if ((unsigned char)entry->value.data[i] > 1) {
            fg_error_set(r->error, "key %.*s: a bool is %u; expected 0 or 1", NAME_ARGS(entry->key),
                         (unsigned)(unsigned char)entry->value.data[i]);
            return false;
        }
    }
    return true;
}

/* Whether so many elements, of at least so many bytes each, can be in the file. */
static bool check_count(struct reader *r, const struct fg_gguf_entry *entry, size_t element_bytes)
{
    if (entry->count <= (r->size - r->at) / element_bytes)
        return true;
    fg_error_set(r->error,
                 "key %.*s: an array of %llu elements does not fit; %zu bytes are left in the file",
                 NAME_ARGS(entry->key), (unsigned long long)entry->count, r->size - r->at);
    return false;
}

/* What an array says of itself, into `entry`; its elements follow. */
static bool read_array_head(struct reader *r, struct fg_gguf_entry *entry)
{
    size_t element_bytes;
    if (!read_u32(r, "an array's element type", &entry->type) ||
        !read_u64(r, "an array's length", &entry->count))
        return false;
    if (entry->type >= FG_GGUF_TYPE_COUNT) {
        fg_error_set(r->error, "key %.*s: element type %u is not known; expected 0 to 12",
                     NAME_ARGS(entry->key), entry->type);
        return false;
    }
    if (entry->type == FG_GGUF_ARRAY)
        element_bytes = ARRAY_BYTES_MIN;
    else if (entry->type == FG_GGUF_STRING)
        element_bytes = sizeof(uint64_t);
    else
        element_bytes = fg_gguf_value_bytes(entry->type);
    return check_count(r, entry, element_bytes);
}

static bool read_strings(struct reader *r, const struct fg_gguf_entry *entry)
{
    struct fg_span element;
    for (uint64_t i = 0; i < entry->count; i++) {
        if (!read_string(r, "a string of an array", &element))
            return false;
    }
    return true;
}

/* The elements of an array of arrays, which no key that is used has: they are passed over. The
 * stack has how many are left of each level. */
static bool skip_arrays(struct reader *r, const struct fg_gguf_entry *entry)
{
    uint64_t left[ARRAYS_DEEP_MAX] = {entry->count};
    size_t depth = 1;
    while (depth > 0) {
        struct fg_gguf_entry inner = {.key = entry->key};
        if (left[depth - 1] == 0) {
            depth--;
            continue;
        }
        left[depth - 1]--;
        if (!read_array_head(r, &inner))
            return false;
        if (inner.type == FG_GGUF_ARRAY) {
            if (depth == ARRAYS_DEEP_MAX) {
                fg_error_set(r->error, "key %.*s: arrays more than %d deep in each other",
                             NAME_ARGS(entry->key), ARRAYS_DEEP_MAX);
                return false;
            }
            left[depth++] = inner.count;
        } else if (inner.type == FG_GGUF_STRING) {
            if (!read_strings(r, &inner))
                return false;
        } else if (!take(r, inner.count * fg_gguf_value_bytes(inner.type), "an array",
                         &inner.value)) {
            return false;
        }
    }
    return true;
}

static bool read_array(struct reader *r, struct fg_gguf_entry *entry)
{
    if (!read_array_head(r, entry))
        return false;
    if (entry->type != FG_GGUF_STRING && entry->type != FG_GGUF_ARRAY)
        return take(r, entry->count * fg_gguf_value_bytes(entry->type), "an array", &entry->value);
    size_t start = r->at;
    if (!(entry->type == FG_GGUF_STRING ? read_strings(r, entry) : skip_arrays(r, entry)))
        return false;
    entry->value = fg_span_make((const char *)r->bytes + start, r->at - start);
    return true;
}

static bool read_value(struct reader *r, struct fg_gguf_entry *entry)
{
    if (!read_u32(r, "a value type", &entry->type))
        return false;
    entry->count = 1;
    if (entry->type == FG_GGUF_ARRAY) {
        entry->is_array = true;
        if (!read_array(r, entry))
            return false;
    } else if (entry->type == FG_GGUF_STRING) {
        return read_string(r, "a string value", &entry->value);
    } else if (entry->type >= FG_GGUF_TYPE_COUNT) {
        fg_error_set(r->error, "key %.*s: value type %u is not known; expected 0 to 12",
                     NAME_ARGS(entry->key), entry->type);
        return false;
    } else if (!take(r, fg_gguf_value_bytes(entry->type), "a value", &entry->value)) {
        return false;
    }
    return entry->type != FG_GGUF_BOOL || check_bools(r, entry);
}

static bool fail_memory(struct reader *r)
{
    fg_error_set(r->error, "not enough memory for the index of keys and tensors");
    return false;
}

static bool read_entries(struct reader *r, struct fg_gguf *gguf, uint64_t count)
{
    if (count > KEYS_MAX || count > (r->size - r->at) / KEY_BYTES_MIN) {
        fg_error_set(r->error,
                     "%llu metadata keys do not fit; %zu bytes are left in the file, at most %llu "
                     "keys are allowed",
                     (unsigned long long)count, r->size - r->at, (unsigned long long)KEYS_MAX);
        return false;
    }
    gguf->entries = calloc((size_t)count + 1, sizeof(*gguf->entries));
    if (gguf->entries == NULL || !index_init(&gguf->entry_index, (size_t)count))
        return fail_memory(r);
    for (size_t i = 0; i < count; i++) {
        struct fg_gguf_entry *entry = &gguf->entries[i];
        if (!read_name(r, "a key", &entry->key) || !read_value(r, entry))
            return false;
        uint32_t *slot =
            fg_gguf_name_slot(&gguf->entry_index, gguf->entries, sizeof(*entry), entry->key);
        if (*slot != 0) {
            fg_error_set(r->error, "key %.*s appears twice", NAME_ARGS(entry->key));
            return false;
        }
        *slot = (uint32_t)i + 1;
        gguf->entry_count = i + 1;
    }
    return true;
}

static bool fail_tensor(struct reader *r, const struct fg_tensor *tensor, const char *what)
{
    fg_error_set(r->error, "tensor %.*s: %s", NAME_ARGS(tensor->name), what);
    return false;
}

static bool read_dims(struct reader *r, struct fg_tensor *tensor)
{
    if (!read_u32(r, "a dimension count", &tensor->dim_count))
        return false;
    if (tensor->dim_count == 0 || tensor->dim_count > FG_GGUF_DIMS_MAX)
        return fail_tensor(r, tensor, "dimension count is not 1 to 4");
    for (size_t d = 0; d < FG_GGUF_DIMS_MAX; d++) {
        tensor->dims[d] = 1;
        if (d < tensor->dim_count && !read_u64(r, "a dimension", &tensor->dims[d]))
            return false;
        if (tensor->dims[d] == 0)
            return fail_tensor(r, tensor, "a dimension is 0");
    }
    return true;
}

/* Sets data_bytes from type and dims; the caller checks the range. */
static bool size_tensor(struct reader *r, struct fg_tensor *tensor)
{
    const char *type = fg_tensor_type_name(tensor->type);
    if (type == NULL) {
        fg_error_set(r->error, "tensor %.*s: type number %u is not known", NAME_ARGS(tensor->name),
                     tensor->type);
        return false;
    }
    size_t bytes = fg_tensor_row_bytes(tensor->type, tensor->dims[0]);
    if (bytes == 0) {
        fg_error_set(r->error, "tensor %.*s: rows of %llu elements cannot be stored as %s",
                     NAME_ARGS(tensor->name), (unsigned long long)tensor->dims[0], type);
        return false;
    }
    uint64_t elements = tensor->dims[0];
    for (size_t d = 1; d < FG_GGUF_DIMS_MAX; d++) {
        if (__builtin_mul_overflow(bytes, tensor->dims[d], &bytes) ||
            __builtin_mul_overflow(elements, tensor->dims[d], &elements) || elements > INT64_MAX)
            return fail_tensor(r, tensor, "the product of its dimensions is absurd");
    }
    tensor->data_bytes = bytes;
    return true;
}

/*
 * Until the start of the data is known, tensor->data holds nothing and `offsets` what the file
 * says.
 */
static bool read_tensors(struct reader *r, struct fg_gguf *gguf, uint64_t *offsets)
{
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct fg_tensor *tensor = &gguf->tensors[i];
        if (!read_name(r, "a tensor name", &tensor->name) || !read_dims(r, tensor) ||
            !read_u32(r, "a tensor type", &tensor->type) ||
            !read_u64(r, "a tensor offset", &offsets[i]) || !size_tensor(r, tensor))
            return false;
        if (offsets[i] % gguf->alignment != 0) {
            fg_error_set(r->error, "tensor %.*s: offset %llu is not a multiple of the alignment %u",
                         NAME_ARGS(tensor->name), (unsigned long long)offsets[i], gguf->alignment);
            return false;
        }
        uint32_t *slot =
            fg_gguf_name_slot(&gguf->tensor_index, gguf->tensors, sizeof(*tensor), tensor->name);
        if (*slot != 0)
            return fail_tensor(r, tensor, "the name appears twice");
        *slot = (uint32_t)i + 1;
    }
    return true;
}

static bool place_tensors(struct reader *r, struct fg_gguf *gguf, const uint64_t *offsets)
{
    size_t padding = (gguf->alignment - r->at % gguf->alignment) % gguf->alignment;
    struct fg_span skipped;
    if (gguf->tensor_count == 0)
        return true; /* a file of metadata alone need not be padded */
    if (!take(r, padding, "the padding before the tensor data", &skipped))
        return false;
    size_t data_bytes = r->size - r->at;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct fg_tensor *tensor = &gguf->tensors[i];
        if (offsets[i] > data_bytes || tensor->data_bytes > data_bytes - offsets[i]) {
            fg_error_set(
                r->error,
                "tensor %.*s: %zu bytes at offset %llu end behind the file; the tensor data has "
                "%zu bytes (is the file truncated?)",
                NAME_ARGS(tensor->name), tensor->data_bytes, (unsigned long long)offsets[i],
                data_bytes);
            return false;
        }
        tensor->data = r->bytes + r->at + offsets[i];
    }
    return true;
}

static int compare_places(const void *a, const void *b)
{
    const struct fg_tensor *const *left = a;
    const struct fg_tensor *const *right = b;
    if ((*left)->data != (*right)->data)
        return (uintptr_t)(*left)->data < (uintptr_t)(*right)->data ? -1 : 1;
    return 0;
}

static bool check_overlap(struct reader *r, const struct fg_gguf *gguf)
{
    const struct fg_tensor **order = calloc(gguf->tensor_count + 1, sizeof(struct fg_tensor *));
    bool is_apart = true;
    if (order == NULL)
        return fail_memory(r);
    for (size_t i = 0; i < gguf->tensor_count; i++)
        order[i] = &gguf->tensors[i];
    qsort(order, gguf->tensor_count, sizeof(order[0]), compare_places);
    for (size_t i = 1; i < gguf->tensor_count && is_apart; i++) {
        const char *end = (const char *)order[i - 1]->data + order[i - 1]->data_bytes;
        if ((uintptr_t)order[i]->data < (uintptr_t)end) {
            fg_error_set(r->error, "tensors %.*s and %.*s overlap", NAME_ARGS(order[i - 1]->name),
                         NAME_ARGS(order[i]->name));
            is_apart = false;
        }
    }
    free(order);
    return is_apart;
}

static bool load_tensors(struct reader *r, struct fg_gguf *gguf, uint64_t count)
{
    if (count > TENSORS_MAX || count > (r->size - r->at) / TENSOR_BYTES_MIN) {
        fg_error_set(r->error,
                     "%llu tensors do not fit; %zu bytes are left in the file, at most %llu "
                     "tensors are allowed",
                     (unsigned long long)count, r->size - r->at, (unsigned long long)TENSORS_MAX);
        return false;
    }
    uint64_t *offsets = calloc((size_t)count + 1, sizeof(*offsets));
    gguf->tensor_count = (size_t)count;
    gguf->tensors = calloc((size_t)count + 1, sizeof(*gguf->tensors));
    bool is_good = offsets != NULL && gguf->tensors != NULL &&
                   index_init(&gguf->tensor_index, gguf->tensor_count);
    if (!is_good)
        fail_memory(r);
    is_good = is_good && read_tensors(r, gguf, offsets) && place_tensors(r, gguf, offsets) &&
              check_overlap(r, gguf);
    free(offsets);
    return is_good;
}

static bool read_header(struct reader *r, uint64_t *tensor_count, uint64_t *key_count)
{
    struct fg_span magic;
    uint32_t version;
    if (!take(r, 4, "the magic", &magic))
        return false;
    if (memcmp(magic.data, "GGUF", 4) != 0) {
        fg_error_set(r->error, "not a GGUF file; expected it to start with \"GGUF\"");
        return false;
    }
    if (!read_u32(r, "the version", &version))
        return false;
    if (version == __builtin_bswap32(2) || version == __builtin_bswap32(3)) {
        fg_error_set(r->error, "a big-endian GGUF file; expected little endian");
        return false;
    }
    if (version != 2 && version != 3) {
        fg_error_set(r->error, "GGUF version %u; expected 2 or 3", version);
        return false;
    }
    return read_u64(r, "the tensor count", tensor_count) && read_u64(r, "the key count", key_count);
}

/* The two general keys that change how the rest is read. */
static bool check_general(struct reader *r, struct fg_gguf *gguf)
{
    uint64_t alignment = ALIGNMENT_DEFAULT;
    uint64_t parts = 1;
    if (fg_gguf_has(gguf, "general.alignment") &&
        !fg_gguf_get_u64(gguf, "general.alignment", &alignment)) {
        fg_error_set(r->error, "key general.alignment: not an unsigned integer");
        return false;
    }
    if (alignment < 8 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0) {
        fg_error_set(r->error, "key general.alignment: %llu; expected a power of two from 8 to %u",
                     (unsigned long long)alignment, ALIGNMENT_MAX);
        return false;
    }
    if (fg_gguf_get_u64(gguf, "split.count", &parts) && parts > 1) {
        fg_error_set(r->error, "one of %llu parts of a split model; expected a single merged file",
                     (unsigned long long)parts);
        return false;
    }
    gguf->alignment = (uint32_t)alignment;
    return true;
}

enum fg_status fg_gguf_parse(struct fg_gguf **out, const void *bytes, size_t byte_count,
                             struct fg_error *error)
{
    struct reader r = {.bytes = bytes, .size = byte_count, .error = error};
    uint64_t tensor_count;
    uint64_t key_count;
    *out = NULL;
    struct fg_gguf *gguf = calloc(1, sizeof(*gguf));
    if (gguf == NULL) {
        fail_memory(&r);
        return FG_ERR_CONFIG;
    }
    gguf->bytes = bytes;
    gguf->byte_count = byte_count;
    if (!read_header(&r, &tensor_count, &key_count) || !read_entries(&r, gguf, key_count) ||
        !check_general(&r, gguf) || !load_tensors(&r, gguf, tensor_count)) {
        fg_gguf_close(gguf);
        return FG_ERR_CONFIG;
    }
    *out = gguf;
    return FG_OK;
}
