"""
test_upstream_retries.py: what is sent again and what never is, under which budget; hedging; and that
an answer which broke off is never taken for a whole one. The servers record every request.
"""
import threading


import httpx
import pytest

from harness import wait_for
from test_policies import in_background, join
from upstreams import H2Server, Raw, SocketServer, cluster, figures, ok, reset, serving


def close_at_once(connection, *_):
    return False


def reset_at_once(connection, *_):
    return reset(connection)


def methods(server):
    return [head.split()[0].decode() for head, _ in server.requests]


@pytest.mark.parametrize("failure", [close_at_once, reset_at_once, ok(b"", b"503 No"), ok(b"", b"502 No")])
@pytest.mark.parametrize("method, goes_again", [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False),
                                                ("PATCH", False)])
def test_only_idempotent_methods_go_again(launch, failure, method, goes_again):
    with serving(Raw([failure]), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}], retries={"attempts": 1}))
        body = b"body" if method in ("PUT", "POST", "PATCH") else None
        with gateway.client() as client:
            answer = client.request(method, "/", content=body)
        if goes_again:
            assert answer.status_code == 200 and methods(good) == [method]
            assert good.requests[0][1] == (body or b"")
            assert figures(gateway, "requests")["retries"] == 1
        else:
            assert answer.status_code in (502, 503) and not good.requests
        assert methods(bad) == [method]


def test_without_retries_a_failure_is_the_answer(launch):
    with serving(Raw([ok(b"sorry", b"503 No")]), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}]))
        assert gateway.get("/").text == "sorry" and not good.requests


def test_only_the_named_causes(launch):
    with serving(Raw([ok(b"sorry", b"503 No")]), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}],
                                 retries={"attempts": 1, "on": ["502", "reset"]}))
        assert gateway.get("/").text == "sorry" and not good.requests


def test_a_post_is_never_sent_twice_whatever_happens(launch):
    """Kept connections that die under the request, in every way, with everything allowed."""
    def one_then_die(connection, head, body):
        if head.startswith(b"GET"):
            connection.sendall(ok())
            return True
        return reset(connection) if len(deaths) % 2 else False

    deaths = []
    with serving(Raw([one_then_die])) as server:
        gateway = launch(cluster([server.address], connect_retries=5, retries={"attempts": 5}))
        with gateway.client() as client:
            for i in range(10):
                assert client.get("/").status_code == 200
                assert client.post("/order", content=b"order %d" % i).status_code == 502
                deaths.append(i)
        posts = [body for head, body in server.requests if head.startswith(b"POST")]
        assert posts == [b"order %d" % i for i in range(10)]


def test_a_long_body_goes_once(launch):
    with serving(Raw([close_at_once]), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}],
                                 retries={"attempts": 1, "body_max": "10KiB"}))
        with gateway.client() as client:
            assert client.put("/", content=b"x" * 8000).status_code == 200
            assert client.put("/", content=b"x" * 50000).status_code == 502
        assert len(good.requests[0][1]) == 8000 and len(good.requests) == 1


def test_a_chunked_body_is_framed_anew(launch):
    with serving(Raw([close_at_once]), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}], retries={"attempts": 1}))
        with gateway.client() as client:
            assert client.put("/", content=iter([b"one ", b"two ", b"three"])).status_code == 200
        assert good.requests[0][1] == b"one two three"


def test_an_attempt_that_takes_too_long_is_left_for_another(launch):
    never = threading.Event()

    def hang(connection, *_):
        never.wait(30)
        return False

    with serving(Raw([hang]), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}],
                                 retries={"attempts": 1, "try_timeout": "3s"}))  # the other one has as long
        assert gateway.get("/").text == "fine"
        assert gateway.client().post("/", content=b"x").status_code == 504
        never.set()


def test_the_budget_bounds_retries(launch):
    with serving(Raw([ok(b"", b"503 No")])) as bad:
        gateway = launch(cluster([bad.address], retries={"attempts": 5, "budget": "0%", "budget_min": 2},
                                 breaker={"enabled": False}))
        assert gateway.get("/").status_code == 503
        assert len(bad.requests) == 3
        assert figures(gateway, "requests")["retries_refused"] == 1
        gateway.get("/")  # what the first one held is back
        assert len(bad.requests) == 6


