/*
 * test_accept_encoding.c: RFC 9110 section 12.5.3 with weights, stars and nonsense.
 */
#include "policies/cache/accept_encoding.h"
#include "policy_test.h"

#define ALL 15u

static enum fg_coding choose(const char *text, unsigned available)
{
    struct fg_accept_encoding accept;
    fg_accept_encoding_init(&accept);
    if (text != NULL)
        fg_accept_encoding_parse(&accept, text, strlen(text));
    return fg_accept_encoding_choose(&accept, available);
}

static void chooses_the_best_that_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned available;
        enum fg_coding chosen;
    } cases[] = {
        {NULL, ALL, FG_CODING_IDENTITY},
        {"", ALL, FG_CODING_IDENTITY},
        {"gzip", ALL, FG_CODING_GZIP},
        {"GZip", ALL, FG_CODING_GZIP},
        {"x-gzip", ALL, FG_CODING_GZIP},
        {"gzip, deflate, br, zstd", ALL, FG_CODING_BR},
        {"gzip, deflate, br, zstd", 1u << FG_CODING_GZIP | 1u << FG_CODING_ZSTD, FG_CODING_ZSTD},
        {"gzip, deflate, br, zstd", 0, FG_CODING_IDENTITY},
        {"br;q=0.5, gzip;q=0.8", ALL, FG_CODING_GZIP},
        {"br ; q=0.8 , gzip;q=0.8", ALL, FG_CODING_BR},
        {"br;q=0.001", ALL, FG_CODING_BR},
        {"br;q=0", ALL, FG_CODING_IDENTITY},
        {"br;q=0.000, gzip", ALL, FG_CODING_GZIP},
        {"br;Q=0", ALL, FG_CODING_IDENTITY},
        {"identity, gzip;q=0.9", ALL, FG_CODING_IDENTITY},
        {"identity;q=0.5, gzip;q=0.5", ALL, FG_CODING_GZIP},
        {"*", ALL, FG_CODING_BR},
        {"*;q=0", ALL, FG_CODING_IDENTITY},
        {"br;q=0, *", ALL, FG_CODING_ZSTD},
        {"gzip, *;q=0", ALL, FG_CODING_GZIP},
        {"identity;q=0", ALL, FG_CODING_IDENTITY}, /* nothing else was asked for */
        {"identity;q=0, gzip;q=0.1", ALL, FG_CODING_GZIP},
        {"gzip;q=2", ALL, FG_CODING_IDENTITY}, /* malformed weights: not at all */
        {"gzip;q=1.001", ALL, FG_CODING_IDENTITY},
        {"gzip;q=0.1234", ALL, FG_CODING_IDENTITY},
        {"gzip;q=-1", ALL, FG_CODING_IDENTITY},
        {"gzip;q=", ALL, FG_CODING_IDENTITY},
        {"gzip;level=9;q=0", ALL, FG_CODING_IDENTITY},
        {"gzip;level=9", ALL, FG_CODING_GZIP},
        {",, ,gzip,,", ALL, FG_CODING_GZIP},
        {"gzipped", ALL, FG_CODING_IDENTITY},
        {"gzip br", ALL, FG_CODING_GZIP},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (choose(cases[i].text, cases[i].available) != cases[i].chosen)
            fail_msg("%s: %s", cases[i].text,
                     fg_coding_name(choose(cases[i].text, cases[i].available)));
    }
    assert_string_equal(fg_coding_name(FG_CODING_ZSTD), "zstd");
}

static void several_lines_are_one_list(void **state)
{
    (void)state;
    static const char *const lines[] = {"gzip;q=0.5", "", "br;q=0.8, *;q=0", "identity;q=0.1"};
    struct fg_accept_encoding accept;
    fg_accept_encoding_init(&accept);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        fg_accept_encoding_parse(&accept, lines[i], strlen(lines[i]));
    assert_int_equal(accept.permille[FG_CODING_GZIP], 500);
    assert_int_equal(accept.permille[FG_CODING_BR], 800);
    assert_int_equal(accept.permille[FG_CODING_ZSTD], 0);
    assert_int_equal(accept.permille[FG_CODING_IDENTITY], 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_the_best_that_is_there),
        cmocka_unit_test(several_lines_are_one_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
