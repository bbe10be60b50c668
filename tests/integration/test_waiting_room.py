"""The line before a route: one request a ticket, places that are kept and given back, restarts."""
import json
import re
import signal
import threading

import pytest

from harness import children_of, plain_http, send_signal, server_sent_events, wait_for

TICKET = "x-floodgate-ticket"


def sections(backend, room, extra=None):
    return {
        "clusters": {"app": {"endpoints": [backend.address], "concurrency": {"kind": "fixed", "limit": 1},
                             "queue": {"requests_max": "off"}}},
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


@pytest.mark.parametrize("action, status", [({"respond": {"status": 200, "body": "the sale"}}, 200),
                                            ({"redirect": {"to": "https://shop.example/", "status": 307}}, 307)],
                         ids=["respond", "redirect"])
def test_a_line_before_an_answer_of_the_configuration(launch, action, status):
    """People stand in line here and then are told, or sent elsewhere."""
    gateway = launch({"routes": [{"name": "sale", "match": {"path": "/sale"}, **action,
                                  "waiting_room": {"admit": "5/s", "burst": 1, "waiting_max": 100}}]})
    with gateway.client() as client:
        ticket = take_a_place(client)
        answer = wait_for(lambda: next((a for a in [ask(client, ticket)] if a.status_code != 429), None))
        assert answer.status_code == status
        assert ask(client, ticket).headers.get(TICKET) != ticket, "a place lets in once"
    assert stats(gateway)["used"] == 1


DESK = [{"name": "desk", "match": {"path": "/sale-line"}, "room": "sale", "identity": "optional"}]
PAGE = {"accept": "text/html,application/xhtml+xml"}


def desk(client, method="GET", ticket=None, **headers):
    if ticket:
        headers[TICKET] = ticket
    return client.request(method, "/sale-line", headers=headers)


def test_a_ticket_lets_in_one_request(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "5/s", "burst": 1, "waiting_max": 100}, DESK))
    with gateway.client() as client:
        waits = wait_for(lambda: next((a for a in [ask(client)] if a.status_code == 429), None))
        assert place(waits)["eta_error_ms"] > 0
        ticket = waits.headers[TICKET]
        wait_for(lambda: desk(client, ticket=ticket).json()["state"] == "admitted")
        until_let_in(client, ticket)
        assert desk(client, ticket=ticket).json() == {"state": "none", "ticket_was": "used"}
        assert ask(client, ticket).headers.get(TICKET) != ticket
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


SESSION = [{"name": "session", "match": {"path": "/api/session"}, "session": True}]


@pytest.mark.races
def test_a_user_cannot_take_many_places_and_keeps_the_one(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 20}, DESK + SESSION))
    mine, other = gateway.headers("device-1"), gateway.headers("device-2")
    with gateway.client() as client, gateway.client(http2=True) as second:
        ask(client)
        first = client.get("/sale", headers=mine)
        # without the ticket, with a broken one, over other connections: always the same place
        for wrong in (None, "t2.", "", first.headers[TICKET][:-1] + "~", first.headers[TICKET][:-4] * 2):
            for way in (client, second):
                again = way.get("/sale", headers={**mine, **({} if wrong is None else {TICKET: wrong})})
                assert place(again)["position"] == 0 and again.headers[TICKET] == first.headers[TICKET]
        together = [threading.Thread(target=lambda: gateway.get("/sale", headers=mine)) for _ in range(30)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join(60)
        assert stats(gateway)["issued"] == 1
        assert place(client.get("/sale", headers=other))["position"] == 1
        assert client.request("DELETE", "/sale-line", headers=mine).json() == {"state": "none"}
        assert place(client.get("/sale", headers=other))["position"] == 0


def test_an_address_cannot_take_many_places(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "places_per_address": 3},
                              DESK + SESSION))
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client) for _ in range(2)]
        assert place(client.get("/sale", headers=gateway.headers("device-1")))["position"] == 2
        for headers in ({}, gateway.headers("device-2")):  # users and others alike
            refused = client.get("/sale", headers=headers)
            error = refused.json()["error"]
            assert refused.status_code == 429 and error["policy"] == "waiting_room.places_per_address"
            assert error["limit"] == 3 and "queue" not in error and int(refused.headers["retry-after"]) > 60
        joins = desk(client, "POST")
        assert joins.status_code == 429 and joins.json()["state"] == "full"
        assert 60000 < joins.json()["retry_after_ms"] <= 100000 and int(joins.headers["retry-after"]) > 60
        assert [place(ask(client, ticket))["position"] for ticket in tickets] == [0, 1]  # who has one keeps it
    assert stats(gateway)["issued"] == 3


