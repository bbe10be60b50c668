"""
test_upstream_balance.py: which endpoint of a cluster a request goes to: weights, keys, priorities,
and names that DNS gives other addresses.
"""
import collections
import json
import socket
import struct
import threading

import pytest

from harness import free_port, plain_http, wait_for


def named(name):
    return lambda request: (200, {"x-server": name}, b"ok")


def cluster(endpoints, **keys):
    return {"routes": [{"name": "all", "match": {"prefix": "/"}, "to": "cluster:api"}],
            "clusters": {"api": {"endpoints": endpoints, **keys}}, "limits": {"threads": 1}}


def servers(gateway, requests):
    """Who answered, by request; each is (method, path, keywords)."""
    with gateway.client() as client:
        return [client.request(method, path, **keywords).headers.get("x-server")
                for method, path, keywords in requests]


def find_endpoints(node):
    if isinstance(node, dict):
        if "endpoints" in node:
            return node["endpoints"]
        for value in node.values():
            found = find_endpoints(value)
            if found is not None:
                return found
    return None


def test_weights_and_metrics_of_each_endpoint(launch, upstream):
    a, b = upstream(named("a")), upstream(named("b"))
    gateway = launch(cluster([{"address": a.address, "weight": 3}, b.address]))
    counts = collections.Counter(servers(gateway, [("GET", "/", {})] * 40))
    assert counts == {"a": 30, "b": 10}
    by_address = {one["address"]: one for one in find_endpoints(gateway.stats())}
    assert by_address[a.address]["requests"] == 30 and by_address[b.address]["requests"] == 10
    metrics = plain_http.get(gateway.admin + "/metrics").text
    assert f'floodgate_endpoint_requests_total{{cluster="api",endpoint="{a.address}"}} 30' in metrics
    assert f'floodgate_endpoint_usable{{cluster="api",endpoint="{b.address}"}} 1' in metrics


@pytest.mark.parametrize("key, request_of", [
    ("header:X-Tenant", lambda value: ("GET", "/", {"headers": {"x-tenant": value}})),
    ("cookie:sid", lambda value: ("GET", "/", {"headers": {"cookie": f"a=b; sid={value}; c=d"}})),
    ("header:host", lambda value: ("GET", "/", {"headers": {"host": value + ".test"}})),
    ("path", lambda value: ("GET", f"/{value}", {})),
    ("prompt", lambda value: ("POST", "/v1/x", {"content": json.dumps(
        {"model": "m", "messages": [{"role": "system", "content": value * 300}], "seed": id(value)})})),
])
def test_the_same_key_goes_to_the_same_endpoint(launch, upstream, key, request_of):
    made = {name: upstream(named(name)) for name in "abcd"}
    gateway = launch(cluster([one.address for one in made.values()], balance="hash", hash_key=key))
    values = [f"value-{i}" for i in range(40)]
    first = servers(gateway, [request_of(value) for value in values])
    assert first == servers(gateway, [request_of(value) for value in values])
    assert set(first) == set("abcd")
    made["b"].close()
    after = servers(gateway, [request_of(value) for value in values])
    for before, now in zip(first, after):
        assert now == before if before != "b" else now in set("acd")


def test_keys_stay_where_they_are_when_an_endpoint_joins(launch, upstream):
    made = {name: upstream(named(name)) for name in "abcdefghijk"}
    addresses = [one.address for one in made.values()]
    gateway = launch(cluster(addresses[:-1], balance="hash", hash_key="path"))
    keys = [("GET", f"/{i}", {}) for i in range(200)]
    before = servers(gateway, keys)
    answer = plain_http.post(f"{gateway.admin}/clusters/endpoints?cluster=api&add={addresses[-1]}")
    assert answer.status_code == 200
    after = servers(gateway, keys)
    assert "k" in after
    assert sum(old != new != "k" for old, new in zip(before, after)) < 20


def test_a_prompt_in_many_pieces_is_waited_for(launch, upstream):
    made = {name: upstream(named(name)) for name in "abcd"}
    gateway = launch(cluster([one.address for one in made.values()], balance="hash", hash_key="prompt"))
    body = json.dumps({"messages": [{"content": "once upon a time " * 400}]}).encode()

    def pieces():
        for at in range(0, len(body), 100):
            yield body[at:at + 100]

    whole = servers(gateway, [("POST", "/", {"content": body})])
    assert servers(gateway, [("POST", "/", {"content": pieces()})]) == whole
    total = sum(int(headers.get("content-length", 0)) for one in made.values() for _, _, headers in one.requests)
    assert total >= len(body)


@pytest.mark.parametrize("before", [10, 1900, 3000, 16_300, 25_000])
def test_a_prompt_may_stand_behind_other_members(launch, upstream, before):
    """Tools and their schemas come first with many clients; whole or in pieces, the server is the same."""
    made = {name: upstream(named(name)) for name in "abcdefgh"}
    gateway = launch(cluster([one.address for one in made.values()], balance="hash", hash_key="prompt",
                             hash_load_max="off"))
    body = json.dumps({"tools": "t" * before, "messages": [{"content": "once upon a time " * 400}]}).encode()

    def pieces(step):
        for at in range(0, len(body), step):
            yield body[at:at + step]

    kinds = [{"content": body}, {"content": body}] + [{"content": pieces(step)} for step in (997, 5000, 8192) * 2]
    assert len(set(servers(gateway, [("POST", "/", kind) for kind in kinds]))) == 1


