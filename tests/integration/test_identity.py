"""Whose tokens, API keys, signatures and certificates are accepted, and when they are taken back."""
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import time

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from harness import free_port, run_binary, send_signal, unique, wait_for
from tls_tools import Seen, make_pair


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


CURVES = {"ES256": (ec.SECP256R1, "P-256", 32), "ES384": (ec.SECP384R1, "P-384", 48), "ES512": (ec.SECP521R1, "P-521", 66)}


class Key:
    """A key pair (or a secret) that signs tokens and describes itself as a JWK."""

    def __init__(self, alg, kid=None):
        self.alg, self.kid = alg, kid
        self.hash = getattr(hashes, "SHA" + alg[2:], lambda: None)()
        if alg[:2] in ("RS", "PS"):
            self.private = rsa.generate_private_key(65537, 2048)
        elif alg[:2] == "HS":
            self.private = os.urandom(64)
        else:
            self.private = ec.generate_private_key(CURVES[alg][0]()) if alg in CURVES else ed25519.Ed25519PrivateKey.generate()

    def sign(self, text):
        if self.alg[:2] == "RS":
            return self.private.sign(text, padding.PKCS1v15(), self.hash)
        if self.alg[:2] == "PS":
            return self.private.sign(text, padding.PSS(padding.MGF1(self.hash), self.hash.digest_size), self.hash)
        if self.alg[:2] == "HS":
            return hmac.digest(self.private, text, self.hash.name)
        if self.alg == "EdDSA":
            return self.private.sign(text)
        size = CURVES[self.alg][2]
        r, s = utils.decode_dss_signature(self.private.sign(text, ec.ECDSA(self.hash)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def jwk(self):
        more = {"kid": self.kid} if self.kid else {}
        if self.alg[:2] == "HS":
            return {"kty": "oct", "alg": self.alg, "k": b64(self.private), **more}
        public = self.private.public_key()
        if self.alg[:2] in ("RS", "PS"):
            numbers = public.public_numbers()
            return {"kty": "RSA", "use": "sig", "alg": self.alg, "n": number(numbers.n), "e": number(numbers.e), **more}
        if self.alg == "EdDSA":
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), **more}
        _, curve, size = CURVES[self.alg]
        numbers = public.public_numbers()
        return {"kty": "EC", "crv": curve, "x": number(numbers.x, size), "y": number(numbers.y, size), **more}

    def pem(self):
        return self.private.public_key().public_bytes(serialization.Encoding.PEM,
                                                      serialization.PublicFormat.SubjectPublicKeyInfo)

    def token(self, **claims):
        header = {"alg": claims.pop("alg", self.alg)}
        kid = claims.pop("kid", self.kid)
        if kid:
            header["kid"] = kid
        claims = {"exp": int(time.time()) + 600, **claims}
        text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{text}.{b64(self.sign(text.encode()))}"


@pytest.fixture(scope="module")
def keys():
    return {"rsa": Key("RS256", "r1"), "ec": Key("ES256", "e1"), "ed": Key("EdDSA", "d1"), "pem": Key("ES256")}


API_KEY = "fgk_0123456789abcdef0123456789abcdef"
SECRET = "a secret of thirty-two bytes and more"


@pytest.fixture(scope="module")
def files(tmp_path_factory, keys):
    folder = tmp_path_factory.mktemp("identity")
    (folder / "jwks.json").write_text(json.dumps({"keys": [keys[name].jwk() for name in ("rsa", "ec", "ed")]}))
    (folder / "other.pem").write_bytes(keys["pem"].pem())
    (folder / "partner.key").write_text(SECRET + "\n")
    return folder


