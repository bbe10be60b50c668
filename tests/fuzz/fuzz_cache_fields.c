/*
 * fuzz_cache_fields.c: any bytes as the fields that the cache reads (Cache-Control, Range, Vary,
 * ETag lists, Accept-Encoding, dates); what comes out must hold together.
 */
#include "policies/cache/accept_encoding.h"
#include "policies/cache/byte_range.h"
#include "policies/cache/etag.h"
#include "policies/cache/freshness.h"
#include "policies/cache/http_date.h"
#include "policies/cache/vary.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_range(const char *text, size_t len, uint64_t size)
{
    struct fg_byte_run run;
    size_t count = 0;
    if (fg_byte_ranges_parse(text, len, size, 0, 1, &run, &count) == FG_BYTE_RANGE_TAKEN)
        assert(count == 1 && run.first <= run.last && run.last < size);
}

/* Runs are inside the object, and no two so near that they would have been joined. */
static void check_ranges(const char *text, size_t len, uint64_t size, uint64_t gap)
{
    struct fg_byte_run runs[FG_BYTE_RANGES_MAX];
    size_t count = 0;
    if (fg_byte_ranges_parse(text, len, size, gap, FG_BYTE_RANGES_MAX, runs, &count) !=
        FG_BYTE_RANGE_TAKEN)
        return;
    assert(count > 0 && count <= FG_BYTE_RANGES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(runs[i].first <= runs[i].last && runs[i].last < size);
        for (size_t j = 0; j < i; j++) {
            const struct fg_byte_run *low = runs[i].first < runs[j].first ? &runs[i] : &runs[j];
            const struct fg_byte_run *high = low == &runs[i] ? &runs[j] : &runs[i];
            assert(high->first > low->last && high->first - low->last - 1 >= gap);
        }
    }
}

static void check_vary(const char *text, size_t len)
{
    size_t at = 0, name_len, before = 0;
    const char *name;
    char *out = malloc(len + 1);
    while (fg_vary_next(text, len, &at, &name, &name_len)) {
        assert(name_len > 0 && name >= text && name + name_len <= text + len && at > before);
        before = at;
        assert(fg_vary_normalise(name, name_len, text, len, out) <= len);
    }
    /* What has its form keeps it. */
    size_t once = fg_vary_normalise("accept-language", 15, text, len, out);
    char *again = malloc(once + 1);
    assert(fg_vary_normalise("accept-language", 15, out, once, again) == once);
    assert(memcmp(out, again, once) == 0);
    free(again);
    free(out);
}

static void check_control(const char *text, size_t len)
{
    struct fg_cache_request request = {.method = FG_CACHE_METHOD_GET};
    struct fg_cache_response response;
    struct fg_cache_rules rules = fg_cache_rules_default();
    fg_cache_response_init(&response);
    fg_cache_control_init(&request.control);
    fg_cache_control_parse(&request.control, text, len);
    fg_cache_control_parse(&response.control, text, len);
    uint32_t lifetime_s = fg_cache_lifetime_s(&response, &rules, 0);
    enum fg_cache_verdict verdict =
        fg_cache_judge(&request, &response, &rules, lifetime_s, UINT64_MAX / 2);
    /* Nothing that a response says makes it fresh for ever without the client's leave. */
    assert(verdict != FG_CACHE_FRESH || request.control.max_stale_s != FG_CACHE_CONTROL_ABSENT);
    if (response.control.no_store && !response.control.must_understand)
        assert(fg_cache_is_storable(&request, &response, &rules) != FG_CACHE_STORABLE);
}

static void check_tags(const char *text, size_t len)
{
    static const char own[] = "\"v1\"";
    bool is_named = fg_etag_if_none_match(text, len, own, sizeof(own) - 1);
    if (fg_etag_if_match(text, len, own, sizeof(own) - 1))
        assert(is_named); /* strong comparison is the narrower one */
    if (fg_etag_is_valid(text, len))
        assert(fg_etag_equal_weak(text, len, text, len));
}

static void check_encodings(const char *text, size_t len)
{
    struct fg_accept_encoding accept;
    fg_accept_encoding_init(&accept);
    fg_accept_encoding_parse(&accept, text, len);
    for (unsigned available = 0; available < 16; available++) {
        enum fg_coding coding = fg_accept_encoding_choose(&accept, available);
        assert(coding == FG_CODING_IDENTITY ||
               ((available & 1u << coding) != 0 && accept.permille[coding] > 0));
        assert(accept.permille[coding] <= 1000);
    }
}

static void check_date(const char *text, size_t len)
{
    int64_t seconds, again;
    char formatted[FG_HTTP_DATE_BYTES];
    if (!fg_http_date_parse(text, len, 1790000000, &seconds))
        return;
    fg_http_date_format(seconds, formatted);
    assert(fg_http_date_parse(formatted, strlen(formatted), 1790000000, &again));
    assert(again == seconds || seconds < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of the exact size, so that a read beyond it is seen. */
    char *text = malloc(size + (size == 0));
    if (size > 0)
        memcpy(text, data, size);
    check_range(text, size, 0);
    check_range(text, size, 1000);
    check_range(text, size, UINT64_MAX);
    check_ranges(text, size, 1000, 0);
    check_ranges(text, size, 1000, 100);
    check_ranges(text, size, UINT64_MAX, UINT64_MAX);
    check_vary(text, size);
    check_control(text, size);
    check_tags(text, size);
    check_encodings(text, size);
    check_date(text, size);
    free(text);
    return 0;
}
