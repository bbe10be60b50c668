"""The line before a route: one request a ticket, places that are kept and given back, restarts."""
import json
import os
import signal
import threading

import pytest

from harness import children_of, wait_for

TICKET = "x-floodgate-ticket"


def sections(backend, room, extra=None):
    return {
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": 0}}},
        "routes": [{"name": "sale", "match": {"prefix": "/sale"}, "to": "cluster:app", "identity": "optional",
                    "waiting_room": room}, *(extra or [])]}


def stats(gateway):
    return gateway.stats()["policies"]["waiting_rooms"]["sale"]


def ask(client, ticket=None, **kwargs):
    return client.get("/sale", headers={TICKET: ticket} if ticket else {}, **kwargs)


def place(answer):
    assert answer.status_code == 429, answer.text
    return answer.json()["error"]["queue"]


def take_a_place(client):
    """A ticket of the line; direct passes are used up first."""
    return wait_for(lambda: next((a for a in [ask(client)] if a.status_code == 429), None)).headers[TICKET]


def until_let_in(client, ticket):
    return wait_for(lambda: next((a for a in [ask(client, ticket)] if a.status_code == 200), None))


def test_a_ticket_lets_in_one_request(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "5/s", "burst": 1, "waiting_max": 100}))
    with gateway.client() as client:
        ticket = take_a_place(client)
        until_let_in(client, ticket)
        again = ask(client, ticket)
        assert again.status_code == 429 and again.headers[TICKET] != ticket
        assert place(again)["eta_error_ms"] > 0
    assert stats(gateway)["used"] == 1


def test_a_ticket_is_not_used_up_by_a_request_that_comes_to_no_backend(launch, upstream):
    backend = upstream()
    gateway = launch(sections(backend, {"admit": "5/s", "burst": 1, "waiting_max": 100}))
    with gateway.client() as client:
        backend.gate.clear()
        thread = threading.Thread(target=lambda: gateway.get("/sale"))
        thread.start()
        wait_for(lambda: backend.in_flight == 1)
        ticket = take_a_place(client)
        # its turn has come, but the only slot of the backend is taken
        full = wait_for(lambda: next((a for a in [ask(client, ticket)] if a.status_code != 429), None))
        assert full.status_code == 503 and full.json()["error"]["code"] == "queue_full"
        assert stats(gateway)["used"] == 0
        backend.gate.set()
        thread.join(30)
        until_let_in(client, ticket)
    assert stats(gateway)["used"] == 1


def test_tickets_are_bound_to_whoever_got_them(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/m", "burst": 1, "waiting_max": 100},
                              [{"name": "session", "match": {"path": "/api/session"}, "session": True}]))
    with gateway.client() as client:
        ask(client)
        mine, other = gateway.headers("device-1"), gateway.headers("device-2")
        got = client.get("/sale", headers=mine)
        position = place(got)["position"]
        assert position == 0
        assert place(client.get("/sale", headers={**mine, TICKET: got.headers[TICKET]}))["position"] == 0
        for borrower in (other, {}):
            answer = client.get("/sale", headers={**borrower, TICKET: got.headers[TICKET]})
            assert place(answer)["position"] > 0 and answer.headers[TICKET] != got.headers[TICKET]


def test_places_of_people_who_ask_no_more_go_to_others(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "keep": "2s"}))
    with gateway.client() as client:
        ask(client)
        gone = [take_a_place(client) for _ in range(5)]
        stays = take_a_place(client)
        assert place(ask(client, stays))["position"] == 5
        wait_for(lambda: place(ask(client, stays))["position"] == 0)
        assert stats(gateway)["left"] == 5
        # who comes back too late stands at the end
        late = ask(client, gone[0])
        assert place(late)["position"] == 1 and late.headers[TICKET] not in gone


def test_a_session_spares_the_line(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "session": "10m"}))
    with gateway.client() as client:
        first = ask(client)
        assert first.status_code == 200
        for _ in range(3):
            assert ask(client, first.headers[TICKET]).status_code == 200
        assert ask(client).status_code == 429


def test_lots_are_drawn_within_a_window(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 1000, "draw_window": "1h"}))
    with gateway.client() as client:
        ask(client)
        for _ in range(20):
            ticket = take_a_place(client)
        seen = place(ask(client, ticket))
        assert seen["position"] == 9 and seen["position_error"] == 10  # any of the twenty


@pytest.mark.parametrize("how", ["restart", "reload", "kill"])
def test_the_line_goes_on(launch, upstream, how, tmp_path):
    backend = upstream()
    gateway = launch(sections(backend, {"admit": "1/h", "burst": 1, "waiting_max": 100,
                                        "state_file": str(tmp_path / "sale.line")}))
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client) for _ in range(5)]
    if how == "restart":
        gateway.stop()
        gateway.start()
        gateway.wait_ready()
    elif how == "reload":
        gateway.sections["routes"][0]["waiting_room"]["waiting_max"] = 5000  # a larger file
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: "event=drain_started" in gateway.log)
    else:
        before = set(children_of(gateway.process.pid))
        for child in before:
            os.kill(child, signal.SIGKILL)
        wait_for(lambda: set(children_of(gateway.process.pid)) - before)
        gateway.wait_ready()
    with gateway.client() as client:
        assert [place(ask(client, ticket))["position"] for ticket in tickets] == [0, 1, 2, 3, 4]
    assert stats(gateway)["issued"] == 5


def test_without_a_state_file_old_tickets_are_worth_nothing(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100}))
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client) for _ in range(3)]
    gateway.stop()
    gateway.start()
    gateway.wait_ready()
    with gateway.client() as client:
        ask(client)
        assert place(ask(client, tickets[2]))["position"] == 0


def test_keys_rotate_and_who_keeps_asking_keeps_a_ticket(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "keep": "2s",
                                           "grace": "2s", "ticket_rotate": "2s"}))
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client)]

        def renewed():
            answer = ask(client, tickets[-1])
            assert place(answer)["position"] == 0
            if answer.headers[TICKET] != tickets[-1]:
                tickets.append(answer.headers[TICKET])
            return len(tickets) == 4
        wait_for(renewed)
        assert place(ask(client, tickets[0]))["position"] == 1  # two keys ago: a new place
        assert json.loads(ask(client, tickets[-1]).text)["error"]["queue"]["position"] == 0