@pytest.fixture(scope="module")
def site(launch_module, upstream_module, files):
    backend = upstream_module()
    authority = make_pair(files, "authority")

    def listeners(gateway):
        gateway.mtls_port, gateway.guest = free_port(), make_pair(files, "machine-7", authority=authority)
        tls = {"certificate": str(gateway.certificate), "private_key": str(gateway.key)}
        return [{"name": "public", "address": f"127.0.0.1:{gateway.port}", **tls},
                {"name": "machines", "address": f"127.0.0.1:{gateway.mtls_port}", **tls, "client_auth": "optional",
                 "client_ca": str(authority[0])}]

    def route(name, **more):
        return {"name": name, "match": {"prefix": "/" + name}, "to": "cluster:app", "identity": "required",
                "rate_limits": ["per-user"], "body_max": "64KiB", **more}

    launched = time.time()
    gateway = launch_module({
        "listeners": listeners, "tls": {"check_files": "100ms"},
        "identity": {
            "issuers": [{"issuer": "https://login.example.org", "audience": "app", "user_prefix": "login:",
                         "keys_file": str(files / "jwks.json")},
                        {"issuer": "pem", "keys_file": str(files / "other.pem")}],
            "api_keys": [{"user": "robot", "sha256": hashlib.sha256(API_KEY.encode()).hexdigest()}],
            "signatures": {"window": "60s", "keys": [{"id": "partner", "user": "partner-1",
                                                      "secret_file": str(files / "partner.key")}]},
        },
        "policies": {"rate_limits": {"per-user": {"key": "user", "rate": "1000/s"}}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [route("any"), route("tokens", identity_by="token"), route("signed", identity_by=["signature"]),
                   route("maybe", identity="optional"), route("machines", identity_by="certificate"),
                   {"name": "direct", "match": {"prefix": "/direct"}, "respond": {"body": "in"}, "identity": "required",
                    "response_headers": {"set": {"x-user": "%{user}"}}},
                   {"name": "elsewhere", "match": {"prefix": "/elsewhere"}, "redirect": "/x", "identity": "required",
                    "identity_by": "signature", "rate_limits": ["per-user"], "body_max": "64KiB"},
                   {"name": "open", "match": {"prefix": "/"}, "to": "cluster:app"}],
    })
    gateway.backend, gateway.launched = backend, launched
    return gateway


def ask(site, path, headers=None, method="GET", **kwargs):
    with site.client() as client:
        return client.request(method, path, headers=headers, **kwargs)


def bearer(token):
    return {"authorization": "Bearer " + token}


LOGIN = {"iss": "https://login.example.org", "aud": "app", "sub": "ada"}


# ---- tokens ----

@pytest.mark.parametrize("name", ["rsa", "ec", "ed"])
def test_tokens_of_a_jwk_set(site, keys, name):
    token = keys[name].token(**LOGIN)
    for _ in range(3):  # from memory after the first
        assert ask(site, "/any", bearer(token)).status_code == 200
    assert ask(site, "/any", bearer(keys[name].token(**LOGIN, kid="unknown"))).status_code == 401
    assert ask(site, "/any", bearer(keys[name].token(**LOGIN, kid=None))).status_code == 200
    forged = Key(keys[name].alg, keys[name].kid).token(**LOGIN)
    answer = ask(site, "/any", bearer(forged))
    assert answer.status_code == 401 and "bad_signature" in answer.json()["error"]["message"]


@pytest.mark.parametrize("claims, reason", [
    ({"aud": "other"}, "wrong_audience"), ({"exp": 1000}, "expired"), ({"nbf": 99999999999}, "not_yet_valid"),
    ({"sub": ""}, "no_subject"), ({"iss": "https://evil.example.org"}, "wrong_issuer"), ({"alg": "none"}, "unknown_key"),
    ({"sub": "a b"}, "bad_subject"), ({"sub": "a" * 129}, "bad_subject"), ({"groups": "x" * 6200}, "too_long"),
    ({"alg": "HS256"}, "unknown_key"), ({"alg": "ES256"}, "unknown_key"),
])
def test_bad_claims(site, keys, claims, reason):
    answer = ask(site, "/any", bearer(keys["rsa"].token(**{**LOGIN, **claims})))
    assert answer.status_code == 401
    assert reason in answer.json()["error"]["message"]
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_every_algorithm_and_the_key_says_which(launch, files):
    """With `alg` in the set, by the configuration for a PEM file, and never by the token."""
    algorithms = ["RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "HS256", "HS384", "HS512"]
    made = {alg: Key(alg, "k-" + alg) for alg in algorithms}
    pss = Key("PS256")
    (files / "all.json").write_text(json.dumps({"keys": [key.jwk() for key in made.values()]}))
    (files / "pss.pem").write_bytes(pss.pem())
    gateway = launch({
        "limits": {"threads": 1},
        "identity": {"failed_tokens_burst": "off", "issuers": [
            {"issuer": "all", "keys_file": str(files / "all.json")},
            {"issuer": "pss", "keys_file": str(files / "pss.pem"), "algorithm": "PS256"}]},
        "routes": [{"name": "in", "match": {"prefix": "/"}, "respond": {"body": "in"}, "identity": "required"}]})

    def reason(client, token):
        answer = client.get("/", headers=bearer(token))
        return "in" if answer.status_code == 200 else answer.json()["error"]["message"]

    with gateway.client() as client:
        for alg, key in made.items():
            assert reason(client, key.token(iss="all", sub="ada")) == "in", alg
            assert "bad_signature" in reason(client, Key(alg, key.kid).token(iss="all", sub="ada")), alg
        for alg, claimed in (("PS256", "RS384"), ("RS384", "PS256"), ("ES384", "ES512"), ("HS512", "HS256"), ("PS512", "HS512")):
            # signed as the key may, but said to be another; and the other way round
            assert "unknown_key" in reason(client, made[alg].token(iss="all", sub="ada", alg=claimed))
        other = Key("RS256")
        other.private = pss.private
        assert reason(client, pss.token(iss="pss", sub="ada")) == "in"
        assert "unknown_key" in reason(client, other.token(iss="pss", sub="ada"))


def test_keys_of_several_types_under_one_name(launch, files):
    """RFC 7517 section 4.5, as while a provider moves from one algorithm to another."""
    made = [Key(alg, "now") for alg in ("RS256", "PS256", "ES256", "EdDSA")]
    (files / "now.json").write_text(json.dumps({"keys": [key.jwk() for key in made]}))
    gateway = launch({
        "limits": {"threads": 1},
        "identity": {"failed_tokens_burst": "off", "issuers": [{"issuer": "now", "keys_file": str(files / "now.json")}]},
        "routes": [{"name": "in", "match": {"prefix": "/"}, "respond": {"body": "in"}, "identity": "required"}]})
    with gateway.client() as client:
        for key in made:
            assert client.get("/", headers=bearer(key.token(iss="now", sub="ada"))).status_code == 200, key.alg
            forged = Key(key.alg, "now").token(iss="now", sub="ada")
            assert client.get("/", headers=bearer(forged)).status_code == 401, key.alg


def test_keys_of_one_type_under_one_name(launch, files):
    """RFC 7517 section 4.5 advises against it, no more; such a set was refused whole, with every key in it. Keys without a
    name, of which there may be more than are tried, do not come before those that a token names."""
    nameless, now = [Key("ES256") for _ in range(4)], [Key("ES256", "now") for _ in range(2)]
    (files / "twice.json").write_text(json.dumps({"keys": [key.jwk() for key in [*nameless, *now, now[0]]]}))
    gateway = launch({
        "limits": {"threads": 1},
        "identity": {"failed_tokens_burst": "off", "issuers": [{"issuer": "now", "keys_file": str(files / "twice.json")}]},
        "routes": [{"name": "in", "match": {"prefix": "/"}, "respond": {"body": "in"}, "identity": "required"}]})
    with gateway.client() as client:
        for key, kid, status in [(now[0], "now", 200), (now[1], "now", 200), (nameless[0], "now", 200), (nameless[3], None, 200),
                                 (nameless[3], "old", 200), (Key("ES256"), "now", 401), (now[0], "old", 401)]:
            assert client.get("/", headers=bearer(key.token(iss="now", sub="ada", kid=kid))).status_code == status


def test_one_bad_key_does_not_lock_everybody_out(launch, files, keys):
    """RFC 7517 section 5: what has no value, or none in range, is left out; whoever publishes the set is not who runs us."""
    weak = {**keys["rsa"].jwk(), "n": b64(b"\xc1" + bytes(126) + b"\x01"), "kid": "weak"}
    broken = {"kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA", "y": "AA"}
    path = files / "mixed.json"
    path.write_text(json.dumps({"keys": [weak, keys["ec"].jwk(), broken]}))
    gateway = launch({
        "limits": {"threads": 1}, "tls": {"check_files": "100ms"},
        "identity": {"failed_tokens_burst": "off", "issuers": [{"issuer": LOGIN["iss"], "keys_file": str(path)}]},
        "routes": [{"name": "in", "match": {"prefix": "/"}, "respond": {"body": "in"}, "identity": "required"}]})
    wait_for(lambda: f'event=identity_key_left_out issuer="{LOGIN["iss"]}" file="{path}" reason="key 1: an RSA key of less'
             in gateway.log, what="a word about it")
    with gateway.client() as client:
        assert client.get("/", headers=bearer(keys["ec"].token(**LOGIN))).status_code == 200
        for kid in ("weak", "broken"):
            answer = client.get("/", headers=bearer(keys["rsa" if kid == "weak" else "ec"].token(**LOGIN, kid=kid)))
            assert answer.status_code == 401 and "unknown_key" in answer.json()["error"]["message"]
        path.write_text(json.dumps({"keys": [weak, broken]}))
        wait_for(lambda: "files_not_reloaded what=identity_keys" in gateway.log, what="the complaint")
        assert client.get("/", headers=bearer(keys["ec"].token(**LOGIN))).status_code == 200


def test_tokens_of_another_kind(launch, files, keys):
    """RFC 8725 section 3.11: a good signature of the right issuer, but on what it made for something else."""
    issuer = {"issuer": LOGIN["iss"], "keys_file": str(files / "jwks.json")}
    gateway = launch({
        "limits": {"threads": 1},
        "identity": {"failed_tokens_burst": "off", "issuers": [{**issuer, "token_type": "at+jwt"}]},
        "routes": [{"name": "in", "match": {"prefix": "/"}, "respond": {"body": "in"}, "identity": "required"}]})
    key = keys["ec"]

    def token(**header):
        text = ".".join(b64(json.dumps(part).encode()) for part in (
            {"alg": key.alg, **header}, {**LOGIN, "exp": int(time.time()) + 600}))
        return f"{text}.{b64(key.sign(text.encode()))}"

    with gateway.client() as client:
        for kind in ("at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"):
            assert client.get("/", headers=bearer(token(typ=kind))).status_code == 200, kind
        for kind in ("JWT", "logout+jwt", "", "application/", "at+jwt ", "application/application/at+jwt", "text/at+jwt", 7, None):
            answer = client.get("/", headers=bearer(token(typ=kind)))
            assert answer.status_code == 401 and "wrong_type" in answer.json()["error"]["message"], kind
        assert "wrong_type" in client.get("/", headers=bearer(token())).json()["error"]["message"]


def test_who_fails_often_is_not_looked_at(launch, files, keys):
    gateway = launch({
        "limits": {"threads": 1},
        "identity": {"failed_tokens_burst": 4, "failed_tokens_per_second": 1,
                     "issuers": [{"issuer": LOGIN["iss"], "audience": "app", "keys_file": str(files / "jwks.json")}]},
        "routes": [{"name": "in", "match": {"prefix": "/"}, "respond": {"body": "in"}, "identity": "required"}]})
    known, fresh = (bearer(keys["ed"].token(**{**LOGIN, "sub": sub})) for sub in ("known", "fresh"))
    forged = bearer(Key(keys["ec"].alg, keys["ec"].kid).token(**LOGIN))
    with gateway.client() as client:
        assert client.get("/", headers=known).status_code == 200
        answers = []
        while 429 not in answers and len(answers) < 1000:
            answer = client.get("/", headers=forged)
            answers.append(answer.status_code)
        assert answers[:4] == [401] * 4 and answers[-1] == 429
        assert int(answer.headers["retry-after"]) in (1, 2)
        assert answer.json()["error"]["code"] == "rate_limit"
        assert client.get("/", headers=known).status_code == 200  # from memory
        wait_for(lambda: client.get("/", headers=fresh).status_code == 200, what="forgiveness")


def test_a_long_token(site, keys):
    token = keys["rsa"].token(**{**LOGIN, "groups": "x" * 5600})
    assert 7800 < len(token) <= 8192
    for _ in range(2):  # from memory, too
        assert ask(site, "/any", bearer(token)).status_code == 200


def test_who_is_asking_is_said_once(site, keys):
    """A backend that reads the last of two would see another user than we."""
    good, other = keys["rsa"].token(**LOGIN), keys["rsa"].token(**{**LOGIN, "sub": "eve"})
    for fields in ([("authorization", "Bearer " + good), ("authorization", "Bearer " + other)],
                   [("authorization", "Bearer " + good), ("authorization", "Basic eDp5")],
                   [("x-api-key", API_KEY), ("x-api-key", API_KEY)], []):
        answer = ask(site, "/any", fields)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", fields
    assert ask(site, "/any", bearer(good)).status_code == 200


def test_pem_key_and_our_own_tokens(site, keys):
    assert ask(site, "/any", bearer(keys["pem"].token(iss="pem", sub="bob"))).status_code == 200
    assert ask(site, "/any", bearer(keys["pem"].token(**LOGIN))).status_code == 401
    assert ask(site, "/any", bearer(site.token("guest"))).status_code == 200


@pytest.mark.races
def test_keys_are_read_anew(site, keys, files):
    retired, fresh = keys["ed"].token(**LOGIN, jti=unique()), Key("EdDSA", "d2")
    assert ask(site, "/any", bearer(retired)).status_code == 200
    assert ask(site, "/any", bearer(fresh.token(**LOGIN))).status_code == 401
    old = (files / "jwks.json").read_text()
    (files / "jwks.json").write_text(json.dumps({"keys": [fresh.jwk()]}))
    wait_for(lambda: ask(site, "/any", bearer(fresh.token(**LOGIN))).status_code == 200, what="the new key")
    assert ask(site, "/any", bearer(retired)).status_code == 401  # also where it was remembered
    (files / "jwks.json").write_text("{}")
    wait_for(lambda: "files_not_reloaded what=identity_keys" in site.log, what="the complaint")
    assert ask(site, "/any", bearer(fresh.token(**LOGIN))).status_code == 200
    (files / "jwks.json").write_text(old)
    wait_for(lambda: ask(site, "/any", bearer(retired)).status_code == 200, what="the old keys again")
    assert retired not in site.log


# ---- API keys ----

def test_api_keys(site):
    assert ask(site, "/any", {"x-api-key": API_KEY}).status_code == 200
    told = {name.lower() for name in site.backend.requests[-1][2]}
    assert "x-api-key" not in told
    for wrong in (API_KEY + "x", API_KEY[:-1], "", hashlib.sha256(API_KEY.encode()).hexdigest()):
        assert ask(site, "/any", {"x-api-key": wrong}).status_code == 401
    assert ask(site, "/tokens", {"x-api-key": API_KEY}).status_code == 401  # not by these means
    assert ask(site, "/maybe", {"x-api-key": API_KEY}).status_code == 200
    assert ask(site, "/maybe", {"x-api-key": "wrong"}).status_code == 401
    ask(site, "/open", {"x-api-key": API_KEY})
    assert "x-api-key" not in {name.lower() for name in site.backend.requests[-1][2]}
    assert API_KEY not in site.log


def test_a_bad_key_is_not_passed_over(site):
    answer = ask(site, "/any", {"x-api-key": "wrong", **bearer(site.token("guest"))})
    assert answer.status_code == 401 and "API key" in answer.json()["error"]["message"]


# ---- signatures ----

def signature(site, method, target, body=b"", key="partner", secret=SECRET, at=None, nonce=None, host=None):
    at, nonce = str(int(at or time.time())), nonce or b64(os.urandom(18))
    digest = b64(hashlib.sha256(body).digest())
    text = "\n".join(["v1", method, host or f"127.0.0.1:{site.port}", target, at, nonce, digest])
    mac = b64(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())
    return {"x-floodgate-signature": f"v1;key={key};time={at};nonce={nonce};body={digest};mac={mac}"}


@pytest.mark.parametrize("body", [b"", b"x", b"y" * 60000])
def test_signed_requests(site, body):
    headers = signature(site, "POST", "/signed/orders?a=1", body)
    answer = ask(site, "/signed/orders?a=1", headers, "POST", content=body)
    assert answer.status_code == 200
    assert "x-floodgate-signature" not in {name.lower() for name in site.backend.requests[-1][2]}
    replay = ask(site, "/signed/orders?a=1", headers, "POST", content=body)
    assert replay.status_code == 401 and "nonce" in replay.json()["error"]["message"]


def chunks(body):
    for at in range(0, len(body), 1000):
        yield body[at:at + 1000]


def test_signed_body_in_chunks(site):
    body = os.urandom(30000)
    with site.client(http2=True) as client:
        answer = client.post("/signed", headers=signature(site, "POST", "/signed", body), content=chunks(body))
    assert answer.status_code == 200 and site.backend.requests[-1][2].get("content-length") == "30000"
    answer = ask(site, "/signed", signature(site, "POST", "/signed", body), "POST", content=chunks(body))
    assert answer.status_code == 200


@pytest.mark.parametrize("change", [
    {"method": "PUT"}, {"target": "/signed/other"}, {"host": "other.example.org"}, {"secret": "another secret" * 3},
    {"key": "nobody"}, {"at": 1000}, {"at": 99999999999}, {"body": b"another body"},
])
def test_signatures_of_something_else(site, change):
    before = len(site.backend.requests)
    request = {"method": "POST", "target": "/signed", "body": b"body", **change}
    answer = ask(site, "/signed", signature(site, **request), "POST", content=b"body")
    assert answer.status_code == 401, answer.text
    assert len(site.backend.requests) == before


def test_what_was_signed_before_the_start_is_refused(site):
    answer = ask(site, "/signed", signature(site, "GET", "/signed", at=site.launched - 2))
    message = answer.json()["error"]["message"]
    assert answer.status_code == 401 and ("older than this process" in message or "too far from ours" in message)


@pytest.fixture
def partners(launch, upstream, files):
    """A gateway of one route, for signed requests; `sign` makes one by a clock that is ahead of ours."""
    backend = upstream()
    gateway = launch({
        "limits": {"threads": 1},
        "identity": {"signatures": {"window": "60s", "keys": [{"id": "partner", "secret_file": str(files / "partner.key")}]}},
        "clusters": {"app": {"endpoints": [backend.address]}},
        "routes": [{"name": "signed", "match": {"prefix": "/"}, "to": "cluster:app", "identity": "required",
                    "identity_by": "signature", "body_max": "64KiB"}]})
    gateway.backend = backend
    gateway.sign = lambda path: signature(gateway, "GET", path, at=time.time() + 30)
    return gateway


def is_known(answer):
    return answer.status_code == 401 and "used before" in answer.json()["error"]["message"]


def test_a_reload_forgets_no_nonce(partners):
    """The gateways before and after it take requests side by side."""
    early, late = partners.sign("/early"), partners.sign("/late")
    assert ask(partners, "/early", early).status_code == 200
    with partners.client() as before:
        assert before.get("/kept", headers=partners.sign("/kept")).status_code == 200
        ready = partners.log.count("event=ready")
        assert httpx.post(partners.admin + "/reload").status_code == 200
        wait_for(lambda: partners.log.count("event=ready") > ready, what="the next gateway")
        wait_for(lambda: "event=drain_started" in partners.log, what="the one before to stop accepting")
        before.get("/late", headers=late)
        assert is_known(ask(partners, "/late", late))
    assert is_known(ask(partners, "/early", early))
    assert partners.backend.count("/early") == partners.backend.count("/late") == 1
    assert ask(partners, "/early", partners.sign("/early")).status_code == 200


def test_a_gateway_that_is_killed_takes_no_nonce_along(partners):
    early, started = partners.sign("/early"), partners.log.count("event=child_started")
    assert ask(partners, "/early", early).status_code == 200
    pid = int(re.findall(r"event=child_started role=gateway index=0 pid=(\d+)", partners.log)[-1])
    send_signal(pid, signal.SIGKILL)
    wait_for(lambda: partners.log.count("event=child_started") > started, what="another gateway")
    assert is_known(ask(partners, "/early", early)) and partners.backend.count("/early") == 1


def test_signature_is_needed_and_well_formed(site):
    assert "x-floodgate-signature" in ask(site, "/signed", bearer(site.token("guest"))).json()["error"]["message"]
    assert "malformed" in ask(site, "/signed", {"x-floodgate-signature": "v1;key=a"}).json()["error"]["message"]


def test_a_body_too_long_to_keep_is_refused(site):
    body = b"z" * 70000
    answer = ask(site, "/signed", signature(site, "POST", "/signed", body), "POST", content=body)
    assert answer.status_code == 413


def test_answers_of_the_configuration_ask_too(site):
    assert ask(site, "/direct").status_code == 401 and ask(site, "/elsewhere").status_code == 401
    answer = ask(site, "/direct", {"x-api-key": API_KEY})
    assert answer.text == "in" and answer.headers["x-user"] == "robot"
    headers = signature(site, "POST", "/elsewhere", b"body")
    assert ask(site, "/elsewhere", headers, "POST", content=b"body").headers["location"] == "/x"
    headers = signature(site, "POST", "/elsewhere", b"body")
    assert ask(site, "/elsewhere", headers, "POST", content=b"other").status_code == 401


# ---- certificates ----

def test_certificates_are_an_identity(site):
    request = b"GET /machines HTTP/1.1\r\nhost: x\r\n\r\n"
    first = Seen(site.mtls_port, pair=site.guest, request=request)
    assert first.answer.startswith(b"HTTP/1.1 200")
    again = Seen(site.mtls_port, session=first.session, context=first.context, request=request)
    assert again.was_resumed and again.answer.startswith(b"HTTP/1.1 200")
    assert Seen(site.mtls_port, request=request).answer.startswith(b"HTTP/1.1 401")
    assert Seen(site.port, request=request).answer.startswith(b"HTTP/1.1 401")


# ---- the check ----

@pytest.mark.parametrize("identity, place, message", [
    ({"issuers": [{"issuer": "a", "keys_file": "/nonexistent"}]}, "3", "keys_file: cannot read /nonexistent"),
    ({"issuers": [{"issuer": "floodgate", "keys_file": "jwks.json"}]}, "3", "is our own of identity.jwt"),
    ({"api_keys": [{"user": "a b", "sha256": "0" * 64}]}, "3", "is no user id"),
    ({"api_keys": [{"user": "a", "sha256": "0" * 63}]}, "3", "is no SHA-256"),
    ({"api_keys": [{"user": "a", "sha256": "0" * 64}, {"user": "b", "sha256": "0" * 64}]}, "3", "the key is in line"),
    ({"issuers": [{"issuer": "a", "keys_file": "bad.json"}]}, "3", 'it has no array "keys"'),
    ({"issuers": [{"issuer": "a", "keys_file": "jwks.json", "algorithm": "RS256"}]}, "3", "no key in it can verify RS256"),
    ({"issuers": [{"issuer": "a", "keys_file": "jwks.json", "algorithm": "none"}]}, "3", "algorithm"),
    ({"api_key_header": "X-Key"}, "3", "has capital letters"),
])
def test_check(tmp_path, keys, identity, place, message):
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [keys["ec"].jwk()]}))
    (tmp_path / "bad.json").write_text("{}")
    path = tmp_path / "f.yaml"
    path.write_text('listeners: [{address: "127.0.0.1:8080", kind: plain}]\n'
                    "routes: [{match: {prefix: /}, respond: {}}]\n"
                    f"identity: {json.dumps(identity)}\n")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2 and f"f.yaml:{place}:" in done.stderr and message in done.stderr


