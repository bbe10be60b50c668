/*
 * kv_arena_shared.c: making the arena's mapping, joining it, and what is read from it unlocked.
 * Job      geometry and offsets; create, attach, detach; gauges, worker records; the mutex.
 * Thread   create and attach at start-up; the rest anywhere.
 * Never    maps a file whose size and head disagree, and never reads the geometry twice.
 * Source   robust mutexes: pthread_mutexattr_setrobust(3); seals: memfd_create(2), fcntl(2).
 */
#include "inference/kv/kv_arena_layout_shared.h"

#include "base/robust_mutex_shared.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES UINT64_C(4096)
#define KV_BYTES_MAX (UINT64_C(1) << 46)
#define DIMENSION_MAX (UINT32_C(1) << 16)
#define SEQUENCES_MAX (UINT32_C(1) << 20)
#define LAYOUT_BYTES                                                                               \
    ((uint32_t)(sizeof(struct fg_kv_head) + 1024 * sizeof(struct fg_kv_slot) +                     \
                64 * sizeof(struct fg_kv_block) + sizeof(struct fg_kv_worker_slot)))

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static bool shape_is_sane(const struct fg_kv_shape *shape)
{
    return shape->layer_count >= 1 && shape->layer_count <= DIMENSION_MAX &&
           shape->kv_head_count >= 1 && shape->kv_head_count <= DIMENSION_MAX &&
           shape->head_dim >= 1 && shape->head_dim <= DIMENSION_MAX &&
           (shape->type == FG_KV_F16 || shape->type == FG_KV_Q8_0) &&
           fg_kv_type_fits(shape->type, shape->head_dim);
}

/* Also decides whether a head found in a file may be believed. */
static bool geometry_is_sane(const struct fg_kv_geometry *g)
{
    return shape_is_sane(&g->shape) && g->block_count >= 1 && g->block_count < FG_KV_NO_BLOCK &&
           g->sequence_count >= 1 && g->sequence_count <= SEQUENCES_MAX && g->worker_count >= 1 &&
           g->worker_count <= FG_KV_WORKERS_MAX && g->table_max >= 1 &&
           g->table_max <= g->block_count &&
           g->block_count <= KV_BYTES_MAX / fg_kv_block_bytes(&g->shape);
}

static bool geometry_from_conf(struct fg_kv_geometry *g, const struct fg_inference_conf *conf,
                               const struct fg_kv_shape *shape)
{
    *g = (struct fg_kv_geometry){.shape = *shape};
    if (!shape_is_sane(shape) || conf->kv_bytes > KV_BYTES_MAX)
        return false;
    uint64_t blocks = conf->kv_bytes / fg_kv_block_bytes(shape);
    if (blocks == 0 || blocks >= FG_KV_NO_BLOCK)
        return false;
    uint64_t table_max = blocks;
    if (conf->context_max != 0) {
        table_max = ((uint64_t)conf->context_max + FG_KV_BLOCK_TOKENS - 1) / FG_KV_BLOCK_TOKENS;
        table_max = table_max < blocks ? table_max : blocks;
    }
    g->block_count = (uint32_t)blocks;
    g->table_max = (uint32_t)table_max;
    g->sequence_count = conf->sequences_max;
    g->worker_count = conf->worker_count;
    return geometry_is_sane(g);
}

/* Chains of one block each on average. */
static uint64_t bucket_count_of(const struct fg_kv_geometry *g)
{
    uint64_t count = 1;
    while (count < g->block_count)
        count *= 2;
    return count;
}

/* Those who are served, and as many again who are remembered. */
static uint64_t user_count_of(const struct fg_kv_geometry *g)
{
    return 2 * (uint64_t)g->sequence_count;
}

static struct fg_kv_offsets lay_out(const struct fg_kv_geometry *g)
{
    struct fg_kv_offsets at;
    at.workers = round_up(sizeof(struct fg_kv_head), 64);
    at.slots = at.workers + g->worker_count * sizeof(struct fg_kv_worker_slot);
    uint64_t users = user_count_of(g);
    at.users = round_up(at.slots + g->sequence_count * sizeof(struct fg_kv_slot), 64);
    at.user_index = round_up(at.users + users * sizeof(struct fg_vtc_user), 64);
    at.presences =
        round_up(at.user_index + fg_vtc_index_count((uint32_t)users) * sizeof(uint32_t), 64);
    at.tables = round_up(at.presences + users * g->worker_count * sizeof(uint32_t), 64);
    at.buckets =
        round_up(at.tables + (uint64_t)g->sequence_count * g->table_max * sizeof(uint32_t), 64);
    at.blocks = round_up(at.buckets + bucket_count_of(g) * sizeof(uint32_t), 64);
    at.data =
        round_up(at.blocks + (uint64_t)g->block_count * sizeof(struct fg_kv_block), PAGE_BYTES);
    at.total = round_up(at.data + g->block_count * fg_kv_block_bytes(&g->shape), PAGE_BYTES);
    return at;
}

uint64_t fg_kv_arena_bytes(const struct fg_inference_conf *conf, const struct fg_kv_shape *shape)
{
    struct fg_kv_geometry geometry;
    return geometry_from_conf(&geometry, conf, shape) ? lay_out(&geometry).total : 0;
}

