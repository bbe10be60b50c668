"""Requests that have come by a connection for another host: 421, where it matters which connection it is."""
import json
import re
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import pytest

from harness import free_port, run_binary, wait_for
from tls_tools import Seen, client_context, make_pair

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
WWW, PARTNER, OPEN = "www.example.org", "partner.example.org", "open.example.net"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("misdirected")


@pytest.fixture(scope="module")
def authority(folder):
    return make_pair(folder, "authority")


@pytest.fixture(scope="module")
def guest(folder, authority):
    return make_pair(folder, "machine-7", authority=authority)


@pytest.fixture(scope="module")
def pairs(folder):
    return {"www": make_pair(folder, "www", [WWW, "*.example.org"]), "partner": make_pair(folder, "partner", [PARTNER]),
            "partner-rsa": make_pair(folder, "partner-rsa", [PARTNER], kind="rsa:2048"),
            "open": make_pair(folder, "open", [OPEN])}


def files(pair, **more):
    return {"certificate": str(pair[0]), "private_key": str(pair[1]), **more}


ROUTES = [{"name": "who", "match": {"prefix": "/who"}, "respond": {"body": "in"}, "identity": "optional",
           "identity_by": "certificate", "response_headers": {"set": {"x-user": "<%{user}>"}}},
          {"name": "partner", "match": {"host": PARTNER, "prefix": "/"}, "respond": {"body": "partner only"}},
          {"name": "all", "match": {"prefix": "/"}, "respond": {"body": "all"}}]


@pytest.fixture(scope="module")
def site(launch_module, pairs, authority):
    """One port: whoever comes for the partner's name has to show a certificate, whoever comes for another need not."""
    asks = {"client_auth": "required", "client_ca": str(authority[0])}
    return launch_module({"limits": {"threads": 2}, "routes": ROUTES, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["www"]),
         "certificates": [files(pairs["partner"], **asks), files(pairs["partner-rsa"], **asks), files(pairs["open"])]}]})


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_who_is_vouched_for_by_whom(launch, folder, pairs, version):
    """The same name under two authorities is two users, also when a session is resumed."""
    ours, theirs = make_pair(folder, "ours"), make_pair(folder, "theirs")
    mine = make_pair(folder, "ada", authority=ours)
    hers = [make_pair(folder, "ada-of-theirs", authority=theirs, uri="spiffe://theirs/ada"),
            make_pair(folder, "a" * 63, authority=theirs, uri="u" * 121)]
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["www"]), "client_auth": "optional",
         "client_ca": str(ours[0]), "client_user_prefix": "staff:",
         "certificates": [files(pairs["partner"], client_auth="required", client_ca=str(theirs[0]), client_user="san_uri",
                                client_user_prefix="partner:"),
                          files(pairs["open"], client_auth="optional", client_ca=str(theirs[0]))]}]})

    def user(host, pair, before=None):
        seen = Seen(gateway.port, host, request=get(host, "/who"), **(
            {"session": before.session, "context": before.context} if before else {"version": version, "pair": pair}))
        return seen, re.search(rb"x-user: <(.*?)>", seen.answer).group(1).decode()

    for host, pair, expected in ((WWW, mine, "staff:ada"), (PARTNER, hers[0], "partner:spiffe://theirs/ada"),
                                 (OPEN, hers[0], "staff:ada-of-theirs"), (WWW, None, "")):
        before, found = user(host, pair)
        again, then = user(host, pair, before)
        assert (found, then) == (expected, expected) and again.was_resumed
    assert user(PARTNER, hers[1])[1] == ""  # of 129 bytes with its prefix: as good as none


def get(host, path="/"):
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode()


def ask(port, name, host, path="/", **kwargs):
    """The status of one request for `host` by a connection for `name`."""
    return Seen(port, name, request=get(host, path), **kwargs).answer[9:12].decode()


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_a_name_with_rules_of_its_own(site, guest, version):
    assert ask(site.port, PARTNER, PARTNER, pair=guest, version=version) == "200"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Seen(site.port, PARTNER, request=get(PARTNER), version=version)
    for name in (WWW, OPEN, None, "unknown.example.com"):
        assert ask(site.port, name, name or "127.0.0.1", version=version) == "200"
        for host in (PARTNER, PARTNER.upper(), PARTNER + ".", PARTNER + ":8443"):
            assert ask(site.port, name, host, version=version) == "421"
            assert ask(site.port, name, host, version=version, pair=guest) == "421"
    # The other way round: who was let in as a partner is nobody elsewhere.
    assert ask(site.port, PARTNER, WWW, pair=guest, version=version) == "421"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_by_tls_an_absolute_target_may_have_either_scheme(site, scheme):
    """RFC 9110 section 7.4. In the clear: test_malformed_h1.py; from a trusted proxy: test_origin.py."""
    assert Seen(site.port, WWW, request=get(WWW, f"{scheme}://{WWW}/")).answer.startswith(b"HTTP/1.1 200 ")


def test_only_the_name_that_asks_knows_the_client(site, guest):
    def user(name):
        answer = Seen(site.port, name, request=get(name, "/who"), pair=guest).answer
        return re.search(rb"\r\nx-user: <(.*)>\r\n", answer).group(1)
    assert user(PARTNER) == b"machine-7" and user(WWW) in (b"", b"-")


