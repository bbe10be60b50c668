"""TLS listeners that look at clients' certificates: who is let in, why not, and for how long it may resume."""
import contextlib
import os
import ssl
import time

import pytest

from harness import wait_for
from test_tls import ROUTES, V12, V13, folder, listener, pairs, resumes
from tls_tools import GET, Seen, make_crl, make_pair, reissue

__all__ = ["folder", "pairs"]  # fixtures


@pytest.fixture(scope="module")
def authority(folder):
    return make_pair(folder, "authority")


@pytest.fixture(scope="module")
def guest(folder, authority):
    return make_pair(folder, "guest-7", authority=authority)


def test_certificate_of_the_client_is_demanded(launch, pairs, folder, authority, guest):
    stranger = make_pair(folder, "stranger")
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], [pairs["shop-ec"]],
                                                       client_auth="required", client_ca=str(authority[0]))],
                      "routes": ROUTES})
    for host in ("localhost", "shop.example.org"):
        for version in (V12, V13):
            seen = Seen(gateway.port, host, version=version, pair=guest)
            assert seen.answer.startswith(b"HTTP/1.1 200")
            after = Seen(gateway.port, host, session=seen.session, context=seen.context)
            assert after.was_resumed and after.session.id == seen.session.id  # no ticket outlives the look at it
            for pair in (None, stranger):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    assert Seen(gateway.port, host, version=version, pair=pair).answer == b""
                    raise ConnectionError("closed before the answer")


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_why_a_certificate_was_refused(launch, pairs, folder, authority, guest, version):
    over = folder / "over-7.crt"
    over.write_bytes(reissue(guest, -1, signer=authority))
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="required",
                                                       client_ca=str(authority[0]))], "routes": ROUTES})

    def refused():
        return gateway.stats()["gateway"]["connections"]["client_certificates_refused"]

    for pair in (None, guest, (over, guest[1])):  # none is no certificate that would be refused
        assert refused() == 0 and "client_certificate_refused" not in gateway.log
        assert is_let_in(gateway, pair=pair, version=version) == (pair == guest)
    wait_for(lambda: refused() == 1, what="a count")
    assert 'event=client_certificate_refused listener=public from=127.0.0.1 reason="certificate has expired"' in gateway.log


@pytest.fixture(scope="module")
def departments(folder):
    """A company with two departments, each an authority, and somebody of either, who sends the department along."""
    made = {"company": make_pair(folder, "company")}
    for name in ("sales", "stores"):
        made[name] = make_pair(folder, name, authority=made["company"])
        made[name + "-7"] = make_pair(folder, name + "-7", authority=made[name])
        alone = made[name + "-7-alone"] = folder / f"{name}-7-alone.crt", made[name + "-7"][1]
        alone[0].write_bytes(made[name + "-7"][0].read_bytes())
        made[name + "-7"][0].write_bytes(alone[0].read_bytes() + made[name][0].read_bytes())
    return made


def is_let_in(gateway, host="localhost", **client):
    try:
        return Seen(gateway.port, host, request=GET.replace(b"localhost", host.encode()),
                    **client).answer.startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("keys, let_in", [({}, {5}), ({"client_chain_max": "100KiB"}, {5, 100})])
def test_a_chain_has_a_bound(launch, pairs, folder, authority, guest, keys, let_in):
    """Each certificate of it is taken apart, before it is known whose it is."""
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="optional",
                                                       client_ca=str(authority[0]), **keys)], "routes": ROUTES})
    for version in (V12, V13):
        for count in (5, 100):
            chain = folder / f"{count}.crt"
            chain.write_bytes(guest[0].read_bytes() + authority[0].read_bytes() * (count - 1))
            assert is_let_in(gateway, pair=(chain, guest[1]), version=version) == (count in let_in)


