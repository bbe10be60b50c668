"""Which certificate a client gets, what it may resume, and what happens when files change."""
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from harness import children_of, free_port, read_all, run_binary, send_signal, wait_for
from redis_tools import redis_server
from tls_tools import (GET, Seen, client_context, der, field, hello, make_pair, record, reissue,
                       replace, s_client)

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ROUTES = [{"match": {"prefix": "/"}, "respond": {"body": "hello"}}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def pairs(folder):
    return {
        "default": make_pair(folder, "default", ["localhost"]),
        "shop-ec": make_pair(folder, "shop-ec", ["shop.example.org", "www.example.org"]),
        "shop-rsa": make_pair(folder, "shop-rsa", ["shop.example.org"], kind="rsa:2048"),
        "wild": make_pair(folder, "wild", ["*.example.org"]),
        "named": make_pair(folder, "only-a-cn.example.net"),
    }


def listener(gateway, pair, certificates=(), **more):
    return {"name": "public", "address": f"127.0.0.1:{gateway.port}", "certificate": str(pair[0]),
            "private_key": str(pair[1]), **more,
            "certificates": [{"certificate": str(c), "private_key": str(k)} for c, k in certificates]}


@pytest.fixture(scope="module")
def site(launch_module, pairs):
    others = [pairs[name] for name in ("shop-ec", "shop-rsa", "wild", "named")]
    return launch_module({"listeners": lambda g: [listener(g, pairs["default"], others)], "routes": ROUTES})


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("host, expected", [
    (None, "default"), ("localhost", "default"), ("unknown.example.com", "default"),
    ("shop.example.org", "shop-ec"), ("SHOP.example.ORG", "shop-ec"), ("www.example.org", "shop-ec"),
    ("other.example.org", "wild"), ("a.b.example.org", "default"), ("only-a-cn.example.net", "named"),
])
def test_certificate_by_name(site, pairs, version, host, expected):
    seen = Seen(site.port, host, version=version)
    assert seen.certificate == der(pairs[expected][0])
    assert seen.answer.startswith(b"HTTP/1.1 200")


def test_key_types_side_by_side(site, pairs):
    rsa = Seen(site.port, "shop.example.org", version=V12, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    assert rsa.certificate == der(pairs["shop-rsa"][0])
    report = s_client(site.port, "-servername", "shop.example.org", "-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256")
    assert field(report, "Peer signature type") in ("RSA-PSS", "rsa_pss_rsae_sha256")
    with pytest.raises(ssl.SSLError):  # the wildcard is of EC alone
        Seen(site.port, "x.example.org", version=V12, ciphers="ECDHE-RSA-AES128-GCM-SHA256")


def test_cheapest_cipher_of_equals(site):
    for version, cipher in ((V12, "ECDHE-ECDSA-AES128-GCM-SHA256"), (V13, "TLS_AES_128_GCM_SHA256")):
        assert Seen(site.port, "shop.example.org", version=version).cipher == cipher
    others = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"  # EC before RSA all the same
    assert Seen(site.port, "shop.example.org", version=V12, ciphers=others).cipher == others.split(":")[0]


def test_strict_names(launch, pairs):
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], sni_strict=True)], "routes": ROUTES})
    assert Seen(gateway.port, "localhost").answer.startswith(b"HTTP/1.1 200")
    assert Seen(gateway.port, None).answer.startswith(b"HTTP/1.1 200")
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized"):
        Seen(gateway.port, "shop.example.org")


