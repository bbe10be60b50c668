/*
 * jwt_verifier.h: is this bearer token good, whoever issued it?
 * Job      find the issuer by the token's `iss`, the key by its `kid`, and check signature and
 *          claims; remember what was good.
 * Thread   one owner (a loop); the keys are shared.
 *          A signature of another issuer costs 100 us and more to check, and whoever has none can
 *          send any: what was checked in vain is owed by its client (policies/flood_debt), and of
 *          whoever owes a burst nothing is checked but what is remembered, on any thread.
 * Never    lets a token choose an algorithm: its `alg` must be the one its key is for. That shuts
 *          out "none" and a public key taken for a secret (RFC 8725 sections 2.1 and 3.1).
 */
#ifndef FG_PIPELINE_JWT_VERIFIER_H
#define FG_PIPELINE_JWT_VERIFIER_H

#include "net/flood_ledger_shared.h"
#include "pipeline/jwt.h"
#include "pipeline/key_store_shared.h"
#include "policies/siphash.h"

struct fg_jwt_verifier;

/* What clients owe for signatures that were checked in vain, for all verifiers. NULL: no memory. */
struct fg_flood_ledger *fg_jwt_debts_create(const struct fg_identity_conf *conf);

/* `signer` knows our own tokens; `client_key` is for hashes of addresses. All of them outlive the
 * verifier. NULL: no memory. */
struct fg_jwt_verifier *fg_jwt_verifier_create(const struct fg_identity_conf *conf,
                                               struct fg_jwt_signer *signer,
                                               struct fg_key_store *keys,
                                               const struct fg_siphash_key *client_key,
                                               struct fg_flood_ledger *debts);
void fg_jwt_verifier_destroy(struct fg_jwt_verifier *verifier);

/* A token from `client_addr`. On OK *user_id and *tier (empty: none) are in the arena. */
enum fg_jwt_verdict fg_jwt_verifier_check(struct fg_jwt_verifier *verifier, struct fg_arena *arena,
                                          struct fg_span client_addr, struct fg_span token,
                                          uint64_t now_s, struct fg_span *user_id,
                                          struct fg_span *tier);

/* The keys that are valid now, until the next call of either function. */
const struct fg_key_ring *fg_jwt_verifier_keys(struct fg_jwt_verifier *verifier);

#endif
