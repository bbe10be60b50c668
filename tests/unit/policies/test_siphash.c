/*
 * test_siphash.c: known answers for the key and messages that the authors' vectors use (key 00..0f,
 * message 00, 01, 02 ...). The numbers were made with an independent implementation:
 *   openssl mac -macopt hexkey:000102030405060708090A0B0C0D0E0F -macopt size:8 -in FILE SIPHASH
 */
#include "policies/siphash.h"
#include "policy_test.h"

static struct fg_siphash_key reference_key(void)
{
    uint8_t bytes[16];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    return fg_siphash_key_from_bytes(bytes);
}

/* Little-endian tags for messages of 0, 1, 7, 8, 9, 15, 16 and 63 bytes. */
static void matches_openssl_64(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t tag;
    } known[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},
        {7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
        {9, UINT64_C(0x9e0082df0ba9e4b0)},  {15, UINT64_C(0xa129ca6149be45e5)},
        {16, UINT64_C(0x3f2acc7f57c29bdb)}, {63, UINT64_C(0x958a324ceb064572)},
    };
    struct fg_siphash_key key = reference_key();
    uint8_t message[64];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_true(fg_siphash(&key, message, known[i].len) == known[i].tag);
    assert_true(fg_siphash(&key, NULL, 0) == known[0].tag);
}

static void matches_openssl_128(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t hi;
        uint64_t lo;
    } known[] = {
        {0, UINT64_C(0x930255c71472f66d), UINT64_C(0xe6a825ba047f81a3)},
        {1, UINT64_C(0x45fc229b11597634), UINT64_C(0x44af996bd8c187da)},
        {8, UINT64_C(0xb49714f364e2830f), UINT64_C(0x61f55862baa9623b)},
        {15, UINT64_C(0xd9c3cf970fec087e), UINT64_C(0x11a8b03399e99354)},
        {63, UINT64_C(0x7cbd3f979a063e50), UINT64_C(0x4a83502f77d15051)},
    };
    struct fg_siphash_key key = reference_key();
    uint8_t message[64];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint64_t hi = 0;
        uint64_t lo = 0;
        fg_siphash_128(&key, message, known[i].len, &hi, &lo);
        assert_true(hi == known[i].hi);
        assert_true(lo == known[i].lo);
    }
}

static void alignment_does_not_matter(void **state)
{
    (void)state;
    struct fg_siphash_key key = reference_key();
    uint8_t message[40];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)(i * 7);
    uint64_t tag = fg_siphash(&key, message, sizeof(message));
    for (size_t shift = 0; shift < 8; shift++) {
        uint8_t buffer[sizeof(message) + 8];
        memcpy(buffer + shift, message, sizeof(message));
        assert_true(fg_siphash(&key, buffer + shift, sizeof(message)) == tag);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_openssl_64),
        cmocka_unit_test(matches_openssl_128),
        cmocka_unit_test(alignment_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
