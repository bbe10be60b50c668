/*
 * json_machine.c: one byte at a time through the frames of each reading.
 * Source   RFC 8259 (JSON), narrowed to what every reader of it takes, as RFC 7493 (I-JSON)
 *          advises: surrogates come in pairs, no U+0000, and numbers of a size that fits.
 */
#include "inference/grammar/json_machine.h"

#include <assert.h>

#define BLANKS_MAX 32u
/* Fits 64 bits, and a double without becoming infinite. */
#define WHOLE_DIGITS_MAX 18u
#define PART_DIGITS_MAX 20u
#define POWER_DIGITS_MAX 2u

/* Where a frame stands. */
enum phase {
    PHASE_START,    /* the value's first byte is awaited */
    PHASE_IN,       /* in a string, number or literal */
    PHASE_FIRST,    /* behind { or [ */
    PHASE_KEY_NEXT, /* behind a comma of an object */
    PHASE_IN_KEY,
    PHASE_COLON,
    PHASE_VALUE, /* a frame above has it */
    PHASE_AFTER_VALUE,
};

/* Where in a string: UTF-8 that is begun names how it may go on (RFC 3629 section 4). */
enum {
    TEXT_PLAIN,
    TEXT_ESCAPE, /* from here to TEXT_LOW_2: within an escape */
    TEXT_HEX_1,
    TEXT_HEX_2,
    TEXT_HEX_3,
    TEXT_HEX_4,
    TEXT_ZERO_2, /* \u0, \u00, \u000: what follows may not make it U+0000 */
    TEXT_ZERO_3,
    TEXT_ZERO_4,
    TEXT_D_2,    /* \ud: 0 to 7, or 8 to B for the first half of a pair */
    TEXT_HIGH_3, /* within the first half */
    TEXT_HIGH_4,
    TEXT_LOW, /* behind it: \, u, d, C to F and two more */
    TEXT_LOW_U,
    TEXT_LOW_1,
    TEXT_LOW_2,
    TEXT_TAIL_1, /* one more 80 to BF */
    TEXT_TAIL_2,
    TEXT_TAIL_3,
    TEXT_AFTER_E0, /* A0 to BF, then one more */
    TEXT_AFTER_ED, /* 80 to 9F */
    TEXT_AFTER_F0, /* 90 to BF, then two more */
    TEXT_AFTER_F4, /* 80 to 8F */
};

/* Where in a number. */
enum {
    NUMBER_SIGN,
    NUMBER_ZERO,
    NUMBER_WHOLE,
    NUMBER_POINT,
    NUMBER_PART,
    NUMBER_E,
    NUMBER_E_SIGN,
    NUMBER_POWER
};

/* What became of a byte. */
enum taken {
    TAKEN,
    REFUSED,
    AGAIN, /* the frame ended before it: it belongs to the one below */
};

static struct fg_json_frame *top_of(struct fg_json_reading *reading)
{
    return &reading->frames[reading->depth - 1];
}

/* Whether the shortest value of `node` has room above what is open. */
static bool fits(const struct fg_json_schema *schema, const struct fg_json_reading *reading,
                 uint32_t node)
{
    return node != FG_JSON_NONE && schema->nodes[node].levels <= FG_JSON_DEPTH_MAX - reading->depth;
}

static bool push(const struct fg_json_schema *schema, struct fg_json_reading *reading,
                 uint32_t node)
{
    if (!fits(schema, reading, node))
        return false;
    reading->frames[reading->depth++] = (struct fg_json_frame){.node = node, .phase = PHASE_START};
    return true;
}

