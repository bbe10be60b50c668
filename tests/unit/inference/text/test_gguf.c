/*
 * test_gguf.c: what a good file answers, and that every bad one is refused with a reason.
 * The bytes under test are copied to a block of exactly their size, so that the address sanitiser
 * sees a read past the end.
 */
#include "golden.h"
#include "toy_gguf.h"
#include "inference/model/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void put(struct toy_gguf *toy, const char *key, uint32_t type, uint64_t bits, size_t bytes)
{
    toy_key(toy, key, type);
    toy_raw(toy, &bits, bytes);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Every kind of value and two tensors; ends with the last byte of tensor data. */
static void write_good(struct toy_gguf *toy, uint32_t version)
{
    static const uint64_t dims_a[] = {32, 2};
    static const uint64_t dims_b[] = {3};
    toy_header(toy, version, 2, 16);
    put(toy, "u8", TOY_U8, 200, 1);
    put(toy, "i8", TOY_I8, (uint64_t)-3, 1);
    put(toy, "u16", TOY_U16, 60000, 2);
    put(toy, "i16", TOY_I16, (uint64_t)-300, 2);
    put(toy, "u32", TOY_U32, 4000000000u, 4);
    put(toy, "i32", TOY_I32, (uint64_t)-70000, 4);
    put(toy, "u64", TOY_U64, UINT64_MAX, 8);
    put(toy, "i64", TOY_I64, (uint64_t)INT64_MIN, 8);
    put(toy, "f32", TOY_F32, 0x3fc00000, 4); /* 1.5 */
    put(toy, "f64", TOY_F64, bits_of(-2.25), 8);
    put(toy, "nan", TOY_F32, 0x7fc00000, 4);
    toy_key_bool(toy, "bool", true);
    toy_key_string(toy, "string", "text");
    toy_key_array(toy, "strings", TOY_STRING, 3);
    toy_string(toy, FG_SPAN("a"));
    toy_string(toy, FG_SPAN(""));
    toy_string(toy, FG_SPAN("ccc"));
    toy_key_array(toy, "numbers", TOY_I16, 2);
    toy_raw(toy, "\xff\xff\x02\x00", 4);
    toy_key_array(toy, "empty", TOY_STRING, 0);
    toy_tensor(toy, "a.weight", 2, dims_a, FG_TENSOR_Q8_0, 0);
    toy_tensor(toy, "b", 1, dims_b, FG_TENSOR_F32, 96);
    toy_pad(toy, 32);
    size_t data = toy->len;
    while (toy->len < data + 96 + 12)
        toy_raw(toy, "", 1);
}

static enum fg_status parse_exact(const struct toy_gguf *toy, size_t count, struct fg_error *error)
{
    struct fg_gguf *gguf;
    char *copy = malloc(count == 0 ? 1 : count);
    assert_non_null(copy);
    memcpy(copy, toy->data, count);
    enum fg_status status = fg_gguf_parse(&gguf, copy, count, error);
    if (status == FG_OK)
        fg_gguf_close(gguf);
    else
        assert_null(gguf);
    free(copy);
    return status;
}

static void assert_refused(struct toy_gguf *toy, const char *words)
{
    struct fg_error error = {0};
    assert_int_equal(parse_exact(toy, toy->len, &error), FG_ERR_CONFIG);
    if (strstr(error.message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    toy_gguf_fini(toy);
}

static void check_numbers(const struct fg_gguf *gguf)
{
    uint64_t number = 7;
    double real;
    bool flag;
    assert_true(fg_gguf_get_u64(gguf, "u8", &number) && number == 200);
    assert_true(fg_gguf_get_u64(gguf, "u16", &number) && number == 60000);
    assert_true(fg_gguf_get_u64(gguf, "u32", &number) && number == 4000000000u);
    assert_true(fg_gguf_get_u64(gguf, "u64", &number) && number == UINT64_MAX);
    number = 7;
    assert_false(fg_gguf_get_u64(gguf, "i8", &number));
    assert_false(fg_gguf_get_u64(gguf, "i64", &number));
    assert_false(fg_gguf_get_u64(gguf, "f32", &number));
    assert_false(fg_gguf_get_u64(gguf, "nan", &number));
    assert_false(fg_gguf_get_u64(gguf, "bool", &number));
    assert_false(fg_gguf_get_u64(gguf, "numbers", &number));
    assert_false(fg_gguf_get_u64(gguf, "absent", &number));
    assert_int_equal(number, 7);
    assert_true(fg_gguf_get_f64(gguf, "i8", &real) && real == -3);
    assert_true(fg_gguf_get_f64(gguf, "i16", &real) && real == -300);
    assert_true(fg_gguf_get_f64(gguf, "i32", &real) && real == -70000);
    assert_true(fg_gguf_get_f64(gguf, "i64", &real) && real == -9223372036854775808.0);
    assert_true(fg_gguf_get_f64(gguf, "f32", &real) && real == 1.5);
    assert_true(fg_gguf_get_f64(gguf, "f64", &real) && real == -2.25);
    assert_true(fg_gguf_get_f64(gguf, "nan", &real) && real != real);
    assert_false(fg_gguf_get_f64(gguf, "string", &real));
    assert_true(fg_gguf_get_bool(gguf, "bool", &flag) && flag);
    assert_false(fg_gguf_get_bool(gguf, "u8", &flag));
}

static void check_arrays(const struct fg_gguf *gguf)
{
    static const char *const expected[] = {"a", "", "ccc"};
    struct fg_span text;
    size_t cursor = 0;
    double real;
    assert_true(fg_gguf_get_string(gguf, "string", &text));
    assert_true(fg_span_equal(text, FG_SPAN("text")));
    assert_false(fg_gguf_get_string(gguf, "strings", &text));
    assert_int_equal(fg_gguf_string_array_count(gguf, "strings"), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(fg_gguf_next_string(gguf, "strings", &cursor, &text));
        assert_true(fg_span_equal(text, fg_span_from_string(expected[i])));
    }
    assert_false(fg_gguf_next_string(gguf, "strings", &cursor, &text));
    assert_false(fg_gguf_next_string(gguf, "strings", &cursor, &text));
    cursor = 0;
    assert_false(fg_gguf_next_string(gguf, "empty", &cursor, &text));
    assert_false(fg_gguf_next_string(gguf, "numbers", &cursor, &text));
    assert_int_equal(fg_gguf_string_array_count(gguf, "numbers"), 0);
    assert_int_equal(fg_gguf_number_array_count(gguf, "strings"), 0);
    assert_int_equal(fg_gguf_number_array_count(gguf, "numbers"), 2);
    assert_true(fg_gguf_array_number(gguf, "numbers", 0, &real) && real == -1);
    assert_true(fg_gguf_array_number(gguf, "numbers", 1, &real) && real == 2);
    assert_false(fg_gguf_array_number(gguf, "numbers", 2, &real));
    assert_true(fg_gguf_has(gguf, "empty"));
    assert_false(fg_gguf_has(gguf, "emptyx"));
    assert_int_equal(fg_gguf_key_count(gguf), 16);
    assert_true(fg_span_equal(fg_gguf_key_at(gguf, 15), FG_SPAN("empty")));
}

static void check_tensors(const struct fg_gguf *gguf, const struct toy_gguf *toy)
{
    const struct fg_tensor *a = fg_gguf_find_tensor(gguf, "a.weight");
    const struct fg_tensor *b = fg_gguf_find_tensor(gguf, "b");
    assert_int_equal(fg_gguf_tensor_count(gguf), 2);
    assert_ptr_equal(a, fg_gguf_tensor_at(gguf, 0));
    assert_ptr_equal(b, fg_gguf_tensor_at(gguf, 1));
    assert_null(fg_gguf_find_tensor(gguf, "c"));
    assert_int_equal(a->type, FG_TENSOR_Q8_0);
    assert_int_equal(a->dim_count, 2);
    assert_int_equal(a->dims[0], 32);
    assert_int_equal(a->dims[1], 2);
    assert_int_equal(a->dims[2], 1);
    assert_int_equal(a->dims[3], 1);
    assert_int_equal(a->data_bytes, 2 * 34);
    assert_int_equal(b->data_bytes, 12);
    assert_ptr_equal((const char *)b->data + 12, toy->data + toy->len);
    assert_ptr_equal((const char *)b->data - 96, a->data);
}

static void reads_every_kind_of_value(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct toy_gguf toy = {0};
        struct fg_gguf *gguf;
        struct fg_error error;
        write_good(&toy, version);
        if (fg_gguf_parse(&gguf, toy.data, toy.len, &error) != FG_OK)
            fail_msg("%s", error.message);
        check_numbers(gguf);
        check_arrays(gguf);
        check_tensors(gguf, &toy);
        fg_gguf_close(gguf);
        toy_gguf_fini(&toy);
    }
}

/* No key that is read has them, but a file may: [[1, 2], ["a", ""], [[], [7]], []]. */
static void passes_over_arrays_of_arrays(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    struct fg_gguf *gguf;
    struct fg_error error = {0};
    uint64_t number;
    double real;
    toy_header(&toy, 3, 0, 2);
    toy_key_array(&toy, "nested", TOY_ARRAY, 4);
    toy_u32(&toy, TOY_U32);
    toy_u64(&toy, 2);
    toy_u32(&toy, 1);
    toy_u32(&toy, 2);
    toy_u32(&toy, TOY_STRING);
    toy_u64(&toy, 2);
    toy_string(&toy, FG_SPAN("a"));
    toy_string(&toy, FG_SPAN(""));
    toy_u32(&toy, TOY_ARRAY);
    toy_u64(&toy, 2);
    toy_u32(&toy, TOY_F32);
    toy_u64(&toy, 0);
    toy_u32(&toy, TOY_U64);
    toy_u64(&toy, 1);
    toy_u64(&toy, 7);
    toy_u32(&toy, TOY_ARRAY);
    toy_u64(&toy, 0);
    size_t nested_end = toy.len;
    toy_key_u32(&toy, "behind", 5);
    if (fg_gguf_parse(&gguf, toy.data, toy.len, &error) != FG_OK)
        fail_msg("%s", error.message);
    assert_true(fg_gguf_has(gguf, "nested"));
    assert_int_equal(fg_gguf_number_array_count(gguf, "nested"), 0);
    assert_int_equal(fg_gguf_string_array_count(gguf, "nested"), 0);
    assert_false(fg_gguf_array_number(gguf, "nested", 0, &real));
    assert_true(fg_gguf_get_u64(gguf, "behind", &number) && number == 5);
    fg_gguf_close(gguf);
    for (size_t count = 0; count < nested_end; count++)
        assert_int_equal(parse_exact(&toy, count, &error), FG_ERR_CONFIG);
    toy_gguf_fini(&toy);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    struct fg_error error;
    write_good(&toy, 3);
    assert_int_equal(parse_exact(&toy, toy.len, &error), FG_OK);
    for (size_t count = 0; count < toy.len; count++) {
        error.message[0] = '\0';
        assert_int_equal(parse_exact(&toy, count, &error), FG_ERR_CONFIG);
        assert_true(error.message[0] != '\0');
    }
    assert_int_equal(parse_exact(&toy, 10, NULL), FG_ERR_CONFIG); /* nobody wants the reason */
    toy_gguf_fini(&toy);
}

/* Sets each byte of a good file to values that make numbers huge: never more than an error. */
static void survives_every_changed_byte(void **state)
{
    (void)state;
    static const unsigned char values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct toy_gguf toy = {0};
    struct fg_error error;
    write_good(&toy, 3);
    for (size_t at = 0; at < toy.len; at++) {
        char before = toy.data[at];
        for (size_t i = 0; i < sizeof(values); i++) {
            toy.data[at] = (char)values[i];
            (void)parse_exact(&toy, toy.len, &error);
        }
        toy.data[at] = before;
    }
    assert_int_equal(parse_exact(&toy, toy.len, &error), FG_OK);
    toy_gguf_fini(&toy);
}

static void refuses_other_files(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    toy_raw(&toy, "GGML\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_refused(&toy, "not a GGUF file");
    toy_header(&toy, 1, 0, 0);
    assert_refused(&toy, "version 1; expected 2 or 3");
    toy_header(&toy, 4, 0, 0);
    assert_refused(&toy, "version 4; expected 2 or 3");
    toy_header(&toy, 0x03000000, 0, 0);
    assert_refused(&toy, "big-endian");
}

static void refuses_huge_counts(void **state)
{
    (void)state;
    static const uint64_t counts[] = {
        5, 100000, UINT64_C(1) << 32, UINT64_C(1) << 61, UINT64_MAX / 8, UINT64_MAX};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct toy_gguf toy = {0};
        toy_header(&toy, 3, 0, counts[i]);
        assert_refused(&toy, "metadata keys do not fit");
        toy_header(&toy, 3, counts[i], 0);
        assert_refused(&toy, "tensors do not fit");
        toy_header(&toy, 3, 0, 1);
        toy_key_array(&toy, "k", TOY_U64, counts[i]);
        assert_refused(&toy, "does not fit");
        toy_header(&toy, 3, 0, 1);
        toy_key_array(&toy, "k", TOY_STRING, counts[i]);
        assert_refused(&toy, "does not fit");
        toy_header(&toy, 3, 0, 1);
        toy_key(&toy, "k", TOY_STRING);
        toy_u64(&toy, counts[i]);
        assert_refused(&toy, "truncated");
        toy_header(&toy, 3, 0, 1);
        toy_u64(&toy, counts[i]); /* a key's length */
        toy_raw(&toy, "aaaaaaaaaaaaaaaaaaaa", 14);
        toy.data[24 + 8] = '\1';
        assert_refused(&toy, "a key");
    }
}

static void refuses_bad_keys(void **state)
{
    (void)state;
    static const char *const names[] = {"",     "\xff",    "a\xc3", "\xed\xa0\x80",
                                        "a\nb", "\x1b[2J", "\x7f",  "\xc0\xaf"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct toy_gguf toy = {0};
        toy_header(&toy, 3, 0, 1);
        toy_key_string(&toy, names[i], "value");
        assert_refused(&toy, "a key at byte 24");
    }
    struct toy_gguf toy = {0};
    toy_header(&toy, 3, 0, 3);
    toy_key_u32(&toy, "same", 1);
    toy_key_u32(&toy, "other", 1);
    toy_key_string(&toy, "same", "1");
    assert_refused(&toy, "key same appears twice");
}

static void refuses_bad_values(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    toy_header(&toy, 3, 0, 1);
    toy_key(&toy, "k", 13);
    toy_u64(&toy, 0);
    assert_refused(&toy, "key k: value type 13 is not known");
    toy_header(&toy, 3, 0, 1);
    toy_key_array(&toy, "k", 13, 0);
    assert_refused(&toy, "key k: element type 13 is not known");
    toy_header(&toy, 3, 0, 1);
    toy_key_array(&toy, "k", TOY_ARRAY, 1);
    for (int depth = 0; depth < 20; depth++) {
        toy_u32(&toy, TOY_ARRAY);
        toy_u64(&toy, 1);
    }
    assert_refused(&toy, "key k: arrays more than 8 deep");
    toy_header(&toy, 3, 0, 1);
    toy_key_array(&toy, "k", TOY_ARRAY, 2);
    toy_u32(&toy, TOY_U8);
    toy_u64(&toy, 0);
    assert_refused(&toy, "key k: an array of 2 elements does not fit");
    toy_header(&toy, 3, 0, 1);
    toy_key_array(&toy, "k", TOY_ARRAY, 1);
    toy_u32(&toy, TOY_F64);
    toy_u64(&toy, UINT64_MAX / 8 + 2);
    assert_refused(&toy, "key k: an array of");
    toy_header(&toy, 3, 0, 1);
    put(&toy, "k", TOY_BOOL, 2, 1);
    toy_raw(&toy, "1234567890", 10);
    assert_refused(&toy, "key k: a bool is 2");
    toy_header(&toy, 3, 0, 1);
    toy_key_array(&toy, "k", TOY_BOOL, 3);
    toy_raw(&toy, "\0\1\377", 3);
    assert_refused(&toy, "key k: a bool is 255");
}

static void refuses_bad_alignment(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 1, 4, 24, 33, 1u << 17, 0x80000000u};
    for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++) {
        struct toy_gguf toy = {0};
        toy_header(&toy, 3, 0, 1);
        toy_key_u32(&toy, "general.alignment", alignments[i]);
        assert_refused(&toy, "expected a power of two from 8");
    }
    struct toy_gguf toy = {0};
    toy_header(&toy, 3, 0, 1);
    toy_key_string(&toy, "general.alignment", "32");
    assert_refused(&toy, "general.alignment: not an unsigned integer");
    toy_header(&toy, 3, 0, 1);
    put(&toy, "general.alignment", TOY_F32, 0x7fc00000, 4);
    assert_refused(&toy, "general.alignment: not an unsigned integer");
    toy_header(&toy, 3, 0, 1);
    toy_key_u32(&toy, "split.count", 3);
    assert_refused(&toy, "one of 3 parts");
}