static void free_view(struct fg_kv_arena *arena)
{
    free(arena->scratch_references);
    free(arena->scratch_marks);
    free(arena->scratch_demands);
    free(arena);
}

/* The process's view over `at.total` bytes of `fd`; NULL with errno set. */
static struct fg_kv_arena *map_view(int fd, const struct fg_kv_geometry *geometry)
{
    struct fg_kv_arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return NULL;
    arena->geometry = *geometry;
    arena->at = lay_out(geometry);
    arena->bucket_count = (uint32_t)bucket_count_of(geometry);
    arena->scratch_references = calloc(geometry->block_count, sizeof(uint32_t));
    arena->scratch_marks = calloc(geometry->block_count, sizeof(uint32_t));
    arena->scratch_demands = calloc(geometry->sequence_count, sizeof(struct fg_kv_demand));
    if (arena->scratch_references == NULL || arena->scratch_marks == NULL ||
        arena->scratch_demands == NULL)
        goto free_view;
    void *base = mmap(NULL, arena->at.total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        goto free_view;
    arena->base = base;
    arena->head = base;
    arena->slots = (struct fg_kv_slot *)(void *)(arena->base + arena->at.slots);
    arena->users = (struct fg_vtc){
        .users = (struct fg_vtc_user *)(void *)(arena->base + arena->at.users),
        .index = (uint32_t *)(void *)(arena->base + arena->at.user_index),
        .capacity = (uint32_t)user_count_of(geometry),
    };
    arena->presences = (uint32_t *)(void *)(arena->base + arena->at.presences);
    arena->buckets = (uint32_t *)(void *)(arena->base + arena->at.buckets);
    arena->blocks = (struct fg_kv_block *)(void *)(arena->base + arena->at.blocks);
    return arena;
free_view:
    free_view(arena);
    return NULL;
}

enum fg_status fg_kv_arena_create(struct fg_kv_arena **out, int fd,
                                  const struct fg_inference_conf *conf,
                                  const struct fg_kv_shape *shape, struct fg_error *error)
{
    *out = NULL;
    struct fg_kv_geometry geometry;
    if (!geometry_from_conf(&geometry, conf, shape))
        return fg_error_set(error,
                            "inference.kv_bytes %llu: expected room for at least one block of %zu "
                            "bytes, and at least one worker and sequence",
                            (unsigned long long)conf->kv_bytes, fg_kv_block_bytes(shape));
    struct fg_kv_offsets at = lay_out(&geometry);
    if (ftruncate(fd, (off_t)at.total) == -1 || fallocate(fd, 0, 0, (off_t)at.total) == -1)
        return fg_error_set(error, "KV arena of %llu bytes cannot be reserved: %s",
                            (unsigned long long)at.total, strerror(errno));
    /* Not every memory file can be sealed; one that can will never shrink under its readers. */
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    struct fg_kv_arena *arena = map_view(fd, &geometry);
    if (arena == NULL)
        return fg_error_set(error, "KV arena of %llu bytes cannot be mapped: %s",
                            (unsigned long long)at.total, strerror(errno));
    if (!fg_robust_mutex_init(&arena->head->lock)) {
        fg_kv_arena_detach(arena);
        return fg_error_set(error, "no robust process-shared mutex on this system");
    }
    struct fg_siphash_key *key = &arena->head->hash_key;
    if (getrandom(key, sizeof(*key), 0) != (ssize_t)sizeof(*key)) {
        fg_kv_arena_detach(arena);
        return fg_error_set(error, "KV arena: no random key: %s", strerror(errno));
    }
    arena->head->version = FG_KV_ARENA_VERSION;
    arena->head->layout_bytes = LAYOUT_BYTES;
    arena->head->geometry = geometry;
    fg_kv_lock(arena);
    fg_kv_repair(arena); /* from no sequences at all: everything becomes free */
    fg_counter_set(&arena->head->repairs, 0);
    fg_counter_set(&arena->head->blocks_released, 0);
    fg_kv_unlock(arena);
    arena->head->magic = FG_KV_ARENA_MAGIC;
    *out = arena;
    return FG_OK;
}

/* A copy of the head's first fields, read before anything is believed. */
static bool read_head(int fd, struct fg_kv_head *head)
{
    ssize_t got = pread(fd, head, sizeof(*head), 0);
    return got == (ssize_t)sizeof(*head);
}

enum fg_status fg_kv_arena_attach(struct fg_kv_arena **out, int fd, struct fg_error *error)
{
    *out = NULL;
    struct stat info;
    struct fg_kv_head head;
    if (fstat(fd, &info) == -1)
        return fg_error_set(error, "KV arena: %s", strerror(errno));
    if (!read_head(fd, &head) || head.magic != FG_KV_ARENA_MAGIC)
        return fg_error_set(error,
                            "KV arena: the file is not one; expected one made by this program");
    if (head.version != FG_KV_ARENA_VERSION || head.layout_bytes != LAYOUT_BYTES)
        return fg_error_set(error, "KV arena: made by another version; expected version %u",
                            FG_KV_ARENA_VERSION);
    if (!geometry_is_sane(&head.geometry) ||
        lay_out(&head.geometry).total != (uint64_t)info.st_size)
        return fg_error_set(error, "KV arena: its head and its size of %lld bytes do not agree",
                            (long long)info.st_size);
    struct fg_kv_arena *arena = map_view(fd, &head.geometry);
    if (arena == NULL)
        return fg_error_set(error, "KV arena of %lld bytes cannot be mapped: %s",
                            (long long)info.st_size, strerror(errno));
    *out = arena;
    return FG_OK;
}

void fg_kv_arena_detach(struct fg_kv_arena *arena)
{
    if (arena == NULL)
        return;
    munmap(arena->base, arena->at.total);
    free_view(arena);
}

struct fg_kv_store fg_kv_arena_store(const struct fg_kv_arena *arena)
{
    return (struct fg_kv_store){
        .shape = arena->geometry.shape,
        .data = arena->base + arena->at.data,
        .block_count = arena->geometry.block_count,
    };
}

uint32_t fg_kv_arena_table_max(const struct fg_kv_arena *arena)
{
    return arena->geometry.table_max;
}

uint32_t fg_kv_arena_worker_count(const struct fg_kv_arena *arena)
{
    return arena->geometry.worker_count;
}

struct fg_kv_slots fg_kv_arena_slots(const struct fg_kv_arena *arena)
{
    struct fg_kv_slots slots = {0};
    for (uint32_t i = 0; i < arena->geometry.sequence_count; i++) {
        const struct fg_kv_slot *slot = &arena->slots[i];
        uint32_t state = fg_kv_load(&slot->state);
        if (state != FG_KV_SLOT_RUNNING && state != FG_KV_SLOT_ORPHAN)
            continue;
        uint64_t room = (uint64_t)fg_kv_table_count(arena, slot) * FG_KV_BLOCK_TOKENS;
        uint64_t tokens = fg_kv_load(&slot->token_count);
        slots.held += room;
        slots.wasted += room > tokens ? room - tokens : 0;
    }
    return slots;
}

void fg_kv_arena_gauges(const struct fg_kv_arena *arena, struct fg_kv_gauges *out)
{
    const struct fg_kv_head *head = arena->head;
    uint64_t total = arena->geometry.block_count;
    uint64_t free_now = fg_counter_get(&head->blocks_free);
    uint64_t cached = fg_counter_get(&head->blocks_cached);
    out->blocks_total = total;
    out->blocks_free = free_now < total ? free_now : total;
    out->blocks_cached = cached < total - out->blocks_free ? cached : total - out->blocks_free;
    out->blocks_used = total - out->blocks_free - out->blocks_cached;
    out->blocks_evicted = fg_counter_get(&head->blocks_evicted);
    out->sequences_max = arena->geometry.sequence_count;
    out->sequences = fg_counter_get(&head->sequences);
    out->blocks_released = fg_counter_get(&head->blocks_released);
    out->repairs = fg_counter_get(&head->repairs);
    out->orphaned = fg_counter_get(&head->orphaned);
    out->adopted = fg_counter_get(&head->adopted);
    out->orphans_expired = fg_counter_get(&head->orphans_expired);
    out->suspects = fg_counter_get(&head->suspects);
}

struct fg_kv_worker_record *fg_kv_arena_worker(struct fg_kv_arena *arena, uint32_t worker_index)
{
    if (worker_index >= arena->geometry.worker_count)
        return NULL;
    return &fg_kv_worker_slot(arena, worker_index)->record;
}

/* The mutex is held; whole it is only after a repair when its last holder died. */
static void on_locked(struct fg_kv_arena *arena, int got)
{
    if (got == EOWNERDEAD) {
        fg_kv_repair(arena);
        got = pthread_mutex_consistent(&arena->head->lock);
    }
    assert(got == 0);
    atomic_store_explicit(&arena->head->lock_holder, (uint32_t)getpid(), memory_order_relaxed);
    fg_kv_point(arena, FG_KV_POINT_LOCKED);
}

void fg_kv_lock(struct fg_kv_arena *arena)
{
    on_locked(arena, pthread_mutex_lock(&arena->head->lock));
}

bool fg_kv_try_lock(struct fg_kv_arena *arena)
{
    int got = pthread_mutex_trylock(&arena->head->lock);
    if (got == EBUSY)
        return false;
    on_locked(arena, got);
    return true;
}

void fg_kv_unlock(struct fg_kv_arena *arena)
{
    atomic_store_explicit(&arena->head->lock_holder, 0, memory_order_relaxed);
    int got = pthread_mutex_unlock(&arena->head->lock);
    assert(got == 0);
}

uint32_t fg_kv_arena_lock_holder(const struct fg_kv_arena *arena)
{
    return atomic_load_explicit(&arena->head->lock_holder, memory_order_relaxed);
}

void fg_kv_arena_set_on_point(struct fg_kv_arena *arena, fg_kv_on_point_fn on_point, void *owner)
{
    arena->on_point = on_point;
    arena->on_point_owner = owner;
}
