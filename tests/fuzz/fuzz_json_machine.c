/*
 * fuzz_json_machine.c: a schema, a zero byte, and an answer under it. What the machine takes as a
 * whole value must be JSON.
 */
#include "inference/grammar/json_machine.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static struct fg_json_machine machine, scratch;
    struct fg_json_schema schema;
    struct fg_error error = {0};
    const unsigned char *zero = size == 0 ? NULL : memchr(data, 0, size);
    size_t schema_bytes = zero == NULL ? size : (size_t)(zero - data);
    if (fg_json_schema_compile(&schema, fg_span_make((const char *)data, schema_bytes), &error) !=
        FG_OK)
        return 0;
    const char *answer = (const char *)data + schema_bytes + (zero == NULL ? 0 : 1);
    size_t answer_bytes = size - schema_bytes - (zero == NULL ? 0 : 1);
    fg_json_machine_init(&machine, &schema);
    size_t taken = 0;
    while (taken < answer_bytes) {
        struct fg_span byte = fg_span_make(answer + taken, 1);
        if (!fg_json_machine_allows(&machine, byte, &scratch))
            break;
        if (!fg_json_machine_take(&machine, byte))
            abort();
        taken++;
    }
    if (taken > 0 && fg_json_machine_may_end(&machine)) {
        json_error_t where;
        /* A lone surrogate and a number beyond all bounds are well-formed, though jansson has no
         * place for them. */
        json_t *value = json_loadb(answer, taken, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
        if (value == NULL && json_error_code(&where) == json_error_invalid_syntax &&
            memmem(answer, taken, "\\u", 2) == NULL)
            abort();
        json_decref(value);
    }
    fg_json_schema_fini(&schema);
    return 0;
}
