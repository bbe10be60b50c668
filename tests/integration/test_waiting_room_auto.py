"""`admit: auto`: a line that goes at the pace of the backend behind it, without a number from anybody."""
import asyncio
import time

import httpx
import pytest

from harness import wait_for
from test_policies import in_background, join
from test_waiting_room import TICKET, sections, stats, take_a_place, until_let_in


def auto(backend, **room):
    config = sections(backend, {"admit": "auto", **room})
    config["clusters"]["app"].update(concurrency={"kind": "fixed", "limit": 2}, queue={"requests_max": 4})
    return config


async def stand_in_line(client, number):
    """Asks until it is let in; what stands between is a place (429), or the backend's gate (503)."""
    ticket, waited = None, False
    for _ in range(3000):
        answer = await client.get(f"/sale/{number}", headers={TICKET: ticket} if ticket else {})
        if answer.status_code == 200:
            return waited
        assert answer.status_code in (429, 503), answer.text
        waited = waited or answer.status_code == 429
        ticket = answer.headers.get(TICKET, ticket)
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
    metrics = httpx.get(gateway.admin + "/metrics").text
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
    assert httpx.post(gateway.admin + "/drain").status_code == 202
    wait_for(lambda: httpx.get(gateway.admin + "/readyz").status_code == 503)
    pace, until = stats(gateway)["pace_per_s"], gateway.stats()["process"]["uptime_s"] + 2.5
    gateway.wait_stats(lambda figures: figures["process"]["uptime_s"] > until)
    assert stats(gateway)["pace_per_s"] == pace
    other.gate.set()
    join(held)
    gateway.process.wait(60)
