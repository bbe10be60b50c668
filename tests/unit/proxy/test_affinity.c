/*
 * test_affinity.c: which part of a request is its key.
 */
#include "proxy/affinity.h"

#include "unit/backends/fake_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static bool hash_of(struct fake_exchange *fake, const char *key, const char *body, uint64_t *hash)
{
    struct fg_affinity affinity;
    assert_true(fg_affinity_parse(&affinity, key));
    if (affinity.kind == FG_AFFINITY_PROMPT)
        return fg_affinity_prompt_hash(fg_span_from_string(body), true, hash);
    return fg_affinity_hash(&affinity, &fake->ex, hash);
}

static void keys_are_found_where_they_are(void **state)
{
    (void)state;
    struct fake_exchange fake;
    uint64_t hash = 0, other = 0;
    fake_exchange_init(&fake, "GET", "/a", NULL);
    fake_exchange_add_field(&fake, "x-tenant", "one");
    fake_exchange_add_field(&fake, "cookie", "x=1");
    fake_exchange_add_field(&fake, "cookie", "a=b; sid=one;t=u");
    assert_true(hash_of(&fake, "header:X-Tenant", NULL, &hash));
    assert_int_equal(hash, fg_span_hash(FG_SPAN("one"), UINT64_C(0x61666674)));
    assert_true(hash_of(&fake, "cookie:sid", NULL, &other));
    assert_true(hash == other);
    assert_true(hash_of(&fake, "path", NULL, &other));
    assert_true(hash != other);
    fake.ex.authority = FG_SPAN("one");
    assert_true(hash_of(&fake, "header:Host", NULL, &other));
    assert_true(hash == other);
    assert_false(hash_of(&fake, "header:x-other", NULL, &hash));
    assert_false(hash_of(&fake, "cookie:id", NULL, &hash));
    assert_false(hash_of(&fake, "prompt", "{}", &hash));
    assert_false(hash_of(&fake, "prompt", NULL, &hash));
    fake.ex.user_id = FG_SPAN("");
    fake.ex.client_addr = FG_SPAN("192.0.2.1");
    assert_true(hash_of(&fake, "client", NULL, &hash));
    assert_true(hash_of(&fake, "user", NULL, &other));
    assert_true(hash == other);
    fake.ex.user_id = FG_SPAN("u1");
    assert_true(hash_of(&fake, "user", NULL, &other));
    assert_true(hash != other);
    fake.end = FAKE_CANCELLED;
    fake_exchange_fini(&fake);
}

static void a_prompt_is_its_first_bytes(void **state)
{
    (void)state;
    struct fake_exchange fake;
    char body[3][1024];
    uint64_t hash[3];
    fake_exchange_init(&fake, "POST", "/v1", NULL);
    for (size_t i = 0; i < 3; i++) {
        memset(body[i], 'x', sizeof(body[i]));
        memcpy(body[i], i == 2 ? "{\"m\":22,\"prompt\":\"" : "{\"m\":1, \"messages\":", 18);
        body[i][sizeof(body[i]) - 1] = '\0';
    }
    body[1][2] = 'y';   /* before the prompt */
    body[1][900] = 'y'; /* behind what is looked at */
    for (size_t i = 0; i < 3; i++)
        assert_true(hash_of(&fake, "prompt", body[i], &hash[i]));
    assert_true(hash[0] == hash[1]);
    assert_true(hash[0] != hash[2]);
    fake.end = FAKE_CANCELLED;
    fake_exchange_fini(&fake);
}

static void a_prompt_that_may_go_on_is_waited_for(void **state)
{
    (void)state;
    static const char begin[] = "{\"prompt\":\"";
    char body[1024];
    uint64_t whole = 0, hash = 0;
    memset(body, 'x', sizeof(body));
    memcpy(body, begin, sizeof(begin) - 1);
    assert_true(fg_affinity_prompt_hash(fg_span_make(body, sizeof(body)), true, &whole));
    assert_false(fg_affinity_prompt_hash(fg_span_make(body, 200), false, &hash));
    assert_true(fg_affinity_prompt_hash(fg_span_make(body, 200), true, &hash));
    assert_true(hash != whole);
    assert_true(fg_affinity_prompt_hash(fg_span_make(body, 300), false, &hash));
    assert_true(hash == whole);
    assert_false(fg_affinity_prompt_hash(FG_SPAN("{}"), true, &hash));
}

static void other_words_are_no_keys(void **state)
{
    (void)state;
    static const char *const words[] = {"", "header", "header:", "cookie:", "ip", "query:x"};
    struct fg_affinity affinity;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_false(fg_affinity_parse(&affinity, words[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_where_they_are),
        cmocka_unit_test(a_prompt_is_its_first_bytes),
        cmocka_unit_test(a_prompt_that_may_go_on_is_waited_for),
        cmocka_unit_test(other_words_are_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