def test_policy_of_the_protocol(site):
    report = s_client(site.port, "-tls1_3", "-ign_eof", text=b"GET / HTTP/1.0\r\nhost: x\r\n\r\n")
    assert "Post-Handshake New Session Ticket" in report and field(report, "Max Early Data") == "0"
    for refused in ("-tls1", "-tls1_1"):
        assert "Cipher is (NONE)" in s_client(site.port, refused, "-cipher", "ALL:@SECLEVEL=0")
    for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"):
        assert "Cipher is (NONE)" in s_client(site.port, "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0")
    report = s_client(site.port, "-tls1_2")
    assert field(report, "Compression") == "NONE" or "Compression: NONE" in report


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("offered, chosen", [
    (["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["spdy/3", "http/1.1"], "http/1.1"), ([], None),
    (["http/1.0"], "http/1.0"), (["http/1.0", "http/1.1"], "http/1.1"), (["h3", "http/0.9", "http/1.0"], "http/1.0")])
def test_protocol_by_preference(site, version, offered, chosen):
    context = client_context(version=version)
    if offered:
        context.set_alpn_protocols(offered)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), 30)) as tls:
        assert tls.selected_alpn_protocol() == chosen
        if chosen == "h2":
            return
        tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = read_all(tls)
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("offered", [["h2c"], ["http/0.9", "h3"], ["H2"], ["http/1.1 "], ["http/1."]])
def test_protocols_that_nobody_speaks_here(site, offered):
    context = client_context()
    context.set_alpn_protocols(offered)
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), 30))


def test_renegotiation_is_refused(site):
    assert "no renegotiation" in s_client(site.port, "-tls1_2", text=b"R\n")
    assert site.get("/").text == "hello"


def test_newest_version_only(launch, pairs):
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], tls_min="1.3")], "routes": ROUTES})
    assert Seen(gateway.port, version=V13).version == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        Seen(gateway.port, version=V12)


# ---- resumption ----

def resumes(gateway, before, host="localhost"):
    return Seen(gateway.port, host, session=before.session, context=before.context).was_resumed


@pytest.mark.races
@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_resumes_on_any_thread(site, version):
    before = Seen(site.port, "localhost", version=version)
    assert not before.was_resumed
    assert all(resumes(site, before) for _ in range(8))  # two threads share the port
    assert site.stats()["gateway"]["connections"]["handshakes_resumed"] >= 8


@pytest.mark.parametrize("version, is_new", [(V12, False), (V13, True)], ids=["1.2", "1.3"])
def test_each_connection_of_1_3_gets_a_ticket_for_the_next(site, version, is_new):
    before = Seen(site.port, "localhost", version=version)
    for _ in range(3):
        after = Seen(site.port, "localhost", session=before.session, context=before.context)
        assert after.was_resumed and (after.session.id != before.session.id) == is_new
        before = after


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("first, then, is_same", [
    ("localhost", "shop.example.org", False), ("shop.example.org", "www.example.org", False),
    ("localhost", "unknown.example.com", False), ("localhost", None, False), (None, "localhost", False),
    ("unknown.example.com", "unknown.example.com", True), ("LOCALHOST", "localhost", True), (None, None, True)])
def test_resumes_under_its_own_name_only(site, pairs, version, first, then, is_same):
    before = Seen(site.port, first, version=version)
    after = Seen(site.port, then, session=before.session, context=before.context)
    assert after.was_resumed == is_same and after.answer.startswith(b"HTTP/1.1 200")
    assert Seen(site.port, then, session=after.session, context=after.context).was_resumed


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_resumes_over_restarts_and_gateways(launch, pairs, folder, version):
    secret = folder / f"tickets-{version}"
    sections = {"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES,
                "tls": {"ticket_secret_file": str(secret)}}
    one = launch(sections)
    before = Seen(one.port, "localhost", version=version)
    assert secret.stat().st_mode & 0o777 == 0o600 and secret.stat().st_size >= 32
    two = launch(sections)
    assert resumes(two, before)
    stranger = launch({**sections, "tls": {}})
    assert not resumes(stranger, before)
    one.stop()
    one.start()
    one.wait_ready()
    assert resumes(one, before)


