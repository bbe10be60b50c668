/*
 * gguf.c: maps a GGUF file and answers questions about what gguf_parse.c found in it.
 * Thread   open and close on the start-up thread; everything else on any.
 * Memory   the mapping is read-only and shared, so that all workers use the same pages.
 * Never    checks a bound that the parser has checked; it asserts a few of them.
 *
 * A file that somebody truncates while it is mapped kills the process with SIGBUS; no check here
 * can prevent that.
 */
#include "inference/model/gguf_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fg_status fail_open(struct fg_error *error, const char *what)
{
    return fg_error_set(error, "cannot %s the model file: %s", what, strerror(errno));
}

static enum fg_status map_file(int fd, struct fg_gguf **out, struct fg_error *error)
{
    struct stat info;
    if (fstat(fd, &info) == -1)
        return fail_open(error, "examine");
    if (!S_ISREG(info.st_mode))
        return fg_error_set(error, "not a regular file; expected a GGUF model");
    if (info.st_size == 0)
        return fg_error_set(error, "an empty file; expected a GGUF model");
    size_t size = (size_t)info.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return fail_open(error, "map");
    enum fg_status status = fg_gguf_parse(out, bytes, size, error);
    if (status != FG_OK)
        munmap(bytes, size);
    else
        (*out)->is_mapped = true;
    return status;
}

