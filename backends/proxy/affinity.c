/*
 * affinity.c: finds the key and hashes it.
 * Job      the prompt is what follows "messages" or "prompt" in the body, PROMPT_BYTES of it:
 * enough to tell system prompts apart, and little enough that the questions behind the same one
 *          still meet in the same prefix cache.
 * Never    parses JSON: a key that is found at the wrong place costs a cache hit, nothing else.
 */
#include "proxy/affinity.h"

#define PROMPT_BYTES ((size_t)256)
#define SEED UINT64_C(0x61666674)

bool fg_affinity_parse(struct fg_affinity *affinity, const char *text)
{
    static const struct {
        const char *word;
        enum fg_affinity_kind kind;
    } words[] = {
        {"client", FG_AFFINITY_CLIENT},
        {"user", FG_AFFINITY_USER},
        {"path", FG_AFFINITY_PATH},
        {"prompt", FG_AFFINITY_PROMPT},
    };
    *affinity = (struct fg_affinity){.kind = FG_AFFINITY_CLIENT};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i].word) == 0) {
            affinity->kind = words[i].kind;
            return true;
        }
    }
    struct fg_span name = fg_span_from_string(text);
    struct fg_span kind = fg_span_split(&name, ':');
    affinity->name = name;
    affinity->kind =
        fg_span_equal(kind, FG_SPAN("cookie")) ? FG_AFFINITY_COOKIE : FG_AFFINITY_HEADER;
    return name.len > 0 &&
           (affinity->kind == FG_AFFINITY_COOKIE || fg_span_equal(kind, FG_SPAN("header")));
}

/* As configured, in any case. Host is no field of a request any more. */
static struct fg_span find_field(const struct fg_exchange *ex, struct fg_span name)
{
    if (fg_span_equal_nocase(name, FG_SPAN("host")))
        return ex->authority;
    for (size_t i = 0; i < ex->field_count; i++) {
        if (fg_span_equal_nocase(ex->fields[i].name, name))
            return ex->fields[i].value;
    }
    return (struct fg_span){NULL, 0};
}

/* HTTP/2 clients may send a field a cookie (RFC 9113 section 8.2.3). */
static struct fg_span find_cookie(const struct fg_exchange *ex, struct fg_span name)
{
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, FG_SPAN("cookie")))
            continue;
        struct fg_span rest = ex->fields[i].value;
        while (rest.data != NULL) {
            struct fg_span value = fg_span_trim(fg_span_split(&rest, ';'));
            struct fg_span key = fg_span_split(&value, '=');
            if (value.data != NULL && fg_span_equal(key, name))
                return value;
        }
    }
    return (struct fg_span){NULL, 0};
}

static struct fg_span find_prompt(struct fg_span body)
{
    static const struct fg_span keys[] = {FG_SPAN_LITERAL("\"messages\""),
                                          FG_SPAN_LITERAL("\"prompt\"")};
    for (size_t i = 0; i < 2 && body.len > 0; i++) {
        const char *at = memmem(body.data, body.len, keys[i].data, keys[i].len);
        if (at == NULL)
            continue;
        size_t left = body.len - (size_t)(at - body.data);
        return fg_span_make(at, left < PROMPT_BYTES ? left : PROMPT_BYTES);
    }
    return (struct fg_span){NULL, 0};
}

uint64_t fg_affinity_hash_key(struct fg_span key)
{
    return fg_span_hash(key, SEED);
}

bool fg_affinity_prompt_hash(struct fg_span body, bool is_all, uint64_t *hash)
{
    struct fg_span prompt = find_prompt(body);
    if (prompt.len == 0 || (prompt.len < PROMPT_BYTES && !is_all))
        return false;
    *hash = fg_affinity_hash_key(prompt);
    return true;
}

bool fg_affinity_hash(const struct fg_affinity *affinity, const struct fg_exchange *ex,
                      uint64_t *hash)
{
    struct fg_span key = {NULL, 0};
    switch (affinity->kind) {
    case FG_AFFINITY_CLIENT:
        key = ex->client_addr;
        break;
    case FG_AFFINITY_USER:
        key = ex->user_id.len > 0 ? ex->user_id : ex->client_addr;
        break;
    case FG_AFFINITY_PATH:
        key = ex->path;
        break;
    case FG_AFFINITY_HEADER:
        key = find_field(ex, affinity->name);
        break;
    case FG_AFFINITY_COOKIE:
        key = find_cookie(ex, affinity->name);
        break;
    case FG_AFFINITY_PROMPT:
        break;
    }
    if (key.len == 0)
        return false;
    *hash = fg_affinity_hash_key(key);
    return true;
}
