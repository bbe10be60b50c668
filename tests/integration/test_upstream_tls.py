"""
test_upstream_tls.py: TLS to servers: the certificate is checked, sessions are resumed, and a
connection that breaks off inside is no end.
"""
import concurrent.futures
import itertools
import os
import re
import subprocess
import threading

import pytest

from harness import free_port, plain_http, wait_for
from tls_tools import make_pair, reissue, replace
from upstreams import H2Server, Raw, cluster, figures, ok, server_tls, serving


REASON = re.compile('reason="(hostname mismatch|IP address mismatch|unable to get local issuer certificate|self.signed certificate.*)"')


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A CA with certificates for a.test and b.test, and one that we show."""
    folder = tmp_path_factory.mktemp("ca")

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    for name in ("a.test", "b.test", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1" if name == "a.test"
                                    else f"subjectAltName=DNS:{name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")
    return folder


def pair(authority, name):
    return authority / f"{name}.pem", authority / f"{name}.key"


def test_a_verified_server_is_spoken_to_and_sessions_are_resumed(launch, authority):
    answer = ok(fields=b"connection: close\r\n")
    with serving(Raw([answer], tls=server_tls(pair(authority, "a.test")))) as server:
        gateway = launch(cluster([server.address], tls={"ca_file": str(authority / "ca.pem")}))
        for _ in range(5):
            assert gateway.get("/x").text == "ok"
        assert server.handshakes[0] is False and any(server.handshakes[1:])
        connections = figures(gateway, "connections")
        assert connections["tls_handshakes"] == 5 and connections["tls_resumed"] == sum(server.handshakes)
        assert server.requests[0][0].startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize("keys, works", [
    ({"server_name": "b.test"}, True),
    ({"server_name": "a.test"}, False),  # the certificate is for another name
    ({}, False),                         # and not for the address
    ({"verify": False}, True),
    ({"ca_file": None, "server_name": "b.test"}, False),  # the system does not know our authority
])
def test_the_name_and_the_authority_are_checked(launch, authority, keys, works):
    keys = {"ca_file": str(authority / "ca.pem"), **keys}
    keys = {name: value for name, value in keys.items() if value is not None}
    with serving(Raw([ok()], tls=server_tls(pair(authority, "b.test")))) as server:
        gateway = launch(cluster([server.address], tls=keys))
        answer = gateway.get("/")
        assert answer.status_code == (200 if works else 502), answer.text
        assert bool(server.requests) == works
        if not works:
            assert figures(gateway, "connections")["tls_errors"] > 0
            told = [line for line in gateway.log.splitlines() if "event=endpoint_tls_failed" in line]
            assert told and all(server.address in line and REASON.search(line) for line in told), gateway.log


@pytest.mark.parametrize("trusted, works", [("root", {"one", "two"}), ("one-ca", {"one"}), ("one", {"one"})])
def test_chains_end_at_what_is_trusted(launch, tmp_path, trusted, works):
    """A file with one authority of two under a root, or with a server's own certificate, means that alone."""
    made = {"root": make_pair(tmp_path, "root")}
    for name in ("one", "two"):
        made[name + "-ca"] = make_pair(tmp_path, name + "-ca", authority=made["root"])
        made[name] = make_pair(tmp_path, name, [name + ".test"], authority=made[name + "-ca"])
    ca_file = tmp_path / "trusted.pem"
    ca_file.write_bytes(made[trusted][0].read_bytes())
    for name in ("one", "two"):
        made[name][0].write_bytes(made[name][0].read_bytes() + made[name + "-ca"][0].read_bytes())
        with serving(Raw([ok()], tls=server_tls(made[name]))) as server:
            gateway = launch(cluster([server.address], tls={"ca_file": str(ca_file), "server_name": name + ".test"}))
            assert gateway.get("/").status_code == (200 if name in works else 502)
            assert bool(server.requests) == (name in works)


def test_a_certificate_that_is_over_is_none(launch, authority):
    certificate, key = authority / "over.pem", authority / "a.test.key"
    (authority / "over.ext").write_text("subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", "x509", "-req", "-in", "a.test.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "-1", "-extfile", "over.ext", "-out", str(certificate)], check=True, capture_output=True,
                   cwd=authority)
    with serving(Raw([ok()], tls=server_tls((certificate, key)))) as server:
        gateway = launch(cluster([server.address], tls={"ca_file": str(authority / "ca.pem")}))
        assert gateway.get("/").status_code == 502 and not server.requests
        assert 'reason="certificate has expired"' in gateway.log


