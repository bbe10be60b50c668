"""
Clients that read nothing while others wait for a connection to the servers: their answers give way, one for each who
waits, and only then. A client that leaves many answers unread is held to a share while connections are short.
"""
import contextlib
import json
import socket
import threading

import pytest

from harness import plain_http, read_response, wait_for
from wire import CANCEL, H2, PREFACE, headers, pseudo, settings

LARGE = 8 << 20
HOARDER = "127.0.0.2"
SHARE, DESCRIPTORS = 8, 240
GET_LARGE = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n"


def start(launch, upstream, policies=None, descriptors=None, threads=2, **cluster):
    backend = upstream(answer=lambda request: (200, {}, b"x" * LARGE if request.path == "/large" else b"small"))
    gateway = launch({
        "listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
        "limits": {"threads": threads, "drain_timeout": "5s", "write_timeout": "5m", "stream_buffer_max": "16KiB"},
        "clusters": {"app": {"endpoints": [backend.address], "max_connections": 2, "slow_reader_max": "200ms",
                             "concurrency": {"kind": "fixed", "limit": 2}, **cluster}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}],
        "policies": policies or {}}, descriptors=descriptors)
    return gateway, backend


def connect(gateway, source="127.0.0.1"):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.bind((source, 0))
    connection.connect(("127.0.0.1", gateway.port))
    return connection


def stall_h1(gateway, source="127.0.0.1"):
    connection = connect(gateway, source)
    connection.sendall(GET_LARGE)
    return connection


def stall_h2(gateway, source="127.0.0.1"):
    connection = connect(gateway, source)
    connection.sendall(PREFACE + settings((4, 0)) + headers(1, pseudo("/large")))
    return connection


def cluster_of(gateway):
    return gateway.stats()["policies"]["backends"]["app"]


def wait_held(gateway, backend):
    """Two answers have begun, their places are free again, and the connections are not."""
    wait_for(lambda: len(backend.requests) == 2, what="two requests")
    wait_for(lambda: cluster_of(gateway)["concurrency"]["in_flight"] == 0, what="their places")


