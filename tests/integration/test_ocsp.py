"""OCSP responses that are stapled to certificates: which are sent, to whom, and what becomes of files that change."""
import datetime
import os
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from harness import plain_http, wait_for
from tls_tools import make_crl, make_pair, reissue, s_client

NOW = datetime.datetime.utcnow()
ROUTES = [{"match": {"prefix": "/"}, "respond": {"body": "hello"}}]


def certificate_of(pair):
    return x509.load_pem_x509_certificate(pair[0].read_bytes())


def key_of(pair):
    return serialization.load_pem_private_key(pair[1].read_bytes(), None)


def response_for(pair, authority, since=-1, hours=48, status=ocsp.OCSPCertStatus.GOOD, signer=None, has_end=True,
                 hashed=hashes.SHA1()):
    """What the authority says of a certificate, in DER; `since` and `hours` from now."""
    revoked = status == ocsp.OCSPCertStatus.REVOKED
    signer = signer or authority
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate_of(pair), certificate_of(authority), hashed, status, NOW + datetime.timedelta(hours=since),
        NOW + datetime.timedelta(hours=hours) if has_end else None, NOW if revoked else None, None)
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, certificate_of(signer))
    return builder.sign(key_of(signer), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ocsp")


@pytest.fixture(scope="module")
def authority(folder):
    return make_pair(folder, "authority")


@pytest.fixture(scope="module")
def pairs(folder, authority):
    """Each with its authority behind it, as files of such certificates are."""
    made = {"shop": make_pair(folder, "shop", ["shop.example.org"], authority=authority),
            "shop-rsa": make_pair(folder, "shop-rsa", ["shop.example.org"], kind="rsa:2048", authority=authority),
            "news": make_pair(folder, "news", ["news.example.org"], authority=authority),
            "own": make_pair(folder, "own", ["own.example.org"])}
    for name in ("shop", "shop-rsa", "news"):
        made[name][0].write_bytes(made[name][0].read_bytes() + authority[0].read_bytes())
    return made


def put(path, data):
    """As a timer should: under another name first."""
    path.with_suffix(".new").write_bytes(data)
    os.rename(path.with_suffix(".new"), path)


def files(pair):
    return {"certificate": str(pair[0]), "private_key": str(pair[1])}


def stapled(port, name, *more):
    """Of a certificate that was shown: what came along, or None."""
    report = s_client(port, "-status", "-servername", name, *more)
    if "OCSP response: no response sent" in report:
        return None
    assert "OCSP Response Status: successful" in report and "Cert Status: good" in report, report
    return int(re.search(r"Serial Number: ([0-9A-F]+)", report).group(1), 16)


def about(gateway, name):
    return {os.path.basename(one["file"]): one for one in gateway.stats()["gateway"]["certificates"]}[name + ".crt"]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_each_certificate_has_its_own(launch_module, pairs, authority, folder, version):
    paths = {name: folder / f"{name}{version}.ocsp" for name in pairs}
    put(paths["shop"], response_for(pairs["shop"], authority))
    put(paths["shop-rsa"], response_for(pairs["shop-rsa"], authority, hashed=hashes.SHA256()))
    put(paths["own"], response_for(pairs["own"], pairs["own"]))  # nobody vouches for it but itself
    gateway = launch_module({"limits": {"threads": 1}, "routes": ROUTES, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["shop"]), "ocsp_file": str(paths["shop"]),
         "certificates": [{**files(pairs[name]), "ocsp_file": str(paths[name])} for name in ("shop-rsa", "own")] +
                         [files(pairs["news"])]}]})
    ec, rsa = ("-sigalgs", "ECDSA+SHA256"), ("-sigalgs", "RSA-PSS+SHA256:RSA+SHA256")
    assert stapled(gateway.port, "shop.example.org", version, *ec) == certificate_of(pairs["shop"]).serial_number
    assert stapled(gateway.port, "shop.example.org", version, *rsa) == certificate_of(pairs["shop-rsa"]).serial_number
    assert stapled(gateway.port, "own.example.org", version) is None
    assert "authority is not in its file" in about(gateway, "own")["ocsp"]["fault"]
    assert stapled(gateway.port, "news.example.org", version) is None
    unasked = s_client(gateway.port, "-servername", "shop.example.org", version)
    assert "OCSP" not in unasked
    wait_for(lambda: gateway.stats()["gateway"]["connections"]["handshakes_stapled"] == 2, what="two of them")
    shop = about(gateway, "shop")
    assert shop["listener"] == "public" and 0 < shop["left_s"] <= 2 * 86400
    assert shop["ocsp"]["stapled"] is True and 0 < shop["ocsp"]["left_s"] <= 48 * 3600 and "fault" not in shop["ocsp"]
    assert "ocsp" not in about(gateway, "news")