@pytest.mark.races
def test_resumes_at_gateways_that_share_a_redis(launch, pairs, tmp_path):
    def shares(gateway):
        wait_for(lambda: "event=ticket_secret_shared " in gateway.log, what="the secret out of Redis")
        return gateway

    with redis_server(tmp_path) as (port, client, process):
        def gateway(prefix="app"):
            return launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES,
                           "tls": {"ticket_secret_shared": True, "check_files": "100ms"},
                           "policies": {"shared_state": {"redis": {"address": f"127.0.0.1:{port}"}, "prefix": prefix}}})
        one, two, stranger = shares(gateway()), shares(gateway()), shares(gateway("else"))
        before = Seen(one.port, "localhost")
        assert resumes(two, before) and not resumes(stranger, before)
        one.stop()
        one.start()
        one.wait_ready()
        wait_for(lambda: resumes(one, before), what="the same secret after a restart")
        secret = client.get("app:{tickets}").decode()
        assert secret not in one.log + two.log and len(secret) == 64
        client.set("app:{tickets}", "f" * 64)  # the operator's new one: all take it, and know the old one for a while
        client.set("else:{tickets}", "f" * 64)  # who never had the old one tells when the others have the new one
        for other in (one, two):
            wait_for(lambda other=other: resumes(stranger, Seen(other.port, "localhost")), what="the new secret")
        assert resumes(two, before)
        process.kill()
        process.wait(20)
        now = Seen(one.port, "localhost")
        assert resumes(two, now)
        exchange_gateway(two)  # which knows what the one before it was told
        assert resumes(two, now) and resumes(two, before)


def exchange_gateway(gateway):
    """By a reload, until the old one drains."""
    drains = gateway.log.count("event=drain_started")
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: gateway.log.count("event=drain_started") > drains, what="the old gateway's drain")


def test_resumes_over_a_reload(launch, pairs):
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES})
    before = Seen(gateway.port, "localhost")
    exchange_gateway(gateway)
    assert resumes(gateway, before)


def test_resumes_over_a_crash_and_a_reload_with_a_new_secret(launch, pairs, folder):
    secret = folder / "exchanged"
    secret.write_text("a" * 40)
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES,
                      "tls": {"ticket_secret_file": str(secret), "check_files": "off"}})
    before = Seen(gateway.port, "localhost")
    secret.write_text("b" * 41)
    exchange_gateway(gateway)
    assert resumes(gateway, before)  # the one before is still read
    after = Seen(gateway.port, "localhost")
    send_signal(children_of(gateway.process.pid)[-1], signal.SIGKILL)
    wait_for(lambda: gateway.log.count("event=child_started role=gateway") == 3, what="another gateway")
    gateway.wait_ready()
    assert resumes(gateway, before) and resumes(gateway, after)


def test_new_secret_renews_tickets(launch, pairs, folder):
    secret = folder / "rotating"
    secret.write_text("a" * 40)
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES,
                      "tls": {"ticket_secret_file": str(secret), "check_files": "100ms"}})
    before = Seen(gateway.port, "localhost")
    secret.write_text("b" * 41)
    wait_for(lambda: "what=ticket_secret" in gateway.log, what="the new secret")
    assert resumes(gateway, before)  # the one before is still read
    after = Seen(gateway.port, "localhost")
    secret.write_text("too short")
    wait_for(lambda: "files_not_reloaded what=ticket_secret" in gateway.log, what="the refusal")
    secret.write_text("c" * 42)
    wait_for(lambda: gateway.log.count("files_reloaded what=ticket_secret") == 2, what="the third secret")
    assert resumes(gateway, after) and not resumes(gateway, before)
    assert "aaaa" not in gateway.log and "bbbb" not in gateway.log


# ---- files that change ----

