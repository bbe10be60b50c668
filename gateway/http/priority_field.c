/*
 * priority_field.c: see priority_field.h.
 * Source   RFC 9218 section 4.
 */
#include "http/priority_field.h"

#include "policies/structured_field.h"

static void apply(struct fg_priority_field *field, const struct fg_sf_member *member,
                  enum fg_sf_type type)
{
    struct fg_span key = fg_span_make(member->key, member->key_len);
    if (fg_span_equal(key, FG_SPAN("u")) && type == FG_SF_INTEGER && member->number >= 0 &&
        member->number <= FG_PRIORITY_URGENCY_MAX)
        field->urgency = (uint8_t)member->number;
    else if (fg_span_equal(key, FG_SPAN("i")) && type == FG_SF_BOOLEAN)
        field->is_incremental = member->number == 1;
}

bool fg_priority_field_add(struct fg_span text, struct fg_priority_field *field)
{
    struct fg_priority_field sum = *field;
    struct fg_sf_dictionary dictionary;
    struct fg_sf_member member;
    enum fg_sf_type type;
    fg_sf_dictionary_init(&dictionary, text.data, text.len);
    while ((type = fg_sf_dictionary_next(&dictionary, &member)) != FG_SF_END) {
        if (type == FG_SF_MALFORMED)
            return false;
        apply(&sum, &member, type);
    }
    *field = sum;
    return true;
}

bool fg_priority_field_parse(struct fg_span text, struct fg_priority_field *field)
{
    *field = FG_PRIORITY_FIELD_USUAL;
    return fg_priority_field_add(text, field);
}
