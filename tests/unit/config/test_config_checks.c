/*
 * test_config_checks.c: values that are each fine and do not fit together, one mistake a case, with
 * the exact lines that a person reads.
 */
#include "config_fixture.h"

static const struct error_case checks_cases[] = {
    {"tls without files",
     "listeners: [{address: \"127.0.0.1:8443\"}]\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:13: a tls listener without a certificate; expected the path of a PEM file",
      "t.yaml:1:13: a tls listener without a private_key; expected the path of a PEM file"}},
    {"plain with a certificate",
     "listeners: [{address: \"127.0.0.1:8443\", kind: plain, certificate: a}]\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:67: certificate has no effect without kind tls; expected it left out"}},
    {"redirect_to with tls",
     "listeners: [{address: \"127.0.0.1:8443\", certificate: a, private_key: b, redirect_to: c}]\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:86: redirect_to has no effect without kind redirect; expected it left out"}},
    {"same address twice",
     "listeners:\n"
     "- {address: \"127.0.0.1:80\", kind: plain}\n"
     "- {address: \"127.0.0.1:080\", kind: plain}\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:3:13: address 127.0.0.1:080 is taken by the listener in line 2; expected one of its "
      "own"}},
    {"same name twice",
     "listeners:\n"
     "- {name: a, address: \"127.0.0.1:80\", kind: plain}\n"
     "- {name: a, address: \"127.0.0.1:81\", kind: plain}\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:3:10: the name \"a\" is taken by the listener in line 2; expected one of its own"}},
    {"admin on a listener",
     "listeners: [{address: \"127.0.0.1:9901\", kind: plain}]\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:23: address 127.0.0.1:9901 is the admin address; expected another"}},
    {"request memory above the total",
     LISTENERS ROUTES "limits: {request_memory_max: 8MiB, request_memory_total_max: 4MiB}\n",
     {"t.yaml:3:30: request_memory_max is above request_memory_total_max; expected it at or "
      "below"}},
    {"limits that do not fit",
     LISTENERS ROUTES "policies:\n"
                      "  rate_limits:\n"
                      "    a: {key: [user, ip, user], rate: 1/s}\n"
                      "    b: {rate: 1/s, reserve: 5}\n"
                      "    c: {rate: 10/s, cost: tokens}\n"
                      "    d: {rate: 10/s, scope: global, lease: 11, algorithm: gcra}\n"
                      "    e: {rate: 10/s, local_share: 10%}\n"
                      "  shared_state: {redis: {address: \"h:1\"}}\n",
     {"t.yaml:5:14: key: \"user\" is there twice; expected it once",
      "t.yaml:6:29: reserve has no effect where each request costs one; expected it left out",
      "t.yaml:7:5: reserve is above burst; expected it at or below",
      "t.yaml:8:43: lease is above burst; expected it at or below",
      "t.yaml:8:58: algorithm has no effect with scope global, which counts by GCRA; expected it "
      "left out",
      "t.yaml:9:34: local_share has no effect with scope local; expected it left out"}},
    {"tickets shared without a Redis",
     LISTENERS ROUTES "tls: {ticket_secret_shared: true, ticket_secret_file: t.key}\n",
     {"t.yaml:3:29: there is no Redis to share it through; expected policies.shared_state",
      "t.yaml:3:55: ticket_secret_file has no effect with ticket_secret_shared; expected it left "
      "out"}},
    {"shared state without a Redis",
     LISTENERS ROUTES "policies: {shared_state: true}\n",
     {"t.yaml:3:26: no Redis for shared_state (also of limits with scope global), as no route "
      "leads to orders; expected redis: {address: \"host:port\"}"}},
    {"shared state with a password for nobody",
     LISTENERS ROUTES "policies: {shared_state: {redis: {password: x}}}\n"
                      "orders: {skus: {a: 1}}\n",
     {"t.yaml:3:26: no Redis for shared_state (also of limits with scope global), as no route "
      "leads to orders; expected redis: {address: \"host:port\"}",
      "t.yaml:3:45: password has no effect without an address; expected it left out"}},
    {"object above the cache",
     LISTENERS ROUTES "policies: {cache: {memory_max: 1MiB, object_max: 2MiB}}\n",
     {"t.yaml:3:50: object_max is above memory_max; expected it at or below"}},
    {"min above max",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], concurrency: {min: 100, max: 50}}}\n",
     {"t.yaml:3:55: min is above max; expected it at or below"}},
    {"limit above max",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], concurrency: {limit: 100, max: 50}}}\n",
     {"t.yaml:3:57: limit is above max; expected it at or below"}},
    {"max with fixed",
     LISTENERS ROUTES
     "clusters: {a: {endpoints: [\"h:1\"], concurrency: {kind: fixed, limit: 10, max: 50}}}\n",
     {"t.yaml:3:79: max has no effect with kind fixed; expected it left out"}},
    {"concurrency above connections",
     LISTENERS ROUTES
     "clusters: {a: {endpoints: [\"h:1\"], max_connections: 10, concurrency: {max: 50}}}\n",
     {"t.yaml:3:76: 50 requests in flight need as many connections, max_connections is 10; "
      "expected it at or below"}},
    {"as many of HTTP/2, where each is one client's",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], protocol: h2, proxy_protocol: v1,\n"
                      "  max_connections: 10, concurrency: {max: 50}}}\n",
     {"t.yaml:4:43: 50 requests in flight need as many connections, max_connections is 10; "
      "expected it at or below"}},
    {"what version 1 cannot say",
     LISTENERS ROUTES
     "clusters: {a: {endpoints: [\"h:1\"], proxy_protocol: v1, proxy_protocol_tlvs: ssl}}\n",
     {"t.yaml:3:77: proxy_protocol_tlvs has no effect unless proxy_protocol is v2; expected it "
      "left "
      "out"}},
    {"keepalive without HTTP/2",
     LISTENERS ROUTES
     "clusters: {a: {endpoints: [\"h:1\"], connection_keepalive: {interval: 30s}}}\n",
     {"t.yaml:3:58: connection_keepalive has no effect without HTTP/2 (protocol h2, or auto with "
      "tls); expected it left out"}},
    {"target above interval",
     LISTENERS ROUTES
     "clusters: {a: {endpoints: [\"h:1\"], queue: {target: 1s, interval: 100ms}}}\n",
     {"t.yaml:3:52: target is above interval; expected it at or below"}},
    {"open above open_max",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], breaker: {open: 1m, open_max: 10s}}}\n",
     {"t.yaml:3:52: open is above open_max; expected it at or below"}},
    {"breaker that never opens",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], breaker: {consecutive_failures: off, "
                      "error_ratio: off}}}\n",
     {"t.yaml:3:36: the breaker can never open: consecutive_failures, error_ratio and slow are "
      "off; expected one of them, or enabled: false"}},
    {"everything reserved",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], reserve: 60%}, b: {endpoints: "
                      "[\"h:1\"], reserve: {memory: 31%}}}\n",
     {"t.yaml:3:84: more than 90% of request memory is reserved, all backends together; expected "
      "less, for whoever has no reserve"}},
    {"endpoint breakers that never open",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], endpoint_breaker: "
                      "{consecutive_failures: off, error_ratio: off}}}\n",
     {"t.yaml:3:36: the breakers can never open: consecutive_failures, error_ratio and slow are "
      "off; expected one of them, or endpoint_breaker: false"}},
    {"idle above connections",
     LISTENERS ROUTES
     "clusters: {a: {endpoints: [\"h:1\"], max_connections: 10, max_idle_connections: 20}}\n",
     {"t.yaml:3:79: max_idle_connections is above max_connections; expected it at or below"}},
    {"endpoint twice",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\", \"h:1\"]}}\n",
     {"t.yaml:3:35: endpoint h:1 is there twice; expected it once, with a weight"}},
    {"name of a built-in",
     LISTENERS ROUTES "static: {orders: /x}\n",
     {"t.yaml:3:10: the name \"orders\" is a built-in backend's; expected another"}},
    {"static and cluster of one name",
     LISTENERS ROUTES "static: {a: /x}\n"
                      "clusters: {a: {endpoints: [\"h:1\"]}}\n",
     {"t.yaml:4:12: the name \"a\" is that of a static directory (line 3); expected another"}},
    {"embedded with an address",
     LISTENERS ROUTES "orders: {redis: {embedded: true, address: \"h:1\"}}\n",
     {"t.yaml:3:43: address together with embedded: true; expected one of the two"}},
    {"external without an address",
     LISTENERS ROUTES "orders: {redis: {embedded: false}}\n",
     {"t.yaml:3:28: embedded is false and there is no address; expected the address of a Redis"}},
    {"password for the embedded",
     LISTENERS ROUTES "orders: {redis: {password: secret}}\n",
     {"t.yaml:3:28: password has no effect with the embedded Redis; expected it left out"}},
    {"directory for the external",
     LISTENERS ROUTES "orders: {redis: {address: \"h:1\", directory: x}}\n",
     {"t.yaml:3:45: directory has no effect with an external Redis; expected it left out"}},
    {"orders without skus",
     LISTENERS "routes: [{match: {prefix: /}, to: orders}]\n",
     {"t.yaml:2:35: a route leads to orders, but orders.skus is empty; expected an article such as "
      "{milk-tea: {stock: 100000}}"}},
    {"inference not enabled",
     LISTENERS "routes: [{match: {prefix: /}, to: inference}]\n",
     {"t.yaml:2:35: a route leads to inference, which is not enabled; expected inference.enabled: "
      "true with a model"}},
    {"inference without a model",
     LISTENERS ROUTES "inference: {enabled: true}\n",
     {"t.yaml:3:22: inference is enabled without a model; expected model: FILE.gguf"}},
    {"batch above the step",
     LISTENERS ROUTES "inference: {batch_max: 64, step_tokens_max: 32}\n",
     {"t.yaml:3:24: batch_max is above step_tokens_max; expected it at or below"}},
    {"default above the limit",
     LISTENERS ROUTES "inference: {max_tokens_default: 100, max_tokens_limit: 50}\n",
     {"t.yaml:3:33: max_tokens_default is above max_tokens_limit; expected it at or below"}},
    {"long socket directory",
     LISTENERS ROUTES "inference: {enabled: true, model: m, socket_directory: "
                      "/ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
                      "ddddddddddddddddddddddddd}\n",
     {"t.yaml:3:56: socket_directory: "
      "/ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
      "ddddddddd has 101 bytes; expected at most 84, because the path of a unix socket is short"}},
    {"path and prefix",
     LISTENERS "routes:\n"
               "  - {match: {path: /a, prefix: /b}, respond: {}}\n",
     {"t.yaml:3:32: path and prefix together; expected one of the two"}},
    {"neither path nor prefix",
     LISTENERS "routes:\n"
               "  - {match: {methods: [GET]}, respond: {}}\n",
     {"t.yaml:3:6: match has neither path nor prefix; expected one, such as prefix: /"}},
    {"no match",
     LISTENERS "routes:\n"
               "  - {respond: {}}\n",
     {"t.yaml:3:5: \"match\" is missing in routes[]; expected it, such as {prefix: /api/}"}},
    {"leads nowhere",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}}\n",
     {"t.yaml:3:5: the route leads nowhere; expected one of to, session: true, room, redirect and "
      "respond"}},
    {"leads to two places",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, redirect: /x}\n",
     {"t.yaml:3:35: redirect and respond in one route; expected one of to, session, room, redirect "
      "and "
      "respond"}},
    {"unknown backend, near",
     LISTENERS "clusters: {a: {endpoints: [\"h:1\"]}}\n"
               "routes: [{match: {prefix: /}, to: cluster:b}]\n",
     {"t.yaml:3:35: to: unknown backend \"cluster:b\"; did you mean \"cluster:a\"?"}},
    {"unknown backend, far",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, to: nowhere-at-all}\n",
     {"t.yaml:3:30: to: unknown backend \"nowhere-at-all\"; expected one of orders, inference"}},
    {"unknown rate limit, near",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, rate_limits: [per-usr]}\n"
               "policies: {rate_limits: {per-user: {rate: 1/s}}}\n",
     {"t.yaml:3:53: rate_limits: unknown name \"per-usr\"; did you mean \"per-user\"?"}},
    {"unknown rate limit, none",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, rate_limits: per-user}\n",
     {"t.yaml:3:52: rate_limits: unknown name \"per-user\"; expected a defined one, and none is "
      "defined"}},
    {"rate limit twice",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, rate_limits: [a, a]}\n"
               "policies: {rate_limits: {a: {rate: 1/s}}}\n",
     {"t.yaml:3:56: rate_limits: \"a\" is there twice; expected it once"}},
    {"rate limits twice, first empty",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, rate_limits: , rate_limits: [a]}\n",
     {"t.yaml:3:54: \"rate_limits\" is there twice; expected it once (the first is in line 3)",
      "t.yaml:3:68: rate_limits: unknown name \"a\"; expected a defined one, and none is defined"}},
    {"strip what is not matched",
     LISTENERS "routes: [{match: {prefix: /api}, to: static:w, strip_prefix: /apx}]\n"
               "static: {w: /x}\n",
     {"t.yaml:2:62: strip_prefix /apx is no part of /api; expected the beginning of what the route "
      "matches"}},
    {"strip without a backend",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /a}, respond: {}, strip_prefix: /a}\n",
     {"t.yaml:3:54: strip_prefix has no effect without to; expected it left out"}},
    {"cache without a backend",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /a}, respond: {}, cache: true}\n",
     {"t.yaml:3:47: cache has no effect without to; expected it left out"}},
    {"a pace that nobody can find out",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /a}, respond: {}, waiting_room: {admit: auto, burst: 5}}\n"
               "  - {match: {prefix: /b}, respond: {}, waiting_room: {admit: 0/s}}\n",
     {"t.yaml:3:62: auto without a backend whose pace could be followed; expected a rate",
      "t.yaml:3:75: burst has no effect with admit auto; expected it left out",
      "t.yaml:4:62: admit: \"0/s\" is out of range; expected 1 to 1000000000 in up to 1d, or "
      "auto"}},
    {"limit of a route without a backend",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /a}, respond: {}, concurrency: {limit: 5}}\n",
     {"t.yaml:3:53: concurrency has no effect without to; expected it left out"}},
    {"queue of a route without a limit",
     LISTENERS "routes: [{match: {prefix: /}, to: static:w, queue: {requests_max: 5}}]\n"
               "static: {w: /x}\n",
     {"t.yaml:2:52: queue without concurrency, so that nobody waits in it; expected both"}},
    {"limit of a route out of order",
     LISTENERS "routes: [{match: {prefix: /}, to: static:w, concurrency: {kind: aimd, min: 9, "
               "max: 3}}]\nstatic: {w: /x}\n",
     {"t.yaml:2:76: min is above max; expected it at or below"}},
    {"never reached",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}}\n"
               "  - {match: {path: /a}, respond: {}}\n",
     {"t.yaml:4:5: the route is never reached: the one in line 3 takes all of its requests; "
      "expected the narrower one first"}},
    {"same name of routes",
     LISTENERS "routes:\n"
               "  - {name: x, match: {path: /a}, respond: {}}\n"
               "  - {name: x, match: {path: /b}, respond: {}}\n",
     {"t.yaml:4:12: the name \"x\" is taken by the route in line 3; expected one of its own"}},
    {"waiting room without admit",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, waiting_room: true}\n",
     {"t.yaml:3:39: \"admit\" is missing in routes[].waiting_room; expected it"}},
    {"waiting room as text",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, respond: {}, waiting_room: open}\n",
     {"t.yaml:3:53: waiting_room: a value; expected a mapping such as {admit: 500/s}"}},
    {"shared room without a Redis",
     LISTENERS "routes:\n"
               "  - {match: {path: /a}, respond: {}, waiting_room: {admit: 1/s, shared: true}}\n",
     {"t.yaml:3:73: shared without policies.shared_state; expected the Redis that the gateways "
      "share"}},
    {"desk of no room",
     LISTENERS "routes:\n"
               "  - {name: sale, match: {path: /a}, respond: {}, waiting_room: {admit: 1/s}}\n"
               "  - {match: {path: /b}, room: sales}\n",
     {"t.yaml:4:31: room: no route of this name has a waiting room \"sales\"; did you mean "
      "\"sale\"?"}},
    {"waiting rooms whose tickets end too early, and with one file",
     LISTENERS "routes:\n"
               "  - {match: {path: /a}, respond: {}, waiting_room: {admit: 1/s, state_file: l}}\n"
               "  - {match: {path: /b}, respond: {}, waiting_room: {admit: 1/s, keep: 2h, "
               "state_file: l}}\n",
     {"t.yaml:4:38: ticket_rotate is shorter than keep, grace or session, so that tickets would "
      "end before what they are for; expected it longer",
      "t.yaml:4:87: the file is that of the route in line 3; expected one of its own"}},
    {"null list member",
     LISTENERS "routes:\n"
               "  -\n",
     {"t.yaml:3:4: routes: nothing; expected a mapping such as {match: {prefix: /}, to: "
      "static:www}"}},
    {"edits of fields that the proxy writes",
     LISTENERS "clusters: {a: {endpoints: [\"h:1\"]},\n"
               "  b: {endpoints: [\"h:1\"], forwarded: [x-forwarded-host]}}\n"
               "routes:\n"
               "  - {match: {path: /a}, to: cluster:a,\n"
               "     request_headers: {set: {X-Request-Id: x, x-forwarded-host: x},\n"
               "                       add: {x-forwarded-proto: x, expect: x},\n"
               "                       remove: [x-request-timeout-ms, expect]}}\n"
               "  - {match: {path: /b}, to: cluster:b,\n"
               "     request_headers: {set: {x-forwarded-proto: x, x-forwarded-host: x},\n"
               "                       remove: x-request-id},\n"
               "     response_headers: {set: {x-request-id: x}}}\n",
     {"t.yaml:6:30: set: \"X-Request-Id\" is written by the gateway itself; expected another field",
      "t.yaml:7:30: add: \"x-forwarded-proto\" is written anew for the cluster; expected it left "
      "out, or a list forwarded of the cluster without it",
      "t.yaml:7:52: add: \"expect\" is not passed on to any server; expected another field",
      "t.yaml:8:33: remove: \"x-request-timeout-ms\" is written by the gateway itself; expected "
      "another field",
      "t.yaml:10:52: set: \"x-forwarded-host\" is written anew for the cluster; expected it left "
      "out, or a list forwarded of the cluster without it",
      "t.yaml:11:32: remove: \"x-request-id\" is written by the gateway itself; expected another "
      "field"}},
    {"a path with one slash too many",
     LISTENERS "static: {w: .}\n"
               "routes: [{match: {prefix: /}, to: static:w, add_prefix: /v2/}]\n",
     {"t.yaml:3:57: add_prefix /v2/ ends with the '/' that the rest of the path begins with; "
      "expected it without"}},
    {"keys of a cluster that would do nothing",
     LISTENERS
     "clusters:\n"
     "  a: {endpoints: [\"h:1\"], balance: hash, slow_start: 1s, max_streams: 5,\n"
     "    http2_overhead_burst: 100, forwarded: []}\n"
     "  b: {endpoints: [\"h:1\"], retries: {on: 502, backoff: 1s, backoff_max: 2s},\n"
     "    forwarded: [via, none]}\n"
     "  c: {endpoints: [\"h:1\"], retries: {attempts: 1, backoff: off, backoff_max: 2s}}\n"
     "  d: {endpoints: [\"h:1\"], retries: {attempts: 1, backoff: 3s, backoff_max: 2s}}\n"
     "  e: {endpoints: [\"h:1\"], retries: {attempts: 1, on: 502, backoff_max: 2s},\n"
     "    protocol: h2, max_streams: 5, forwarded: none}\n" ROUTES,
     {"t.yaml:3:54: slow_start has no effect with balance hash; expected it left out",
      "t.yaml:3:71: max_streams has no effect without HTTP/2 (protocol h2, or auto with tls); "
      "expected it left out",
      "t.yaml:4:27: http2_overhead_burst has no effect without HTTP/2 (protocol h2, or auto with "
      "tls); expected it left out",
      "t.yaml:4:43: forwarded names nothing; expected none, or the key left out",
      "t.yaml:5:41: on has no effect without attempts; expected it left out",
      "t.yaml:5:55: backoff has no effect without attempts; expected it left out",
      "t.yaml:5:72: backoff_max has no effect without attempts; expected it left out",
      "t.yaml:6:16: forwarded has none beside others; expected none alone, or the others",
      "t.yaml:7:77: backoff_max has no effect without backoff; expected it left out",
      "t.yaml:8:59: backoff is above backoff_max; expected it at or below"}},
    {"a stream's slot where there are no streams",
     LISTENERS "clusters: {c: {endpoints: [\"h:1\"]}}\n"
               "routes: [{match: {prefix: /}, to: cluster:c, stream_holds_slot: true}]\n",
     {"t.yaml:3:65: stream_holds_slot has no effect without stream_idle_timeout; expected it left "
      "out"}},
    {"content of an answer without any",
     LISTENERS "routes: [{match: {prefix: /}, respond: {status: 204, body: x, type: a/b}}]\n",
     {"t.yaml:2:60: body has no effect with a status that has no content; expected it left out",
      "t.yaml:2:69: type has no effect with a status that has no content; expected it left out"}},
};
static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    RUN_ERROR_CASES(checks_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
