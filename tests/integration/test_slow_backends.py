"""A backend that takes its time is not full: who comes while it has answered nobody yet is not refused."""
import contextlib
import threading
import time

import pytest

import wire
from harness import read_response, wait_for
from test_policies import in_background, join

CROWD = 60


@pytest.mark.parametrize("kind", ["gradient2", "vegas", "aimd"])
def test_a_crowd_gets_in_before_the_first_answer(launch, upstream, kind):
    backend = upstream()
    backend.gate.clear()
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": kind},
                                           "queue": {"wait_max": "60s"}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]})
    threads, answers = in_background(gateway, "/", CROWD)
    wait_for(lambda: backend.in_flight == CROWD)
    assert gateway.gate("app")["queue"]["waiting"] == 0
    backend.gate.set()
    join(threads)
    assert [answer.status_code for answer in answers] == [200] * CROWD
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)


@pytest.mark.parametrize("count", [4, 60])
def test_long_polls_shut_no_quick_ones_out(launch, upstream, count):
    """They have every slot of a limit that nobody has had reason to raise, and the line behind it."""
    news = threading.Event()

    def answer(handler):
        if handler.path == "/poll":
            news.wait(60)
        return 200, {}, b""
    backend = upstream(answer)
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "queue": {"wait_max": "60s"}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]})
    quick = [gateway.get("/")]
    polls, answers = in_background(gateway, "/poll", count)

    def are_all_there():
        quick.append(gateway.get("/"))
        return backend.in_flight == count
    wait_for(are_all_there)
    quick.append(gateway.get("/"))
    news.set()
    join(polls)
    assert {answer.status_code for answer in quick + answers} == {200}
    wait_for(lambda: gateway.gate("app")["concurrency"]["in_flight"] == 0)


def test_long_polls_that_double_at_once_do_not_wait_for_an_answer(launch, upstream):
    """Who was in flight before was answered as quickly as the first ones, so nothing shows that there is no room."""
    backend = upstream()
    backend.gate.clear()
    gateway = launch({"clusters": {"app": {"endpoints": [backend.address], "queue": {"wait_max": "5s"}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "60s"}]})
    started = time.monotonic()
    polls, answers = in_background(gateway, "/", CROWD)
    wait_for(lambda: backend.in_flight == CROWD and time.monotonic() > started + 2, what="answers of two seconds")
    backend.gate.set()
    join(polls)
    backend.gate.clear()
    limit = gateway.gate("app")["concurrency"]["limit"]
    polls, more = in_background(gateway, "/", 2 * limit - 5)
    wait_for(lambda: backend.in_flight == 2 * limit - 5)
    backend.gate.set()
    join(polls)
    assert {answer.status_code for answer in answers + more} == {200}


def test_uploads_that_come_slowly_say_nothing_of_how_many_there_may_be(launch, upstream):
    """Each has a slot for a moment; that it then goes to the next one does not mean that there are no more."""
    gateway = launch({"listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
                      "clusters": {"app": {"endpoints": [upstream().address], "queue": {"wait_max": "60s"}}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app", "timeout": "120s"}]})
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(wire.connect(gateway.port, source=f"127.0.1.{1 + i}")) for i in range(200)]
        for upload in uploads:
            upload.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc")
        wait_for(lambda: gateway.gate("app")["queue"]["queued_total"] >= 190, what="all of them")
        wait_for(lambda: gateway.gate("app")["queue"]["waiting"] == gateway.gate("app")["concurrency"]["in_flight"] == 0)
        assert gateway.gate("app")["concurrency"]["limit"] >= 64
        for upload in uploads:
            upload.sendall(b"def")
        assert {read_response(upload.makefile("rb"))[0] for upload in uploads} == {200}