def test_what_no_client_would_take_is_not_sent(launch, pairs, authority, folder):
    """The certificate is used all the same: a responder that is down takes nobody's site away."""
    path, other = folder / "changing.ocsp", make_pair(folder, "other-authority")
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "tls": {"check_files": "100ms"}, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["shop"]), "ocsp_file": str(path)}]})
    revoked = ocsp.OCSPCertStatus.REVOKED

    def fault(wanted):
        return wait_for(lambda: wanted in (about(gateway, "shop")["ocsp"].get("fault") or ""), what=wanted)

    fault("No such file")
    good = response_for(pairs["shop"], authority)
    for data, reason in [(b"nothing of the kind", "no OCSP response"), (good[:-1], "no OCSP response"), (b"", "empty"),
                         (b"x" * 20000, "larger than 16KiB"),
                         (response_for(pairs["news"], authority), "another certificate"),
                         (response_for(pairs["shop"], authority, status=revoked), "is revoked"),
                         (response_for(pairs["shop"], authority, since=-48, hours=-1), "expired"),
                         (response_for(pairs["shop"], authority, since=1), "not valid yet"),
                         (response_for(pairs["shop"], authority, has_end=False), "until when"),
                         (response_for(pairs["shop"], authority, signer=other), "not signed by"),
                         (ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
                          .public_bytes(serialization.Encoding.DER), "refusal")]:
        put(path, data)
        fault(reason)
        assert stapled(gateway.port, "shop.example.org") is None
    assert "event=ocsp_file_not_used" in gateway.log
    put(path, good)
    wait_for(lambda: about(gateway, "shop")["ocsp"]["stapled"], what="a good response")
    assert stapled(gateway.port, "shop.example.org") is not None
    # What comes after it and is no good takes nothing away.
    put(path, b"nothing of the kind")
    fault("no OCSP response")
    assert about(gateway, "shop")["ocsp"]["stapled"] and stapled(gateway.port, "shop.example.org") is not None
    path.unlink()
    os.mkfifo(path)
    fault("no regular file")
    assert gateway.get("/").text == "hello"


def test_a_response_ends(launch, pairs, authority, folder):
    path = folder / "ending.ocsp"
    left = (datetime.datetime.utcnow() - NOW).total_seconds() + 3
    put(path, response_for(pairs["shop"], authority, hours=left / 3600))
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "tls": {"check_files": "100ms"}, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["shop"]), "ocsp_file": str(path)}]})
    wait_for(lambda: not about(gateway, "shop")["ocsp"]["stapled"], what="its end")
    wait_for(lambda: f'event=ocsp_response_expired listener=public file="{path}"' in gateway.log, what="a word about it")
    assert stapled(gateway.port, "shop.example.org") is None
    assert about(gateway, "shop")["ocsp"]["left_s"] == 0
    path.touch()  # read again, and no good from the start
    wait_for(lambda: "event=ocsp_file_not_used" in gateway.log, what="the next look")
    assert gateway.log.count("event=ocsp_response_expired") == 1


def test_a_certificate_that_demands_a_response_is_not_shown_without_a_word(launch, authority, folder):
    """RFC 7633 "must staple": who minds it gets through no handshake without one."""
    path = folder / "must.ocsp"
    path.unlink(missing_ok=True)
    pair = make_pair(folder, "must", ["must.example.org"], authority=authority, more=["tlsfeature=status_request"])
    pair[0].write_bytes(pair[0].read_bytes() + authority[0].read_bytes())
    other = make_pair(folder, "must-not", ["other.example.org"], more=["tlsfeature=17"])  # another feature of TLS
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "tls": {"check_files": "100ms"}, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pair), "certificates": [files(other)],
         "ocsp_file": str(path)}]})
    told = f'event=certificate_must_staple listener=public file="{pair[0]}"'
    assert told in gateway.log and gateway.log.count("event=certificate_must_staple") == 1
    assert about(gateway, "must")["must_staple"] is True and "must_staple" not in about(gateway, "must-not")
    left = (datetime.datetime.utcnow() - NOW).total_seconds() + 4
    put(path, response_for(pair, authority, hours=left / 3600))
    wait_for(lambda: about(gateway, "must")["ocsp"]["stapled"], what="a response")
    assert stapled(gateway.port, "must.example.org") is not None and gateway.log.count(told) == 1
    wait_for(lambda: gateway.log.count(told) == 2, what="its end")
    assert f'event=ocsp_response_expired listener=public file="{path}"' in gateway.log


