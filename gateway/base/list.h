/*
 * list.h: an intrusive doubly linked list. The head is a link too; an empty list points at itself.
 * Thread   the owner's. Memory belongs to whoever embeds the link.
 */
#ifndef FG_BASE_LIST_H
#define FG_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct fg_list {
    struct fg_list *prev;
    struct fg_list *next;
};

#define FG_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walks `it` (a struct fg_list *) over the list; the body may remove `it`, nothing else. */
#define FG_LIST_EACH_SAFE(it, after, head)                                                         \
    for (struct fg_list *it = (head)->next, *after = it->next; it != (head);                       \
         it = after, after = it->next)

static inline void fg_list_init(struct fg_list *head)
{
    head->prev = head;
    head->next = head;
}

static inline bool fg_list_is_empty(const struct fg_list *head)
{
    return head->next == head;
}

static inline void fg_list_insert_between(struct fg_list *prev, struct fg_list *link,
                                          struct fg_list *next)
{
    link->prev = prev;
    link->next = next;
    prev->next = link;
    next->prev = link;
}

static inline void fg_list_push_back(struct fg_list *head, struct fg_list *link)
{
    fg_list_insert_between(head->prev, link, head);
}

static inline void fg_list_push_front(struct fg_list *head, struct fg_list *link)
{
    fg_list_insert_between(head, link, head->next);
}

/* Unlinks and re-initialises, so that removing twice, or a fresh link, is harmless. */
static inline void fg_list_remove(struct fg_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    fg_list_init(link);
}

/* The first link, unlinked, or NULL. */
static inline struct fg_list *fg_list_pop_front(struct fg_list *head)
{
    struct fg_list *link = head->next;
    if (link == head)
        return NULL;
    fg_list_remove(link);
    return link;
}

#endif
