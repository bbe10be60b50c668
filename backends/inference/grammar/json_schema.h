/*
 * json_schema.h: a JSON Schema, compiled into the nodes that a json_machine walks.
 * Job      read the part of JSON Schema by which an answer can be steered while it is written;
 *          refuse every keyword that restricts values in a way that cannot be, by name.
 * Thread   immutable once compiled: any.
 * Memory   a few arrays on the heap, bounded by the limits below.
 * Source   JSON Schema 2020-12: type, properties, required, additionalProperties, items, minItems,
 *          maxItems, minLength, maxLength, enum, const, anyOf, oneOf (read as anyOf), allOf, $ref
 *          into the same document; what stands beside one of these four is merged into what it
 *          names (json_schema_merge.h). Annotations (title, description, format, ...) say nothing.
 */
#ifndef FG_INFERENCE_JSON_SCHEMA_H
#define FG_INFERENCE_JSON_SCHEMA_H

#include "base/span.h"
#include "base/status.h"

#define FG_JSON_NONE UINT32_MAX
#define FG_JSON_DEPTH_MAX 32u /* values within each other */
#define FG_JSON_NODES_MAX 2048u
#define FG_JSON_PROPERTIES_MAX 64u /* of one object: a bit each */
#define FG_JSON_LITERALS_MAX 1024u /* of one enum */

enum fg_json_kind {
    FG_JSON_OBJECT,
    FG_JSON_ARRAY,
    FG_JSON_STRING,
    FG_JSON_NUMBER,
    FG_JSON_INTEGER,
    FG_JSON_LITERALS,     /* one of some texts: enum, const, true, false, null */
    FG_JSON_ALTERNATIVES, /* one of some nodes */
};

struct fg_json_node {
    enum fg_json_kind kind;
    uint32_t first; /* of its properties, literals or alternatives in their tables */
    uint32_t count;
    uint32_t other; /* object: node of keys without a property, array: of items; FG_JSON_NONE */
    uint32_t min;   /* array: items, string: characters */
    uint32_t max;
    uint32_t levels;   /* how deep its shallowest value is: 1 for a string, 2 for [1] */
    uint64_t required; /* object: a bit for each property */
};

/* Sorted by name within an object; the name as JSON writes it between the quotes. */
struct fg_json_property {
    struct fg_span name;
    uint32_t node;
};

struct fg_json_schema {
    struct fg_json_node *nodes;
    uint32_t node_count;
    uint32_t root;
    struct fg_json_property *properties;
    uint32_t property_count;
    struct fg_span *literals; /* sorted within a node */
    uint32_t literal_count;
    uint32_t *alternatives;
    uint32_t alternative_count;
    void *texts; /* json_t array of the strings that the spans point into */
    uint32_t capacities[4];
};

/*
 * Compile the schema in `text`; empty: any JSON object. FG_ERR_CONFIG with a sentence in *error
 * that names the keyword and where it stands; then there is nothing to free.
 */
FG_MUST_USE enum fg_status fg_json_schema_compile(struct fg_json_schema *schema,
                                                  struct fg_span text, struct fg_error *error);
void fg_json_schema_fini(struct fg_json_schema *schema);

#endif
