"""RFC 9218: which of several answers goes first, by the priority field and by PRIORITY_UPDATE."""
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


def order_of(site, priorities, updates=b""):
    """Requests with these priority fields, all of whose answers wait for the connection's window."""
    # Streams' windows are ample, the connection's is the first 64 KiB.
    peer = Order(wire.connect(site.port), first=settings((4, 1 << 20)))
    with peer.connection:
        peer.send(headers(1, pseudo("/big")))
        assert peer.until(lambda: peer.is_over(1))
        peer.order = []
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


def test_incremental_answers_share_and_others_do_not(site):
    assert runs(order_of(site, ["u=3, i", "u=3, i", "u=3, i"])) > 4
    assert runs(order_of(site, ["u=3", "u=3", "u=3"])) <= 3