def ask(gateway, source="127.0.0.1"):
    with connect(gateway, source) as connection:
        connection.sendall(b"GET /small HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return read_response(connection.makefile("rb"))


def is_cut(connection):
    """Reads on until the end; true when that is not the answer's."""
    got = 0
    with contextlib.suppress(ConnectionError):
        while got < LARGE and (data := connection.recv(1 << 20)):
            got += len(data)
    return got < LARGE


def gave_way(gateway):
    return gateway.stats()["backends"]["app"]["requests"]["gave_way"]


def unsent_by_the_kernel(port):
    """The longest queue of what is to leave this port."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return max((int(row[4].split(":")[0], 16) for row in rows
                if int(row[1].split(":")[1], 16) == port and row[3] == "01"), default=0)


def test_the_kernel_takes_little_of_what_is_not_read(launch, upstream):
    gateway, _ = start(launch, upstream)
    lengths = []

    def stands():
        lengths.append(unsent_by_the_kernel(gateway.port))
        return lengths[-1] > 0 and lengths[-5:] == lengths[-1:] * 5

    with stall_h1(gateway) as slow:
        wait_for(stands, what="a queue that stands")
        assert max(lengths) < 1 << 20  # without a bound it is all that Linux gives, four times that
        assert not is_cut(slow)


@pytest.mark.parametrize("stall", [stall_h1, stall_h2])
def test_a_reader_that_stalls_gives_way_to_who_waits(launch, upstream, stall):
    gateway, backend = start(launch, upstream)
    with stall(gateway) as first, stall(gateway) as second:
        wait_held(gateway, backend)
        status, _, body = ask(gateway)
        assert (status, body) == (200, b"small")
        assert gave_way(gateway) == 1
        wait_for(lambda: "event=slow_reader_cut backend=app client=127.0.0.1" in gateway.log, what="a line in the log")
        request_id = gateway.log.split("event=slow_reader_cut")[1].split("request_id=")[1].split()[0]
        decisions = gateway.explain(request_id)["decisions"]
        assert [one["policy"] for one in decisions if one["decided"] == "refuse"] == ["slow_reader_max"]
        if stall is stall_h1:
            assert [is_cut(first), is_cut(second)].count(True) == 1
            return
        clients = [H2(connection, first=b"", preface=b"") for connection in (first, second)]

        def resets():
            for client in clients:
                client.connection.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    client.until(lambda client=client: client.resets)
            return [client.resets[1] for client in clients if client.resets]
        assert wait_for(resets, what="a reset") == [CANCEL]


def test_nobody_gives_way_for_nobody(launch, upstream):
    gateway, backend = start(launch, upstream)
    with stall_h1(gateway) as slow:
        wait_for(lambda: len(backend.requests) == 1, what="its request")
        for _ in range(5):  # over the other connection
            assert ask(gateway)[0] == 200
        seen = gateway.stats()["process"]["uptime_s"]
        gateway.wait_stats(lambda stats: stats["process"]["uptime_s"] > seen + 0.5)
        assert gave_way(gateway) == 0
        assert not is_cut(slow)


def test_with_the_limit_off_who_waits_goes_on_waiting(launch, upstream):
    gateway, backend = start(launch, upstream, slow_reader_max="off")
    with stall_h1(gateway) as first, stall_h1(gateway):
        wait_held(gateway, backend)
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(ask(gateway)))
        waiting.start()
        wait_for(lambda: gateway.stats()["backends"]["app"]["limits"]["pending"]["used"] == 1, what="one who waits")
        seen = gateway.stats()["process"]["uptime_s"]
        gateway.wait_stats(lambda stats: stats["process"]["uptime_s"] > seen + 0.5)
        assert not answers and gave_way(gateway) == 0
        assert not is_cut(first)
        waiting.join()
        assert answers[0][0] == 200


def hoard(stack, gateway, backend, count):
    """So many answers of one address whose windows are shut: each is paused, for good, before the next begins."""
    held = []
    for number in range(1, count + 1):
        held.append(stack.enter_context(stall_h2(gateway, HOARDER)))
        wait_for(lambda number=number: len(backend.requests) == number, what="its request")
        wait_for(lambda: cluster_of(gateway)["concurrency"]["in_flight"] == 0, what="its place")
    return held


def requests_of(gateway):
    return gateway.stats()["backends"]["app"]["requests"]


def assert_refused(gateway):
    status, fields, body = ask(gateway, HOARDER)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["policy"]) == (503, "unread_answers", "slow_reader_share")
    assert error["value"] >= error["limit"] > 0
    assert int(fields["retry-after"]) >= 1


def is_short(stats):
    return stats["policies"]["overload"]["steps"]["address_share"]["taken"]


def start_shared(launch, upstream, short_at, **cluster):
    """One loop, on which a client's share is the least there is: 8."""
    step = {"fds": {"address_share": short_at}, "interval": "20ms", "hold": "100ms", "address_share_to": "50%"}
    return start(launch, upstream, threads=1, policies={"overload": step}, descriptors=DESCRIPTORS,
                 slow_reader_max="5m", **cluster)


def test_one_client_gets_its_share_of_unread_answers_while_descriptors_are_short(launch, upstream):
    gateway, backend = start_shared(launch, upstream, "1%/0.5%", max_connections=64)
    gateway.wait_stats(is_short)
    with contextlib.ExitStack() as stack:
        held = hoard(stack, gateway, backend, SHARE)
        for _ in range(3):
            assert_refused(gateway)
            assert ask(gateway)[0] == 200  # the other clients notice nothing
        assert (requests_of(gateway)["share_refused"], gave_way(gateway)) == (3, 0)
        counted = 'floodgate_refused_total{route="/",reason="unread_answers"} 3'
        wait_for(lambda: counted in plain_http.get(f"{gateway.admin}/metrics").text, what="three refusals")
        assert 'floodgate_cluster_share_refused_total{cluster="app"} 3' in plain_http.get(f"{gateway.admin}/metrics").text
        held[0].close()
        wait_for(lambda: requests_of(gateway)["cancelled"] == 1, what="its end")
        assert ask(gateway, HOARDER)[0] == 200


def test_what_is_above_a_share_goes_when_descriptors_become_short(launch, upstream):
    gateway, backend = start_shared(launch, upstream, "50%/30%", max_connections=64)
    with contextlib.ExitStack() as stack:
        hoard(stack, gateway, backend, SHARE + 4)
        assert (gave_way(gateway), is_short(gateway.stats())) == (0, False)
        for number in range(DESCRIPTORS // 2):  # of many clients, each within its share
            stack.enter_context(connect(gateway, f"127.0.1.{1 + number // 10}"))
        gateway.wait_stats(is_short)
        wait_for(lambda: gave_way(gateway) == 4, what="those above the share to go")
        assert requests_of(gateway)["share_cut"] == 4
        assert ask(gateway)[0] == 200
        assert_refused(gateway)
        assert gave_way(gateway) == 4


def test_what_is_above_a_share_goes_first_when_others_wait(launch, upstream):
    """Descriptors are plenty; but the one client has all connections to the servers."""
    gateway, backend = start_shared(launch, upstream, "off", max_connections=SHARE + 1)
    with contextlib.ExitStack() as stack:
        hoard(stack, gateway, backend, SHARE + 1)
        assert_refused(gateway)
        assert ask(gateway)[0] == 200
        assert (gave_way(gateway), requests_of(gateway)["share_cut"]) == (1, 1)


def start_files(launch, folder, slots, short_at, slow_reader_max="5m"):
    """Files over one loop; a client's share of the slots is the least there is: 8."""
    (folder / "large").write_bytes(b"x" * LARGE)
    (folder / "small").write_bytes(b"small")
    step = {"fds": {"address_share": short_at}, "interval": "20ms", "hold": "100ms", "address_share_to": "50%"}
    return launch({
        "listeners": lambda one: [{"name": "plain", "address": f"127.0.0.1:{one.port}", "kind": "plain"}],
        "limits": {"threads": 1, "drain_timeout": "5s", "write_timeout": "5m", "stream_buffer_max": "16KiB"},
        "static": {"files": {"root": str(folder), "concurrency": {"kind": "fixed", "limit": slots},
                             "slow_reader_max": slow_reader_max, "queue": {"wait_max": "60s", "target": "off"}}},
        "routes": [{"match": {"prefix": "/"}, "to": "static:files", "timeout": "5m"}],
        "policies": {"overload": step}}, descriptors=DESCRIPTORS)


def hoard_files(stack, gateway, count):
    for number in range(1, count + 1):
        stack.enter_context(stall_h2(gateway, HOARDER))
        wait_for(lambda number=number: files_of(gateway)["open_files"] == number, what="its file")


def files_of(gateway):
    return gateway.stats()["backends"]["files"]


def test_files_that_one_client_does_not_read_give_their_slots_to_who_waits(launch, tmp_path):
    gateway = start_files(launch, tmp_path, SHARE + 2, "off")
    with contextlib.ExitStack() as stack:
        hoard_files(stack, gateway, SHARE + 2)
        assert ask(gateway)[0] == 200
        assert files_of(gateway)["gave_way"] == 1
        wait_for(lambda: files_of(gateway)["open_files"] == SHARE + 1, what="its file")
        assert ask(gateway)[0] == 200  # over the slot that has come free
        assert files_of(gateway)["gave_way"] == 1


def test_files_within_a_share_give_way_when_their_time_is_over(launch, tmp_path):
    gateway = start_files(launch, tmp_path, 2, "off", slow_reader_max="200ms")
    with contextlib.ExitStack() as stack:
        hoard_files(stack, gateway, 2)
        assert ask(gateway)[0] == 200
        assert files_of(gateway)["gave_way"] == 1


def test_one_client_gets_its_share_of_files_while_descriptors_are_short(launch, tmp_path):
    gateway = start_files(launch, tmp_path, 64, "1%/0.5%")
    gateway.wait_stats(is_short)
    with contextlib.ExitStack() as stack:
        hoard_files(stack, gateway, SHARE)
        assert_refused(gateway)
        assert ask(gateway)[0] == 200
        assert (files_of(gateway)["share_refused"], files_of(gateway)["gave_way"]) == (1, 0)