@pytest.mark.parametrize("endpoint, keys, asked", [("127.0.0.1", {}, None), ("localhost", {"verify": False}, "localhost"),
                                                   ("127.0.0.1", {"server_name": "a.test"}, "a.test")])
def test_names_are_asked_for_and_addresses_are_not(launch, authority, endpoint, keys, asked):
    """RFC 6066 section 3: an address is no server name."""
    names = []
    tls = server_tls(pair(authority, "a.test"))
    tls.sni_callback = lambda connection, name, context: names.append(name)
    with serving(Raw([ok()], tls=tls)) as server:
        gateway = launch(cluster([f"{endpoint}:{server.port}"], tls={"ca_file": str(authority / "ca.pem"), **keys}))
        wait_for(lambda: gateway.get("/").text == "ok")
        assert set(names) == {asked}


@pytest.mark.parametrize("alpn", [None, ["http/1.1"]])
def test_http2_alone_is_not_spoken_to_who_did_not_choose_it(launch, authority, alpn):
    with serving(Raw([ok()], tls=server_tls(pair(authority, "a.test"), alpn))) as server:
        gateway = launch(cluster([server.address], protocol="h2", tls={"ca_file": str(authority / "ca.pem")}))
        assert gateway.get("/").status_code == 502 and not server.requests
        assert figures(gateway, "connections")["tls_errors"] > 0
        assert 'reason="the server did not choose HTTP/2 (ALPN)"' in gateway.log


def test_we_show_a_certificate_where_one_is_wanted(launch, authority):
    tls = server_tls(pair(authority, "a.test"), ca=authority / "ca.pem")
    with serving(Raw([ok()], tls=tls)) as server:
        crt, key = map(str, pair(authority, "client"))
        gateway = launch(cluster([server.address], tls={"ca_file": str(authority / "ca.pem"), "certificate": crt,
                                                        "private_key": key}))
        assert gateway.get("/").text == "ok"


def test_what_we_show_comes_to_an_end(launch, authority):
    """Servers let nobody in with a certificate that is over: whoever renews it is told beforehand."""
    crt, key = pair(authority, "client")
    ending = authority / "ending.pem"
    ending.write_bytes(reissue((crt, key), 4 / 86400, signer=(authority / "ca.pem", authority / "ca.key")))
    shown = {"tls": {"certificate": str(ending), "private_key": str(key)}}
    gateway = launch({**cluster(["127.0.0.1:9"], **shown), "tls": {"check_files": "off"}})

    def left():
        found = re.search(rf'^floodgate_cluster_certificate_expiry_seconds{{cluster="api",file="{ending}"}} (-?\d+)$',
                          plain_http.get(gateway.admin + "/metrics").text, re.M)
        return int(found.group(1))

    assert left() <= 4 and figures(gateway)["certificate"]["file"] == str(ending)
    assert f'event=certificate_expires_soon cluster=api file="{ending}" days=0' in gateway.log
    wait_for(lambda: f'event=certificate_expired cluster=api file="{ending}" days=-1' in gateway.log, what="a word of its end")
    assert left() < 0 and figures(gateway)["certificate"]["left_s"] < 0


# ---- files that change ----

def copies(folder, **sources):
    """Files of our own for one test to exchange."""
    made = {}
    for name, source in sources.items():
        made[name] = folder / name
        made[name].write_bytes(source.read_bytes())
    return made


class Shown:
    """A server that answers with the name in its client's certificate, and once with `held` only when it is told to."""

    def __init__(self, authority):
        self.go_on = threading.Event()
        self.server = Raw([self.answer], tls=server_tls(pair(authority, "a.test"), ca=authority / "ca.pem"))

    def answer(self, connection, head, _):
        name = dict(rdn[0] for rdn in connection.getpeercert()["subject"])["commonName"].encode()
        if head.startswith(b"GET /held"):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(name))
            self.go_on.wait(60)
            connection.sendall(name)
        else:
            connection.sendall(ok(name, fields=b"connection: close\r\n"))
        return head.startswith(b"GET /held")