/* A file with one tensor "t" of the given entry and `data_bytes` of data. */
static void write_tensor(struct toy_gguf *toy, uint32_t dim_count, const uint64_t *dims,
                         uint32_t type, uint64_t offset, size_t data_bytes)
{
    toy_header(toy, 3, 1, 1);
    toy_key_u32(toy, "general.alignment", 64);
    toy_tensor(toy, "t", dim_count, dims, type, offset);
    toy_pad(toy, 64);
    for (size_t i = 0; i < data_bytes; i++)
        toy_raw(toy, "", 1);
}

static void refuses_bad_tensors(void **state)
{
    (void)state;
    static const uint64_t four[] = {4, 1, 1, 1, 1};
    static const uint64_t zero[] = {4, 0};
    static const uint64_t odd[] = {33};
    static const uint64_t huge[] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    static const uint64_t wraps[] = {UINT64_C(1) << 63, 2, 1, 1};
    struct toy_gguf toy = {0};
    struct fg_error error;
    write_tensor(&toy, 1, four, FG_TENSOR_F32, 0, 16);
    assert_int_equal(parse_exact(&toy, toy.len, &error), FG_OK);
    toy_gguf_fini(&toy);
    write_tensor(&toy, 0, four, FG_TENSOR_F32, 0, 16);
    assert_refused(&toy, "tensor t: dimension count");
    write_tensor(&toy, 5, four, FG_TENSOR_F32, 0, 16);
    assert_refused(&toy, "tensor t: dimension count");
    write_tensor(&toy, 2, zero, FG_TENSOR_F32, 0, 16);
    assert_refused(&toy, "tensor t: a dimension is 0");
    write_tensor(&toy, 1, odd, FG_TENSOR_Q8_0, 0, 100);
    assert_refused(&toy, "tensor t: rows of 33 elements cannot be stored as Q8_0");
    write_tensor(&toy, 1, four, 4, 0, 100);
    assert_refused(&toy, "cannot be stored as Q4_2");
    write_tensor(&toy, 1, four, 200, 0, 100);
    assert_refused(&toy, "tensor t: type number 200 is not known");
    write_tensor(&toy, 2, huge, FG_TENSOR_F32, 0, 16);
    assert_refused(&toy, "absurd");
    write_tensor(&toy, 4, wraps, FG_TENSOR_F32, 0, 16);
    assert_refused(&toy, "tensor t");
    write_tensor(&toy, 1, four, FG_TENSOR_F32, 32, 100);
    assert_refused(&toy, "offset 32 is not a multiple of the alignment 64");
    write_tensor(&toy, 1, four, FG_TENSOR_F32, 64, 64 + 15);
    assert_refused(&toy, "tensor t: 16 bytes at offset 64 end behind the file");
    write_tensor(&toy, 1, four, FG_TENSOR_F32, UINT64_MAX - 63, 64);
    assert_refused(&toy, "end behind the file");
    write_tensor(&toy, 1, four, FG_TENSOR_F32, UINT64_C(1) << 63, 64);
    assert_refused(&toy, "end behind the file");
}

