/*
 * json_machine.c: one byte at a time through the frames of each reading.
 */
#include "inference/grammar/json_machine.h"

#include <assert.h>

#define BLANKS_MAX 32u
#define DIGITS_MAX 40u

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
    TEXT_ESCAPE,
    TEXT_HEX_1,
    TEXT_HEX_2,
    TEXT_HEX_3,
    TEXT_HEX_4,
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

static bool push(struct fg_json_reading *reading, uint32_t node)
{
    if (reading->depth == FG_JSON_DEPTH_MAX)
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

/* The next place in a string, or -1; *is_whole: a character ended. Quotes are the caller's. */
static int go_on_text(int text, unsigned char c, bool *is_whole)
{
    int next;
    switch (text) {
    case TEXT_PLAIN:
        if (c < 0x20)
            return -1;
        next = c == '\\' ? TEXT_ESCAPE : begin_character(c);
        break;
    case TEXT_ESCAPE:
        if (c == 'u')
            return TEXT_HEX_1;
        next = c != 0 && strchr("\"\\/bfnrt", c) != NULL ? TEXT_PLAIN : -1;
        break;
    case TEXT_HEX_1:
    case TEXT_HEX_2:
    case TEXT_HEX_3:
    case TEXT_HEX_4:
        if (!is_hex(c))
            return -1;
        next = text == TEXT_HEX_4 ? TEXT_PLAIN : text + 1;
        break;
    default:
        next = go_on_character(text, c);
        break;
    }
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

static enum taken take_in_number(const struct fg_json_node *node, struct fg_json_reading *reading,
                                 unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    int next = go_on_number(frame->text, c, node->kind == FG_JSON_INTEGER);
    if (next != -1 && frame->blanks < DIGITS_MAX) {
        frame->text = (uint8_t)next;
        frame->blanks++;
        return TAKEN;
    }
    if (next != -1 || !is_whole_number(frame->text))
        return REFUSED;
    pop(reading);
    return AGAIN;
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

/* Whether a name that was not written yet is among those still possible. */
static bool has_unseen(const struct fg_json_node *node, const struct fg_json_frame *frame)
{
    for (uint32_t i = frame->low; i < frame->high; i++) {
        if ((frame->seen >> (i - node->first) & 1) == 0)
            return true;
    }
    return false;
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
static uint32_t end_key(const struct fg_json_schema *schema, const struct fg_json_node *node,
                        struct fg_json_frame *frame)
{
    if (frame->low < frame->high && schema->properties[frame->low].name.len == frame->at) {
        uint64_t bit = UINT64_C(1) << (frame->low - node->first);
        if ((frame->seen & bit) != 0)
            return FG_JSON_NONE;
        frame->seen |= bit;
        return schema->properties[frame->low].node;
    }
    return node->other;
}

static enum taken take_in_key(const struct fg_json_schema *schema, const struct fg_json_node *node,
                              struct fg_json_reading *reading, unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    bool is_whole;
    if (c == '"' && frame->text == TEXT_PLAIN) {
        uint32_t value = end_key(schema, node, frame);
        if (value == FG_JSON_NONE)
            return REFUSED;
        frame->phase = PHASE_COLON;
        frame->low = value;
        frame->blanks = 0;
        return TAKEN;
    }
    int next = go_on_text(frame->text, c, &is_whole);
    if (next == -1)
        return REFUSED;
    frame->text = (uint8_t)next;
    narrow(schema, frame, name_at, c);
    return node->other != FG_JSON_NONE || has_unseen(node, frame) ? TAKEN : REFUSED;
}

static bool may_have_more_keys(const struct fg_json_node *node, const struct fg_json_frame *frame)
{
    uint64_t all = node->count == 64 ? UINT64_MAX : (UINT64_C(1) << node->count) - 1;
    return node->other != FG_JSON_NONE || (frame->seen & all) != all;
}

static enum taken end_object(const struct fg_json_node *node, struct fg_json_reading *reading)
{
    if ((top_of(reading)->seen & node->required) != node->required)
        return REFUSED;
    pop(reading);
    return TAKEN;
}

static enum taken take_in_object(const struct fg_json_schema *schema,
                                 const struct fg_json_node *node, struct fg_json_reading *reading,
                                 unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    if (frame->phase == PHASE_IN_KEY)
        return take_in_key(schema, node, reading, c);
    if (is_blank(c))
        return take_blank(frame);
    switch (frame->phase) {
    case PHASE_FIRST:
    case PHASE_KEY_NEXT:
        if (c == '}' && frame->phase == PHASE_FIRST)
            return end_object(node, reading);
        if (c != '"' || !may_have_more_keys(node, frame))
            return REFUSED;
        begin_key(node, frame);
        return TAKEN;
    case PHASE_COLON:
        if (c != ':')
            return REFUSED;
        frame->phase = PHASE_VALUE;
        return push(reading, frame->low) ? TAKEN : REFUSED;
    case PHASE_AFTER_VALUE:
        if (c == '}')
            return end_object(node, reading);
        if (c != ',' || !may_have_more_keys(node, frame))
            return REFUSED;
        frame->phase = PHASE_KEY_NEXT;
        frame->blanks = 0;
        return TAKEN;
    default:
        return REFUSED;
    }
}

/* ---- arrays ---- */

static enum taken take_in_array(const struct fg_json_node *node, struct fg_json_reading *reading,
                                unsigned char c)
{
    struct fg_json_frame *frame = top_of(reading);
    if (is_blank(c))
        return take_blank(frame);
    if (c == ']' && frame->phase != PHASE_KEY_NEXT && frame->at >= node->min) {
        pop(reading);
        return TAKEN;
    }
    if (frame->at >= node->max)
        return REFUSED;
    if (frame->phase == PHASE_AFTER_VALUE) {
        if (c != ',')
            return REFUSED;
        frame->phase = PHASE_KEY_NEXT;
        frame->blanks = 0;
        return TAKEN;
    }
    frame->phase = PHASE_VALUE;
    return push(reading, node->other) ? AGAIN : REFUSED;
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
        return take_in_object(schema, node, reading, c);
    case FG_JSON_ARRAY:
        return take_in_array(node, reading, c);
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

/* Readings in work, and those that took the byte. */
struct stepping {
    const struct fg_json_schema *schema;
    struct fg_json_machine *to;
    unsigned forks; /* so far: schemas that refer to themselves in a circle end here */
};

#define FORKS_MAX 256u

static void step_reading(struct stepping *s, struct fg_json_reading *reading, unsigned char c)
{
    for (;;) {
        const struct fg_json_node *choice = choice_of(s->schema, reading);
        if (choice != NULL && !is_blank(c)) {
            for (uint32_t i = 0; i < choice->count && s->forks < FORKS_MAX; i++) {
                struct fg_json_reading forked;
                s->forks++;
                copy_reading(&forked, reading);
                top_of(&forked)->node = s->schema->alternatives[choice->first + i];
                step_reading(s, &forked, c);
            }
            return;
        }
        enum taken taken =
            choice != NULL ? take_blank(top_of(reading)) : take_byte(s->schema, reading, c);
        if (taken == REFUSED)
            return;
        if (taken == TAKEN)
            break;
    }
    if (s->to->reading_count < FG_JSON_READINGS_MAX)
        copy_reading(&s->to->readings[s->to->reading_count++], reading);
}

static bool step(struct fg_json_machine *machine, unsigned char c)
{
    struct fg_json_reading before[FG_JSON_READINGS_MAX];
    uint32_t count = machine->reading_count;
    struct stepping s = {.schema = machine->schema, .to = machine};
    for (uint32_t i = 0; i < count; i++)
        copy_reading(&before[i], &machine->readings[i]);
    machine->reading_count = 0;
    for (uint32_t i = 0; i < count; i++)
        step_reading(&s, &before[i], c);
    return machine->reading_count > 0;
}

void fg_json_machine_init(struct fg_json_machine *machine, const struct fg_json_schema *schema)
{
    machine->schema = schema;
    machine->reading_count = 1;
    machine->readings[0].depth = 0;
    bool is_pushed = push(&machine->readings[0], schema->root);
    assert(is_pushed);
}

bool fg_json_machine_take(struct fg_json_machine *machine, struct fg_span bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (!step(machine, (unsigned char)bytes.data[i]))
            return false;
    }
    return true;
}

bool fg_json_machine_allows(const struct fg_json_machine *machine, struct fg_span bytes,
                            struct fg_json_machine *scratch)
{
    if (bytes.len == 0)
        return false;
    scratch->schema = machine->schema;
    scratch->reading_count = machine->reading_count;
    for (uint32_t i = 0; i < machine->reading_count; i++)
        copy_reading(&scratch->readings[i], &machine->readings[i]);
    return fg_json_machine_take(scratch, bytes);
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
