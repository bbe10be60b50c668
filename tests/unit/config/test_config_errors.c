/*
 * test_config_errors.c: one mistake a case, with the exact lines that a person reads; then several
 * mistakes in one file, in its order.
 */
#include "config_fixture.h"

/* What is wrong with the text itself. */
#define A39 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A40 A39 "a"

static const struct error_case yaml_cases[] = {
    {"empty file", "", {"t.yaml:1:1: the file is empty; expected at least listeners and routes"}},
    {"only a comment",
     "# nothing\n",
     {"t.yaml:1:1: the file is empty; expected at least listeners and routes"}},
    {"a list at the top",
     "- a\n"
     "- b\n",
     {"t.yaml:1:1: the file: a list; expected a mapping such as {listeners: [...], routes: "
      "[...]}"}},
    {"a word at the top",
     "hello\n",
     {"t.yaml:1:1: the file: a value; expected a mapping such as {listeners: [...], routes: "
      "[...]}"}},
    {"broken flow",
     "listeners: [{address\n",
     {"t.yaml:2:1: not valid YAML: did not find expected ',' or '}' while parsing a flow mapping "
      "begun in line 1; expected \"key: value\" lines, indented alike"}},
    {"tab indent",
     "listeners:\n"
     "\t- x\n",
     {"t.yaml:2:1: a tab in the indentation; expected spaces"}},
    {"bad indentation",
     "limits:\n"
     "  threads: 1\n"
     "   idle_timeout: 1s\n",
     {"t.yaml:3:16: not valid YAML: mapping values are not allowed in this context while reading "
      "the file; expected \"key: value\" lines, indented alike"}},
    {"unterminated quote",
     "admin: {address: \"x\n",
     {"t.yaml:2:1: not valid YAML: found unexpected end of stream while scanning a quoted scalar "
      "begun in line 1; expected \"key: value\" lines, indented alike"}},
    {"not UTF-8",
     "admin:\n"
     "  address: \377\376\n",
     {"t.yaml:2:1: not readable as text: invalid leading UTF-8 octet; expected UTF-8"}},
    {"duplicate key",
     LISTENERS ROUTES "limits:\n"
                      "  threads: 1\n"
                      "  threads: 2\n",
     {"t.yaml:5:3: \"threads\" is there twice; expected it once (the first is in line 4)"}},
    {"duplicate section",
     LISTENERS ROUTES "limits: {threads: 1}\n"
                      "limits: {threads: 2}\n",
     {"t.yaml:4:1: \"limits\" is there twice; expected it once (the first is in line 3)"}},
    {"anchor and alias",
     LISTENERS ROUTES "limits: &x {threads: 1}\n"
                      "admin: *x\n",
     {"t.yaml:3:9: anchors (&name) are not supported; expected the value written out where it is "
      "used",
      "t.yaml:4:8: aliases (*name) are not supported; expected the value written out"}},
    {"merge key",
     LISTENERS ROUTES "limits:\n"
                      "  <<: {threads: 1}\n",
     {"t.yaml:4:3: merge keys (<<) are not supported; expected the keys written out"}},
    {"tag",
     LISTENERS ROUTES "limits: {threads: !!int 1}\n",
     {"t.yaml:3:19: tags (!name) are not supported; expected a plain value"}},
    {"second document",
     LISTENERS ROUTES "---\n"
                      "limits: {}\n",
     {"t.yaml:3:1: a second document; expected one a file"}},
    {"list as a key",
     LISTENERS ROUTES "limits: {[a]: 1}\n",
     {"t.yaml:3:10: a list or mapping as a key; expected a word"}},
    {"nested too deeply",
     LISTENERS ROUTES "limits: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]\n",
     {"t.yaml:3:24: nested too deeply; expected at most 16 levels"}},
    {"a NUL",
     LISTENERS ROUTES "admin: {address: \"a\\0b\"}\n",
     {"t.yaml:3:18: the value contains a NUL; expected text without it"}},
};

