"""Who waits in the queue and leaves, in whatever way, is out of it at once and costs the server nothing: by its record."""
import socket

import pytest

from harness import h2_start, wait_for
from test_policies import in_background, join

LONG = b"GET /left HTTP/1.1\r\nhost: x\r\n\r\n"


def by_reset(gateway):
    connection = gateway.raw()
    connection.sendall(LONG)

    def leave():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    return leave


def by_end(gateway):
    connection = gateway.raw()
    connection.sendall(LONG)
    return connection.close  # without close_notify, and with it below


def by_tls_close(gateway):
    connection = gateway.raw()
    connection.sendall(LONG)

    def leave():
        connection.settimeout(0.2)
        try:
            connection.unwrap()
        except OSError:
            pass  # it does not wait for ours
        connection.close()
    return leave


def on_http2(gateway, goes):
    connection, state = h2_start(gateway)
    state.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/left")],
                       end_stream=True)
    connection.sendall(state.data_to_send())

    def leave():
        if goes == "stream":
            state.reset_stream(1, 8)
        else:
            state.close_connection()
        connection.sendall(state.data_to_send())
        if goes != "stream":
            connection.close()
    leave.connection = connection  # stays open otherwise
    return leave


def by_stream_reset(gateway):
    return on_http2(gateway, "stream")


def by_goodbye(gateway):
    return on_http2(gateway, "connection")


@pytest.mark.parametrize("way", [by_reset, by_end, by_tls_close, by_stream_reset, by_goodbye])
def test_who_leaves_the_queue(launch, upstream, way):
    backend = upstream()
    backend.gate.clear()
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address],
                                                  "concurrency": {"kind": "fixed", "limit": 1},
                                                  "queue": {"target": "off", "wait_max": "60s"}}},
                             "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]})
    threads, answers = in_background(gateway, "/first", 1)
    wait_for(lambda: backend.in_flight == 1)
    leaves = [way(gateway) for _ in range(3)]
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 3)
    for leave in leaves:
        leave()
    wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == 0)
    backend.gate.set()
    join(threads)
    assert answers[0].status_code == 200 and gateway.get("/next").status_code == 200
    assert backend.count("/left") == 0 and backend.count() == 2
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)


@pytest.mark.parametrize("fields", [{"x-request-timeout-ms": "150"}, {"grpc-timeout": "150m"}])
def test_whose_time_is_over(launch, upstream, fields):
    backend = upstream()
    backend.gate.clear()
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                                           "queue": {"target": "off", "wait_max": "60s"}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]})
    threads, answers = in_background(gateway, "/first", 1)
    wait_for(lambda: backend.in_flight == 1)
    late, refusals = in_background(gateway, "/left", 3, headers=fields)
    join(late)
    codes = {answer.json()["error"]["code"] for answer in refusals}
    assert codes <= {"queue_timeout", "deadline_exceeded", "cannot_meet_deadline"}
    assert gateway.gate("app")["queue"]["waiting"] == 0
    backend.gate.set()
    join(threads)
    assert answers[0].status_code == 200 and backend.count("/left") == 0