def test_the_next_priority_takes_over(launch, upstream):
    first, second = upstream(named("first")), upstream(named("second"))
    gateway = launch(cluster([first.address, {"address": second.address, "priority": 1}]))
    assert set(servers(gateway, [("GET", "/", {})] * 10)) == {"first"}
    first.close()
    assert set(servers(gateway, [("GET", "/", {})] * 10)) == {"second"}


def test_least_request_avoids_the_busy_one(launch, upstream):
    slow, fast = upstream(named("slow")), upstream(named("fast"))
    gateway = launch(cluster([slow.address, fast.address], balance="least_request"))
    slow.gate.clear()
    answers = []

    def ask():
        with gateway.client() as client:
            answers.append(client.get("/").headers["x-server"])

    stuck = []
    while slow.in_flight == 0:  # by chance, soon
        stuck.append(threading.Thread(target=ask))
        stuck[-1].start()
        wait_for(lambda: slow.in_flight + len(answers) == len(stuck), what="the request's arrival")
    before = len(answers)
    for _ in range(10):
        ask()
    assert answers[before:] == ["fast"] * 10
    slow.gate.set()
    for thread in stuck:
        thread.join()


class Dns:
    """Answers queries for one name out of lists that the test changes; kinds in `failing` by SERVFAIL."""

    def __init__(self, addresses, ttl, six=()):
        self.addresses, self.six, self.failing, self.cut, self.silent = addresses, six, set(), set(), set()
        self.ttl, self.queries = ttl, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.listener = socket.create_server(("127.0.0.1", 0))  # by TCP at the same port
        self.socket.bind(self.listener.getsockname())
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.serve, self.serve_whole)]
        for thread in self.threads:
            thread.start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(2048)
            if query == b"end":
                return
            if self.kind_of(query) not in self.silent:
                self.socket.sendto(self.answer(query, is_whole=False), client)

    def serve_whole(self):
        """By TCP, which `cut` kinds are answered by alone."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                answer = self.answer(file.read(struct.unpack(">H", file.read(2))[0]), is_whole=True)
                connection.sendall(struct.pack(">H", len(answer)) + answer)

    @staticmethod
    def kind_of(query):
        return query[query.index(b"\0", 12) + 2]

    def answer(self, query, is_whole):
        end, kind = query.index(b"\0", 12) + 5, self.kind_of(query)
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        found = [] if kind in self.failing else self.addresses if kind == 1 else self.six
        self.queries += kind == 1
        flags = 0x8182 if kind in self.failing else 0x8180
        if kind in self.cut and not is_whole:
            flags, found = 0x8380, []
        answer = query[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0) + query[12:end]
        for address in found:
            packed = socket.inet_pton(family, address)
            answer += struct.pack(">HHHIH", 0xc00c, kind, 1, self.ttl, len(packed)) + packed
        return answer

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", self.socket.getsockname())
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()
        self.socket.close()


def test_a_name_is_looked_up_again_when_its_time_is_over(launch, upstream):
    port = free_port()
    upstream(named("one"), host="127.0.0.1", port=port)
    upstream(named("two"), host="127.0.0.2", port=port)
    dns = Dns(["127.0.0.1"], ttl=0)
    try:
        gateway = launch(cluster([f"pods.test:{port}"], dns_servers=[dns.address], dns_ttl_min="100ms"))
        assert set(servers(gateway, [("GET", "/", {})] * 6)) == {"one"}
        dns.addresses = ["127.0.0.1", "127.0.0.2"]
        wait_for(lambda: len(find_endpoints(gateway.stats())) == 2, what="the second address")
        assert set(servers(gateway, [("GET", "/", {})] * 6)) == {"one", "two"}
        dns.addresses = ["127.0.0.2"]
        wait_for(lambda: len(find_endpoints(gateway.stats())) == 1, what="the first address to go")
        assert set(servers(gateway, [("GET", "/", {})] * 6)) == {"two"}
        dns.addresses = []  # DNS is down: what was known is kept
        asked = dns.queries
        wait_for(lambda: dns.queries > asked + 2, what="more lookups")
        assert set(servers(gateway, [("GET", "/", {})] * 6)) == {"two"}
        dns.addresses = ["127.0.0.1"]
        wait_for(lambda: set(servers(gateway, [("GET", "/", {})] * 6)) == {"one"}, what="its coming back")
        assert gateway.log.count("event=endpoint_unresolved") == 1
    finally:
        dns.close()


def test_a_name_that_is_disabled_stays_so_at_other_addresses(launch, upstream):
    port = free_port()
    upstream(named("one"), host="127.0.0.1", port=port)
    upstream(named("two"), host="127.0.0.2", port=port)
    other = upstream(named("other"))
    dns = Dns(["127.0.0.1"], ttl=0)

    def change(query):
        assert plain_http.post(f"{gateway.admin}/clusters/endpoints?cluster=api&{query}").status_code == 200
    try:
        gateway = launch(cluster([f"pods.test:{port}", other.address], dns_servers=[dns.address], dns_ttl_min="100ms"))
        wait_for(lambda: set(servers(gateway, [("GET", "/", {})] * 6)) == {"one", "other"})
        change(f"disable=pods.test:{port}")
        dns.addresses = ["127.0.0.2"]
        wait_for(lambda: "127.0.0.2" in known(gateway), what="the other address")
        assert set(servers(gateway, [("GET", "/", {})] * 6)) == {"other"}
        change(f"enable=pods.test:{port}")
        assert set(servers(gateway, [("GET", "/", {})] * 6)) == {"two", "other"}
    finally:
        dns.close()


A, AAAA = 1, 28


def known(gateway):
    return {one["address"].partition("(")[2][:-1] for one in find_endpoints(gateway.stats())}


def test_half_an_answer_keeps_what_the_other_half_said_before(launch, upstream):
    port = free_port()
    upstream(named("one"), host="127.0.0.1", port=port)
    dns = Dns(["127.0.0.1"], ttl=0, six=["fd00::1"])
    try:
        gateway = launch(cluster([f"pods.test:{port}"], dns_servers=[dns.address], dns_ttl_min="100ms"))
        wait_for(lambda: known(gateway) == {"127.0.0.1", "fd00::1"})
        dns.failing, dns.six = {A}, ["fd00::2"]
        wait_for(lambda: known(gateway) == {"127.0.0.1", "fd00::2"}, what="the new one beside the old one")
        dns.failing, dns.addresses = {AAAA}, ["127.0.0.1", "127.0.0.2"]
        wait_for(lambda: known(gateway) == {"127.0.0.1", "127.0.0.2", "fd00::2"})
        dns.failing, dns.six = set(), []  # that there are none is an answer
        wait_for(lambda: known(gateway) == {"127.0.0.1", "127.0.0.2"})
    finally:
        dns.close()


@pytest.mark.parametrize("silent, others", [(AAAA, "127.0.0.%d"), (A, "fd00::%d")])
def test_who_never_answers_for_one_family_delays_the_other_little(launch, silent, others):
    """Nor is it dead, which evdns would think after three of its timeouts of 5 s."""
    dns = Dns([], ttl=0)
    dns.silent = {silent}

    def set_addresses(number):
        dns.addresses, dns.six = ([others % number], []) if silent == AAAA else ([], [others % number])
    try:
        set_addresses(1)
        gateway = launch(cluster(["pods.test:1"], dns_servers=[dns.address], dns_ttl_min="100ms"), keep_ready=False)
        wait_for(lambda: gateway.readiness() is not None)
        for number in range(2, 5):
            set_addresses(number)
            wait_for(lambda: known(gateway) == {others % number}, 12, what="the other address")
    finally:
        dns.close()


def test_what_does_not_fit_a_datagram_is_asked_for_by_tcp(launch, upstream):
    port = free_port()
    upstream(named("one"), host="127.0.0.1", port=port)
    many = [f"127.1.0.{number}" for number in range(1, 41)]
    dns = Dns(["127.0.0.1"], ttl=0, six=["fd00::1"])
    try:
        gateway = launch(cluster([f"pods.test:{port}"], dns_servers=[dns.address], dns_ttl_min="100ms"))
        wait_for(lambda: known(gateway) == {"127.0.0.1", "fd00::1"})
        dns.addresses, dns.cut = many, {A}
        wait_for(lambda: known(gateway) == {*many, "fd00::1"}, what="all of a long list")
        dns.failing = {A}  # by TCP as well: what was known is kept
        asked = dns.queries
        wait_for(lambda: dns.queries > asked + 4, what="more lookups")
        assert known(gateway) == {*many, "fd00::1"}
        dns.failing, dns.cut, dns.addresses, dns.six = set(), set(), ["127.0.0.1"], []
        wait_for(lambda: known(gateway) == {"127.0.0.1"})
        assert gateway.get("/").headers["x-server"] == "one"
    finally:
        dns.close()


def test_addresses_that_no_server_can_have_are_none(launch, upstream):
    """A connect to 0.0.0.0 would be one to the gateway's own machine."""
    port = free_port()
    upstream(named("one"), host="127.0.0.1", port=port)
    dns = Dns(["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"], ttl=0,
              six=["::", "ff02::1", "::ffff:0.0.0.0", "::ffff:224.0.0.1"])
    try:
        gateway = launch(cluster([f"pods.test:{port}"], dns_servers=[dns.address], dns_ttl_min="100ms"))
        assert known(gateway) == {"127.0.0.1"}
        dns.addresses = ["0.0.0.0"]  # nothing of use: the old ones stay
        asked = dns.queries
        wait_for(lambda: dns.queries > asked + 1, what="another lookup")
        assert known(gateway) == {"127.0.0.1"} and gateway.get("/").headers["x-server"] == "one"
    finally:
        dns.close()
