/*
 * fuzz_config.c: any bytes as a configuration: never a crash, a leak or an answer that contradicts
 * itself; what loads can be shown as JSON.
 */
#include "config/config.h"

#include <assert.h>

struct tally {
    size_t count;
    unsigned line;
    unsigned column;
};

static void on_error(const struct fg_error *error, void *ctx)
{
    struct tally *tally = ctx;
    assert(error->message[0] != '\0');
    /* File order; an error of the whole file (no memory) stands at its end, without a line. */
    if (error->line != 0) {
        assert(error->line > tally->line ||
               (error->line == tally->line && error->column >= tally->column));
        tally->line = error->line;
        tally->column = error->column;
    }
    tally->count++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fg_config *config = NULL;
    struct tally tally = {0};
    size_t error_count = 0;
    enum fg_status status =
        fg_config_parse(&config, "fuzz.yaml", fg_span_make((const char *)data, size), false,
                        on_error, &tally, &error_count);
    assert((status == FG_OK) == (config != NULL));
    assert((status == FG_OK) == (error_count == 0));
    assert(tally.count <= error_count);
    assert(status == FG_OK || tally.count > 0);
    if (config != NULL) {
        json_t *json = fg_config_to_json(config);
        assert(json_is_object(json));
        json_decref(json);
        fg_config_destroy(config);
    }
    return 0;
}