@pytest.mark.races
def test_a_renewed_certificate_is_shown(launch, authority, tmp_path):
    """By connections that begin from then on, none of which resumes what was agreed on with the old one."""
    shown = copies(tmp_path, certificate=authority / "client.pem", private_key=authority / "client.key")
    renewed = make_pair(tmp_path, "renewed", authority=(authority / "ca.pem", authority / "ca.key"))
    ours = Shown(authority)
    with serving(ours.server) as server:
        gateway = launch({**cluster([server.address], threads=2, tls={"ca_file": str(authority / "ca.pem"),
                                                                      **{k: str(v) for k, v in shown.items()}}),
                          "tls": {"check_files": "100ms"}})
        assert gateway.get("/").text == "client"
        with gateway.client() as client, client.stream("GET", "/held") as held:
            replace(shown.values(), renewed)
            wait_for(lambda: "event=files_reloaded what=certificates cluster=api" in gateway.log, what="a word of the new files")
            assert {gateway.get("/").text for _ in range(6)} == {"renewed"}
            ours.go_on.set()
            assert held.read() == b"client"  # nobody is cut off
        files = gateway.stats()["gateway"]["files"]
        assert files["reloaded"] >= 1 and files["stale"] == 0


@pytest.mark.races
def test_a_renewal_amid_connections(launch, authority, tmp_path):
    """Each loop takes up the new files while others shake hands by the old; nobody's request fails."""
    signer = (authority / "ca.pem", authority / "ca.key")
    both = [(*make_pair(tmp_path, name, authority=signer), signer[0]) for name in ("one", "two")]
    files = list(copies(tmp_path, certificate=both[0][0], private_key=both[0][1], ca_file=signer[0]).values())
    ours, stop = Shown(authority), threading.Event()
    with serving(ours.server) as server:
        gateway = launch({**cluster([server.address], threads=3, tls=dict(
            zip(("certificate", "private_key", "ca_file"), map(str, files)))), "tls": {"check_files": "100ms"}})

        def ask():
            names = set()
            with gateway.client() as client:
                while not stop.is_set():
                    names.add(client.get("/").text)
            return names

        def reloaded(times):
            gateway.wait_stats(lambda stats: stats["gateway"]["files"]["reloaded"] >= times)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            crowd = [pool.submit(ask) for _ in range(4)]
            try:
                for turn in range(1, 11):
                    replace(files, both[turn % 2])
                    reloaded(turn)
            finally:
                stop.set()
            assert set().union(*(one.result() for one in crowd)) == {"one", "two"}


def test_other_authorities_are_trusted(launch, authority, tmp_path):
    """Also where the old ones have let a session begin that could be resumed."""
    other = make_pair(tmp_path, "other")
    trusted = copies(tmp_path, ca=authority / "ca.pem")["ca"]
    with serving(Raw([ok(fields=b"connection: close\r\n")], tls=server_tls(pair(authority, "a.test")))) as server:
        gateway = launch({**cluster([server.address], tls={"ca_file": str(trusted)}), "tls": {"check_files": "100ms"}})

        def resumed():
            return gateway.get("/").text == "ok" and server.handshakes[-1]
        wait_for(resumed, what="a resumed session")
        replace([trusted], other[:1])
        wait_for(lambda: gateway.get("/").status_code == 502, what="a refusal of the server")
        assert 'reason="unable to get local issuer certificate"' in gateway.log
        replace([trusted], [authority / "ca.pem"])
        wait_for(lambda: gateway.get("/").text == "ok", what="the server's return")


def test_new_files_that_are_of_no_use_change_nothing(launch, authority, tmp_path):
    files = copies(tmp_path, ca_file=authority / "ca.pem", certificate=authority / "client.pem",
                   private_key=authority / "client.key")
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "ec", "-in", files["private_key"], "-aes128", "-passout", "pass:x", "-out", locked], check=True,
                   capture_output=True)
    over = tmp_path / "over.pem"
    over.write_bytes(reissue(pair(authority, "client"), -1, signer=(authority / "ca.pem", authority / "ca.key")))
    ours = Shown(authority)
    with serving(ours.server) as server:
        gateway = launch({**cluster([server.address], tls={k: str(v) for k, v in files.items()}),
                          "tls": {"check_files": "100ms"}})
        for name, what, reason in [
                ("ca_file", None, "No such file or directory"),
                ("ca_file", b"no authorities at all", "it holds no usable PEM certificate: no start line"),
                ("certificate", b"", "it holds no usable PEM certificate: no start line"),
                ("certificate", over.read_bytes(), "it has expired, and the old one is good"),
                ("certificate", (authority / "a.test.pem").read_bytes(), "it does not belong to the certificate"),
                ("private_key", locked.read_bytes(), "it is locked with a passphrase")]:
            good = files[name].read_bytes()
            files[name].unlink() if what is None else files[name].write_bytes(what)
            wait_for(lambda: re.search(f'event=files_not_reloaded what=certificates cluster=api kept=old reason="[^"]*{reason}"',
                                       gateway.log), what=reason)
            gateway.wait_stats(lambda stats: stats["gateway"]["files"]["stale"] == 1)
            assert re.search(r"^floodgate_files_stale 1$", plain_http.get(gateway.admin + "/metrics").text, re.M)
            assert gateway.get("/").text == "client"
            files[name].write_bytes(good)
            gateway.wait_stats(lambda stats: stats["gateway"]["files"]["stale"] == 0)
            assert gateway.get("/").text == "client"


