/*
 * fuzz_signature.c: any bytes as the field of a signed request. What was read lies inside the
 * field, and no bytes are a good signature under a key that nobody has.
 */
#include "pipeline/signature.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_signature signature;
    struct fg_span field = {(const char *)data, size};
    const struct fg_exchange ex = {.method_text = FG_SPAN("POST"), .path = FG_SPAN("/")};
    if (!fg_signature_parse(field, &signature))
        return 0;
    assert(signature.nonce.data >= field.data &&
           signature.nonce.data + signature.nonce.len <= field.data + field.len);
    assert(signature.nonce.len >= 16 && signature.key_id.len > 0);
    assert(!fg_signature_is_good(&signature, &ex, "a secret that is nobody's, 32 bytes", 35));
    return 0;
}
