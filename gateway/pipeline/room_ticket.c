/*
 * room_ticket.c: see room_ticket.h.
 */
#include "room_ticket.h"

#include "base/base64url.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define NUMBERS_AT FG_TICKET_NAME_BYTES
#define MAC_AT (NUMBERS_AT + 16)
#define MAC_BYTES 16
#define PAPER_BYTES (MAC_AT + MAC_BYTES)
#define PREFIX_BYTES 3
#define SIGNED_BYTES_MAX 4096

_Static_assert(PREFIX_BYTES + PAPER_BYTES / 3 * 4 == FG_ROOM_TICKET_TEXT, "48 bytes in base64url");

static const char *const prefixes[] = {[FG_ROOM_TICKET] = "t2.", [FG_ROOM_PASS] = "p2."};

static void put_u64(unsigned char *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (unsigned char)(value >> (56 - 8 * i));
}

static uint64_t get_u64(const unsigned char *at)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

/* kind, whose name it is, both numbers, the room's length and name, the holder's name. */
static bool make_mac(const struct fg_ticket_key *key, enum fg_room_paper kind,
                     const unsigned char numbers[16], const char *room,
                     const struct fg_room_holder *holder, unsigned char mac[32])
{
    unsigned char text[SIGNED_BYTES_MAX];
    size_t room_len = strlen(room), at = 26;
    unsigned len = 32;
    if (at + room_len + holder->name.len > sizeof(text))
        return false;
    text[0] = (unsigned char)prefixes[kind][0];
    text[1] = holder->is_user ? 'u' : 'a';
    memcpy(text + 2, numbers, 16);
    put_u64(text + 18, room_len);
    memcpy(text + at, room, room_len);
    at += room_len;
    if (holder->name.len > 0)
        memcpy(text + at, holder->name.data, holder->name.len);
    at += holder->name.len;
    return HMAC(EVP_sha256(), key->mac, sizeof(key->mac), text, at, mac, &len) != NULL;
}

bool fg_room_ticket_write(struct fg_ticket_keys *keys, uint64_t now_s, const char *room,
                          const struct fg_room_holder *holder,
                          const struct fg_room_paper_text *paper, char text[FG_ROOM_TICKET_TEXT])
{
    struct fg_ticket_key key;
    unsigned char bytes[PAPER_BYTES], mac[32];
    if (!fg_ticket_keys_current(keys, now_s, &key))
        return false;
    memcpy(bytes, key.name, FG_TICKET_NAME_BYTES);
    put_u64(bytes + NUMBERS_AT, paper->first);
    put_u64(bytes + NUMBERS_AT + 8, paper->second);
    bool is_made = make_mac(&key, paper->kind, bytes + NUMBERS_AT, room, holder, mac);
    OPENSSL_cleanse(&key, sizeof(key));
    if (!is_made)
        return false;
    memcpy(bytes + MAC_AT, mac, MAC_BYTES);
    memcpy(text, prefixes[paper->kind], PREFIX_BYTES);
    fg_base64url_encode(text + PREFIX_BYTES, bytes, sizeof(bytes));
    return true;
}

static bool is_kind(struct fg_span text, enum fg_room_paper kind)
{
    return fg_span_starts_with(text, fg_span_make(prefixes[kind], PREFIX_BYTES));
}

bool fg_room_ticket_read(struct fg_ticket_keys *keys, uint64_t now_s, const char *room,
                         const struct fg_room_holder *holder, struct fg_span text,
                         struct fg_room_paper_text *paper)
{
    struct fg_ticket_key key;
    unsigned char bytes[PAPER_BYTES], mac[32];
    size_t len = 0;
    if (text.len != FG_ROOM_TICKET_TEXT ||
        (!is_kind(text, FG_ROOM_TICKET) && !is_kind(text, FG_ROOM_PASS)) ||
        !fg_base64url_decode(bytes, sizeof(bytes),
                             fg_span_make(text.data + PREFIX_BYTES, text.len - PREFIX_BYTES),
                             &len) ||
        len != sizeof(bytes) ||
        fg_ticket_keys_find(keys, now_s, bytes, &key) == FG_TICKET_KEY_UNKNOWN)
        return false;
    enum fg_room_paper kind = is_kind(text, FG_ROOM_TICKET) ? FG_ROOM_TICKET : FG_ROOM_PASS;
    bool is_genuine = make_mac(&key, kind, bytes + NUMBERS_AT, room, holder, mac) &&
                      CRYPTO_memcmp(mac, bytes + MAC_AT, MAC_BYTES) == 0;
    OPENSSL_cleanse(&key, sizeof(key));
    if (!is_genuine)
        return false;
    *paper = (struct fg_room_paper_text){
        .kind = kind,
        .first = get_u64(bytes + NUMBERS_AT),
        .second = get_u64(bytes + NUMBERS_AT + 8),
    };
    return true;
}