static void pop(struct fg_json_reading *reading)
{
    reading->depth--;
    if (reading->depth > 0) {
        struct fg_json_frame *frame = top_of(reading);
        frame->phase = PHASE_AFTER_VALUE;
        frame->blanks = 0;
        frame->at++;
    }
}

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(unsigned char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static enum taken take_blank(struct fg_json_frame *frame)
{
    return ++frame->blanks <= BLANKS_MAX ? TAKEN : REFUSED;
}

/* ---- strings ---- */

/* What must follow the first byte of a character, or -1. */
static int begin_character(unsigned char c)
{
    if (c < 0x80)
        return TEXT_PLAIN;
    if (c >= 0xc2 && c <= 0xdf)
        return TEXT_TAIL_1;
    if (c == 0xe0)
        return TEXT_AFTER_E0;
    if (c == 0xed)
        return TEXT_AFTER_ED;
    if (c >= 0xe1 && c <= 0xef)
        return TEXT_TAIL_2;
    if (c == 0xf0)
        return TEXT_AFTER_F0;
    if (c >= 0xf1 && c <= 0xf3)
        return TEXT_TAIL_3;
    return c == 0xf4 ? TEXT_AFTER_F4 : -1;
}

static int go_on_character(int text, unsigned char c)
{
    unsigned char from = text == TEXT_AFTER_E0 ? 0xa0 : text == TEXT_AFTER_F0 ? 0x90 : 0x80;
    unsigned char to = text == TEXT_AFTER_ED ? 0x9f : text == TEXT_AFTER_F4 ? 0x8f : 0xbf;
    if (c < from || c > to)
        return -1;
    switch (text) {
    case TEXT_TAIL_1:
        return TEXT_PLAIN;
    case TEXT_TAIL_3:
    case TEXT_AFTER_F0:
    case TEXT_AFTER_F4:
        return TEXT_TAIL_2;
    default:
        return TEXT_TAIL_1;
    }
}

/* The next place in \uXXXX, or -1. */
static int go_on_hex(int text, unsigned char c)
{
    bool is_d = c == 'd' || c == 'D';
    if (text == TEXT_LOW)
        return c == '\\' ? TEXT_LOW_U : -1;
    if (text == TEXT_LOW_U)
        return c == 'u' ? TEXT_LOW_1 : -1;
    if (!is_hex(c))
        return -1;
    switch (text) {
    case TEXT_HEX_1:
        return c == '0' ? TEXT_ZERO_2 : is_d ? TEXT_D_2 : TEXT_HEX_2;
    case TEXT_ZERO_2:
    case TEXT_ZERO_3:
        return text + (c == '0' ? TEXT_ZERO_3 - TEXT_ZERO_2 : TEXT_HEX_3 - TEXT_ZERO_2);
    case TEXT_ZERO_4:
        return c == '0' ? -1 : TEXT_PLAIN;
    case TEXT_D_2:
        if (c <= '7')
            return TEXT_HEX_3;
        return c == '8' || c == '9' || strchr("aAbB", c) != NULL ? TEXT_HIGH_3 : -1;
    case TEXT_HIGH_3:
    case TEXT_HIGH_4:
        return text + 1;
    case TEXT_LOW_1:
        return is_d ? TEXT_LOW_2 : -1;
    case TEXT_LOW_2:
        return c > '9' && strchr("aAbB", c) == NULL ? TEXT_HEX_3 : -1;
    default:
        return text == TEXT_HEX_4 ? TEXT_PLAIN : text + 1;
    }
}

static bool is_in_escape(int text)
{
    return text >= TEXT_ESCAPE && text <= TEXT_LOW_2;
}

/* The next place in a string, or -1; *is_whole: a character ended. Quotes are the caller's. */
static int go_on_text(int text, unsigned char c, bool *is_whole)
{
    int next;
    *is_whole = false;
    if (text == TEXT_PLAIN && c < 0x20)
        return -1;
    if (text == TEXT_PLAIN)
        next = c == '\\' ? TEXT_ESCAPE : begin_character(c);
    else if (text == TEXT_ESCAPE && c == 'u')
        next = TEXT_HEX_1;
    else if (text == TEXT_ESCAPE)
        next = c != 0 && strchr("\"\\/bfnrt", c) != NULL ? TEXT_PLAIN : -1;
    else if (is_in_escape(text))
        next = go_on_hex(text, c);
    else
        next = go_on_character(text, c);
    *is_whole = next == TEXT_PLAIN;
    return next;
}

static enum taken take_in_string(const struct fg_json_node *node, struct fg_json_reading *reading,
                                 unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    bool is_whole = false;
    if (c == '"' && frame->text == TEXT_PLAIN) {
        if (frame->at < node->min)
            return REFUSED;
        pop(reading);
        return TAKEN;
    }
    if (frame->text == TEXT_PLAIN && frame->at >= node->max)
        return REFUSED;
    int next = go_on_text(frame->text, c, &is_whole);
    if (next == -1)
        return REFUSED;
    frame->text = (uint8_t)next;
    frame->at += is_whole ? 1 : 0;
    return TAKEN;
}

/* ---- numbers ---- */

/* The next place in a number, or -1. */
static int go_on_number(int at, unsigned char c, bool is_integer)
{
    switch (at) {
    case NUMBER_SIGN:
        return c == '0' ? NUMBER_ZERO : is_digit(c) ? NUMBER_WHOLE : -1;
    case NUMBER_POINT:
        return is_digit(c) ? NUMBER_PART : -1;
    case NUMBER_E:
        return c == '+' || c == '-' ? NUMBER_E_SIGN : is_digit(c) ? NUMBER_POWER : -1;
    case NUMBER_E_SIGN:
        return is_digit(c) ? NUMBER_POWER : -1;
    case NUMBER_POWER:
        return is_digit(c) ? NUMBER_POWER : -1;
    case NUMBER_WHOLE:
        if (is_digit(c))
            return NUMBER_WHOLE;
        break;
    case NUMBER_PART:
        if (is_digit(c))
            return NUMBER_PART;
        break;
    default:
        break;
    }
    if (is_integer)
        return -1;
    if (c == '.' && at != NUMBER_PART)
        return NUMBER_POINT;
    return c == 'e' || c == 'E' ? NUMBER_E : -1;
}

static bool is_whole_number(int at)
{
    return at == NUMBER_ZERO || at == NUMBER_WHOLE || at == NUMBER_PART || at == NUMBER_POWER;
}

static uint32_t digits_max(int at)
{
    if (at == NUMBER_WHOLE)
        return WHOLE_DIGITS_MAX;
    return at == NUMBER_POWER ? POWER_DIGITS_MAX : PART_DIGITS_MAX;
}

static enum taken take_in_number(const struct fg_json_node *node, struct fg_json_reading *reading,
                                 unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    int next = go_on_number(frame->text, c, node->kind == FG_JSON_INTEGER);
    if (next == -1 && is_whole_number(frame->text)) {
        pop(reading);
        return AGAIN;
    }
    uint32_t digits = next == frame->text ? frame->at + 1 : 1;
    if (next == -1 || digits > digits_max(next))
        return REFUSED;
    frame->text = (uint8_t)next;
    frame->at = digits;
    return TAKEN;
}

/* ---- literals and names: a range of a sorted table, narrowed byte by byte ---- */

static unsigned char byte_at(struct fg_span text, uint32_t at)
{
    return (unsigned char)text.data[at];
}

static struct fg_span literal_at(const struct fg_json_schema *schema, uint32_t i)
{
    return schema->literals[i];
}

static struct fg_span name_at(const struct fg_json_schema *schema, uint32_t i)
{
    return schema->properties[i].name;
}

/* Those of [low, high) whose byte at frame->at is `c`. */
static void narrow(const struct fg_json_schema *schema, struct fg_json_frame *frame,
                   struct fg_span (*text_at)(const struct fg_json_schema *, uint32_t),
                   unsigned char c)
{
    uint32_t at = frame->at;
    while (frame->low < frame->high &&
           (text_at(schema, frame->low).len <= at || byte_at(text_at(schema, frame->low), at) < c))
        frame->low++;
    uint32_t end = frame->low;
    while (end < frame->high && text_at(schema, end).len > at &&
           byte_at(text_at(schema, end), at) == c)
        end++;
    frame->high = end;
    frame->at = at + 1;
}

/*
 * A literal that is whole while a longer one is not is taken as whole only at the byte that does
 * not go on with it.
 */
static enum taken take_in_literal(const struct fg_json_schema *schema,
                                  struct fg_json_reading *reading, unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    bool is_whole =
        frame->at > 0 && frame->low < frame->high && schema->literals[frame->low].len == frame->at;
    struct fg_json_frame before = *frame;
    narrow(schema, frame, literal_at, c);
    if (frame->low == frame->high) {
        *frame = before;
        if (!is_whole)
            return REFUSED;
        pop(reading);
        return AGAIN;
    }
    if (frame->high - frame->low == 1 && schema->literals[frame->low].len == frame->at)
        pop(reading);
    return TAKEN;
}

/* ---- objects ---- */

/* An object that is open, the topmost. */
struct open_object {
    const struct fg_json_schema *schema;
    const struct fg_json_node *node;
    struct fg_json_reading *reading;
    struct fg_json_frame *frame;
};

/* Whether a property may still come: not written yet, and with room for its value. */
static bool may_come(const struct open_object *o, uint32_t property)
{
    return (o->frame->seen >> (property - o->node->first) & 1) == 0 &&
           fits(o->schema, o->reading, o->schema->properties[property].node);
}

static bool one_may_come(const struct open_object *o, uint32_t low, uint32_t high)
{
    for (uint32_t i = low; i < high; i++) {
        if (may_come(o, i))
            return true;
    }
    return false;
}

static bool others_may_come(const struct open_object *o)
{
    return fits(o->schema, o->reading, o->node->other);
}

static void begin_key(const struct fg_json_node *node, struct fg_json_frame *frame)
{
    frame->phase = PHASE_IN_KEY;
    frame->text = TEXT_PLAIN;
    frame->low = node->first;
    frame->high = node->first + node->count;
    frame->at = 0;
}

/* The closing quote: which value follows? FG_JSON_NONE: none may. */
static uint32_t end_key(const struct open_object *o)
{
    struct fg_json_frame *frame = o->frame;
    if (frame->low < frame->high && o->schema->properties[frame->low].name.len == frame->at) {
        if (!may_come(o, frame->low))
            return FG_JSON_NONE;
        frame->seen |= UINT64_C(1) << (frame->low - o->node->first);
        return o->schema->properties[frame->low].node;
    }
    return others_may_come(o) ? o->node->other : FG_JSON_NONE;
}

/*
 * A name is written in one way only, that of the properties: were "\u0061" another name than "a",
 * its value would not be held to what the schema says of "a".
 */
static enum taken take_in_key(const struct open_object *o, unsigned char c)
{
    struct fg_json_frame *frame = o->frame;
    bool is_whole;
    if (c == '"' && frame->text == TEXT_PLAIN) {
        uint32_t value = end_key(o);
        if (value == FG_JSON_NONE)
            return REFUSED;
        frame->phase = PHASE_COLON;
        frame->low = value;
        frame->blanks = 0;
        return TAKEN;
    }
    bool is_escape = is_in_escape(frame->text) || (frame->text == TEXT_PLAIN && c == '\\');
    int next = go_on_text(frame->text, c, &is_whole);
    if (next == -1)
        return REFUSED;
    frame->text = (uint8_t)next;
    narrow(o->schema, frame, name_at, c);
    bool may_be_other = others_may_come(o) && (!is_escape || o->node->count == 0);
    return may_be_other || one_may_come(o, frame->low, frame->high) ? TAKEN : REFUSED;
}

static bool may_have_more_keys(const struct open_object *o)
{
    return others_may_come(o) || one_may_come(o, o->node->first, o->node->first + o->node->count);
}

static enum taken end_object(const struct open_object *o)
{
    if ((o->frame->seen & o->node->required) != o->node->required)
        return REFUSED;
    pop(o->reading);
    return TAKEN;
}

static enum taken take_in_object(const struct open_object *o, unsigned char c)
{
    struct fg_json_frame *frame = o->frame;
    if (frame->phase == PHASE_IN_KEY)
        return take_in_key(o, c);
    if (is_blank(c))
        return take_blank(frame);
    switch (frame->phase) {
    case PHASE_FIRST:
    case PHASE_KEY_NEXT:
        if (c == '}' && frame->phase == PHASE_FIRST)
            return end_object(o);
        if (c != '"' || !may_have_more_keys(o))
            return REFUSED;
        begin_key(o->node, frame);
        return TAKEN;
    case PHASE_COLON:
        if (c != ':')
            return REFUSED;
        frame->phase = PHASE_VALUE;
        return push(o->schema, o->reading, frame->low) ? TAKEN : REFUSED;
    case PHASE_AFTER_VALUE:
        if (c == '}')
            return end_object(o);
        if (c != ',' || !may_have_more_keys(o))
            return REFUSED;
        frame->phase = PHASE_KEY_NEXT;
        frame->blanks = 0;
        return TAKEN;
    default:
        return REFUSED;
    }
}

/* ---- arrays ---- */

static enum taken take_in_array(const struct fg_json_schema *schema,
                                const struct fg_json_node *node, struct fg_json_reading *reading,
                                unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    if (is_blank(c))
        return take_blank(frame);
    if (c == ']' && frame->phase != PHASE_KEY_NEXT && frame->at >= node->min) {
        pop(reading);
        return TAKEN;
    }
    if (frame->at >= node->max || !fits(schema, reading, node->other))
        return REFUSED;
    if (frame->phase == PHASE_AFTER_VALUE) {
        if (c != ',')
            return REFUSED;
        frame->phase = PHASE_KEY_NEXT;
        frame->blanks = 0;
        return TAKEN;
    }
    frame->phase = PHASE_VALUE;
    return push(schema, reading, node->other) ? AGAIN : REFUSED;
}

/* ---- values ---- */

static enum taken take_first(const struct fg_json_schema *schema, const struct fg_json_node *node,
                             struct fg_json_reading *reading, unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    if (is_blank(c))
        return take_blank(frame);
    frame->blanks = 0;
    switch (node->kind) {
    case FG_JSON_OBJECT:
    case FG_JSON_ARRAY:
        frame->phase = PHASE_FIRST;
        return c == (node->kind == FG_JSON_OBJECT ? '{' : '[') ? TAKEN : REFUSED;
    case FG_JSON_STRING:
        frame->phase = PHASE_IN;
        return c == '"' ? TAKEN : REFUSED;
    case FG_JSON_NUMBER:
    case FG_JSON_INTEGER:
        frame->phase = PHASE_IN;
        frame->text = NUMBER_SIGN;
        return c == '-' ? TAKEN : take_in_number(node, reading, c);
    case FG_JSON_LITERALS:
        frame->phase = PHASE_IN;
        frame->low = node->first;
        frame->high = node->first + node->count;
        return take_in_literal(schema, reading, c);
    case FG_JSON_ALTERNATIVES:
        break; /* forked before */
    }
    return REFUSED;
}

static enum taken take_byte(const struct fg_json_schema *schema, struct fg_json_reading *reading,
                            unsigned char c)
{
    if (reading->depth == 0)
        return is_blank(c) ? TAKEN : REFUSED;
    const struct fg_json_frame *frame = top_of(reading);
    const struct fg_json_node *node = &schema->nodes[frame->node];
    if (frame->phase == PHASE_START)
        return take_first(schema, node, reading, c);
    switch (node->kind) {
    case FG_JSON_OBJECT:
        return take_in_object(&(struct open_object){schema, node, reading, top_of(reading)}, c);
    case FG_JSON_ARRAY:
        return take_in_array(schema, node, reading, c);
    case FG_JSON_STRING:
        return take_in_string(node, reading, c);
    case FG_JSON_NUMBER:
    case FG_JSON_INTEGER:
        return take_in_number(node, reading, c);
    case FG_JSON_LITERALS:
        return take_in_literal(schema, reading, c);
    case FG_JSON_ALTERNATIVES:
        break;
    }
    return REFUSED;
}

/* ---- readings ---- */

static void copy_reading(struct fg_json_reading *to, const struct fg_json_reading *from)
{
    to->depth = from->depth;
    memcpy(to->frames, from->frames, from->depth * sizeof(from->frames[0]));
}

/* Whether the reading, about to begin a value, must first choose what it is. */
static const struct fg_json_node *choice_of(const struct fg_json_schema *schema,
                                            const struct fg_json_reading *reading)
{
    if (reading->depth == 0)
        return NULL;
    const struct fg_json_frame *frame = &reading->frames[reading->depth - 1];
    const struct fg_json_node *node = &schema->nodes[frame->node];
    bool is_choice = frame->phase == PHASE_START && node->kind == FG_JSON_ALTERNATIVES;
    return is_choice ? node : NULL;
}

/* One byte for all readings. What a reading forks into waits behind those that it came from. */
struct stepping {
    const struct fg_json_schema *schema;
    struct fg_json_machine *to;
    uint32_t end;   /* of the readings that were and those that wait */
    unsigned forks; /* so far: schemas that refer to themselves in a circle end here */
};

#define FORKS_MAX 1024u

/* Whether `reading` took the byte; it is changed. False also when it has forked. */
static bool step_reading(struct stepping *s, struct fg_json_reading *reading, unsigned char c)
{
    const struct fg_json_node *choice = choice_of(s->schema, reading);
    while (choice == NULL || is_blank(c)) {
        enum taken taken =
            choice != NULL ? take_blank(top_of(reading)) : take_byte(s->schema, reading, c);
        if (taken != AGAIN)
            return taken == TAKEN;
        choice = choice_of(s->schema, reading);
    }
    for (uint32_t i = 0; i < choice->count && s->forks < FORKS_MAX; i++) {
        struct fg_json_reading forked;
        s->forks++;
        copy_reading(&forked, reading);
        forked.depth--;
        if (push(s->schema, &forked, s->schema->alternatives[choice->first + i]) &&
            step_reading(s, &forked, c) && s->end < FG_JSON_READINGS_MAX)
            copy_reading(&s->to->readings[s->end++], &forked);
    }
    return false;
}

/* The same blank `count` times more: vocabularies are full of long runs of them. */
static bool repeat_blank(struct stepping *s, struct fg_json_reading *reading, unsigned char c,
                         size_t count)
{
    struct fg_json_frame *frame = reading->depth == 0 ? NULL : top_of(reading);
    if (frame == NULL)
        return true;
    if (frame->phase == PHASE_IN || frame->phase == PHASE_IN_KEY) { /* part of a text */
        while (count > 0 && step_reading(s, reading, c))
            count--;
        return count == 0;
    }
    if (count > BLANKS_MAX - frame->blanks)
        return false;
    frame->blanks = (uint16_t)(frame->blanks + count);
    return true;
}

/*
 * What readings become with one more byte, into `to`, whose own they may be; a blank may come
 * `more` times more. *has_forked stays as it is when none had a choice.
 */
static bool step(const struct fg_json_reading *from, uint32_t count, struct fg_json_machine *to,
                 unsigned char c, size_t more, bool *has_forked)
{
    struct stepping s = {.schema = to->schema, .to = to, .end = count};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_json_reading *place = &to->readings[kept];
        if (place != &from[i])
            copy_reading(place, &from[i]);
        if (step_reading(&s, place, c) && (more == 0 || repeat_blank(&s, place, c, more)))
            kept++;
    }
    for (uint32_t i = count; i < s.end; i++, kept++) {
        if (kept != i)
            copy_reading(&to->readings[kept], &to->readings[i]);
    }
    to->reading_count = kept;
    *has_forked |= s.forks > 0;
    return kept > 0;
}