def test_a_retry_waits_and_what_was_not_sent_does_not(launch):
    """The pause is long: none of this waits for its end."""
    with serving(Raw([ok(b"", b"503 No")]), Raw([close_at_once])) as (bad, dead):
        dead.close()  # nobody listens
        sections = cluster([dead.address, {"address": bad.address, "priority": 1}],
                           retries={"attempts": 3, "backoff": "1m"}, breaker={"enabled": False})
        sections["routes"][0]["timeout"] = "10m"  # the pause ends before it
        gateway = launch(sections)
        with gateway.raw() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(lambda: figures(gateway, "requests")["retries"] == 1)
            assert len(bad.requests) == 1 and figures(gateway, "requests")["reconnects"] > 0
            assert gateway.gate("api")["concurrency"]["in_flight"] == 1
        wait_for(lambda: figures(gateway, "requests")["cancelled"] == 1)
        wait_for(lambda: gateway.gate("api")["concurrency"]["in_flight"] == 0)
        assert len(bad.requests) == 1


def test_a_body_goes_on_while_a_retry_waits(launch):
    def refuse(connection, _):
        connection.recv(65536)
        connection.sendall(ok(b"", b"503 No"))
        connection.recv(1)

    with serving(SocketServer(refuse), Raw([ok(b"fine")])) as (bad, good):
        gateway = launch(cluster([bad.address, {"address": good.address, "priority": 1}],
                                 retries={"attempts": 1, "backoff": "500ms"}, breaker={"enabled": False}))
        with gateway.raw() as connection:
            connection.sendall(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nbody")
            wait_for(lambda: figures(gateway, "requests")["retries"] == 1)
            connection.sendall(b" too")
            wait_for(lambda: good.requests)
            assert good.requests[0][1] == b"body too"
            assert b" 200 " in connection.recv(65536).split(b"\r\n")[0]


def test_pauses_are_told(launch):
    with serving(Raw([ok(b"", b"503 No"), ok(b"", b"503 No"), ok(b"fine")])) as server:
        gateway = launch(cluster([server.address], retries={"attempts": 2, "backoff": "20ms"},
                                 breaker={"enabled": False}) | {"observability": {"slow_request": "1ms"}})
        answer = gateway.get("/")
        assert answer.text == "fine" and "backoff;dur=" in answer.headers["server-timing"]


def test_who_says_when_to_come_again_is_not_asked_at_once(launch):
    """Another server is; and the last one's word goes to the client."""
    later = ok(b"later", b"503 No", b"retry-after: 7\r\n")
    with serving(Raw([later]), Raw([later])) as (one, other):
        gateway = launch(cluster([one.address, other.address], retries={"attempts": 5}, breaker={"enabled": False}))
        answer = gateway.get("/")
        assert (answer.text, answer.headers["retry-after"]) == ("later", "7")
        assert (len(one.requests), len(other.requests)) == (1, 1)
    with serving(Raw([ok(b"", b"503 No", b"retry-after: 0\r\n"), ok(b"fine")])) as one:
        gateway = launch(cluster([one.address], retries={"attempts": 5}, breaker={"enabled": False}))
        assert gateway.get("/").text == "fine"


def test_hedging_asks_a_second_endpoint(launch):
    never = threading.Event()
    gone = threading.Event()

    def hang(connection, head, _):
        connection.settimeout(30)
        if connection.recv(1) == b"":  # until we hang up
            gone.set()
        return False

    with serving(Raw([hang]), Raw([ok(b"fine")])) as (slow, fast):
        gateway = launch(cluster([slow.address, {"address": fast.address, "priority": 1}],
                                 retries={"hedge_after": "100ms"}))
        assert gateway.get("/").text == "fine"
        assert gone.wait(30), "the slow attempt was not cancelled"
        requests = figures(gateway, "requests")
        assert requests["hedges"] == 1 and requests["hedges_won"] == 1
        never.set()


@pytest.mark.parametrize("status", [b"500 Oops", b"503 No", b"429 No"])
def test_of_two_the_first_good_answer_counts(launch, status):
    refused = threading.Event()

    def slow(connection, *_):
        refused.wait(30)
        connection.sendall(ok(b"good"))

    def refuse(connection, *_):
        connection.sendall(ok(b"bad", status))
        wait_for(lambda: figures(gateway, "endpoints")[1]["answers"] == 1)  # it has come, and was not taken
        refused.set()

    with serving(Raw([slow]), Raw([refuse])) as (first, second):
        gateway = launch(cluster([first.address, {"address": second.address, "priority": 1}],
                                 retries={"hedge_after": "100ms"}))
        assert gateway.get("/").text == "good"
        assert figures(gateway, "requests")["hedges"] == 1 and figures(gateway, "requests")["hedges_won"] == 0
        assert figures(gateway, "endpoints")[1]["errors"] == (0 if status.startswith(b"429") else 1)


@pytest.mark.parametrize("failure", [ok(b"", b"503 No"), close_at_once])
@pytest.mark.parametrize("third", [True, False])
def test_where_one_of_two_fails_the_next_is_asked_beside_the_other(launch, failure, third):
    """The first one hangs; where there is nobody else, it is waited for, as before."""
    never = threading.Event()

    def hang(connection, *_):
        never.wait(30)
        connection.sendall(ok(b"late"))

    with serving(Raw([hang]), Raw([failure]), Raw([ok(b"fine")])) as (first, second, last):
        servers = [first, second, last] if third else [first, second]
        gateway = launch(cluster([{"address": server.address, "priority": i} for i, server in enumerate(servers)],
                                 retries={"hedge_after": "50ms", "attempts": 3, "backoff": "1m"},
                                 breaker={"enabled": False}))
        if third:
            assert gateway.get("/").text == "fine"
        else:
            with gateway.raw() as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                wait_for(lambda: figures(gateway, "endpoints")[1]["answers"] == 1)
                never.set()
                assert connection.recv(65536).endswith(b"late")
        never.set()
        requests = figures(gateway, "requests")
        assert (requests["hedges"], requests["retries"]) == (1, 1 if third else 0)
        wait_for(lambda: len(first.requests) == len(second.requests) == 1, what="what was sent is read")
        wait_for(lambda: gateway.gate("api")["concurrency"]["in_flight"] == 0)


def test_a_third_attempt_that_finds_no_slot_was_none(launch):
    """Who waits for a slot comes before it, and no retry is counted that there was not."""
    fails, answers = threading.Event(), threading.Event()

    def hang(connection, *_):
        answers.wait(30)
        connection.sendall(ok(b"late"))

    def fail(connection, *_):
        fails.wait(30)
        connection.sendall(ok(b"", b"503 No"))

    with serving(Raw([hang]), Raw([fail]), Raw([ok(b"never")])) as (first, second, third):
        gateway = launch(cluster([{"address": server.address, "priority": i}
                                  for i, server in enumerate((first, second, third))],
                                 retries={"hedge_after": "20ms", "attempts": 3}, breaker={"enabled": False},
                                 outlier=False, concurrency={"kind": "fixed", "limit": 2},
                                 queue={"target": "off", "wait_max": "60s"}))
        threads, heard = in_background(gateway, "/", 1)
        wait_for(lambda: len(second.requests) == 1)
        more, others = in_background(gateway, "/", 1)
        wait_for(lambda: gateway.gate("api")["queue"]["waiting"] == 1)
        fails.set()
        wait_for(lambda: len(first.requests) == 2)
        answers.set()
        join(threads + more)
        assert [answer.text for answer in heard + others] == ["late", "late"]
        requests = figures(gateway, "requests")
        assert (requests["hedges"], requests["retries"], len(third.requests)) == (1, 0, 0)


def test_of_two_bad_answers_the_last_is_passed_on(launch):
    asked = threading.Event()

    def late(connection, *_):
        asked.wait(30)
        wait_for(lambda: figures(gateway, "endpoints")[1]["answers"] == 1)
        connection.sendall(ok(b"late", b"500 Oops"))

    with serving(Raw([late]), Raw([lambda connection, *_: (connection.sendall(ok(b"early", b"500 Oops")), asked.set())])) as (
            first, second):
        gateway = launch(cluster([first.address, {"address": second.address, "priority": 1}],
                                 retries={"hedge_after": "100ms"}))
        answer = gateway.get("/")
        assert (answer.status_code, answer.text) == (500, "late")


def test_hedges_stay_within_the_limit(launch, upstream):
    """As the servers count it: a second attempt takes a slot of its own, and only one that nobody waits for."""
    answering = threading.Event()
    servers = [upstream(lambda request: answering.wait(30) and (200, {}, b"ok")) for _ in range(2)]
    gateway = launch(cluster([server.address for server in servers], threads=2, retries={"hedge_after": "20ms"},
                             concurrency={"kind": "fixed", "limit": 3}, queue={"target": "off", "wait_max": "60s"}))

    def at_servers():
        return sum(server.in_flight for server in servers)
    threads, answers = in_background(gateway, "/", 2)
    wait_for(lambda: at_servers() == 3)  # the one slot that is left
    assert gateway.gate("api")["concurrency"]["in_flight"] == 3
    more, others = in_background(gateway, "/", 6)
    wait_for(lambda: gateway.gate("api")["queue"]["waiting"] == 6)
    assert at_servers() == 3 and figures(gateway, "requests")["hedges"] == 1
    answering.set()
    join(threads + more)
    assert [answer.status_code for answer in answers + others] == [200] * 8
    wait_for(lambda: gateway.gate("api")["concurrency"]["in_flight"] == 0)


# ---- truncation is never success ----

BREAKS = {
    "short of the length": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
    "no last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n",
    "inside a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nonly",
    "inside the last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n0\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\nxyz\r\n",
}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("http2", [False, True])
def test_an_answer_that_breaks_off_is_never_whole(launch_module, how, http2):
    def break_off(connection, *_):
        connection.sendall(BREAKS[how])
        return False

    with serving(Raw([break_off])) as server:
        gateway = launch_module(cluster([server.address], retries={"attempts": 3}))
        with gateway.client(http2=http2) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                client.get("/")
        assert len(server.requests) == 1  # the client had a part of it


def test_a_reset_inside_a_body_until_close_is_no_end(launch):
    sent = threading.Event()

    def break_off(connection, *_):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
        sent.wait(30)
        return reset(connection)

    with serving(Raw([break_off])) as server:
        gateway = launch(cluster([server.address]))
        with gateway.client() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                with client.stream("GET", "/") as answer:
                    for _ in answer.iter_raw():
                        sent.set()


@pytest.mark.parametrize("http2", [False, True])
def test_a_stream_may_be_silent_for_as_long_as_its_route_says(launch, http2):
    """Beside it, a route without a time of its own has the cluster's."""
    def pause(connection, *_):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
        threading.Event().wait(1.2)
        connection.sendall(b" last")

    def pause_h2(_, conn, stream_id, __):
        conn.send_headers(stream_id, [(":status", "200")])
        conn.send_data(stream_id, b"first")
        conn.fg_socket.sendall(conn.data_to_send())
        threading.Event().wait(1.2)
        conn.send_data(stream_id, b" last", end_stream=True)

    with serving(H2Server(pause_h2) if http2 else Raw([pause])) as server:
        sections = cluster([server.address], response_idle_timeout="400ms", protocol="h2" if http2 else "http1")
        sections["routes"].insert(0, {"match": {"prefix": "/stream"}, "to": "cluster:api", "timeout": "5s",
                                      "stream_idle_timeout": "30s"})
        gateway = launch(sections)
        assert gateway.get("/stream").text == "first last"
        with pytest.raises(httpx.RemoteProtocolError):
            gateway.get("/")


def test_bad_answers_cost_one_request_each(launch):
    bad = [b"garbage\r\n\r\n", b"HTTP/1.1 000 No\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
           b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
           b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100000 + b"\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
           b"HTTP/1.1 200 OK\nx: y\n\n", b"HTTP/2.0 200 OK\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n"]

    def reply(connection, head, _):
        number = head.split()[1][1:]
        connection.sendall(bad[int(number)] if number else ok(b"fine"))

    with serving(Raw([reply])) as server:
        gateway = launch(cluster([server.address], breaker={"enabled": False}))
        for number in range(len(bad)):
            assert gateway.get(f"/{number}").status_code == 502, bad[number][:60]
            assert gateway.get("/").text == "fine"


def test_a_client_that_leaves_takes_the_upstream_work_with_it(launch):
    gone = threading.Event()

    def hang(connection, *_):
        connection.settimeout(30)
        if connection.recv(1) == b"":
            gone.set()
        return False

    with serving(Raw([hang])) as server:
        gateway = launch(cluster([server.address]))
        with gateway.raw() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(lambda: server.requests)
        assert gone.wait(30), "the server's work was not cancelled"
        wait_for(lambda: figures(gateway, "requests")["cancelled"] == 1)


def test_unix_sockets_and_fresh_connections_after_the_server_restarts(launch, tmp_path):
    path = tmp_path / "s.sock"
    server = Raw([ok(b"one")], path=path)
    gateway = launch(cluster([f"unix:{path}"]))
    assert gateway.get("/").text == "one"
    server.close()
    path.unlink()
    with serving(Raw([ok(b"two")], path=path)):
        wait_for(lambda: gateway.get("/").text == "two")