def test_a_ticket_that_does_not_count_is_told_why(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "5/s", "burst": 1, "waiting_max": 100}, DESK + SESSION))
    with gateway.client() as client:
        used, late = take_a_place(client), take_a_place(client)
        until_let_in(client, used)
        assert desk(client, "DELETE", late).json() == {"state": "none"}
        theirs = desk(client, "GET", used, **gateway.headers("device-1")).json()
        assert theirs == {"state": "none", "ticket_was": "not_valid"}
        for ticket, was in ((used, "used"), (late, "expired"), (used[:-1] + "~", "not_valid")):
            assert desk(client, ticket=ticket).json() == {"state": "none", "ticket_was": was}
            answer = wait_for(lambda: next((a for a in [ask(client, ticket)] if a.status_code == 429), None))
            assert place(answer)["ticket_was"] == was and "not good any more" in answer.json()["error"]["message"]
        line = ask(client, take_a_place(client))
        assert "ticket_was" not in line.text


def test_places_of_people_who_ask_no_more_go_to_others(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "keep": "5s"}))
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


def test_metrics_tell_how_the_line_is(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 2}))
    with gateway.client() as client:
        assert [ask(client).status_code for _ in range(4)] == [200, 429, 429, 503]
    text = plain_http.get(gateway.admin + "/metrics").text
    for name, value in {"waiting": 2, "direct_total": 1, "full_total": 1, "left_total": 0, "alone": 0}.items():
        assert f'floodgate_waiting_room_{name}{{route="sale"}} {value}\n' in text
    wait = float(re.search(r'room_wait_seconds{route="sale"} (.*)', text)[1])
    assert 7000 < wait <= 3 * 3600


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


@pytest.mark.parametrize("how, has_file", [("restart", True), ("reload", True), ("kill", True), ("reload", False),
                                           ("kill", False)])
def test_the_line_goes_on(launch, upstream, how, has_file, tmp_path):
    backend = upstream()
    file = {"state_file": str(tmp_path / "sale.line")} if has_file else {}
    gateway = launch(sections(backend, {"admit": "1/h", "burst": 1, "waiting_max": 100, **file}))
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client) for _ in range(5)]
    if how == "restart":
        gateway.stop()
        gateway.start()
        gateway.wait_ready()
    elif how == "reload":
        gateway.sections["routes"][0]["waiting_room"]["waiting_max"] = 5000  # a larger file, or more memory
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: "event=drain_started" in gateway.log)
    else:
        before = set(children_of(gateway.process.pid))
        for child in before:
            send_signal(child, signal.SIGKILL)
        wait_for(lambda: set(children_of(gateway.process.pid)) - before)
        gateway.wait_ready()
    with gateway.client() as client:
        assert [place(ask(client, ticket))["position"] for ticket in tickets] == [0, 1, 2, 3, 4]
    assert stats(gateway)["issued"] == 5


def test_without_a_state_file_old_tickets_are_worth_nothing_after_a_restart(launch, upstream):
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
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "keep": "4s",
                                           "grace": "4s", "ticket_rotate": "4s"}))
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


# ---- the desk, and people in browsers ----

