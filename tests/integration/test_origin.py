"""Where a request comes from: PROXY protocol headers and forwarded fields, believed from whom one may."""
import re
import socket
import ssl
import struct

import httpx
import pytest

from harness import free_port, read_all, run_binary, wait_for
from tls_tools import client_context

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source="198.51.100.7", command=1, family=0x11, extra=b""):
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(kind, source)
    addresses += bytes(len(addresses)) + struct.pack(">HH", 5555, 443)
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(addresses + extra)) + addresses + extra


def v1(source="198.51.100.7"):
    return f"PROXY {'TCP6' if ':' in source else 'TCP4'} {source} {'::1' if ':' in source else '127.0.0.1'} 5555 443\r\n".encode()


@pytest.fixture(scope="module")
def site(launch_module, upstream_module):
    backend = upstream_module()

    def listeners(gateway):
        gateway.plain_port, gateway.rfc_port = free_port(), free_port()
        tls = {"certificate": str(gateway.certificate), "private_key": str(gateway.key)}
        return [
            {"name": "balanced", "address": f"127.0.0.1:{gateway.port}", **tls, "proxy_protocol_from": ["127.0.0.0/8"],
             "trusted_proxies": ["198.51.100.0/24"]},
            {"name": "behind", "address": f"127.0.0.1:{gateway.plain_port}", "kind": "plain",
             "trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]},
            {"name": "rfc", "address": f"127.0.0.1:{gateway.rfc_port}", "kind": "plain",
             "trusted_proxies": "127.0.0.1", "forwarded": "forwarded"},
        ]

    gateway = launch_module({
        "listeners": listeners, "limits": {"threads": 1, "connections_per_ip_max": 3},
        "observability": {"access_log": True},
        "policies": {"rate_limits": {"per-ip": {"key": "ip", "rate": "1/h", "burst": 2}}},
        "clusters": {"app": {"endpoints": [backend.address]},
                     "rfc": {"endpoints": [backend.address], "forwarded": ["forwarded"]}},
        "routes": [{"name": "told", "match": {"prefix": "/told"}, "to": "cluster:rfc"},
                   {"name": "limited", "match": {"prefix": "/limited"}, "to": "cluster:app", "rate_limits": ["per-ip"]},
                   {"name": "all", "match": {"prefix": "/"}, "to": "cluster:app"}],
    })
    gateway.backend = backend
    return gateway


def ask(gateway, header, path="/", parts=False, fields=""):
    """One request behind a header; its answer."""
    with socket.create_connection(("127.0.0.1", gateway.port), 30) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(header)) if parts else [0]:
            plain.sendall(header[at:at + 1] if parts else header)
        with client_context().wrap_socket(plain) as tls:
            tls.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n".encode())
            answer = b""
            while piece := tls.recv(65536):
                answer += piece
    return answer.decode()


def seen(gateway):
    return {name.lower(): value for name, value in gateway.backend.requests[-1][2].items()}


