"""`admit: auto`: a line that goes at the pace of the backend behind it, without a number from anybody."""
import asyncio
import signal
import threading
import time

import pytest

from harness import children_of, plain_http, wait_for
from test_policies import in_background, join
from test_waiting_room import TICKET, sections, stats, take_a_place, until_let_in


def auto(backend, **room):
    config = sections(backend, {"admit": "auto", **room})
    config["clusters"]["app"].update(concurrency={"kind": "fixed", "limit": 2}, queue={"requests_max": 4})
    return config


async def stand_in_line(client, number):
    """Asks until it is let in; what stands between is a place in line, also where the backend's gate is shut."""
    ticket, waited = None, False
    for _ in range(3000):
        answer = await client.get(f"/sale/{number}", headers={TICKET: ticket} if ticket else {})
        if answer.status_code == 200:
            return waited
        assert answer.status_code == 429, answer.text
        waited = True
        assert answer.json()["error"]["queue"]["ticket"] == answer.headers[TICKET]
        ticket = answer.headers[TICKET]
        await asyncio.sleep(0.1)
    raise AssertionError("never let in")


@pytest.mark.races
def test_everybody_comes_in_at_the_backends_pace(launch, upstream):
    backend = upstream(lambda request: time.sleep(0.05) or (200, {}, b"ok"))
    gateway = launch(auto(backend))
    wait_for(lambda: stats(gateway).get("pace_per_s", 0) > 0, what="a pace")

    async def crowd():
        async with gateway.async_client(http2=True, timeout=60) as client:
            return await asyncio.gather(*(stand_in_line(client, number) for number in range(40)))
    waited = asyncio.run(crowd())
    assert sum(waited) >= 20  # it does not let all of them in at once
    assert backend.in_flight_most <= 2
    figures = stats(gateway)
    assert figures["used"] + figures["direct"] >= 40 and figures["waiting"] == 0
    metrics = plain_http.get(gateway.admin + "/metrics").text
    assert 'floodgate_waiting_room_pace_per_second{route="sale"} ' in metrics


def test_a_backend_that_gets_nothing_done_holds_the_door(launch, upstream):
    backend = upstream()
    gateway = launch(auto(backend))
    wait_for(lambda: stats(gateway).get("pace_per_s", 0) > 0, what="a pace")
    began = stats(gateway)["pace_per_s"]
    backend.gate.clear()

    async def push():
        """Both slots and the places behind them are taken, and nothing comes back."""
        async with gateway.async_client(http2=True, timeout=120) as client:
            people = [asyncio.create_task(stand_in_line(client, number)) for number in range(12)]
            await asyncio.to_thread(wait_for, lambda: stats(gateway)["pace_per_s"] < began / 4, 60)
            backend.gate.set()
            return await asyncio.gather(*people)
    asyncio.run(push())  # and all come in when it is well again
    assert stats(gateway)["waiting"] == 0 and backend.in_flight_most <= 2


def test_who_finds_the_backend_full_waits_in_line(launch, upstream):
    """Nobody is told 503: neither who came without a line, nor whose turn had come."""
    backend = upstream()
    config = auto(backend)
    config["clusters"]["app"]["queue"] = {"requests_max": "off"}
    gateway = launch(config)
    wait_for(lambda: stats(gateway).get("pace_per_s", 0) > 0, what="a pace")
    backend.gate.clear()

    async def two():
        async with gateway.async_client(timeout=60) as client:
            await asyncio.gather(stand_in_line(client, 1), stand_in_line(client, 2))
    held = threading.Thread(target=lambda: asyncio.run(two()))
    held.start()
    wait_for(lambda: backend.in_flight == 2)
    came = stats(gateway)["used"] + stats(gateway)["direct"]
    with gateway.client() as client:
        # direct passes lead to a gate that is full: places, and the passes are back
        tickets = [client.get("/sale").headers[TICKET] for _ in range(3)]
        assert len(set(tickets)) == 3
        turn = wait_for(lambda: next((a for a in [client.get("/sale", headers={TICKET: tickets[0]})]
                                      if "it is your turn" in a.text), None))
        assert turn.status_code == 429 and turn.headers[TICKET] == tickets[0]
        assert turn.json()["error"]["queue"]["position"] == 0 and int(turn.headers["retry-after"]) >= 1
        assert stats(gateway)["used"] + stats(gateway)["direct"] == came == 2
        decisions = gateway.explain(turn.headers["x-request-id"])["decisions"]
        assert {"queue_full", "waiting_room"} <= {one.get("reason") for one in decisions}, decisions
        backend.gate.set()
        held.join(60)
        for ticket in tickets:
            until_let_in(client, ticket)
    assert stats(gateway)["used"] + stats(gateway)["direct"] == 5 and stats(gateway)["waiting"] == 0


def test_what_was_learned_outlives_a_reload(launch, upstream, tmp_path):
    backend = upstream(lambda request: time.sleep(0.05) or (200, {}, b"ok"))
    gateway = launch(auto(backend, state_file=str(tmp_path / "sale.line")))
    wait_for(lambda: stats(gateway).get("pace_per_s", 0) > 0, what="a pace")

    async def crowd():
        async with gateway.async_client(http2=True, timeout=60) as client:
            async def keeps_coming(number):
                while True:
                    await stand_in_line(client, number)
            people = [asyncio.create_task(keeps_coming(number)) for number in range(40)]
            await asyncio.to_thread(wait_for, lambda: stats(gateway)["drain_per_s"] > 0, 60)
            for person in people:
                person.cancel()
            await asyncio.gather(*people, return_exceptions=True)
    asyncio.run(crowd())
    before = children_of(gateway.process.pid)
    gateway.write_config()
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: set(children_of(gateway.process.pid)) - set(before))
    wait_for(lambda: not set(children_of(gateway.process.pid)) & set(before))
    gateway.wait_ready()
    assert stats(gateway)["drain_per_s"] > 0  # an earlier one had to see a full backend first


def test_who_drains_leaves_the_pace_to_its_successor(launch, upstream):
    backend, other = upstream(), upstream()
    config = auto(backend)
    config["clusters"]["other"] = {"endpoints": [other.address]}
    config["routes"].append({"match": {"prefix": "/other"}, "to": "cluster:other"})
    gateway = launch(config)
    wait_for(lambda: stats(gateway).get("pace_per_s", 0) > 0, what="a pace")
    other.gate.clear()
    with gateway.client() as client:
        until_let_in(client, take_a_place(client))  # from now on it knows how fast the backend is
        for _ in range(60):  # a line, for which it would grow each second
            client.get("/sale")
    held, _ = in_background(gateway, "/other", 1)
    wait_for(lambda: other.in_flight == 1)
    assert plain_http.post(gateway.admin + "/drain").status_code == 202
    wait_for(lambda: plain_http.get(gateway.admin + "/readyz").status_code == 503)
    pace, until = stats(gateway)["pace_per_s"], gateway.stats()["process"]["uptime_s"] + 2.5
    gateway.wait_stats(lambda figures: figures["process"]["uptime_s"] > until)
    assert stats(gateway)["pace_per_s"] == pace
    other.gate.set()
    join(held)
    gateway.process.wait(60)
