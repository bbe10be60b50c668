/*
 * fuzz_key_set.c: any bytes as a file of keys. A set that was read has keys, each usable.
 */
#include "config/key_set.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_key_set set;
    char why[192] = "";
    if (!fg_key_set_parse(&set, fg_span_make((const char *)data, size), why, sizeof(why))) {
        assert(why[0] != '\0' && set.count == 0 && set.keys == NULL);
        return 0;
    }
    assert(set.count > 0 && set.count <= FG_KEY_SET_MAX);
    for (size_t i = 0; i < set.count; i++) {
        assert((set.keys[i].key == NULL) == (set.keys[i].algorithm == FG_KEY_HS256));
        assert(set.keys[i].key != NULL || set.keys[i].secret_bytes >= 32);
    }
    fg_key_set_fini(&set);
    return 0;
}
