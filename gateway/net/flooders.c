/*
 * flooders.c: see flooders.h.
 */
#include "net/flooders.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/flood_ledger_shared.h"
#include "net/loop.h"
#include "policies/flood_debt.h"

static uint64_t debtor_of(const struct fg_connection *connection)
{
    const struct fg_net *net = connection->net;
    return fg_ip_key_hash(connection->ip_key, fg_flood_ledger_seed(net->options.debts));
}

static struct fg_flood_pace pace_of(const struct fg_limits_conf *limits)
{
    const uint64_t interval_ns =
        limits->flooder_handshakes_per_s == 0 ? 0 : FG_S / limits->flooder_handshakes_per_s;
    const uint32_t burst = limits->flooder_handshakes_burst;
    const uint64_t wait_max_ns = limits->flooder_wait_max_ns;
    const uint64_t timeout_ns = limits->handshake_timeout_ns;
    return (struct fg_flood_pace){.free = limits->h2_overhead_burst,
                                  .interval_ns = interval_ns,
                                  .early_ns = burst == 0 ? 0 : (burst - 1) * interval_ns,
                                  .wait_max_ns =
                                      wait_max_ns < timeout_ns ? wait_max_ns : timeout_ns};
}

static void note_refused(const struct fg_connection *connection)
{
    static struct fg_log_limit limit;
    fg_counter_add_owned(&connection->net->stats.flooders_refused, 1);
    fg_log_limited(&limit, 1, FG_LOG_WARN, "flooder_refused", "listener=%s from=%s",
                   connection->listening->conf->name, connection->addr_text);
}

static void note_delayed(const struct fg_connection *connection)
{
    static struct fg_log_limit limit;
    fg_counter_add_owned(&connection->net->stats.flooders_delayed, 1);
    fg_log_limited(&limit, 1, FG_LOG_WARN, "flooder_delayed", "listener=%s from=%s",
                   connection->listening->conf->name, connection->addr_text);
}

bool fg_flooders_admit(struct fg_connection *connection)
{
    const struct fg_net *net = connection->net;
    const struct fg_flood_pace pace = pace_of(net->options.limits);
    uint64_t now_ns = fg_loop_now_ns(net->env.loop), wait_ns;
    if (net->options.debts == NULL || !connection->is_counted)
        return true;
    if (!fg_flood_ledger_admit(net->options.debts, debtor_of(connection), &pace, now_ns,
                               &wait_ns)) {
        note_refused(connection);
        return false;
    }
    if (wait_ns > 0) {
        note_delayed(connection);
        connection->handshake_due_ns = now_ns + wait_ns;
    }
    return true;
}

uint64_t fg_flooders_owed(const struct fg_connection *connection)
{
    const struct fg_net *net = connection->net;
    if (net->options.debts == NULL || !connection->is_counted)
        return 0;
    return fg_flood_ledger_owed(net->options.debts, debtor_of(connection),
                                fg_loop_now_ns(net->env.loop));
}

void fg_flooders_note_spent(const struct fg_connection *connection, uint64_t spent)
{
    const struct fg_net *net = connection->net;
    if (spent == 0 || net->options.debts == NULL || !connection->is_counted)
        return;
    fg_flood_ledger_add(net->options.debts, debtor_of(connection), spent,
                        fg_loop_now_ns(net->env.loop));
}

void fg_flooders_note_tls(const struct fg_connection *connection)
{
    struct fg_net *net = connection->net;
    fg_counter_add_owned(&net->stats.tls_floods, 1);
    fg_flooders_note_spent(connection, net->options.limits->h2_overhead_burst);
}