def test_the_desk_tells_joins_and_takes_places_back(launch, upstream):
    backend = upstream()
    gateway = launch(sections(backend, {"admit": "1/h", "burst": 1, "waiting_max": 2}, DESK))
    with gateway.client() as client:
        assert desk(client).json() == {"state": "none"}
        assert desk(client, "POST").json() == {"state": "open"}  # nobody waits: come in
        assert ask(client).status_code == 200
        first, second = desk(client, "POST"), desk(client, "POST")
        assert first.json()["state"] == "waiting" and first.json()["ticket"] == first.headers[TICKET]
        seen = desk(client, ticket=second.headers[TICKET])
        assert seen.json()["position"] == 1 and seen.headers["cache-control"] == "no-store"
        assert seen.json()["eta_ms"] > 3600000 and 0 < seen.json()["retry_after_ms"] <= 20000
        full = desk(client, "POST")
        assert full.status_code == 503 and full.json()["state"] == "full"
        # the first one leaves: the second one moves up, and there is room for another
        assert desk(client, "DELETE", first.headers[TICKET]).json() == {"state": "none"}
        assert desk(client, ticket=second.headers[TICKET]).json()["position"] == 0
        assert desk(client, ticket=first.headers[TICKET]).json() == {"state": "none", "ticket_was": "expired"}
        assert desk(client, "POST").json()["position"] == 1
    assert stats(gateway)["left"] == 1 and backend.count() == 1


@pytest.mark.parametrize("http2", [False, True])
def test_a_stream_tells_of_the_place_until_the_turn(launch, upstream, http2):
    gateway = launch(sections(upstream(), {"admit": "1/s", "burst": 1, "waiting_max": 100, "keep": "10s"}, DESK))
    with gateway.client(http2=http2) as client:
        tickets = [take_a_place(client) for _ in range(4)]
        headers = {TICKET: tickets[-1], "accept": "text/event-stream"}
        with client.stream("GET", "/sale-line", headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            events = [(name, json.loads(data)) for name, data in server_sent_events(answer.iter_lines())]
        assert [name for name, _ in events][-1] == "turn" and events[-1][1]["state"] == "admitted"
        positions = [data["position"] for name, data in events if name == "place"]
        assert positions == sorted(positions, reverse=True) and positions[0] <= 3
        assert ask(client, events[-1][1]["ticket"]).status_code == 200
        # a place that is not there has no stream
        assert desk(client, ticket=tickets[-1], accept="text/event-stream").json() == {"state": "none", "ticket_was": "used"}


def test_streams_are_bounded_and_let_go(launch, upstream):
    gateway = launch({**sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "streams_max": 1}, DESK),
                      "limits": {"threads": 1}})
    with gateway.client() as client:
        ask(client)
        tickets = [take_a_place(client) for _ in range(2)]
        headers = {"accept": "text/event-stream"}
        with client.stream("GET", "/sale-line", headers={TICKET: tickets[0], **headers}) as answer:
            lines = answer.iter_lines()
            assert next(lines).strip() == "event: place"
            refused = desk(client, ticket=tickets[1], **headers)
            assert refused.status_code == 503 and refused.json()["error"]["code"] == "too_many_streams"
        # the first one has gone: there is room again

        def opens():
            with client.stream("GET", "/sale-line", headers={TICKET: tickets[1], **headers}) as answer:
                return answer.status_code == 200
        wait_for(opens)


def test_an_open_stream_keeps_the_place(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "keep": "5s"}, DESK))
    with gateway.client() as client, gateway.client() as other:
        ask(client)
        gone, stays = take_a_place(client), take_a_place(client)
        headers = {TICKET: stays, "accept": "text/event-stream"}
        with client.stream("GET", "/sale-line", headers=headers) as answer:
            for name, data in server_sent_events(answer.iter_lines()):
                if json.loads(data)["position"] == 0:
                    break
        assert desk(other, ticket=gone).json() == {"state": "none", "ticket_was": "expired"}