/* Keys that are unknown, missing or of the wrong sort. */
static const struct error_case keys_cases[] = {
    {"unknown section, near",
     LISTENERS ROUTES "listener: []\n",
     {"t.yaml:3:1: unknown key in the file: \"listener\"; did you mean \"listeners\"?"}},
    {"unknown section, far",
     LISTENERS ROUTES "zebra: 1\n",
     {"t.yaml:3:1: unknown key in the file: \"zebra\"; expected one of listeners, tls, limits, "
      "identity, policies, static, clusters, orders, inference, routes, admin, observability"}},
    {"unknown key, near",
     LISTENERS ROUTES "limits: {idle_timeuot: 5s}\n",
     {"t.yaml:3:10: unknown key in limits: \"idle_timeuot\"; did you mean \"idle_timeout\"?"}},
    {"unknown key, far",
     LISTENERS ROUTES "admin: {xyzzy: 1}\n",
     {"t.yaml:3:9: unknown key in admin: \"xyzzy\"; expected one of address, hosts, "
      "endpoint_changes_max, answers_max"}},
    {"unknown key in a rate limit",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 1/s, brust: 2}}}\n",
     {"t.yaml:3:41: unknown key in policies.rate_limits.NAME: \"brust\"; did you mean \"burst\"?"}},
    {"unknown key in the queue",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], queue: {length: 10}}}\n",
     {"t.yaml:3:44: unknown key in clusters.NAME.queue: \"length\"; expected one of requests_max, "
      "bytes_max, wait_max, target, interval, ageing, shed_by_priority, shadow, tokens_max, "
      "tokens_answer"}},
    {"unknown key in match",
     LISTENERS "routes:\n"
               "  - {match: {prefxi: /}, respond: {}}\n",
     {"t.yaml:3:14: unknown key in routes[].match: \"prefxi\"; did you mean \"prefix\"?"}},
    {"no listeners",
     ROUTES,
     {"t.yaml:1:1: \"listeners\" is missing in the file; expected it, such as {address: "
      "\"0.0.0.0:8443\", certificate: server.crt, private_key: server.key}"}},
    {"no routes",
     LISTENERS,
     {"t.yaml:1:1: \"routes\" is missing in the file; expected it, such as {match: {prefix: /}, "
      "to: static:www}"}},
    {"empty listeners",
     "listeners: []\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:12: listeners: empty; expected at least 1"}},
    {"listeners is a mapping",
     "listeners: {address: x}\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:12: listeners: a mapping; expected a list such as [{address: \"0.0.0.0:8443\", "
      "certificate: server.crt, private_key: server.key}]"}},
    {"limits is a list",
     LISTENERS ROUTES "limits: [1]\n",
     {"t.yaml:3:9: limits: a list; expected a mapping such as {connections_max: 20000}"}},
    {"limits is a value",
     LISTENERS ROUTES "limits: 5\n",
     {"t.yaml:3:9: limits: a value; expected a mapping such as {connections_max: 20000}"}},
    {"rate limit without rate",
     LISTENERS ROUTES "policies:\n"
                      "  rate_limits:\n"
                      "    a: {burst: 5}\n",
     {"t.yaml:5:5: \"rate\" is missing in policies.rate_limits.NAME; expected it"}},
    {"static without root",
     LISTENERS ROUTES "static:\n"
                      "  www: {index: i.html}\n",
     {"t.yaml:4:3: \"root\" is missing in static.NAME; expected it"}},
    {"cluster without endpoints",
     LISTENERS ROUTES "clusters:\n"
                      "  a: {}\n",
     {"t.yaml:4:3: \"endpoints\" is missing in clusters.NAME; expected it, such as "
      "127.0.0.1:3000, or endpoints_file"}},
    {"cluster without anything",
     LISTENERS ROUTES "clusters:\n"
                      "  a:\n",
     {"t.yaml:4:3: \"endpoints\" is missing in clusters.NAME; expected it, such as "
      "127.0.0.1:3000, or endpoints_file"}},
    {"no name for a cluster",
     LISTENERS ROUTES "clusters: {\"a b\": {endpoints: [\"h:1\"]}}\n",
     {"t.yaml:3:12: clusters: \"a b\" is not a name; expected letters, digits, '.', '-' and '_'"}},
    {"scalar in place of a mapping",
     LISTENERS ROUTES "clusters: {a: h}\n",
     {"t.yaml:3:15: clusters: a value; expected a mapping such as {endpoints: "
      "[\"127.0.0.1:3000\"]}"}},
};

