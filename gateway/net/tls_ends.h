/*
 * tls_ends.h: what the log was told of things that end while they are in use, each once.
 * Thread   the main thread, which tells.
 */
#ifndef FG_NET_TLS_ENDS_H
#define FG_NET_TLS_ENDS_H

#include <stdbool.h>
#include <stdint.h>

/* Of one thing, the loudest that was said. */
enum fg_told { FG_TOLD_NOTHING, FG_TOLD_SOON, FG_TOLD_OVER };

/* True, once: there is more to say than was said. */
bool fg_told_is_news(enum fg_told *told, enum fg_told now);

/* A certificate that somebody here shows, or an authority that clients stand under. */
enum fg_ending { FG_ENDING_CERTIFICATE, FG_ENDING_CLIENT_AUTHORITY };

/* One of these, in the file `file`, with so many seconds left; below 0 it is over. `user` says who
 * has it in use: "listener" or "cluster", and the name of that one. */
void fg_tls_tell_ending(enum fg_told *told, enum fg_ending ending, const char *user,
                        const char *name, const char *file, int64_t left_s);

#endif