@pytest.mark.parametrize("trusted, let_in", [
    (["company"], {"sales-7", "stores-7"}), (["company", "sales"], {"sales-7", "stores-7", "sales-7-alone"}),
    (["sales"], {"sales-7", "sales-7-alone"}), (["sales", "authority"], {"sales-7", "sales-7-alone", "guest"})])
def test_chains_end_at_what_is_trusted(launch, pairs, folder, departments, authority, guest, trusted, let_in):
    people = {**departments, "authority": authority, "guest": guest}
    bundle = folder / ("-".join(trusted) + ".bundle")
    bundle.write_bytes(b"".join(people[name][0].read_bytes() for name in trusted))
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="required", client_ca=str(bundle))],
                      "routes": ROUTES})
    for version in (V12, V13):
        assert let_in == {name for name in ("guest", "sales-7", "sales-7-alone", "stores-7", "stores-7-alone")
                          if is_let_in(gateway, pair=people[name], version=version)}


@pytest.mark.parametrize("lists, let_in", [
    (["sales"], {"sales-8"}), (["company", "sales"], {"sales-8"}), (["company"], set())])
def test_an_authority_that_is_trusted_as_it_is_was_not_revoked(launch, pairs, folder, departments, lists, let_in):
    """Of its clients the list is looked at all the same, and one name's rules are as good as the listener's."""
    eight = make_pair(folder, "sales-8", authority=departments["sales"])
    crl = folder / ("-".join(lists) + ".crls")
    crl.write_bytes(b"".join(make_crl(folder, departments[name], [departments["sales-7"]] if name == "sales" else [])
                             for name in lists))
    rules = {"client_auth": "required", "client_ca": str(departments["sales"][0]), "client_crl": str(crl)}
    everywhere = launch({"listeners": lambda g: [listener(g, pairs["default"], **rules)], "routes": ROUTES})
    shop = dict(zip(("certificate", "private_key"), map(str, pairs["shop-ec"])))
    one_name = launch({"listeners": lambda g: [{**listener(g, pairs["default"]), "certificates": [{**shop, **rules}]}],
                       "routes": ROUTES})
    for gateway, host in ((everywhere, "localhost"), (one_name, "shop.example.org")):
        assert let_in == {name for name, pair in {"sales-7": departments["sales-7"], "sales-8": eight}.items()
                          if is_let_in(gateway, host, pair=pair)}
    assert is_let_in(one_name)


def test_a_department_beside_its_company_is_looked_at(launch, pairs, folder, departments):
    """Another that is trusted as it is changes nothing of that: the company may take back what a department was."""
    other = make_pair(folder, "other-company")
    lone = make_pair(folder, "lone", authority=other)
    bundle, crl = folder / "mixed.bundle", folder / "mixed.crls"
    bundle.write_bytes(b"".join(one[0].read_bytes() for one in (lone, departments["company"], departments["sales"])))
    lists = [make_crl(folder, departments["sales"]), make_crl(folder, lone)]
    crl.write_bytes(b"".join(lists + [make_crl(folder, departments["company"])]))
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="required", client_ca=str(bundle),
                                                       client_crl=str(crl))],
                      "routes": ROUTES, "tls": {"check_files": "100ms"}})
    lone_one = make_pair(folder, "lone-7", authority=lone)
    assert is_let_in(gateway, pair=departments["sales-7"]) and is_let_in(gateway, pair=lone_one)
    crl.write_bytes(b"".join(lists + [make_crl(folder, departments["company"], [departments["sales"]])]))
    wait_for(lambda: not is_let_in(gateway, pair=departments["sales-7"]), what="the new list")
    assert is_let_in(gateway, pair=lone_one)