def test_check_of_means_that_nobody_has(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text('listeners: [{address: "127.0.0.1:8080", kind: plain}]\nroutes:\n'
                    " - {match: {path: /a}, respond: {}, identity: required, identity_by: [api_key, certificate]}\n"
                    " - {match: {path: /b}, respond: {}, identity_by: token}\n"
                    " - {match: {path: /c}, respond: {}, buffer_request: true, body_max: 10MiB}\n")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2
    assert "f.yaml:3:" in done.stderr and "there are no identity.api_keys" in done.stderr
    assert "no listener has client_auth" in done.stderr
    assert "f.yaml:4:" in done.stderr and "identity_by has no effect without identity" in done.stderr
    assert "f.yaml:5:" in done.stderr and "body_max is more than a request may keep" in done.stderr


# ---- the command line ----

def test_floodgate_token(site, tmp_path):
    token = run_binary("token", "-c", site.config, "--user", "cli")
    assert ask(site, "/any", bearer(token.stdout.strip())).status_code == 200
    key = run_binary("token", "-c", site.config, "--api-key", "--user", "new-partner")
    digest = hashlib.sha256(key.stdout.strip().encode()).hexdigest()
    assert key.stdout.startswith("fgk_") and f'{{user: "new-partner", sha256: "{digest}"}}' in key.stderr
    (tmp_path / "body").write_bytes(b"order")
    signed = run_binary("token", "-c", site.config, "--sign", "partner", "--method", "POST", "--url",
                        f"{site.url}/signed/orders?a=b", "--body", tmp_path / "body")
    name, value = signed.stdout.strip().split(": ")
    assert ask(site, "/signed/orders?a=b", {name: value}, "POST", content=b"order").status_code == 200
    assert ask(site, "/signed/orders?a=b", {name: value}, "POST", content=b"order").status_code == 401
    for wrong in (["--sign", "nobody", "--url", "https://x/y"], ["--sign", "partner"], ["--api-key"],
                  ["--sign", "partner", "--url", "https://x"], ["--sign", "partner", "--url", "x/y", "--body", "/no"]):
        done = run_binary("token", "-c", site.config, *wrong)
        assert done.returncode == 2 and "floodgate token: " in done.stderr and not done.stdout
