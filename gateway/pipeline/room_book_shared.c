/*
 * room_book_shared.c: see room_book_shared.h.
 */
#include "room_book_shared.h"

#include "backends/client_owner.h"
#include "policies/limit_table.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

#define ADDRESSES 16384u

struct fg_room_book {
    struct fg_siphash_key key;
    pthread_mutex_t lock;
    struct fg_room_holders holders;  /* guarded by lock */
    struct fg_limit_table addresses; /* guarded by lock */
    size_t holders_bytes;            /* 0: none are remembered */
    size_t addresses_bytes;
    void *holders_memory;
    void *addresses_memory;
};

/* Zeroed, and not there before it is touched. */
static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool open_addresses(struct fg_room_book *book, uint64_t places, uint64_t period_ns)
{
    const struct fg_limit_rule rule = {FG_LIMIT_GCRA, places, period_ns, places};
    book->addresses_bytes = fg_limit_table_bytes(ADDRESSES);
    book->addresses_memory = map(book->addresses_bytes);
    if (book->addresses_memory == NULL)
        return false;
    fg_limit_table_init(&book->addresses, book->addresses_memory, book->addresses_bytes, ADDRESSES,
                        &rule);
    return true;
}

static bool open_holders(struct fg_room_book *book, uint64_t holders)
{
    if (holders == 0)
        return true;
    size_t bytes = fg_room_holders_bytes(holders);
    book->holders_memory = map(bytes);
    if (book->holders_memory == NULL)
        return false;
    book->holders_bytes = bytes;
    book->holders = fg_room_holders_over(book->holders_memory, holders);
    return true;
}

struct fg_room_book *fg_room_book_create(uint64_t holders, uint64_t places, uint64_t period_ns)
{
    struct fg_room_book *book = calloc(1, sizeof(*book));
    if (book == NULL)
        return NULL;
    pthread_mutex_init(&book->lock, NULL);
    if (getrandom(&book->key, sizeof(book->key), 0) != sizeof(book->key) ||
        !open_addresses(book, places, period_ns) || !open_holders(book, holders)) {
        fg_room_book_destroy(book);
        return NULL;
    }
    return book;
}

void fg_room_book_destroy(struct fg_room_book *book)
{
    if (book == NULL)
        return;
    if (book->holders_memory != NULL)
        munmap(book->holders_memory, book->holders_bytes);
    if (book->addresses_memory != NULL)
        munmap(book->addresses_memory, book->addresses_bytes);
    pthread_mutex_destroy(&book->lock);
    free(book);
}

static struct fg_room_holder_id id_of(const struct fg_room_book *book, struct fg_span user)
{
    struct fg_room_holder_id id;
    fg_siphash_128(&book->key, user.data, user.len, &id.hi, &id.lo);
    return id;
}

bool fg_room_book_find(struct fg_room_book *book, struct fg_span user, uint64_t epoch,
                       uint64_t *number)
{
    if (book->holders_bytes == 0)
        return false;
    struct fg_room_holder_id id = id_of(book, user);
    pthread_mutex_lock(&book->lock);
    bool is_found = fg_room_holders_find(&book->holders, id, epoch, number);
    pthread_mutex_unlock(&book->lock);
    return is_found;
}

void fg_room_book_note(struct fg_room_book *book, struct fg_span user, uint64_t epoch,
                       uint64_t number, uint64_t now_s)
{
    if (book->holders_bytes == 0)
        return;
    struct fg_room_holder_id id = id_of(book, user);
    pthread_mutex_lock(&book->lock);
    fg_room_holders_put(&book->holders, id, epoch, number, now_s);
    pthread_mutex_unlock(&book->lock);
}

static bool address_key(const struct fg_room_book *book, struct fg_span client_addr, uint64_t *hi,
                        uint64_t *lo)
{
    uint64_t owner = fg_client_owner(&book->key, client_addr);
    fg_siphash_128(&book->key, &owner, sizeof(owner), hi, lo);
    return owner != 0;
}

bool fg_room_book_try_place(struct fg_room_book *book, struct fg_span client_addr, uint64_t now_ns,
                            uint64_t *wait_ns)
{
    uint64_t hi, lo;
    struct fg_limit_verdict verdict;
    *wait_ns = 0;
    if (!address_key(book, client_addr, &hi, &lo))
        return true;
    pthread_mutex_lock(&book->lock);
    bool may = fg_limit_table_try_take(&book->addresses, hi, lo, now_ns, 1, &verdict);
    pthread_mutex_unlock(&book->lock);
    *wait_ns = verdict.wait_ns;
    return may;
}

void fg_room_book_return_place(struct fg_room_book *book, struct fg_span client_addr,
                               uint64_t now_ns)
{
    uint64_t hi, lo;
    if (!address_key(book, client_addr, &hi, &lo))
        return;
    pthread_mutex_lock(&book->lock);
    fg_limit_table_give_back(&book->addresses, hi, lo, now_ns, 1);
    pthread_mutex_unlock(&book->lock);
}
