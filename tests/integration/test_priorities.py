"""RFC 9218: which of several answers goes first, by the priority field and by PRIORITY_UPDATE."""
import threading

import pytest

import wire
from wire import DATA, PRIORITY_UPDATE, WINDOW_UPDATE, frame, headers, pseudo, settings

SIZE = 60000


@pytest.fixture(scope="module")
def site(launch_module):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1},
        "routes": [{"match": {"path": "/big"}, "respond": {"status": 200, "body": "x" * SIZE}}],
    })


class Order(wire.H2):
    """Notes the order of the DATA frames."""

    def __init__(self, *args, **kwargs):
        self.order = []
        super().__init__(*args, **kwargs)

    def on_frame(self, kind, flags, stream, payload):
        if kind == DATA:
            self.order.append((stream, len(payload)))
        super().on_frame(kind, flags, stream, payload)


def order_of(site, priorities, updates=b"", first=b""):
    """Requests with these priority fields, all of whose answers wait for the connection's window."""
    # Streams' windows are ample, the connection's is the first 64 KiB.
    peer = Order(wire.connect(site.port), first=settings((4, 1 << 20)))
    with peer.connection:
        peer.send(headers(1, pseudo("/big")))
        assert peer.until(lambda: peer.is_over(1))
        peer.order = []
        peer.send(first)
        for i, priority in enumerate(priorities):
            fields = pseudo("/big") + ([("priority", priority)] if priority else [])
            peer.send(headers(2 * i + 3, fields))
        peer.send(updates + frame(6, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs == 1)
        peer.order = []
        peer.send(frame(WINDOW_UPDATE, 0, 0, b"\0\x20\0\0"))
        streams = [2 * i + 3 for i in range(len(priorities))]
        assert peer.until(lambda: all(peer.is_over(stream) for stream in streams)), peer.goaways
        return peer.order


def first_seen(order):
    return list(dict.fromkeys(stream for stream, _ in order))


def runs(order):
    """How often the stream changes."""
    return sum(1 for before, after in zip(order, order[1:]) if before[0] != after[0])


def test_settings_say_that_rfc7540_priorities_are_not_used(site):
    peer = wire.H2(wire.connect(site.port))
    with peer.connection:
        assert peer.get(1, "/big") == 200
        assert peer.settings[9] == 1


def test_the_urgent_go_first(site):
    order = first_seen(order_of(site, ["u=6", "u=7", "u=0", "u=2"]))
    # A frame of the first may have been made before the others came; the rest is in order.
    assert order in ([7, 9, 3, 5], [3, 7, 9, 5])


def test_an_update_changes_the_order(site):
    order = order_of(site, ["u=3", "u=3", "u=3"], frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\7u=0"))
    assert [s for s in first_seen(order) if s != 3][0] == 7


def update(stream, text="u=0"):
    return frame(PRIORITY_UPDATE, 0, 0, stream.to_bytes(4, "big") + text.encode())


@pytest.mark.parametrize("priorities", [["u=3", "u=3", "u=3"], ["u=3", "u=3", "u=7"]])
def test_an_update_that_comes_first_goes_before_the_field(site, priorities):
    order = order_of(site, priorities, first=update(7, "u=5") + update(7))
    assert [s for s in first_seen(order) if s != 3][0] == 7


@pytest.mark.parametrize("text", ["u=9", "u=0,", "u=\"0\"", "", "u=0" + ";a" * 100])
def test_an_update_that_says_nothing_changes_nothing(site, text):
    order = order_of(site, ["u=3", "u=3", "u=3"], first=update(7, text))
    assert first_seen(order) == [3, 5, 7]


def test_what_was_said_of_streams_that_have_gone_is_gone(site):
    """Each stream named before it opens, many times over what may be open at once."""
    peer = wire.H2(wire.connect(site.port), first=settings((4, 1 << 20)) + frame(WINDOW_UPDATE, 0, 0, b"\x40\0\0\0"))
    with peer.connection:
        for stream in range(1, 501, 2):
            peer.send(update(stream) + update(stream + 2) + headers(stream, pseudo("/none")))
            assert peer.until(lambda stream=stream: peer.is_over(stream)), peer.goaways
            assert peer.status[stream] == 404


@pytest.mark.parametrize("named, is_fine", [(99, True), (100, True), (101, False)])
def test_no_more_streams_are_named_than_may_be_open(site, named, is_fine):
    peer = wire.H2(wire.connect(site.port))
    with peer.connection:
        peer.send(b"".join(update(2 * i + 1) * 2 for i in range(named)) + headers(1, pseudo("/none")))
        peer.until(lambda: peer.is_over(1))
        assert peer.status == ({1: 404} if is_fine else {})
        assert [code for _, code in peer.goaways] == ([] if is_fine else [wire.PROTOCOL_ERROR])


def test_streams_that_are_open_count_among_them(site):
    peer = wire.H2(wire.connect(site.port), first=settings((4, 0)))
    with peer.connection:
        peer.send(b"".join(headers(2 * i + 1, pseudo("/big")) for i in range(50)) + frame(6, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs == 1 and len(peer.status) == 50)
        peer.send(b"".join(update(2 * i + 1) for i in range(50, 100)) + frame(6, 0, 0, b"12345678"))
        assert peer.until(lambda: peer.pongs == 2)
        peer.send(update(301))
        peer.until(lambda: False)
        assert [code for _, code in peer.goaways] == [wire.PROTOCOL_ERROR]


def test_incremental_answers_share_and_others_do_not(site):
    assert runs(order_of(site, ["u=3, i", "u=3, i", "u=3, i"])) > 4
    assert runs(order_of(site, ["u=3", "u=3", "u=3"])) <= 3


def test_what_was_asked_for_first_goes_first_though_it_comes_later(launch, recorder):
    """Of two answers that do not share, the first one's server is the slower."""
    may_answer = threading.Event()

    def script(peer):
        while (request := peer.read_request()) is not None:
            if b"/first" in request[0]:
                assert may_answer.wait(60)
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE + b"x" * SIZE)

    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1}, "clusters": {"up": {"endpoints": [recorder(script).address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up"}],
    })
    peer = Order(wire.connect(gateway.port), first=settings((4, 1 << 20)))
    with peer.connection:
        peer.send(headers(1, pseudo("/warm")))
        assert peer.until(lambda: peer.is_over(1))
        peer.send(headers(3, pseudo("/first")) + headers(5, pseudo("/second")))
        assert peer.until(lambda: sum(length for _, length in peer.order) == 65535)
        may_answer.set()
        assert peer.until(lambda: 3 in peer.status)  # and a piece of what stands behind it has come as well
        peer.order = []
        peer.send(frame(WINDOW_UPDATE, 0, 0, b"\0\x20\0\0"))
        assert peer.until(lambda: peer.is_over(3) and peer.is_over(5)), peer.goaways
    assert first_seen(peer.order) == [3, 5]