@pytest.mark.parametrize("header, client", [
    (v1(), "198.51.100.7"), (v1("2001:db8::9"), "2001:db8::9"), (v2(), "198.51.100.7"),
    (v2("2001:db8::9", family=0x21), "2001:db8::9"), (v2(extra=b"\x04\x00\x02xx"), "198.51.100.7"),
    (v2(extra=b"\x04\x0b\xb8" + bytes(3000)), "198.51.100.7"), (v2(command=0), "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
])
@pytest.mark.parametrize("parts", [False, True], ids=["whole", "bytewise"])
def test_the_header_says_who_it_is(site, header, client, parts):
    assert "HTTP/1.1 200" in ask(site, header, parts=parts)
    assert seen(site)["x-forwarded-for"] == client
    wait_for(lambda: f"client={client} " in site.log, what="the log line")


@pytest.mark.parametrize("header", [
    b"", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 999.1.1.1 1.1.1.1 1 1\r\n", SIGNATURE + b"\x31\x11\0\0",
    v2(family=0x41), v2(family=0x13), v2(extra=b"\x04\0"), v2(extra=b"\x04\x0f\xff" + bytes(4095)), v2(extra=b"\x03\0\x04\0\0\0\0"),
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
])
def test_without_a_good_header_there_is_no_connection(site, header):
    with pytest.raises((ssl.SSLError, OSError)):
        ask(site, header)
    wait_for(lambda: "event=proxy_header_bad" in site.log or header == b"", what="the log line")
    assert header == b"" or re.search(r'event=proxy_header_bad .*reason="[^"]+"', site.log)


def test_limits_count_the_client_and_not_the_balancer(site):
    for _ in range(2):
        assert "HTTP/1.1 200" in ask(site, v1("203.0.113.1"), "/limited")
    assert "HTTP/1.1 429" in ask(site, v1("203.0.113.1"), "/limited")
    assert "HTTP/1.1 200" in ask(site, v1("203.0.113.2"), "/limited")
    held = []
    for number in range(8):  # more connections from the balancer than one address may have
        plain = socket.create_connection(("127.0.0.1", site.port), 30)
        plain.sendall(v1(f"203.0.113.{100 + number}"))
        held.append(client_context().wrap_socket(plain))
    for number in range(4):  # the fourth of one client is one too many
        plain = socket.create_connection(("127.0.0.1", site.port), 30)
        plain.sendall(v1("203.0.113.50"))
        if number < 3:
            held.append(client_context().wrap_socket(plain))
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                client_context().wrap_socket(plain)
    for connection in held:
        connection.close()


def test_the_client_of_a_header_is_no_proxy_unless_it_is_trusted(site):
    ask(site, v1("203.0.113.9"), fields="x-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\n")
    assert seen(site)["x-forwarded-for"] == "203.0.113.9" and "forwarded" not in seen(site)
    ask(site, v1("198.51.100.7"), fields="x-forwarded-for: 6.6.6.6, 203.0.113.10\r\n")
    assert seen(site)["x-forwarded-for"] == "203.0.113.10, 198.51.100.7"


def plain(port, headers, path="/"):
    with httpx.Client(verify=False, trust_env=False, timeout=30) as client:
        return client.get(f"http://127.0.0.1:{port}{path}", headers=headers)


@pytest.mark.parametrize("value, client, chain", [
    ("203.0.113.20", "203.0.113.20", "203.0.113.20, 127.0.0.1"),
    ("6.6.6.6, 203.0.113.20, 10.1.1.1", "203.0.113.20", "203.0.113.20, 10.1.1.1, 127.0.0.1"),
    ("unknown", "127.0.0.1", "127.0.0.1"),
])
def test_trusted_hops(site, value, client, chain):
    answer = plain(site.plain_port, {"x-forwarded-for": value, "x-forwarded-proto": "https",
                                           "x-forwarded-host": "shop.example.org", "x-real-ip": "6.6.6.6",
                                           "forwarded": "for=6.6.6.6"})
    assert answer.status_code == 200
    told = seen(site)
    assert told["x-forwarded-for"] == chain and told["x-forwarded-proto"] == "https"
    assert told["x-forwarded-host"] == "shop.example.org"
    assert "x-real-ip" not in told and "forwarded" not in told
    wait_for(lambda: f"client={client} " in site.log, what="the log line")


def test_a_path_is_a_trusted_proxys_to_tell(site):
    """Many servers take the one in these fields for what was asked, past what the gateway decides by the path."""
    fields = {"x-original-url": "/admin", "x-rewrite-url": "/admin"}
    for port in (site.plain_port, site.rfc_port):
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=fields).status_code == 200
        assert fields.items() <= seen(site).items()
    assert " 200 " in ask(site, v1("203.0.113.1"), fields="x-original-url: /admin\r\nx-rewrite-url: /admin\r\n")
    assert not fields.keys() & seen(site).keys()


def test_forwarded_of_the_rfc(site):
    plain(site.rfc_port, {"forwarded": "for=6.6.6.6, for=\"[2001:db8::77]:80\";proto=https",
                                "x-forwarded-for": "7.7.7.7", "x-forwarded-host": "evil.example.org"})
    told = seen(site)
    assert told["x-forwarded-for"] == "2001:db8::77, 127.0.0.1" and told["x-forwarded-proto"] == "https"
    assert "forwarded" not in told and "x-forwarded-host" not in told


def test_a_quoted_host_names_no_client(site):
    """The Host in a proxy's element is its client's to choose; it was read for a list of elements."""
    for host in ("a,for=6.6.6.6;x=", "a;for=6.6.6.6;proto=https;x="):
        plain(site.rfc_port, {"forwarded": f'for=203.0.113.20;host="{host}"', "host": "localhost"})
        told = seen(site)
        assert told["x-forwarded-for"] == "203.0.113.20, 127.0.0.1" and told["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("port, fields, elements", [
    ("plain_port", {"x-forwarded-for": "6.6.6.6, 203.0.113.20, 10.1.1.1", "x-forwarded-proto": "https"},
     "for=203.0.113.20;proto=https, for=10.1.1.1"),
    ("plain_port", {"x-forwarded-for": "[2001:db8::77]:80", "forwarded": "for=6.6.6.6"},
     'for="[2001:db8::77]";proto=http'),
    ("rfc_port", {"forwarded": 'for=6.6.6.6, For="203.0.113.20:99";proto=https;host=evil.example'},
     "for=203.0.113.20;proto=https"),
    ("rfc_port", {"forwarded": "for=6.6.6.6, for=_hidden"}, None),
])
def test_servers_are_told_of_the_client_in_the_way_of_the_rfc(site, port, fields, elements):
    assert plain(getattr(site, port), {**fields, "host": "shop.test:81"}, "/told").status_code == 200
    proto = "https" if "https" in str(fields) else "http"
    own = f'for=127.0.0.1;host="shop.test:81";proto={proto}'
    assert seen(site)["forwarded"] == (f"{elements}, {own}" if elements else own)


