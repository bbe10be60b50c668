/*
 * json_schema_merge.h: two JSON schemas as one that asks for what both ask for.
 * Job      make one schema of a keyword like anyOf and of what stands beside it, so that the
 *          compiler knows schemas that are one thing each.
 * Thread   any; nothing is kept between calls.
 * Never    weakens: what cannot be said by one schema is refused by the name of its keyword.
 */
#ifndef FG_INFERENCE_JSON_SCHEMA_MERGE_H
#define FG_INFERENCE_JSON_SCHEMA_MERGE_H

#include <jansson.h>
#include <stdbool.h>

/* Whether a schema has keywords that restrict values, beside `keyword`. */
bool fg_json_schema_restricts(const json_t *schema, const char *keyword);

/* What a "type" says of a value. */
bool fg_json_schema_type_allows(const json_t *type, const json_t *value);

/*
 * A new schema: `schema` without `keyword`, and all that `other` says. NULL with *conflict naming
 * the keyword that stands in the way, or NULL there when no value can keep to both.
 */
json_t *fg_json_schema_merge(const json_t *schema, const char *keyword, const json_t *other,
                             const char **conflict);

/* How many values that call will look at, about; counting ends above `most`. */
size_t fg_json_schema_merge_cost(const json_t *schema, const json_t *other, size_t most);

#endif