static void refuses_tensors_that_collide(void **state)
{
    (void)state;
    static const uint64_t dims[] = {16};
    struct toy_gguf toy = {0};
    toy_header(&toy, 3, 3, 0);
    toy_tensor(&toy, "a", 1, dims, FG_TENSOR_F32, 0);
    toy_tensor(&toy, "c", 1, dims, FG_TENSOR_F32, 64);
    toy_tensor(&toy, "b", 1, dims, FG_TENSOR_F32, 32);
    toy_pad(&toy, 32);
    toy_raw(&toy, (char[256]){0}, 256);
    assert_refused(&toy, "tensors a and b overlap");
    toy_header(&toy, 3, 2, 0);
    toy_tensor(&toy, "a", 1, dims, FG_TENSOR_F32, 0);
    toy_tensor(&toy, "a", 1, dims, FG_TENSOR_F32, 64);
    toy_pad(&toy, 32);
    toy_raw(&toy, (char[256]){0}, 256);
    assert_refused(&toy, "tensor a: the name appears twice");
}

static void knows_tensor_types(void **state)
{
    (void)state;
    assert_string_equal(fg_tensor_type_name(FG_TENSOR_F32), "F32");
    assert_string_equal(fg_tensor_type_name(FG_TENSOR_BF16), "BF16");
    assert_string_equal(fg_tensor_type_name(17), "IQ2_XS");
    assert_null(fg_tensor_type_name(99));
    assert_null(fg_tensor_type_name(UINT32_MAX));
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_F32, 5), 20);
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_F16, 5), 10);
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_BF16, 5), 10);
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_Q8_0, 64), 68);
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_Q4_0, 32), 18);
    assert_int_equal(fg_tensor_row_bytes(12, 512), 288); /* Q4_K */
    assert_int_equal(fg_tensor_row_bytes(13, 256), 176); /* Q5_K */
    assert_int_equal(fg_tensor_row_bytes(14, 256), 210); /* Q6_K */
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_Q8_0, 33), 0);
    assert_int_equal(fg_tensor_row_bytes(FG_TENSOR_F32, UINT64_MAX), 0);
    assert_int_equal(fg_tensor_row_bytes(99, 32), 0);
}