@pytest.mark.races
def test_certificates_are_read_anew(launch, folder):
    pair = make_pair(folder, "renewed", ["localhost"])
    first, second = make_pair(folder, "first", ["localhost"]), make_pair(folder, "second", ["localhost"])
    replace(pair, first)
    gateway = launch({"listeners": lambda g: [listener(g, pair)], "routes": ROUTES, "tls": {"check_files": "100ms"}})
    served = lambda: Seen(gateway.port, "localhost").certificate
    assert served() == der(first[0])
    context = client_context()
    with context.wrap_socket(socket.create_connection(("127.0.0.1", gateway.port), 30)) as open_one:
        replace(pair, second)
        wait_for(lambda: served() == der(second[0]), what="the second certificate")
        open_one.sendall(GET)  # nobody was cut off
        assert open_one.recv(65536).startswith(b"HTTP/1.1 200")
    # A certificate whose key does not fit: the old one goes on, and the log says why.
    pair[0].write_bytes(first[0].read_bytes())
    wait_for(lambda: "does not belong to the certificate" in gateway.log, what="the complaint")
    assert served() == der(second[0])
    assert "files_not_reloaded what=certificates listener=public kept=old" in gateway.log
    pair[1].write_bytes(first[1].read_bytes())
    wait_for(lambda: served() == der(first[0]), what="the first certificate again")
    pair[0].write_text("no certificate")
    wait_for(lambda: "holds no usable PEM certificate" in gateway.log, what="the second complaint")
    assert served() == der(first[0])
    # A reload of the configuration refuses it by its place, and keeps the old gateway.
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: "event=reload_failed" in gateway.log, what="the refused reload")
    assert served() == der(first[0])
    assert "certificate: cannot use" in gateway.log
    replace(pair, second)
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: served() == der(second[0]), what="the certificate after the reload")


@pytest.mark.races
@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_a_renewal_amid_handshakes(launch, folder, version):
    """Who has begun under the old certificate ends under it; nobody gets half of each, on whichever loop."""
    renewed = make_pair(folder, f"amid-{version}", ["localhost"])
    both = [make_pair(folder, f"{name}-{version}", ["localhost"]) for name in ("before", "after")]
    replace(renewed, both[0])
    gateway = launch({"listeners": lambda g: [listener(g, renewed)], "routes": ROUTES, "limits": {"threads": 4},
                      "tls": {"check_files": "100ms"}})
    renewals, stop = [], threading.Event()

    def shake():
        seen = set()
        while not stop.is_set():
            one = Seen(gateway.port, "localhost", version=version)
            again = Seen(gateway.port, "localhost", session=one.session, context=one.context)
            assert one.answer.startswith(b"HTTP/1.1 200") and again.answer.startswith(b"HTTP/1.1 200")
            seen.add(one.certificate)
        return seen

    def begun():
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context(version=version).wrap_bio(incoming, outgoing, server_hostname="localhost")
        plain = socket.create_connection(("127.0.0.1", gateway.port), 30)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        plain.sendall(outgoing.read())
        incoming.write(plain.recv(65536))
        return tls, incoming, outgoing, plain

    def ended(tls, incoming, outgoing, plain):
        with plain:
            while True:
                try:
                    tls.do_handshake()
                    return tls.getpeercert(True)
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65536))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        crowd = [pool.submit(shake) for _ in range(4)]
        try:
            for turn in range(1, 7):
                half_way = begun()
                replace(renewed, both[turn % 2])
                wait_for(lambda: Seen(gateway.port).certificate == der(both[turn % 2][0]), what="the renewal")
                renewals.append(ended(*half_way))
        finally:
            stop.set()
        seen = set().union(*(one.result() for one in crowd))
    assert seen == {der(certificate) for certificate, _ in both}
    assert renewals == [der(both[(turn - 1) % 2][0]) for turn in range(1, 7)]
    assert gateway.stats()["gateway"]["connections"]["handshakes_failed"] == 0


