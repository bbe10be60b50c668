/*
 * request_table.c: open addressing with linear probing; a removal moves later entries back, so that
 * there are no tombstones and a lookup ends at the first empty place.
 * Source   Knuth, The Art of Computer Programming 3, section 6.4, algorithm R.
 */
#include "request_table.h"

#include <assert.h>
#include <stdlib.h>

struct place {
    uint64_t id; /* 0: empty */
    void *object;
};

struct fg_request_table {
    uint32_t mask; /* places less one; places are a power of two */
    uint32_t entries_max;
    uint32_t count;
    struct place places[];
};

struct fg_request_table *fg_request_table_create(uint32_t entries_max)
{
    assert(entries_max > 0 && entries_max <= UINT32_C(1) << 30);
    uint32_t places = 4;
    while (places < entries_max * 2)
        places *= 2;
    struct fg_request_table *table = calloc(1, sizeof(*table) + places * sizeof(struct place));
    if (table == NULL)
        return NULL;
    table->mask = places - 1;
    table->entries_max = entries_max;
    return table;
}

void fg_request_table_destroy(struct fg_request_table *table)
{
    free(table);
}

/* Ids count upwards, so they are spread by Fibonacci hashing. */
static uint32_t home_of(const struct fg_request_table *table, uint64_t id)
{
    return (uint32_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & table->mask;
}

/* Where `id` is, or the empty place where it would go. */
static uint32_t place_of(const struct fg_request_table *table, uint64_t id)
{
    uint32_t at = home_of(table, id);
    while (table->places[at].id != 0 && table->places[at].id != id)
        at = (at + 1) & table->mask;
    return at;
}

bool fg_request_table_try_add(struct fg_request_table *table, uint64_t id, void *object)
{
    assert(id != 0 && object != NULL);
    if (table->count == table->entries_max)
        return false;
    struct place *place = &table->places[place_of(table, id)];
    assert(place->id == 0);
    *place = (struct place){id, object};
    table->count++;
    return true;
}

void *fg_request_table_find(const struct fg_request_table *table, uint64_t id)
{
    return id == 0 ? NULL : table->places[place_of(table, id)].object;
}

void fg_request_table_remove(struct fg_request_table *table, uint64_t id)
{
    uint32_t hole = place_of(table, id);
    assert(id != 0 && table->places[hole].id == id);
    table->count--;
    for (uint32_t at = (hole + 1) & table->mask; table->places[at].id != 0;
         at = (at + 1) & table->mask) {
        uint32_t home = home_of(table, table->places[at].id);
        /* It may move back unless its home lies behind the hole: (hole, at], cyclically. */
        if (((at - home) & table->mask) >= ((at - hole) & table->mask)) {
            table->places[hole] = table->places[at];
            hole = at;
        }
    }
    table->places[hole] = (struct place){0, NULL};
}

uint32_t fg_request_table_count(const struct fg_request_table *table)
{
    return table->count;
}

uint32_t fg_request_table_entries_max(const struct fg_request_table *table)
{
    return table->entries_max;
}