static void open_names_the_file(void **state)
{
    (void)state;
    struct fg_gguf *gguf;
    struct fg_error error;
    char text[1024];
    assert_int_equal(fg_gguf_open(&gguf, "/nowhere/model.gguf", &error), FG_ERR_CONFIG);
    assert_null(gguf);
    fg_error_format(&error, text, sizeof(text));
    assert_string_equal(
        text, "/nowhere/model.gguf: cannot open the model file: No such file or directory");
    assert_int_equal(fg_gguf_open(&gguf, "/", &error), FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "not a regular file"));
    assert_int_equal(fg_gguf_open(&gguf, "/dev/null", NULL), FG_ERR_CONFIG);
    fg_gguf_close(NULL);
}

static void open_maps_the_file(void **state)
{
    (void)state;
    struct toy_gguf toy = {0};
    struct fg_gguf *gguf;
    struct fg_error error;
    char path[] = "/tmp/fg_test_gguf_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd != -1);
    assert_int_equal(fg_gguf_open(&gguf, path, &error), FG_ERR_CONFIG);
    assert_non_null(strstr(error.message, "an empty file"));
    write_good(&toy, 3);
    assert_int_equal(write(fd, toy.data, toy.len), (ssize_t)toy.len);
    assert_int_equal(fg_gguf_open(&gguf, path, &error), FG_OK);
    check_numbers(gguf);
    check_arrays(gguf);
    fg_gguf_close(gguf);
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(fg_gguf_open(&gguf, path, &error), FG_ERR_CONFIG);
    assert_string_equal(error.file, path);
    close(fd);
    unlink(path);
    toy_gguf_fini(&toy);
}

