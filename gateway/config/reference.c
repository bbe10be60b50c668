/*
 * reference.c: docs/configuration.md: what a person needs to know first, then every table.
 */
#include "config/reference.h"

#include "config/loader.h"

#include <string.h>

static const char introduction[] =
    "# Configuration reference\n"
    "\n"
    "<!-- Made by `config-pages reference` from the tables that the parser uses; edit those. -->\n"
    "\n"
    "floodgate reads one YAML file: `floodgate serve -c FILE`. `floodgate check -c FILE` reads "
    "it,\n"
    "reports every error at once as `FILE:LINE:COLUMN: what is wrong; what was expected`, and "
    "exits\n"
    "with 2 if there is one. SIGHUP or `POST /reload` read it again; with any error the running\n"
    "configuration stays. `GET /config` on the admin address shows what is in force, every "
    "default\n"
    "filled in, passwords removed. Editors that know JSON Schema complete and check the file with\n"
    "`conf/floodgate.schema.json`.\n"
    "\n"
    "## The smallest file\n"
    "\n"
    "```yaml\n"
    "listeners:\n"
    "  - {address: \"0.0.0.0:8443\", certificate: server.crt, private_key: server.key}\n"
    "static:\n"
    "  www: /srv/www\n"
    "routes:\n"
    "  - {match: {prefix: /}, to: static:www}\n"
    "```\n"
    "\n"
    "More: [conf/floodgate.yaml](../conf/floodgate.yaml) is the demo, with comments;\n"
    "[conf/examples](../conf/examples) has one for production and one for a plain reverse proxy.\n"
    "\n"
    "## How values are written\n"
    "\n"
    "| type | examples | meaning |\n"
    "| --- | --- | --- |\n"
    "| true or false | `true` | nothing else, so no `yes` and no `on` |\n"
    "| number | `20000` | a whole number |\n"
    "| duration | `250ms` `5s` `2m` `1h` `1d` | also `us` and `ns`; the unit is needed, except for "
    "`0` |\n"
    "| size | `64KiB` `10MiB` `1GiB` | powers of 1024; a plain number is bytes |\n"
    "| rate | `10/s` `600/m` `5/10s` `100000/h` | so many in that time |\n"
    "| percentage | `85%` `12.5%` | one decimal at most |\n"
    "| two percentages | `85%/75%` | taken from the first on, given up below the second |\n"
    "| path | `../run/dev.crt` | relative paths start at the directory of the file |\n"
    "| text | `\"127.0.0.1:8443\"` | quotes are needed where YAML would read something else |\n"
    "\n"
    "- **Environment.** `${NAME}` in a value is replaced by that variable, `${NAME:-default}` by "
    "the\n"
    "  default when it is not set; a variable that is neither set nor has a default is an error.\n"
    "  `$${` is a plain `${`. Keep passwords there.\n"
    "- **Nothing is guessed.** An unknown key, a key that is there twice, a key that would have "
    "no\n"
    "  effect, a value without its unit: each is an error, with a did-you-mean where one is near.\n"
    "- **A key without a value** counts as not written.\n"
    "- **YAML** is used plainly: anchors, aliases, merge keys, tags and several documents in one\n"
    "  file are refused. A file has at most 1 MiB.\n"
    "\n"
    "In the tables, *needed* means that there is no default. Default and range are in the "
    "notation\n"
    "of the file.\n";

