/*
 * tensor_types.c: names and block layouts of the element types that a GGUF file may hold (the
 * functions fg_tensor_type_name and fg_tensor_row_bytes of gguf.h).
 * Thread   any; a constant table.
 * Source   enum ggml_type and the block structs of ggml (ggml-common.h). All types are here, not
 *          only those that we compute with, so that every tensor's size can be checked when a
 *          file is opened and a type that the model cannot use is refused by its name.
 */
#include "inference/model/gguf.h"

struct tensor_type {
    const char *name;
    uint32_t block_elements; /* 0: the type was removed from the format */
    uint32_t block_bytes;
};

static const struct tensor_type tensor_types[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},      [4] = {"Q4_2", 0, 0},        [5] = {"Q4_3", 0, 0},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},
    [9] = {"Q8_1", 32, 36},      [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},
    [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},   [14] = {"Q6_K", 256, 210},
    [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},
    [21] = {"IQ3_S", 256, 110},  [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136},
    [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},        [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [31] = {"Q4_0_4_4", 0, 0},   [32] = {"Q4_0_4_8", 0, 0},
    [33] = {"Q4_0_8_8", 0, 0},   [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},
    [36] = {"IQ4_NL_4_4", 0, 0}, [37] = {"IQ4_NL_4_8", 0, 0}, [38] = {"IQ4_NL_8_8", 0, 0},
    [39] = {"MXFP4", 32, 17},    [40] = {"NVFP4", 64, 36},    [41] = {"Q1_0", 128, 18},
};

static const struct tensor_type *find_type(uint32_t type)
{
    if (type >= sizeof(tensor_types) / sizeof(tensor_types[0]))
        return NULL;
    return &tensor_types[type];
}

const char *fg_tensor_type_name(uint32_t type)
{
    const struct tensor_type *found = find_type(type);
    return found == NULL ? NULL : found->name;
}

size_t fg_tensor_row_bytes(uint32_t type, uint64_t row_length)
{
    const struct tensor_type *found = find_type(type);
    size_t bytes;
    if (found == NULL || found->block_elements == 0 || row_length % found->block_elements != 0)
        return 0;
    if (__builtin_mul_overflow(row_length / found->block_elements, found->block_bytes, &bytes))
        return 0;
    return bytes;
}