void fg_json_machine_init(struct fg_json_machine *machine, const struct fg_json_schema *schema)
{
    machine->schema = schema;
    machine->reading_count = 1;
    machine->readings[0].depth = 0;
    bool is_pushed = push(schema, &machine->readings[0], schema->root);
    assert(is_pushed); /* the schema was compiled: it has a value */
}

/* How often the blank at the start of `bytes` comes again right behind it. */
static size_t blanks_more(struct fg_span bytes)
{
    size_t count = 1;
    while (is_blank((unsigned char)bytes.data[0]) && count < bytes.len &&
           bytes.data[count] == bytes.data[0])
        count++;
    return count - 1;
}

static bool take_all(const struct fg_json_reading *from, uint32_t count, struct fg_json_machine *to,
                     struct fg_span bytes, bool *has_forked)
{
    while (bytes.len > 0) {
        size_t more = blanks_more(bytes);
        if (!step(from, count, to, (unsigned char)bytes.data[0], more, has_forked))
            return false;
        bytes = fg_span_make(bytes.data + 1 + more, bytes.len - 1 - more);
        from = to->readings;
        count = to->reading_count;
    }
    return true;
}

bool fg_json_machine_take(struct fg_json_machine *machine, struct fg_span bytes)
{
    bool has_forked = false;
    return take_all(machine->readings, machine->reading_count, machine, bytes, &has_forked);
}