def test_a_connection_cut_inside_tls_is_no_end(launch, authority):
    def cut(connection, *_):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of the")
        os.close(connection.detach())  # no close_notify
        return False

    with serving(Raw([cut], tls=server_tls(pair(authority, "a.test")))) as server:
        gateway = launch(cluster([server.address], tls={"ca_file": str(authority / "ca.pem")}))
        data = gateway.exchange(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"half of the" in data and not data.endswith(b"0\r\n\r\n")


def test_large_bodies_both_ways(launch, authority):
    body = bytes(range(256)) * 3500
    with serving(Raw([lambda connection, head, body: connection.sendall(ok(body))],
                     tls=server_tls(pair(authority, "a.test")))) as server:
        gateway = launch(cluster([server.address], tls={"ca_file": str(authority / "ca.pem")}))
        with gateway.client() as client:
            for _ in range(2):
                assert client.put("/", content=body).content == body


def test_alpn_chooses_the_protocol(launch, authority):
    with serving(H2Server(tls=server_tls(pair(authority, "a.test"), ["h2", "http/1.1"])),
                 Raw([ok(b"one")], tls=server_tls(pair(authority, "a.test"), ["http/1.1"]))) as (h2, h1):
        gateway = launch(cluster([h2.address, h1.address], tls={"ca_file": str(authority / "ca.pem")}))
        with gateway.client() as client:
            answers = [client.get("/") for _ in range(6)]
        assert [one.text == "one" for one in answers].count(True) == 3
        assert answers[0].json()["headers"][":scheme"] == "https" if answers[0].text != "one" else True
        assert len(h2.streams) == 3 and h2.count == 1 and h1.count == 1
        wait_for(lambda: figures(gateway, "connections")["streams"] == 0)


def chain_of(folder, count):
    """A certificate that is signed by itself, and itself so often behind it."""
    crt, key = make_pair(folder, "many", hosts=["localhost"])
    crt.write_text(crt.read_text() * count)
    return crt, key


@pytest.mark.parametrize("count, keys, status", [(5, {}, 200), (100, {}, 502), (100, {"chain_max": "100KiB"}, 200)])
def test_a_chain_has_a_bound(launch, tmp_path, count, keys, status):
    """Each certificate of it is taken apart, whoever it is of."""
    with serving(Raw([ok()], tls=server_tls(chain_of(tmp_path, count)))) as server:
        gateway = launch(cluster([server.address], tls={"verify": False, **keys}))
        assert gateway.get("/").status_code == status


@pytest.mark.parametrize("version, keys", [
    ("1.2", {"-cipher": "DHE-RSA-AES128-GCM-SHA256"}), ("1.3", {"-groups": "ffdhe2048:ffdhe8192"})])
def test_no_server_chooses_what_keys_cost(launch, tmp_path, version, keys):
    """Numbers of its own could be so large that a handshake took seconds."""
    crt, key = make_pair(tmp_path, "rsa", hosts=["localhost"], kind="rsa:2048")
    port = free_port()
    with subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", crt, "-key", key, "-www", "-quiet",
                           "-tls" + version.replace(".", "_"), *itertools.chain(*keys.items())]) as server:
        try:
            gateway = launch(cluster([f"127.0.0.1:{port}"], tls={"verify": False}, protocol="http1"))
            wait_for(lambda: gateway.get("/").status_code == 502 and figures(gateway, "connections")["tls_errors"] > 0,
                     what="a handshake that fails")
        finally:
            server.kill()