def test_no_session_goes_from_one_to_the_other(site, guest):
    for version in (V12, V13):
        context = client_context(version=version)
        first = Seen(site.port, WWW, request=get(WWW), context=context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Seen(site.port, PARTNER, request=get(PARTNER), session=first.session, context=context)
        context = client_context(version=version, pair=guest)
        first = Seen(site.port, PARTNER, request=get(PARTNER), context=context)
        again = Seen(site.port, PARTNER, request=get(PARTNER), session=first.session, context=context)
        assert again.answer[9:12] == b"200" and again.was_resumed
        other = Seen(site.port, WWW, request=get(PARTNER), session=again.session, context=context)
        assert other.answer[9:12] == b"421" and not other.was_resumed


def test_streams_of_one_connection(site):
    """A browser that reuses its connection for every name of its certificate, the wildcard's too (RFC 9113 section 9.1.1)."""
    context = client_context()
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), 30), server_hostname=WWW) as tls:
        h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        h2c.initiate_connection()
        hosts = [WWW, PARTNER, "shop.example.org", PARTNER, WWW]
        for index, host in enumerate(hosts):
            h2c.send_headers(2 * index + 1, [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host)],
                             end_stream=True)
        tls.sendall(h2c.data_to_send())
        status, ended = {}, set()
        while len(ended) < len(hosts):
            for event in h2c.receive_data(tls.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status[event.stream_id] = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
    assert [status[2 * index + 1] for index in range(len(hosts))] == ["200", "421", "200", "421", "200"]


def test_it_is_counted_and_explained(site):
    answer = Seen(site.port, WWW, request=get(PARTNER)).answer
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "misdirected"
    wait_for(lambda: site.stats()["gateway"]["requests"]["refused"]["misdirected"] > 0, what="a count of it")


def test_another_listener_asks_for_certificates(launch, pairs, authority, guest):
    def listeners(gateway):
        gateway.partners, gateway.plain = free_port(), free_port()
        return [{"name": "public", "address": f"127.0.0.1:{gateway.port}", **files(pairs["open"])},
                {"name": "plain", "address": f"127.0.0.1:{gateway.plain}", "kind": "plain"},
                {"name": "partners", "address": f"127.0.0.1:{gateway.partners}", **files(pairs["partner"]),
                 "client_auth": "required", "client_ca": str(authority[0])}]
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "listeners": listeners})
    assert ask(gateway.partners, PARTNER, PARTNER, pair=guest) == "200"
    assert ask(gateway.port, OPEN, OPEN) == "200"
    assert ask(gateway.port, OPEN, PARTNER) == "421"
    assert ask(gateway.port, None, "127.0.0.1") == "200"
    assert ask(gateway.port, OPEN, WWW) == "200"  # nobody's name
    assert ask(gateway.partners, PARTNER, OPEN, pair=guest) == "200"  # the public one asks for nothing
    with socket.create_connection(("127.0.0.1", gateway.plain), 30) as plain:
        plain.sendall(get(PARTNER))
        assert plain.recv(65536)[9:12] == b"200"  # behind it is a network that is trusted


def test_hosts_that_the_certificate_does_not_stand_for(launch, pairs):
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES[2:], "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["www"]), "foreign_hosts": "refuse",
         "certificates": [files(pairs["open"])]}]})
    for name, host, status in [(WWW, WWW, "200"), (WWW, "shop.example.org", "200"), (WWW, OPEN, "421"), (OPEN, OPEN, "200"),
                               (OPEN, WWW, "421"), (WWW, "example.com", "421"), (None, WWW, "200"), (None, OPEN, "421"),
                               ("example.com", "example.com", "200")]:
        assert ask(gateway.port, name, host) == status, (name, host)


@pytest.mark.parametrize("more, message", [
    ({"client_auth": "required"}, "client_auth without client_ca"),
    ({"client_ca": "AUTHORITY"}, "client_ca has no effect without a client_auth of the certificate's own"),
    ({"client_auth": "none", "client_crl": "AUTHORITY"}, "client_crl has no effect"),
    ({"client_auth": "required", "client_ca": "/nonexistent"}, "client_ca: cannot read /nonexistent"),
])
def test_check(tmp_path, pairs, authority, more, message):
    more = {key: str(authority[0]) if value == "AUTHORITY" else value for key, value in more.items()}
    path = tmp_path / "f.yaml"
    path.write_text(json.dumps({"listeners": [{"address": "127.0.0.1:8443", **files(pairs["www"]),
                                               "certificates": [files(pairs["partner"], **more)]}], "routes": ROUTES[2:]}))
    done = run_binary("check", "-c", path)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.parametrize("other", [None, {"client_user_prefix": "b:"}, {"client_user": "fingerprint"}])
def test_one_name_has_one_rule(launch, pairs, authority, other):
    rule = {"client_auth": "required", "client_ca": str(authority[0])}
    with pytest.raises(Exception, match="client_auth, client_ca, client_crl or client_user differ"):
        launch({"routes": ROUTES[2:], "listeners": lambda g: [
            {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["www"]), "certificates": [
                files(pairs["partner"], **rule), files(pairs["partner-rsa"], **({**rule, **other} if other else {}))]}]})