/*
 * One reading that takes the bytes is enough, and most tokens of a vocabulary are taken by the
 * first of a hundred. What a choice leads to may have no place among all of them: only there all
 * are looked at together.
 */
bool fg_json_machine_allows(const struct fg_json_machine *machine, struct fg_span bytes,
                            struct fg_json_machine *scratch)
{
    bool has_forked = false;
    scratch->schema = machine->schema;
    for (uint32_t i = 0; bytes.len > 0 && i < machine->reading_count; i++) {
        bool has_choice = false;
        if (take_all(&machine->readings[i], 1, scratch, bytes, &has_choice) && !has_choice)
            return true;
        has_forked |= has_choice;
    }
    return has_forked &&
           take_all(machine->readings, machine->reading_count, scratch, bytes, &has_forked);
}

static bool is_complete(const struct fg_json_machine *machine,
                        const struct fg_json_reading *reading)
{
    if (reading->depth == 0)
        return true;
    const struct fg_json_frame *frame = &reading->frames[0];
    const struct fg_json_node *node = &machine->schema->nodes[frame->node];
    if (reading->depth > 1 || frame->phase != PHASE_IN)
        return false;
    if (node->kind == FG_JSON_NUMBER || node->kind == FG_JSON_INTEGER)
        return is_whole_number(frame->text);
    return node->kind == FG_JSON_LITERALS && frame->low < frame->high &&
           machine->schema->literals[frame->low].len == frame->at;
}

bool fg_json_machine_may_end(const struct fg_json_machine *machine)
{
    for (uint32_t i = 0; i < machine->reading_count; i++) {
        if (is_complete(machine, &machine->readings[i]))
            return true;
    }
    return false;
}

bool fg_json_machine_is_over(const struct fg_json_machine *machine)
{
    for (uint32_t i = 0; i < machine->reading_count; i++) {
        if (machine->readings[i].depth > 0)
            return false;
    }
    return machine->reading_count > 0;
}