@pytest.mark.parametrize("since, days, why", [(-5, -1, "it has expired"), (1, 5, "it is not valid yet")])
def test_a_certificate_that_nobody_takes_replaces_none_that_is_good(launch, folder, since, days, why):
    pair = make_pair(folder, "timely", ["localhost"])
    good, newer = pair[0].read_bytes(), reissue(pair, 3)
    gateway = launch({"listeners": lambda g: [listener(g, pair)], "routes": ROUTES, "tls": {"check_files": "100ms"}})
    pair[0].write_bytes(reissue(pair, days, since))
    wait_for(lambda: f"{why}, and the old one is good" in gateway.log, what="the complaint")
    assert Seen(gateway.port, "localhost").certificate == ssl.PEM_cert_to_DER_cert(good.decode())
    # What can be read but is no file stops nobody's looking: the next good one is found.
    pair[0].unlink()
    os.mkfifo(pair[0])
    wait_for(lambda: "it is no regular file" in gateway.log, what="the complaint about the pipe")
    pair[0].unlink()
    pair[0].write_bytes(newer)
    wait_for(lambda: Seen(gateway.port, "localhost").certificate == ssl.PEM_cert_to_DER_cert(newer.decode()),
             what="the new one")
    assert gateway.log.count("event=certificate_expires_soon") == 2  # at the start, and of the new one


def test_check_names_the_place(folder, pairs, tmp_path):
    def check(**more):
        path = tmp_path / "f.yaml"
        base = {"address": "127.0.0.1:8443", "certificate": pairs["default"][0], "private_key": pairs["default"][1]}
        lines = ["listeners:", " -"] + [f"   {key}: {value}" for key, value in {**base, **more}.items()]
        path.write_text("\n".join(lines + ["routes: [{match: {prefix: /}, respond: {}}]", ""]))
        done = run_binary("check", "-c", path)
        return done.returncode, done.stderr.replace(str(path), "FILE")

    assert check()[0] == 0
    wrong = check(private_key=pairs["wild"][1])
    assert wrong[0] == 2 and "FILE:5:17: private_key: cannot use" in wrong[1]
    assert "does not belong to the certificate" in wrong[1]
    missing = check(certificate="/nonexistent.crt")
    assert missing[0] == 2 and "FILE:4:17: certificate: cannot read /nonexistent.crt" in missing[1]
    inner = check(certificates=f"[{{certificate: {pairs['wild'][0]}, private_key: {pairs['default'][1]}}}]")
    assert inner[0] == 2 and "FILE:6:" in inner[1] and "does not belong" in inner[1]
    no_ca = check(client_auth="required")
    assert no_ca[0] == 2 and "FILE:6:17: client_auth without client_ca" in no_ca[1]
    bad_ca = check(client_auth="required", client_ca=pairs["default"][1])
    assert bad_ca[0] == 2 and "FILE:7:15: client_ca: cannot use" in bad_ca[1]
    no_list = check(client_auth="required", client_ca=pairs["default"][0], client_crl=pairs["default"][0])
    assert no_list[0] == 2 and "FILE:8:16: client_crl: cannot use" in no_list[1]
    idle = check(client_crl=pairs["default"][0])
    assert idle[0] == 2 and "client_crl has no effect without client_auth" in idle[1]
    idle = check(client_user="cn")
    assert idle[0] == 2 and "client_user has no effect without client_auth" in idle[1]
    idle = check(client_user_prefix="staff-")
    assert idle[0] == 2 and "client_user_prefix has no effect without client_auth" in idle[1]
    idle = check(certificates=f"[{{certificate: {pairs['wild'][0]}, private_key: {pairs['wild'][1]}, client_user: cn}}]")
    assert idle[0] == 2 and "client_user has no effect without a client_auth of the certificate's own" in idle[1]


# ---- many at once ----

