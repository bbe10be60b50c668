/*
 * room_shared.c: the line under a lock, and its tickets.
 */
#include "room_shared.h"

#include "base/base64url.h"
#include "pipeline/policy_conf.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MAC_TEXT_BYTES 22 /* 16 bytes of MAC in base64url */
#define MAC_BYTES 16

struct fg_room {
    pthread_mutex_t lock;
    struct fg_waiting_room line; /* guarded by lock */
    const char *route_name;
    uint64_t epoch;
};

struct fg_room *fg_room_create(const struct fg_waiting_room_conf *conf, const char *route_name,
                               uint64_t epoch, uint64_t now_ns)
{
    struct fg_room *room = calloc(1, sizeof(*room));
    if (room == NULL)
        return NULL;
    pthread_mutex_init(&room->lock, NULL);
    room->route_name = route_name;
    room->epoch = epoch;
    struct fg_waiting_room_config line = fg_waiting_room_config_of(conf);
    fg_waiting_room_init(&room->line, &line, epoch, now_ns);
    return room;
}

void fg_room_destroy(struct fg_room *room)
{
    if (room == NULL)
        return;
    pthread_mutex_destroy(&room->lock);
    free(room);
}

/* The MAC's text for (route, epoch, number, holder); false when OpenSSL fails. */
static bool ticket_mac(const struct fg_room *room, struct fg_jwt_signer *signer, uint64_t number,
                       struct fg_span holder, char text[MAC_TEXT_BYTES])
{
    char label[160];
    unsigned char mac[32];
    int len = snprintf(label, sizeof(label), "ticket|%.64s|%" PRIx64 "|%" PRIx64 "|",
                       room->route_name, room->epoch, number);
    if (len < 0 || (size_t)len >= sizeof(label) ||
        !fg_jwt_mac(signer, fg_span_make(label, (size_t)len), holder, mac))
        return false;
    fg_base64url_encode(text, mac, MAC_BYTES);
    return true;
}

static bool parse_hex(struct fg_span text, uint64_t *value)
{
    uint64_t sum = 0;
    if (text.len == 0 || text.len > 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 16;
        if (digit == 16)
            return false;
        sum = sum << 4 | digit;
    }
    *value = sum;
    return true;
}

static bool read_ticket(const struct fg_room *room, struct fg_jwt_signer *signer,
                        struct fg_span ticket, struct fg_span holder, uint64_t *number)
{
    struct fg_span rest = ticket;
    uint64_t epoch;
    char mac[MAC_TEXT_BYTES];
    return fg_span_equal(fg_span_split(&rest, '.'), FG_SPAN("v1")) && rest.data != NULL &&
           parse_hex(fg_span_split(&rest, '.'), &epoch) && epoch == room->epoch &&
           rest.data != NULL && parse_hex(fg_span_split(&rest, '.'), number) && rest.data != NULL &&
           rest.len == MAC_TEXT_BYTES && ticket_mac(room, signer, *number, holder, mac) &&
           CRYPTO_memcmp(mac, rest.data, MAC_TEXT_BYTES) == 0;
}

struct fg_waiting_room_place fg_room_visit(struct fg_room *room, struct fg_jwt_signer *signer,
                                           struct fg_arena *arena, struct fg_span ticket,
                                           struct fg_span holder, uint64_t now_ns,
                                           struct fg_span *issued)
{
    uint64_t number;
    struct fg_waiting_room_place place = {.status = FG_WAITING_ROOM_UNKNOWN};
    bool is_genuine = ticket.len > 0 && read_ticket(room, signer, ticket, holder, &number);
    *issued = (struct fg_span){NULL, 0};
    pthread_mutex_lock(&room->lock);
    if (is_genuine)
        place = fg_waiting_room_status(&room->line, number, now_ns);
    if (place.status == FG_WAITING_ROOM_UNKNOWN || place.status == FG_WAITING_ROOM_EXPIRED)
        place = fg_waiting_room_join(&room->line, now_ns);
    pthread_mutex_unlock(&room->lock);
    char mac[MAC_TEXT_BYTES];
    if (place.status == FG_WAITING_ROOM_WAITING &&
        ticket_mac(room, signer, place.ticket, holder, mac))
        *issued = fg_arena_try_printf(arena, "v1.%" PRIx64 ".%" PRIx64 ".%.*s", room->epoch,
                                      place.ticket, MAC_TEXT_BYTES, mac);
    return place;
}

struct fg_room_stats fg_room_stats(struct fg_room *room, uint64_t now_ns)
{
    pthread_mutex_lock(&room->lock);
    struct fg_room_stats stats = {.waiting = fg_waiting_room_waiting(&room->line, now_ns),
                                  .direct_total = room->line.direct_total,
                                  .full_total = room->line.full_total,
                                  .issued_total = room->line.tail};
    pthread_mutex_unlock(&room->lock);
    return stats;
}
