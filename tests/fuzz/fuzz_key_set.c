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
    if (!fg_key_set_parse(&set, fg_span_make((const char *)data, size), NULL, why, sizeof(why))) {
        assert(why[0] != '\0' && set.count == 0 && set.keys == NULL);
        return 0;
    }
    assert(set.count > 0 && set.count <= FG_KEY_SET_MAX);
    for (size_t i = 0; i < set.count; i++) {
        const struct fg_key_kind *kind = fg_key_kind_of(set.keys[i].algorithm);
        assert((set.keys[i].key == NULL) == (kind->scheme == FG_KEY_SCHEME_HMAC));
        assert(set.keys[i].key != NULL || set.keys[i].secret_bytes >= kind->bytes);
    }
    fg_key_set_fini(&set);
    return 0;
}