/* In a table's cell '|' would end it. */
static void write_cell(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static const char *type_name(enum fg_key_type type)
{
    switch (type) {
    case FG_KEY_BOOL:
        return "true or false";
    case FG_KEY_U32:
    case FG_KEY_U64:
        return "number";
    case FG_KEY_DURATION:
        return "duration";
    case FG_KEY_SIZE:
        return "size";
    case FG_KEY_RATE:
    case FG_KEY_PER_MINUTE:
        return "rate";
    case FG_KEY_PERMILLE:
        return "percentage";
    case FG_KEY_BAND:
        return "two percentages";
    case FG_KEY_STRING:
        return "text";
    case FG_KEY_PATH:
        return "path";
    case FG_KEY_ENUM:
    case FG_KEY_WORD:
        return "one of";
    case FG_KEY_BITS:
    case FG_KEY_STRINGS:
        return "list of words";
    case FG_KEY_HEADERS:
    case FG_KEY_FIELDS:
    case FG_KEY_PARAMETERS:
        return "mapping of texts";
    case FG_KEY_OBJECT:
        return "mapping";
    case FG_KEY_SWITCH:
        return "mapping, true or false";
    case FG_KEY_LIST:
        return "list of mappings";
    case FG_KEY_MAP:
        return "mapping of names";
    }
    return "";
}

static void write_default(FILE *out, const struct fg_key *key)
{
    if (key->is_required)
        fputs("*needed*", out);
    else if (key->initial != NULL && key->initial[0] == '\0')
        fputs("empty", out);
    else if (key->initial != NULL)
        fprintf(out, "`%s`", key->initial);
    else if (key->derived != NULL)
        write_cell(out, key->derived);
    else if (key->type == FG_KEY_SWITCH)
        fputs("`false`", out);
    else if (key->table != NULL)
        fputs("see below", out);
    else
        fputs("none", out);
}

static void write_range(FILE *out, const struct fg_key *key)
{
    char range[192];
    switch (key->type) {
    case FG_KEY_ENUM:
    case FG_KEY_WORD:
    case FG_KEY_BITS:
        for (const struct fg_choice *choice = key->choices; choice->word != NULL; choice++)
            fprintf(out, "%s`%s`", choice == key->choices ? "" : " ", choice->word);
        return;
    case FG_KEY_LIST:
    case FG_KEY_MAP:
    case FG_KEY_STRINGS:
    case FG_KEY_HEADERS:
    case FG_KEY_FIELDS:
    case FG_KEY_PARAMETERS:
        fprintf(out, "%llu to %llu entries", (unsigned long long)key->min,
                (unsigned long long)key->max);
        return;
    case FG_KEY_BOOL:
    case FG_KEY_STRING:
    case FG_KEY_PATH:
    case FG_KEY_OBJECT:
    case FG_KEY_SWITCH:
        return;
    default:
        fg_load_describe(key, range, sizeof(range));
        fputs(range, out);
    }
}

static void write_table(FILE *out, const struct fg_table *table, int level)
{
    fprintf(out, "\n%.*s %s\n\n%s\n", level, "######", table->path, table->doc);
    if (table->shorthand != NULL)
        fprintf(out, "A plain value in place of the mapping sets `%s`.\n", table->shorthand);
    fputs("\n| key | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n", out);
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        fprintf(out, "| `%s` | %s | ", key->name, type_name(key->type));
        write_default(out, key);
        fputs(" | ", out);
        write_range(out, key);
        fputs(" | ", out);
        write_cell(out, key->doc);
        fputs(" |\n", out);
    }
    for (const struct fg_key *key = table->keys; key->name != NULL; key++) {
        bool is_told = key > table->keys && key[-1].table == key->table; /* one for both */
        if (key->table != NULL && !is_told)
            write_table(out, key->table, level < 4 ? level + 1 : level);
    }
}

void fg_config_write_reference(FILE *out)
{
    fputs(introduction, out);
    fputs("\n## Sections\n\n", out);
    fputs(fg_table_root.doc, out);
    fputs("\n\n| section | default | meaning |\n| --- | --- | --- |\n", out);
    for (const struct fg_key *key = fg_table_root.keys; key->name != NULL; key++) {
        fprintf(out, "| `%s` | ", key->name);
        write_default(out, key);
        fprintf(out, " | %s |\n", key->doc);
    }
    for (const struct fg_key *key = fg_table_root.keys; key->name != NULL; key++)
        write_table(out, key->table, 2);
}