enum fg_status fg_gguf_open(struct fg_gguf **out, const char *path, struct fg_error *error)
{
    *out = NULL;
    if (error != NULL) {
        memset(error, 0, sizeof(*error));
        snprintf(error->file, sizeof(error->file), "%s", path);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang the start */
    if (fd == -1)
        return fail_open(error, "open");
    enum fg_status status = map_file(fd, out, error);
    close(fd);
    return status;
}

void fg_gguf_close(struct fg_gguf *gguf)
{
    if (gguf == NULL)
        return;
    if (gguf->is_mapped)
        munmap((void *)(uintptr_t)gguf->bytes, gguf->byte_count);
    free(gguf->entry_index.slots);
    free(gguf->entries);
    free(gguf->tensor_index.slots);
    free(gguf->tensors);
    free(gguf);
}

static const struct fg_gguf_entry *find_entry(const struct fg_gguf *gguf, const char *key)
{
    const uint32_t *slot = fg_gguf_name_slot(
        &gguf->entry_index, gguf->entries, sizeof(struct fg_gguf_entry), fg_span_from_string(key));
    return *slot == 0 ? NULL : &gguf->entries[*slot - 1];
}

static const struct fg_gguf_entry *find_scalar(const struct fg_gguf *gguf, const char *key)
{
    const struct fg_gguf_entry *entry = find_entry(gguf, key);
    return entry == NULL || entry->is_array ? NULL : entry;
}

/* Little endian bytes as an unsigned number. */
static uint64_t load_bits(const char *from, size_t bytes)
{
    uint64_t bits = 0;
    memcpy(&bits, from, bytes);
    return bits;
}

/* An integer as sign and magnitude; false for other types. */
static bool load_integer(uint32_t type, const char *from, bool *is_negative, uint64_t *magnitude)
{
    size_t bytes = fg_gguf_value_bytes(type);
    uint64_t bits = load_bits(from, bytes);
    switch (type) {
    case FG_GGUF_U8:
    case FG_GGUF_U16:
    case FG_GGUF_U32:
    case FG_GGUF_U64:
        *is_negative = false;
        *magnitude = bits;
        return true;
    case FG_GGUF_I8:
    case FG_GGUF_I16:
    case FG_GGUF_I32:
    case FG_GGUF_I64:
        *is_negative = (bits >> (8 * bytes - 1)) != 0;
        if (*is_negative && bytes < sizeof(bits))
            bits |= UINT64_MAX << (8 * bytes); /* extend the sign */
        *magnitude = *is_negative ? 0 - bits : bits;
        return true;
    default:
        return false;
    }
}

static bool load_number(uint32_t type, const char *from, double *value)
{
    bool is_negative;
    uint64_t magnitude;
    float single;
    if (type == FG_GGUF_F32) {
        memcpy(&single, from, sizeof(single));
        *value = (double)single;
    } else if (type == FG_GGUF_F64) {
        memcpy(value, from, sizeof(*value));
    } else if (load_integer(type, from, &is_negative, &magnitude)) {
        *value = is_negative ? -(double)magnitude : (double)magnitude;
    } else {
        return false;
    }
    return true;
}

bool fg_gguf_has(const struct fg_gguf *gguf, const char *key)
{
    return find_entry(gguf, key) != NULL;
}

size_t fg_gguf_key_count(const struct fg_gguf *gguf)
{
    return gguf->entry_count;
}

struct fg_span fg_gguf_key_at(const struct fg_gguf *gguf, size_t index)
{
    assert(index < gguf->entry_count);
    return gguf->entries[index].key;
}

bool fg_gguf_get_u64(const struct fg_gguf *gguf, const char *key, uint64_t *value)
{
    const struct fg_gguf_entry *entry = find_scalar(gguf, key);
    bool is_negative;
    uint64_t magnitude;
    if (entry == NULL || !load_integer(entry->type, entry->value.data, &is_negative, &magnitude) ||
        is_negative)
        return false;
    *value = magnitude;
    return true;
}

bool fg_gguf_get_f64(const struct fg_gguf *gguf, const char *key, double *value)
{
    const struct fg_gguf_entry *entry = find_scalar(gguf, key);
    return entry != NULL && load_number(entry->type, entry->value.data, value);
}

bool fg_gguf_get_bool(const struct fg_gguf *gguf, const char *key, bool *value)
{
    const struct fg_gguf_entry *entry = find_scalar(gguf, key);
    if (entry == NULL || entry->type != FG_GGUF_BOOL)
        return false;
    *value = entry->value.data[0] != 0;
    return true;
}

bool fg_gguf_get_string(const struct fg_gguf *gguf, const char *key, struct fg_span *value)
{
    const struct fg_gguf_entry *entry = find_scalar(gguf, key);
    if (entry == NULL || entry->type != FG_GGUF_STRING)
        return false;
    *value = entry->value;
    return true;
}

static const struct fg_gguf_entry *find_array(const struct fg_gguf *gguf, const char *key,
                                              bool of_strings)
{
    const struct fg_gguf_entry *entry = find_entry(gguf, key);
    if (entry == NULL || !entry->is_array || (entry->type == FG_GGUF_STRING) != of_strings ||
        entry->type == FG_GGUF_BOOL || entry->type == FG_GGUF_ARRAY)
        return NULL;
    return entry;
}

size_t fg_gguf_string_array_count(const struct fg_gguf *gguf, const char *key)
{
    const struct fg_gguf_entry *entry = find_array(gguf, key, true);
    return entry == NULL ? 0 : (size_t)entry->count;
}

size_t fg_gguf_number_array_count(const struct fg_gguf *gguf, const char *key)
{
    const struct fg_gguf_entry *entry = find_array(gguf, key, false);
    return entry == NULL ? 0 : (size_t)entry->count;
}

/* The cursor is the byte offset of the next element, whose bounds were checked when parsing. */
bool fg_gguf_next_string(const struct fg_gguf *gguf, const char *key, size_t *cursor,
                         struct fg_span *value)
{
    const struct fg_gguf_entry *entry = find_array(gguf, key, true);
    if (entry == NULL || *cursor >= entry->value.len)
        return false;
    size_t left = entry->value.len - *cursor;
    assert(left >= sizeof(uint64_t));
    uint64_t length = load_bits(entry->value.data + *cursor, sizeof(uint64_t));
    assert(length <= left - sizeof(uint64_t));
    *value = fg_span_make(entry->value.data + *cursor + sizeof(uint64_t), (size_t)length);
    *cursor += sizeof(uint64_t) + (size_t)length;
    return true;
}

bool fg_gguf_array_number(const struct fg_gguf *gguf, const char *key, size_t index, double *value)
{
    const struct fg_gguf_entry *entry = find_array(gguf, key, false);
    if (entry == NULL || index >= entry->count)
        return false;
    return load_number(entry->type, entry->value.data + index * fg_gguf_value_bytes(entry->type),
                       value);
}

size_t fg_gguf_tensor_count(const struct fg_gguf *gguf)
{
    return gguf->tensor_count;
}

const struct fg_tensor *fg_gguf_tensor_at(const struct fg_gguf *gguf, size_t index)
{
    assert(index < gguf->tensor_count);
    return &gguf->tensors[index];
}

const struct fg_tensor *fg_gguf_find_tensor(const struct fg_gguf *gguf, const char *name)
{
    const uint32_t *slot = fg_gguf_name_slot(&gguf->tensor_index, gguf->tensors,
                                             sizeof(struct fg_tensor), fg_span_from_string(name));
    return *slot == 0 ? NULL : &gguf->tensors[*slot - 1];
}