def test_streams_and_polls_of_one_ticket_agree_and_any_of_them_keeps_it(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 100, "keep": "4s"}, DESK))
    with gateway.client() as client:
        ask(client)
        first, mine, last = (take_a_place(client) for _ in range(3))
        headers = {TICKET: mine, "accept": "text/event-stream"}
        # httpx resets no stream that it reads no further: its connection must end
        with gateway.client(http2=True) as watcher, watcher.stream("GET", "/sale-line", headers=headers) as one, \
                gateway.client() as second, second.stream("GET", "/sale-line", headers=headers) as other:
            lines, others = one.iter_lines(), other.iter_lines()
            assert next(lines).strip() == next(others).strip() == "event: place"
            for _ in range(3):
                ask(client, first)
                assert place(ask(client, mine))["position"] == desk(client, ticket=mine).json()["position"] == 1
            ask(client, last)
            # the first one asks no more: both streams tell, and nobody else has asked for `mine` meanwhile
            for stream in (server_sent_events(lines), server_sent_events(others)):
                positions = (json.loads(data)["position"] for _, data in stream if data)
                assert next(position for position in positions if position == 0) == 0
        assert desk(client, ticket=first).json() == {"state": "none", "ticket_was": "expired"}
        assert desk(client, ticket=mine).json()["position"] == 0
        # with both streams closed it is given back, as nobody asks for it any more
        wait_for(lambda: stats(gateway)["waiting"] == 0)
        assert desk(client, ticket=mine).json() == {"state": "none", "ticket_was": "expired"}


def test_a_browser_gets_a_page_and_a_cookie(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "5/s", "burst": 1, "waiting_max": 100, "session": "10m"}, DESK))
    with gateway.client() as app, gateway.client() as browser:
        take_a_place(app)
        waits = wait_for(lambda: next((a for a in [browser.get("/sale", headers=PAGE)] if a.status_code == 429), None) or
                         browser.cookies.clear())
        assert waits.headers["content-type"].startswith("text/html") and int(waits.headers["retry-after"]) >= 1
        assert "You are in line" in waits.text and 'data-desk="/sale-line"' in waits.text
        cookie = waits.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" in cookie
        # the cookie brings it back, and turns into a pass
        wait_for(lambda: browser.get("/sale", headers=PAGE).status_code == 200)
        assert all(browser.get("/sale").status_code == 200 for _ in range(20))


@pytest.mark.parametrize("wanted, chinese", [
    ("zh-CN,zh;q=0.9,en;q=0.8", True), ("zh", True), ("fr, zh-Hant;q=0.3", True), ("ZH-tw;q=1", True),
    ("en-US,en;q=0.9,zh;q=0.8", False), ("zh;q=0", False), ("zha", False), ("de", False), ("*", False),
    ("zh;q=x", False), (",;q=1,", False), (None, False)])
def test_the_page_speaks_chinese_and_english(room_of_nobody, wanted, chinese):
    headers = {**PAGE, **({"accept-language": wanted} if wanted else {})}
    with room_of_nobody.client(headers={"accept-language": ""} if not wanted else {}) as client:
        page = client.get("/sale", headers=headers)
    assert page.status_code == 429
    language, title, ahead = ("zh-CN", "正在排队", "前面人数") if chinese else ("en", "You are in line", "Ahead of you")
    assert f'<html lang="{language}">' in page.text and f"<title>{title}</title>" in page.text
    assert f"<dt>{ahead}</dt>" in page.text and "const words = { units: [" in page.text


@pytest.fixture(scope="module")
def room_of_nobody(launch_module, upstream_module):
    gateway = launch_module(sections(upstream_module(), {"admit": "1/h", "burst": 1, "waiting_max": 100}, DESK))
    gateway.get("/sale")
    return gateway


def test_a_page_without_a_desk_loads_itself_anew(launch, upstream):
    gateway = launch(sections(upstream(), {"admit": "1/h", "burst": 1, "waiting_max": 1}))
    with gateway.client() as client, gateway.client() as other:
        ask(client)
        page = client.get("/sale", headers=PAGE)
        assert '\n<meta http-equiv="refresh"' in page.text and "<script>" not in page.text
        full = other.get("/sale", headers=PAGE)
        assert full.status_code == 503 and "The line is full" in full.text
        assert client.head("/sale", headers=PAGE).content == b""