def test_rate_limits_go_by_the_client(site):
    for _ in range(2):
        assert plain(site.plain_port, {"x-forwarded-for": "203.0.113.30"}, "/limited").status_code == 200
    assert plain(site.plain_port, {"x-forwarded-for": "203.0.113.30"}, "/limited").status_code == 429
    # Another address in front of it is the client's own invention.
    assert plain(site.plain_port, {"x-forwarded-for": "9.9.9.9, 203.0.113.30"}, "/limited").status_code == 429
    assert plain(site.plain_port, {"x-forwarded-for": "203.0.113.31"}, "/limited").status_code == 200


@pytest.mark.parametrize("value", ["10.0.0.1/8", "10.0.0.0/33", "lan"])
def test_check_refuses_bad_networks(tmp_path, value):
    path = tmp_path / "f.yaml"
    path.write_text(f"listeners:\n - address: 127.0.0.1:8080\n   kind: plain\n   trusted_proxies: [127.0.0.1, {value}]\n"
                    "routes: [{match: {prefix: /}, respond: {}}]\n")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2
    assert f'f.yaml:4:33: trusted_proxies: "{value}" is no network; expected one such as' in done.stderr


def test_a_trusted_proxy_may_have_the_scheme_from_its_own_connection(site):
    with socket.create_connection(("127.0.0.1", site.plain_port), 30) as proxy:
        proxy.sendall(b"GET https://localhost/ HTTP/1.1\r\nhost: localhost\r\nx-forwarded-proto: https\r\n"
                      b"connection: close\r\n\r\n")
        assert read_all(proxy).startswith(b"HTTP/1.1 200 ")
    assert seen(site)["x-forwarded-proto"] == "https"


def lines(first, *fields):
    return "\r\n".join([first, "host: localhost", *fields, "", ""]).encode("latin-1")


NEXT = lines("GET /next HTTP/1.1", "connection: close")
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
# What is no request, though it is known where it ends, and what else it says.
WHOLE = [
    (lines("GET /%zz HTTP/1.1"), 400), (lines("GET /\xe4 HTTP/1.1"), 400), (lines("GET /a\0b?c HTTP/1.1"), 400),
    (lines("GET http://localhost/a#b HTTP/1.1"), 400), (lines("HEAD /%zz HTTP/1.1"), 400), (lines("get / HTTP/1.1"), 501),
    (lines("GET / HTTP/1.1", "expect: tea"), 417),
    (lines("POST /%zz HTTP/1.1", "content-length: 5") + b"hello", 400),
    (lines("POST /%zz HTTP/1.1", "transfer-encoding: chunked") + HELLO, 400),
    (lines("POST /%zz HTTP/1.1", "content-length: 65536") + bytes(65536), 400),
]
# Where it ends is not known, or too far away, or what follows is no HTTP: nothing behind it is heard.
ENDLESS = [
    (lines("GET /%zz HTTP/1.1", "content-length: 0", "content-length: 0"), 400),
    (lines("GET /%zz HTTP/1.1", "content-length: 5", "transfer-encoding: chunked") + HELLO, 400),
    (lines("GET /%zz HTTP/1.1", "transfer-encoding: gzip") + b"hello", 400),
    (lines("GET /%zz HTTP/1.0", "connection: keep-alive", "transfer-encoding: chunked") + HELLO, 400),
    (lines("GET /%zz HTTP/1.1", "x : y"), 400), (lines("GET /%zz HTTP/1.1", "host: localhost"), 400),
    (lines("GET /%zz HTTP/1.1", "connection: close"), 400), (lines("GET /%zz HTTP/1.0"), 400),
    (lines("POST /%zz HTTP/1.1", "content-length: 65537") + bytes(65537), 400),
    (lines("POST /%zz HTTP/1.1", "expect: 100-continue", "content-length: 5"), 400),
    (lines("POST / HTTP/1.1", "expect: tea", "content-length: 5"), 417),
    (lines("POST /%zz HTTP/1.1", "transfer-encoding: chunked") + b"5\r\nhelloX", 400),
    (lines("CONNECT localhost:443 HTTP/1.1"), 501), (lines("GET /%zz HTTP/3.0"), 505), (lines("GET /a b HTTP/1.1"), 400),
]


@pytest.mark.parametrize("request_bytes, status, stays", [(*one, True) for one in WHOLE] + [(*one, False) for one in ENDLESS])
def test_a_bad_request_ends_a_trusted_proxys_connection_only_where_it_must(site, request_bytes, status, stays):
    """All its clients would else pay for a handshake."""
    before = len(site.backend.requests)
    with socket.create_connection(("127.0.0.1", site.plain_port), 30) as proxy:
        proxy.sendall(request_bytes + NEXT)
        answers = re.findall(rb"HTTP/1\.1 (\d{3}) ", read_all(proxy))
    assert answers == [b"%d" % status] + [b"200"] * stays
    assert [one[1] for one in site.backend.requests[before:]] == ["/next"] * stays