static void opens_the_reference_models(void **state)
{
    (void)state;
    static const char *const names[] = {"small-qwen2.F16.gguf", "tiny-kq.Q4_K.gguf",
                                        "tiny-qwen2.BF16.gguf", "tiny-llama.Q4_0.gguf",
                                        "tiny-qwen3.Q8_0.gguf"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct fg_gguf *gguf;
        struct fg_error error;
        struct fg_span arch;
        const char *path = golden_path(names[i]);
        if (path == NULL)
            skip();
        if (fg_gguf_open(&gguf, path, &error) != FG_OK)
            fail_msg("%s: %s", path, error.message);
        assert_true(fg_gguf_get_string(gguf, "general.architecture", &arch));
        assert_true(fg_gguf_tensor_count(gguf) > 20);
        for (size_t t = 0; t < fg_gguf_tensor_count(gguf); t++)
            assert_non_null(fg_gguf_tensor_at(gguf, t)->data);
        fg_gguf_close(gguf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_value),
        cmocka_unit_test(passes_over_arrays_of_arrays),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(survives_every_changed_byte),
        cmocka_unit_test(refuses_other_files),
        cmocka_unit_test(refuses_huge_counts),
        cmocka_unit_test(refuses_bad_keys),
        cmocka_unit_test(refuses_bad_values),
        cmocka_unit_test(refuses_bad_alignment),
        cmocka_unit_test(refuses_bad_tensors),
        cmocka_unit_test(refuses_tensors_that_collide),
        cmocka_unit_test(knows_tensor_types),
        cmocka_unit_test(open_names_the_file),
        cmocka_unit_test(open_maps_the_file),
        cmocka_unit_test(opens_the_reference_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