/* Values that are not what their key needs. */
static const struct error_case values_cases[] = {
    {"bool",
     LISTENERS ROUTES "observability: {access_log: yes}\n",
     {"t.yaml:3:29: access_log: \"yes\" is neither of the two; expected true or false"}},
    {"bool is a list",
     LISTENERS ROUTES "observability: {access_log: [true]}\n",
     {"t.yaml:3:29: access_log: a list; expected true or false"}},
    {"count is a word",
     LISTENERS ROUTES "limits: {connections_max: many}\n",
     {"t.yaml:3:27: connections_max: \"many\" is not a whole number; expected 1 to 10000000"}},
    {"count is a novel",
     LISTENERS ROUTES "limits: {connections_max: " A40 A40 "b" A40 "}\n",
     {"t.yaml:3:27: connections_max: \"" A40 A40 "...\" is not a whole number; expected 1 to "
      "10000000"}},
    {"word is a novel, cut within a character",
     LISTENERS ROUTES "observability: {log_level: \"" A40 A39 "\xc3\xa9" A40 "\"}\n",
     {"t.yaml:3:28: log_level: unknown value \"" A40 A39
      "...\"; expected one of debug, info, warn, "
      "error"}},
    {"count is negative",
     LISTENERS ROUTES "limits: {connections_max: -1}\n",
     {"t.yaml:3:27: connections_max: \"-1\" is not a whole number; expected 1 to 10000000"}},
    {"count below",
     LISTENERS ROUTES "limits: {connections_max: 0}\n",
     {"t.yaml:3:27: connections_max: \"0\" is out of range; expected 1 to 10000000"}},
    {"count overflows",
     LISTENERS ROUTES "limits: {connections_max: 99999999999999999999}\n",
     {"t.yaml:3:27: connections_max: \"99999999999999999999\" is out of range; expected 1 to "
      "10000000"}},
    {"threads above",
     LISTENERS ROUTES "limits: {threads: 1000}\n",
     {"t.yaml:3:19: threads: \"1000\" is out of range; expected 1 to 256, or auto"}},
    {"duration without unit",
     LISTENERS ROUTES "limits: {idle_timeout: 60}\n",
     {"t.yaml:3:24: idle_timeout: \"60\" has no unit; expected a duration such as 250ms, 5s, 2m, "
      "1h or 1d"}},
    {"duration with unknown unit",
     LISTENERS ROUTES "limits: {idle_timeout: 60sec}\n",
     {"t.yaml:3:24: idle_timeout: \"60sec\" has an unknown unit; expected a duration such as "
      "250ms, 5s, 2m, 1h or 1d"}},
    {"duration with a blank",
     LISTENERS ROUTES "limits: {idle_timeout: 60 s}\n",
     {"t.yaml:3:24: idle_timeout: \"60 s\" is not a duration; expected a duration such as 250ms, "
      "5s, 2m, 1h or 1d"}},
    {"duration with a fraction",
     LISTENERS ROUTES "limits: {idle_timeout: 1.5s}\n",
     {"t.yaml:3:24: idle_timeout: \"1.5s\" is not a duration; expected a duration such as 250ms, "
      "5s, 2m, 1h or 1d"}},
    {"duration out of range",
     LISTENERS ROUTES "limits: {idle_timeout: 2d}\n",
     {"t.yaml:3:24: idle_timeout: \"2d\" is out of range; expected 1ms to 1d"}},
    {"duration overflows",
     LISTENERS ROUTES "limits: {idle_timeout: 999999999d}\n",
     {"t.yaml:3:24: idle_timeout: \"999999999d\" is out of range; expected 1ms to 1d"}},
    {"size with decimal unit",
     LISTENERS ROUTES "limits: {header_max: 64KB}\n",
     {"t.yaml:3:22: header_max: \"64KB\" has an unknown unit; expected a size such as 64KiB, 10MiB "
      "or 1GiB"}},
    {"size out of range",
     LISTENERS ROUTES "limits: {header_max: 1GiB}\n",
     {"t.yaml:3:22: header_max: \"1GiB\" is out of range; expected 1KiB to 1MiB"}},
    {"size malformed",
     LISTENERS ROUTES "limits: {header_max: big}\n",
     {"t.yaml:3:22: header_max: \"big\" is not a size; expected a size such as 64KiB, 10MiB or "
      "1GiB"}},
    {"limit by something else",
     LISTENERS ROUTES "policies: {rate_limits: {a: {key: [user, moon], rate: 1/s}}}\n",
     {"t.yaml:3:42: key: \"moon\" is no part of a key; expected user, device, ip, invite, route, "
      "tier or header:NAME"}},
    {"limit by a field in capitals",
     LISTENERS ROUTES "policies: {rate_limits: {a: {key: \"header:X-App\", rate: 1/s}}}\n",
     {"t.yaml:3:35: key: \"header:X-App\" has capital letters; expected a field name in lower "
      "case"}},
    {"rate without period",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 10}}}\n",
     {"t.yaml:3:36: rate: \"10\" has no unit; expected a rate such as 10/s, 600/m or 5/10s"}},
    {"rate with unknown period",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 10/week}}}\n",
     {"t.yaml:3:36: rate: \"10/week\" has an unknown unit; expected a rate such as 10/s, 600/m or "
      "5/10s"}},
    {"rate of none",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 0/s}}}\n",
     {"t.yaml:3:36: rate: \"0/s\" is out of range; expected 1 to 1000000000 in up to 1d"}},
    {"rate in no time",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 5/0s}}}\n",
     {"t.yaml:3:36: rate: \"5/0s\" is not a rate; expected a rate such as 10/s, 600/m or 5/10s"}},
    {"rate in too long",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 5/2d}}}\n",
     {"t.yaml:3:36: rate: \"5/2d\" is out of range; expected 1 to 1000000000 in up to 1d"}},
    {"burst below 1",
     LISTENERS ROUTES "policies: {rate_limits: {a: {rate: 10/s, burst: 0}}}\n",
     {"t.yaml:3:49: burst: \"0\" is out of range; expected 1 to 4294967295"}},
    {"less than nothing, and too many",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], retries: {attempts: 11}, "
                      "slow_start: 0.5}}\n",
     {"t.yaml:3:56: attempts: \"11\" is out of range; expected 1 to 10, 0 or off",
      "t.yaml:3:73: slow_start: \"0.5\" is not a duration; expected a duration such as 250ms, 5s, "
      "2m, 1h or 1d, or off"}},
    {"none, where off is no limit",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], limits: {requests: 0}}}\n",
     {"t.yaml:3:55: requests: \"0\" is out of range; expected 1 to 10000000, or off"}},
    {"none, where auto is many",
     LISTENERS ROUTES "limits: {threads: 0}\n",
     {"t.yaml:3:19: threads: \"0\" is out of range; expected 1 to 256, or auto"}},
    {"no guests, where off is any number",
     LISTENERS ROUTES "identity: {sessions_per_ip: 0/m}\n",
     {"t.yaml:3:29: sessions_per_ip: \"0/m\" is out of range; expected 1/m to 1000000/m, or off"}},
    {"two percentages of nothing",
     LISTENERS ROUTES "policies: {overload: {memory: {shed_low: 0%/0%}}}\n",
     {"t.yaml:3:42: shed_low: \"0%/0%\" is out of range; expected 0.1% to 100% each, the second "
      "not "
      "above the first, or off"}},
    {"percentage without sign",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], panic_threshold: 0.9}}\n",
     {"t.yaml:3:53: panic_threshold: \"0.9\" has no unit; expected a percentage such as 85% or "
      "12.5%, or off"}},
    {"percentage too fine",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], panic_threshold: 90.25%}}\n",
     {"t.yaml:3:53: panic_threshold: \"90.25%\" is not a percentage; expected a percentage such as "
      "85% or 12.5%, or off"}},
    {"percentage out of range",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"h:1\"], panic_threshold: 120%}}\n",
     {"t.yaml:3:53: panic_threshold: \"120%\" is out of range; expected 0.1% to 100%, 0 or "
      "off"}},
    {"one percentage of two",
     LISTENERS ROUTES "policies: {overload: {memory: {shed_low: 85%}}}\n",
     {"t.yaml:3:42: shed_low: \"85%\" is not two percentages; expected two percentages such as "
      "85%/75%, or off"}},
    {"two percentages without sign",
     LISTENERS ROUTES "policies: {overload: {memory: {shed_low: 85%/75}}}\n",
     {"t.yaml:3:42: shed_low: \"85%/75\" has no unit; expected two percentages such as 85%/75%, "
      "or off"}},
    {"two percentages the wrong way round",
     LISTENERS ROUTES "policies: {overload: {memory: {shed_low: 75%/85%}}}\n",
     {"t.yaml:3:42: shed_low: \"75%/85%\" is out of range; expected 0.1% to 100% each, the second "
      "not above the first, or off"}},
    {"never given up",
     LISTENERS ROUTES "policies: {overload: {memory: {shed_low: 75%/0%}}}\n",
     {"t.yaml:3:42: shed_low: \"75%/0%\" is out of range; expected 0.1% to 100% each, the second "
      "not above the first, or off"}},
    {"a step misspelt",
     LISTENERS ROUTES "policies: {overload: {memory: {shed_lo: off}}}\n",
     {"t.yaml:3:32: unknown key in policies.overload.memory: \"shed_lo\"; did you mean "
      "\"shed_low\"?"}},
    {"enum, near",
     "listeners: [{address: \"127.0.0.1:1\", kind: pain}]\n"
     "routes: [{match: {prefix: /}, respond: {status: 200}}]\n",
     {"t.yaml:1:44: kind: unknown value \"pain\"; did you mean \"plain\"?"}},
    {"enum, far",
     LISTENERS ROUTES "observability: {log_level: loud}\n",
     {"t.yaml:3:28: log_level: unknown value \"loud\"; expected one of debug, info, warn, error"}},
    {"zero word",
     LISTENERS ROUTES "limits: {threads: automatic}\n",
     {"t.yaml:3:19: threads: \"automatic\" is not a whole number; expected 1 to 256, or auto"}},
    {"method",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /, methods: [GTE]}, respond: {}}\n",
     {"t.yaml:3:35: methods: unknown value \"GTE\"; did you mean \"GET\"?"}},
    {"method, a mapping",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /, methods: [{a: b}]}, respond: {}}\n",
     {"t.yaml:3:35: methods: a mapping in the list; expected a word"}},
    {"headers is a list",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /, headers: [a]}, respond: {}}\n",
     {"t.yaml:3:34: headers: a list; expected a mapping of names to values"}},
    {"header name",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /, headers: {\"a b\": c}}, respond: {}}\n",
     {"t.yaml:3:35: headers: \"a b\" is not the name of a header field; expected letters, digits "
      "and '-'"}},
    {"header value",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /, headers: {a: \"b\\nc\"}}, respond: {}}\n",
     {"t.yaml:3:38: headers.a: the value has a control character; expected the value of a header "
      "field"}},
    {"environment, not set",
     LISTENERS ROUTES "admin: {address: \"${FG_TEST_UNSET}\"}\n",
     {"t.yaml:3:18: the environment has no variable \"FG_TEST_UNSET\"; expected it to be set, or a "
      "default as in ${FG_TEST_UNSET:-default}"}},
    {"environment, malformed",
     LISTENERS ROUTES "admin: {address: \"${FG TEST}\"}\n",
     {"t.yaml:3:18: \"FG TEST\" is no reference to the environment; expected ${NAME} or "
      "${NAME:-default}, or $${ for a plain ${"}},
    {"environment, open",
     LISTENERS ROUTES "admin: {address: \"${FG_TEST\"}\n",
     {"t.yaml:3:18: \"${FG_TEST\" is no reference to the environment; expected ${NAME} or "
      "${NAME:-default}, or $${ for a plain ${"}},
    {"environment, bad value",
     LISTENERS ROUTES "limits: {threads: \"${FG_TEST_WORD}\"}\n",
     {"t.yaml:3:19: threads: \"${FG_TEST_WORD}\" is not a whole number; expected 1 to 256, or "
      "auto"}},
    {"listen address, name",
     LISTENERS ROUTES "admin: {address: \"localhost:9901\"}\n",
     {"t.yaml:3:18: address: \"localhost:9901\" is not an address to listen on; expected IP:PORT "
      "such as 0.0.0.0:8443 or [::]:8443"}},
    {"listen address, no port",
     LISTENERS ROUTES "admin: {address: \"127.0.0.1\"}\n",
     {"t.yaml:3:18: address: \"127.0.0.1\" is not an address to listen on; expected IP:PORT such "
      "as 0.0.0.0:8443 or [::]:8443"}},
    {"listen address, port 0",
     LISTENERS ROUTES "admin: {address: \"127.0.0.1:0\"}\n",
     {"t.yaml:3:18: address: \"127.0.0.1:0\" is not an address to listen on; expected IP:PORT such "
      "as 0.0.0.0:8443 or [::]:8443"}},
    {"listen address, IPv6 without brackets",
     LISTENERS ROUTES "admin: {address: \"::1:9901\"}\n",
     {"t.yaml:3:18: address: \"::1:9901\" is not an address to listen on; expected IP:PORT such as "
      "0.0.0.0:8443 or [::]:8443"}},
    {"upstream, URL",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"http://h:80\"]}}\n",
     {"t.yaml:3:28: address: \"http://h:80\" is a URL; expected HOST:PORT without a scheme"}},
    {"upstream, no port",
     LISTENERS ROUTES "clusters: {a: {endpoints: [h]}}\n",
     {"t.yaml:3:28: address: \"h\" has no port; expected HOST:PORT, [IPV6]:PORT or unix:/path"}},
    {"upstream, relative socket",
     LISTENERS ROUTES "clusters: {a: {endpoints: [\"unix:a\"]}}\n",
     {"t.yaml:3:28: address: \"unix:a\" is not a socket's path; expected unix:/path, from the "
      "root"}},
    {"upstream, weight",
     LISTENERS ROUTES "clusters: {a: {endpoints: [{address: \"h:1\", weight: 0}]}}\n",
     {"t.yaml:3:53: weight: \"0\" is out of range; expected 1 to 1000"}},
    {"prefix without slash",
     LISTENERS "routes:\n"
               "  - {match: {prefix: api}, respond: {}}\n",
     {"t.yaml:3:22: prefix: \"api\" does not start with '/'; expected a path such as /promo/"}},
    {"path with dots",
     LISTENERS "routes:\n"
               "  - {match: {path: /a/../b}, respond: {}}\n",
     {"t.yaml:3:20: path: \"/a/../b\" has a dot segment, which requests lose before they are "
      "matched; expected /a/b"}},
    {"path with double slash",
     LISTENERS "routes:\n"
               "  - {match: {path: //a}, respond: {}}\n",
     {"t.yaml:3:20: path: \"//a\" has an empty segment, which requests lose before they are "
      "matched; expected /a/b"}},
    {"path with a query",
     LISTENERS "routes:\n"
               "  - {match: {path: '/a?b'}, respond: {}}\n",
     {"t.yaml:3:20: path: \"/a?b\" has a query or fragment; expected the path alone"}},
    {"path percent-encoded",
     LISTENERS "routes:\n"
               "  - {match: {path: /a%20b}, respond: {}}\n",
     {"t.yaml:3:20: path: \"/a%20b\" is percent-encoded; expected the path as it reads decoded"}},
    {"host with a port",
     LISTENERS "routes:\n"
               "  - {match: {host: 'a:1', prefix: /}, respond: {}}\n",
     {"t.yaml:3:20: host: \"a:1\" is not a host; expected example.org or *.example.org, without a "
      "port"}},
    {"redirect target",
     LISTENERS "routes:\n"
               "  - {match: {prefix: /}, redirect: promo}\n",
     {"t.yaml:3:36: to: \"promo\" is no target for a redirect; expected /path or "
      "https://host/path"}},
    {"cache control",
     LISTENERS ROUTES "static: {a: {root: /x, cache_control: \"a\\nb\"}}\n",
     {"t.yaml:3:39: cache_control: \"a?b\" has a control character; expected the value of a header "
      "field"}},
    {"index with a directory",
     LISTENERS ROUTES "static: {a: {root: /x, index: a/b}}\n",
     {"t.yaml:3:31: index: \"a/b\" is not a file's name; expected one such as index.html"}},
};

/* Several at once: in file order, whichever step found them. */
static const struct error_case several_cases[] = {
    {"many at once",
     "listeners:\n"
     "  - {kind: pln, adress: \"1.2.3.4:5\"}\n"
     "limits:\n"
     "  idle_timeout: 5\n"
     "  threads: x\n"
     "routes:\n"
     "  - {match: {prefix: api}, to: ordres}\n"
     "  - {match: {path: /a}}\n"
     "admin: {address: nowhere}\n"
     "zebra: 1\n",
     {"t.yaml:2:12: kind: unknown value \"pln\"; did you mean \"plain\"?",
      "t.yaml:2:17: unknown key in listeners[]: \"adress\"; did you mean \"address\"?",
      "t.yaml:4:17: idle_timeout: \"5\" has no unit; expected a duration such as 250ms, 5s, 2m, 1h "
      "or 1d",
      "t.yaml:5:12: threads: \"x\" is not a whole number; expected 1 to 256, or auto",
      "t.yaml:7:22: prefix: \"api\" does not start with '/'; expected a path such as /promo/",
      "t.yaml:7:32: to: unknown backend \"ordres\"; did you mean \"orders\"?",
      "t.yaml:8:5: the route leads nowhere; expected one of to, session: true, room, redirect and "
      "respond",
      "t.yaml:9:18: address: \"nowhere\" is not an address to listen on; expected IP:PORT such as "
      "0.0.0.0:8443 or [::]:8443",
      "t.yaml:10:1: unknown key in the file: \"zebra\"; expected one of listeners, tls, limits, "
      "identity, policies, static, clusters, orders, inference, routes, admin, observability"}},
};

static void refuses_broken_yaml(void **state)
{
    (void)state;
    RUN_ERROR_CASES(yaml_cases);
}

static void refuses_wrong_keys(void **state)
{
    (void)state;
    RUN_ERROR_CASES(keys_cases);
}

static void refuses_wrong_values(void **state)
{
    (void)state;
    setenv("FG_TEST_WORD", "lots", 1);
    unsetenv("FG_TEST_UNSET");
    RUN_ERROR_CASES(values_cases);
}

static void reports_all_errors_in_file_order(void **state)
{
    (void)state;
    RUN_ERROR_CASES(several_cases);
}

static void names_no_password(void **state)
{
    (void)state;
    static const char yaml[] = LISTENERS ROUTES
        "orders: {redis: {address: \"h:1\", password: [hunter2], pasword: hunter2}}\n";
    struct config_errors errors;
    assert_null(parse_text(yaml, &errors));
    assert_int_equal(errors.count, 2);
    for (size_t i = 0; i < errors.count; i++)
        assert_null(strstr(errors.lines[i], "hunter2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_broken_yaml),  cmocka_unit_test(refuses_wrong_keys),
        cmocka_unit_test(refuses_wrong_values), cmocka_unit_test(reports_all_errors_in_file_order),
        cmocka_unit_test(names_no_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