def figures(gateway):
    """What /metrics says of the ends of files, by metric and file."""
    text = plain_http.get(gateway.admin + "/metrics").text
    lines = [line for line in text.splitlines() if "_expiry_seconds{" in line]
    assert len({line.split(" ")[0] for line in lines}) == len(lines)  # each once, or nobody can read them
    return {(metric, os.path.basename(file)): int(left) for metric, file, left in
            re.findall(r'^floodgate_(\w+)_expiry_seconds{listener="public",file="(.+)"} (-?\d+)$', text, re.M)}


def test_alerts_can_be_set_on_what_ends(launch, pairs, authority, folder):
    path = folder / 'one "good" \\ response.ocsp'
    put(path, response_for(pairs["shop"], authority, hours=12))
    (folder / "over.crl").write_bytes(make_crl(folder, authority, is_over=True))
    (folder / "good.crl").write_bytes(make_crl(folder, authority, seconds=86400))
    clients = {"client_auth": "optional", "client_ca": str(authority[0])}
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pairs["shop"]), "ocsp_file": str(path),
         **clients, "client_crl": str(folder / "good.crl"),
         "certificates": [{**files(pairs["news"]), **clients, "client_crl": str(folder / "over.crl")},
                          {**files(pairs["own"]), "ocsp_file": str(folder / "missing.ocsp")}]}]})
    ends = figures(gateway)
    assert ends.keys() == {("certificate", "shop.crt"), ("certificate", "news.crt"), ("certificate", "own.crt"),
                           ("ocsp_response", 'one \\"good\\" \\\\ response.ocsp'), ("ocsp_response", "missing.ocsp"),
                           ("client_ca", "authority.crt"), ("client_crl", "good.crl"), ("client_crl", "over.crl")}
    assert 0 < ends["certificate", "shop.crt"] <= 2 * 86400 and ends["ocsp_response", "missing.ocsp"] == 0
    assert 0 < ends["ocsp_response", 'one \\"good\\" \\\\ response.ocsp'] <= 12 * 3600
    assert 0 < ends["client_crl", "good.crl"] <= 86400 and ends["client_crl", "over.crl"] == 0
    assert 0 < about(gateway, "shop")["client_ca"]["left_s"] <= ends["client_ca", "authority.crt"] <= 2 * 86400
    assert "client_ca" not in about(gateway, "news")  # the same file
    assert about(gateway, "shop")["client_crl"]["left_s"] > 0 == about(gateway, "news")["client_crl"]["left_s"]
    assert "client_crl" not in about(gateway, "own")  # the listener's, which is told of with the first
    assert gateway.log.count("event=revocation_list_expired") == 1


@pytest.mark.parametrize("looks", ["100ms", "off"])
def test_what_ends_while_it_is_in_use_is_said_once(launch, pairs, authority, folder, looks):
    """Nothing has changed that would be read anew: only the time has come. Who reads no file anew is told, too."""
    crl = folder / "ending.crl"
    pair = make_pair(folder, "ending", ["ending.example.org"], authority=authority)
    pair[0].write_bytes(reissue(pair, 4 / 86400, signer=authority))
    crl.write_bytes(make_crl(folder, authority, seconds=4))
    clients = folder / "ending-too.crt"  # one of two in the file
    clients.write_bytes(authority[0].read_bytes() + reissue(make_pair(folder, "old-authority"), 4 / 86400))
    gateway = launch({"limits": {"threads": 1}, "routes": ROUTES, "tls": {"check_files": looks}, "listeners": lambda g: [
        {"name": "public", "address": f"127.0.0.1:{g.port}", **files(pair), "client_auth": "optional",
         "client_ca": str(clients), "client_crl": str(crl)}]})
    over = ("certificate_expired", "client_authority_expired", "revocation_list_expired")
    for event in over:
        wait_for(lambda: f"event={event} listener=public" in gateway.log, what=event)
    wait_for(lambda: figures(gateway)["certificate", "ending.crt"] < -1, what="more looks")
    assert all(gateway.log.count(f"event={event} ") == 1 for event in over)
    assert gateway.log.count("event=certificate_expires_soon") <= 1  # none where the start took too long
