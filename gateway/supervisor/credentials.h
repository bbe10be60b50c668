/*
 * credentials.h: what the gateway process knows from files and must know anew when they change:
 * certificates and authorities of listeners and clusters, the secret of session tickets, the keys
 * of issuers and signers.
 * Job      load all at the start; look again now and then; on any error keep what there is and say
 *          so once.
 * Thread   the main thread of the gateway process. What it hands out is shared with the loops.
 */
#ifndef FG_SUPERVISOR_CREDENTIALS_H
#define FG_SUPERVISOR_CREDENTIALS_H

#include "admin/admin.h"
#include "config/config.h"
#include "net/listener.h"
#include "pipeline/pipeline.h"

#define FG_TICKET_SEED_BYTES 32

struct fg_credentials;
struct fg_ticket_keys;
struct fg_ticket_memory;

/* `ticket_seed` stands in for the secret file where there is none; `memory`, which outlives it, has
 * what the gateway before knew; NULL: nothing, and nothing is left. NULL with `error`. */
struct fg_credentials *fg_credentials_create(const struct fg_config *config,
                                             const unsigned char ticket_seed[FG_TICKET_SEED_BYTES],
                                             struct fg_ticket_memory *memory,
                                             struct fg_error *error);
void fg_credentials_destroy(struct fg_credentials *credentials);

/* Of that listener; NULL for a plain one. */
struct fg_tls_context *fg_credentials_tls(const struct fg_credentials *credentials,
                                          size_t listener_index);

/* Of all listeners. */
struct fg_tls_context *const *fg_credentials_all_tls(const struct fg_credentials *credentials);

/* Of session tickets; any thread may set their secret. */
struct fg_ticket_keys *fg_credentials_tickets(const struct fg_credentials *credentials);

/* What became of the files that have changed. */
const struct fg_file_counters *fg_credentials_counters(const struct fg_credentials *credentials);

/* Look after the files of its keys and clusters, too; it outlives the last check. */
void fg_credentials_watch_pipeline(struct fg_credentials *credentials,
                                   struct fg_pipeline *pipeline);

/* Look at the files, and take up what has changed. Every tls.check_files. */
void fg_credentials_check(struct fg_credentials *credentials);

/* Say what of that in use is over by now, or soon will be, once each; what the pipeline's clusters
 * show their servers, too. No file is read. */
void fg_credentials_tell_ends(struct fg_credentials *credentials);

#endif