def test_a_ticket_opens_no_stricter_listener(launch, pairs, folder, authority, guest):
    secret = folder / "shared-tickets"
    tls = {"ticket_secret_file": str(secret)}
    open_one = launch({"listeners": lambda g: [listener(g, pairs["default"])], "routes": ROUTES, "tls": tls})
    optional = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="optional",
                                                        client_ca=str(authority[0]))], "routes": ROUTES, "tls": tls})
    strict = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="required",
                                                      client_ca=str(authority[0]))], "routes": ROUTES, "tls": tls})
    for version in (V12, V13):
        easy = Seen(open_one.port, "localhost", version=version)
        assert resumes(open_one, easy)
        assert Seen(optional.port, "localhost", version=version).answer.startswith(b"HTTP/1.1 200")
        assert Seen(optional.port, "localhost", version=version, pair=guest).answer.startswith(b"HTTP/1.1 200")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            assert Seen(strict.port, "localhost", session=easy.session, context=easy.context).answer == b""
            raise ConnectionError("closed before the answer")


@pytest.mark.races
def test_a_certificate_that_was_revoked(launch, pairs, folder, authority, guest):
    """Gone from the next handshake on, resumed or not; who is in no list goes on."""
    other, crl = make_pair(folder, "guest-8", authority=authority), folder / "revoked.pem"
    crl.write_bytes(make_crl(folder, authority, [other]))

    def publish(data):
        fresh = crl.with_suffix(".new")
        fresh.write_bytes(data)
        os.replace(fresh, crl)

    def is_let_in(pair=None, **more):
        try:
            return Seen(gateway.port, "localhost", pair=pair, **more).answer.startswith(b"HTTP/1.1 200")
        except (ssl.SSLError, ConnectionError):
            return False

    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="optional",
                                                       client_ca=str(authority[0]), client_crl=str(crl))],
                      "routes": ROUTES, "tls": {"check_files": "100ms"}})
    before = {version: Seen(gateway.port, "localhost", version=version, pair=guest) for version in (V12, V13)}
    for version, seen in before.items():
        assert seen.answer.startswith(b"HTTP/1.1 200") and resumes(gateway, seen)
        assert not is_let_in(other, version=version)
    assert is_let_in()
    publish(make_crl(folder, authority, [guest]))
    wait_for(lambda: is_let_in(other), what="the new list")
    for version, seen in before.items():
        assert not is_let_in(guest, version=version)
        assert not is_let_in(session=seen.session, context=seen.context)
    publish(b"no list")
    wait_for(lambda: "cannot use client CRL" in gateway.log, what="the complaint")
    assert is_let_in(other) and not is_let_in(guest)
    publish(make_crl(folder, authority, is_over=True))
    wait_for(lambda: not is_let_in(other), what="the list whose time is over")
    assert "revocation_list_expired listener=public" in gateway.log


@pytest.mark.parametrize("version, ends", [(V12, "certificate"), (V13, "certificate"), (V13, "list")])
def test_a_session_ends_with_the_certificate_of_its_client(launch, pairs, folder, authority, version, ends):
    """Or when nobody can say any more whether it was revoked."""
    short, crl = make_pair(folder, "short-lived", authority=authority), folder / "short.pem"
    crl.write_bytes(make_crl(folder, authority))
    gateway = launch({"listeners": lambda g: [listener(g, pairs["default"], client_auth="required",
                                                       client_ca=str(authority[0]), client_crl=str(crl))],
                      "routes": ROUTES, "tls": {"check_files": "100ms"}})
    for round, seconds in enumerate((2, 4, 8, 16)):  # a busy machine may be too late for the first
        over = time.time() + seconds
        if ends == "list":
            crl.write_bytes(make_crl(folder, authority, seconds=seconds))
            wait_for(lambda round=round: gateway.log.count("event=files_reloaded") > round, what="the list")
        else:
            short[0].write_bytes(reissue(short, seconds / 86400, signer=authority))
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            seen = Seen(gateway.port, "localhost", version=version, pair=short)
            if resumes(gateway, seen):
                break
    wait_for(lambda: time.time() > over + 1, what="the certificate's end")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Seen(gateway.port, "localhost", session=seen.session, context=seen.context)
    assert gateway.stats()["gateway"]["connections"]["handshakes_resumed"] >= 1
