"""One line for several gateways, in a Redis that they share; and what each does alone."""
import contextlib
import json
import pathlib
import subprocess
import threading

import pytest
import redis

from harness import free_port, server_sent_events, wait_for

TICKET = "x-floodgate-ticket"


class Redis:
    """One that can go away and come back with what it had."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
             "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)

        def answers():
            with contextlib.suppress(redis.ConnectionError):
                return self.client.ping()
        wait_for(answers)

    def stop(self):
        self.process.kill()
        self.process.wait(20)


@pytest.fixture
def store(tmp_path):
    server = Redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def pair(launch, upstream, store, tmp_path):
    backend = upstream()

    def make(room, count=2):
        return [launch({
            "identity": {"jwt": {"secret_file": str(tmp_path / "jwt.key")}},
            "policies": {"shared_state": {"redis": {"address": f"127.0.0.1:{store.port}", "command_timeout": "1s"}}},
            "clusters": {"app": {"endpoints": [backend.address]}},
            "routes": [
                {"name": "sale", "match": {"prefix": "/sale"}, "to": "cluster:app", "identity": "optional",
                 "waiting_room": {"burst": 1, "waiting_max": 100, "shared": True, **room}},
                {"name": "desk", "match": {"path": "/line"}, "room": "sale"}]}) for _ in range(count)]
    return make


def stats(gateway):
    return gateway.stats()["policies"]["waiting_rooms"]["sale"]


def ask(client, ticket=None):
    return client.get("/sale", headers={TICKET: ticket} if ticket else {})


def place(answer):
    assert answer.status_code == 429, answer.text
    return answer.json()["error"]["queue"]


def desk(client, method="GET", ticket=None):
    return client.request(method, "/line", headers={TICKET: ticket} if ticket else {}).json()


def take_a_place(client):
    return wait_for(lambda: next((a for a in [ask(client)] if a.status_code == 429), None)).headers[TICKET]


def test_gateways_have_one_line(pair):
    one, two = pair({"admit": "1/h"})
    with one.client() as a, two.client() as b:
        assert ask(a).status_code == 200  # the one burst of both
        tickets = [take_a_place(client) for client in (a, b, a, b, a)]
        for client in (a, b):
            assert [place(ask(client, ticket))["position"] for ticket in tickets] == [0, 1, 2, 3, 4]
        assert desk(b, "DELETE", tickets[1]) == {"state": "none"}
        assert desk(a, ticket=tickets[4])["position"] == 3
        assert desk(a, ticket=tickets[1]) == {"state": "none", "ticket_was": "gone"}
        # a place that nobody knows is worth nothing, wherever
        assert place(ask(a, tickets[0][:-2] + "AA"))["position"] == 4
        assert place(ask(b, tickets[0]))["position"] == 0
    for gateway in (one, two):
        assert stats(gateway)["waiting"] == 5 and not stats(gateway)["alone"]


def test_users_and_addresses_cannot_hoard_places_of_the_shared_line(pair):
    (one,) = pair({"admit": "1/h", "places_per_address": 4}, 1)
    with one.client() as client:
        ask(client)
        key = pathlib.Path(one.sections["identity"]["jwt"]["secret_file"]).read_bytes()
        me = {"authorization": f"Bearer {one.token('somebody', key=key)}"}
        first = client.get("/sale", headers=me)
        for _ in range(6):
            assert client.get("/sale", headers=me).headers[TICKET] == first.headers[TICKET]
        tickets = [take_a_place(client) for _ in range(3)]
        refused = ask(client)
        assert refused.status_code == 429 and refused.json()["error"]["policy"] == "waiting_room.places_per_address"
        assert [place(ask(client, ticket))["position"] for ticket in tickets] == [1, 2, 3]
        # who leaves and joins again has taken two
        assert desk(client, "DELETE", tickets[0]) == {"state": "none"}
        again = ask(client, tickets[0])
        assert again.status_code == 429 and "queue" not in again.json()["error"]
    assert stats(one)["waiting"] == 3


def test_a_ticket_lets_in_once_at_all_gateways_together(pair):
    one, two = pair({"admit": "5/s"})
    with one.client() as a, two.client() as b:
        tickets = [take_a_place(client) for client in (a, b)]
        for ticket, (first, second) in zip(tickets, ((b, a), (a, b))):
            wait_for(lambda: desk(first, ticket=ticket)["state"] == "admitted")
            assert ask(first, ticket).status_code == 200
            assert desk(second, ticket=ticket) == {"state": "none", "ticket_was": "gone"}
            assert ask(second, ticket).headers.get(TICKET) != ticket


@pytest.mark.races
def test_a_ticket_that_is_replayed_at_one_moment_lets_in_once(pair):
    gateways = pair({"admit": "2/s", "grace": "5m"})
    with gateways[0].client() as a:
        ticket = take_a_place(a)
        wait_for(lambda: desk(a, ticket=ticket)["state"] == "admitted")
        fill = [take_a_place(a) for _ in range(80)]  # so that nobody gets in without a ticket
        start, statuses = threading.Barrier(8), []

        def replay(gateway):
            with gateway.client() as client:
                desk(client)  # connected
                start.wait(30)
                statuses.append(ask(client, ticket).status_code)
        threads = [threading.Thread(target=replay, args=(gateway,)) for gateway in gateways * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(statuses) == [200] + [429] * 7
        assert desk(a, ticket=fill[-1])["state"] in ("waiting", "admitted")


def test_people_who_ask_no_more_leave_the_shared_line(pair):
    one, two = pair({"admit": "1/h", "keep": "5s"})
    with one.client() as a, two.client() as b:
        ask(a)
        gone = [take_a_place(client) for client in (a, b, a)]
        stays = take_a_place(b)
        wait_for(lambda: desk(a, ticket=stays)["position"] == 0)
        assert desk(b, ticket=gone[2]) == {"state": "none", "ticket_was": "gone"}
        assert stats(one)["left"] == 3


def test_turns_that_are_not_taken_go_to_others_at_any_gateway(pair):
    one, two = pair({"admit": "1/s", "grace": "1s"})
    with one.client() as a, two.client() as b:
        tickets = [take_a_place(a) for _ in range(2)]
        wait_for(lambda: desk(b, ticket=tickets[0])["state"] == "none")  # its turn came, and went
        assert stats(two)["admitted"] >= 2


def test_lots_are_drawn_for_all_gateways_together(pair):
    one, two = pair({"admit": "1/h", "draw_window": "1h"})
    with one.client() as a, two.client() as b:
        ask(a)
        tickets = [take_a_place(client) for client in (a, b) * 5]
        seen = desk(a, ticket=tickets[-1])
        assert seen["position"] == 4 and seen["position_error"] == 5


def test_a_stream_watches_the_shared_line(pair):
    one, two = pair({"admit": "1/s"})
    with one.client() as a, two.client() as b:
        tickets = [take_a_place(a) for _ in range(3)]
        headers = {TICKET: tickets[-1], "accept": "text/event-stream"}
        with b.stream("GET", "/line", headers=headers) as answer:
            events = [(name, json.loads(data)) for name, data in server_sent_events(answer.iter_lines())]
        assert events[-1][0] == "turn"
        assert ask(b, events[-1][1]["ticket"]).status_code == 200


def test_the_shared_line_survives_its_gateways(pair):
    (gateway,) = pair({"admit": "1/h"}, 1)
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client) for _ in range(3)]
    gateway.stop()
    gateway.start()
    gateway.wait_ready()
    with gateway.client() as client:
        assert [place(ask(client, ticket))["position"] for ticket in tickets] == [0, 1, 2]


def test_a_gateway_goes_on_alone_and_comes_back(pair, store):
    one, two = pair({"admit": "1/h", "keep": "10m"})
    with one.client() as a, two.client() as b:
        ask(a)
        tickets = [take_a_place(client) for client in (a, b, a, b)]
        positions = [place(ask(a, ticket))["position"] for ticket in tickets]
        assert [place(ask(b, ticket))["position"] for ticket in tickets] == positions == [0, 1, 2, 3]
        store.stop()
        # everybody keeps the place, at both; newcomers stand behind, and tickets stay those of the shared line
        for gateway, client in ((one, a), (two, b)):
            wait_for(lambda: ask(client, tickets[0]).status_code == 429 and stats(gateway)["alone"])
            assert [place(ask(client, ticket))["position"] for ticket in tickets] == positions
            assert ask(client, tickets[2]).headers[TICKET] == tickets[2]
            late = take_a_place(client)
            assert place(ask(client, late))["position"] == 4
            assert stats(gateway)["waiting"] == 5
        store.start()
        for gateway, client in ((one, a), (two, b)):
            wait_for(lambda: ask(client, tickets[0]).status_code == 429 and not stats(gateway)["alone"])
            assert [place(ask(client, ticket))["position"] for ticket in tickets] == positions
        assert place(ask(b, late))["position"] == 4  # it joins the shared line now


def test_a_gateway_that_never_met_redis_has_a_line_of_its_own(pair, store):
    store.stop()
    (gateway,) = pair({"admit": "1/h", "alone_share": "100%"}, 1)
    with gateway.client() as client:
        tickets = [take_a_place(client) for _ in range(3)]
        assert [place(ask(client, ticket))["position"] for ticket in tickets] == [0, 1, 2]
        assert stats(gateway)["alone"]
    store.start()