def test_a_flood_of_hellos_waits_for_its_turn(launch, pairs):
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES,
                      "limits": {"threads": 1}, "tls": {"handshake_turn": "100us", "handshakes_waiting_max": 20}})
    with gateway.client() as steady:
        assert steady.get("/").text == "hello"
        contexts = client_context()
        flood = []
        for _ in range(120):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = contexts.wrap_bio(incoming, outgoing)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            flood.append((socket.create_connection(("127.0.0.1", gateway.port), 30), tls, incoming, outgoing))
        for plain, _, _, outgoing in flood:
            plain.sendall(outgoing.read())
        assert steady.get("/").text == "hello"  # on a connection that was there before
        answered = 0
        for plain, tls, incoming, outgoing in flood:
            try:
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        incoming.write(plain.recv(65536) or b"")
                        if incoming.pending == 0:
                            raise ConnectionError from None
                answered += 1
            except ConnectionError:
                pass
            plain.close()
        figures = gateway.stats()["gateway"]["connections"]
        assert figures["handshakes_waiting"] == 0
        assert answered + figures["handshakes_shed"] == 120 and answered > 0
        assert Seen(gateway.port).answer.startswith(b"HTTP/1.1 200")


def test_a_second_hello_waits_for_its_turn_too(launch, pairs):
    """Who is asked for another key share has cost next to nothing so far: the dear part is to come."""
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES,
                      "limits": {"threads": 1}, "tls": {"handshake_turn": "100us", "handshakes_waiting_max": 10}})
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 30)) for _ in range(60)]
        for plain in crowd:
            plain.sendall(record(hello((29, 0x6399), share=0x6399)))
            assert plain.recv(65536)[:6] == b"\x16\x03\x03\x00\x38\x02"  # a retry request, short as it is
        process = children_of(gateway.process.pid)[0]
        before = gateway.stats()["gateway"]["connections"]
        send_signal(process, signal.SIGSTOP)
        try:
            for plain in crowd:
                plain.sendall(record(hello((29, 0x6399))))
        finally:
            send_signal(process, signal.SIGCONT)
        for plain in crowd:
            with contextlib.suppress(ConnectionError):
                plain.recv(65536)
        figures = gateway.stats()["gateway"]["connections"]
        assert figures["handshakes_shed"] > before["handshakes_shed"]
    assert Seen(gateway.port).answer.startswith(b"HTTP/1.1 200")


def test_a_second_hello(site):
    report = s_client(site.port, "-groups", "P-521:X25519", "-servername", "localhost", "-tls1_3", text=GET)
    assert "New, TLSv1.3" in report and "Server Temp Key: X25519" in report


def is_listening(port):
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 30):
        return True


@pytest.fixture(scope="module")
def early_session(folder, pairs):
    """Of a server that took early data, and whose place the gateway has taken since."""
    port, session = free_port(), folder / "early.session"
    server = subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", pairs["default"][0], "-key",
                               pairs["default"][1], "-tls1_3", "-early_data", "-quiet"], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: is_listening(port), what="the old server")
        client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-sess_out", session],
                                  stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: session.exists() and session.stat().st_size > 0, what="its session")
        client.communicate(timeout=60)
    finally:
        server.kill()
        server.communicate(timeout=60)
    return session


@pytest.mark.parametrize("groups", ["X25519:P-256", "P-521:X25519"], ids=["at once", "behind a retry request"])
@pytest.mark.parametrize("size", [1, 5000, 15000])
def test_early_data_that_nobody_takes(site, folder, early_session, groups, size):
    """RFC 8446 section 4.2.10: they are thrown away, before a second hello too, and the handshake goes on."""
    early = folder / "early.data"
    early.write_bytes(b"x" * size)
    report = s_client(site.port, "-servername", "localhost", "-tls1_3", "-sess_in", early_session, "-early_data", early,
                      "-groups", groups, "-ign_eof", text=GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert "Early data was rejected" in report and report.count("\r\n\r\nhello") == 1


def test_early_data_without_end(site):
    """What comes before a second hello is thrown away up to a measure."""
    with socket.create_connection(("127.0.0.1", site.port), 30) as plain:
        plain.sendall(record(hello((29, 0x6399), share=0x6399)))
        assert plain.recv(65536)[5] == 2
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                plain.sendall(record(bytes(16384), kind=23))
        with contextlib.suppress(ConnectionError):
            read_all(plain)
    assert failed_handshakes(site) > 0
    assert Seen(site.port).answer.startswith(b"HTTP/1.1 200")


def failed_handshakes(site):
    """Of all connections so far: each of them has come to its end."""
    connections = site.wait_stats(lambda stats: stats["gateway"]["connections"]["open"] == 0 and stats,
                                  what="the end of all connections")["gateway"]["connections"]
    return connections["handshakes_failed"]


LONG = b"\x01" + (131000).to_bytes(3, "big") + bytes(40)


@pytest.mark.parametrize("said, alert", [
    (record(LONG), 47), (record(LONG, size=1), 47), (record(b"\x01", size=1) + record(b"\0\x40\0"), 47),
    (record(b"\x02\0\0\0"), 10), (record(b"\x01\x5a", kind=21), 10), (b"\x16\x03\x01\0\0", 10), (b"\x16\x03\x01\xff\xff", 22),
    (b"\x80\x2e\x01\x03\x01", 10), (record(b"\x01", kind=20), 10), (record(b"x", kind=23), 10)],
    ids=["too long", "in bytes", "its length cut", "no hello", "an alert", "an empty record", "a record too long", "SSL 2",
         "a cipher change", "data"])
def test_what_no_client_begins_with(site, said, alert):
    """OpenSSL would take room for 128 KiB where a hello says that it is so long."""
    before = failed_handshakes(site)
    with socket.create_connection(("127.0.0.1", site.port), 30) as plain:
        plain.sendall(said)
        assert read_all(plain) == b"\x15\x03\x03\x00\x02\x02" + bytes([alert])
    assert failed_handshakes(site) == before + 1


@pytest.mark.parametrize("is_at_once", [False, True], ids=["then", "at once"])
def test_a_second_hello_that_is_too_long(site, is_at_once):
    with socket.create_connection(("127.0.0.1", site.port), 30) as plain:
        first = record(hello((29, 0x6399), share=0x6399))
        plain.sendall(first + (record(LONG) if is_at_once else b""))
        if not is_at_once:
            assert plain.recv(65536)[5] == 2
            plain.sendall(b"\x14\x03\x03\x00\x01\x01" + record(LONG))
        assert read_all(plain).endswith(b"\x15\x03\x03\x00\x02\x02\x2f")


def test_a_hello_byte_by_byte(site):
    talk_byte_by_byte(site, lambda hello: hello)


def test_a_hello_in_records_of_a_few_bytes(site):
    talk_byte_by_byte(site, lambda hello: record(hello[5:], size=3))


def talk_byte_by_byte(site, cut):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(("127.0.0.1", site.port), 30) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = cut(outgoing.read())
        for at in range(len(first)):
            plain.sendall(first[at:at + 1])
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(plain.recv(65536))
        tls.write(GET)
        plain.sendall(outgoing.read())
        while True:
            try:
                assert tls.read().startswith(b"HTTP/1.1 200")
                break
            except ssl.SSLWantReadError:
                incoming.write(plain.recv(65536))


# ---- no TLS ----

@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", b"P",
                                  b"POST / HTTP/1.1\r\ncontent-length: 300000\r\n\r\n" + bytes(300000)],
                         ids=["get", "head", "one byte", "a large body"])
def test_http_in_the_clear_is_told_so(site, said):
    before = failed_handshakes(site)
    with socket.create_connection(("127.0.0.1", site.port), 30) as plain:
        plain.sendall(said)
        head, _, body = read_all(plain).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"connection: close" in head and b"\r\ndate: " in head
    assert body == b"" if said.startswith(b"HEAD") else json.loads(body)["error"]["code"] == "plain_http_to_tls"
    assert failed_handshakes(site) == before + 1
