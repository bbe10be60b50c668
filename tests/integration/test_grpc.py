"""
test_grpc.py: gRPC through the gateway with a real client and a real server (python3-grpcio): unary
and streaming calls both ways, status and metadata in trailers, deadlines, cancelling, and our own
refusals as a status that gRPC clients understand.
"""
import concurrent.futures
import socket
import threading
import time

import grpc
import h2.errors
import pytest

from harness import free_port, wait_for
from upstreams import H2Server, serving


def identity(value):
    return value


class Service(grpc.GenericRpcHandler):
    """/t.T/NAME with bytes as messages."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.remaining = None
        self.hanging = False
        self.go_on = threading.Event()

    def service(self, details):
        kinds = {"Echo": grpc.unary_unary_rpc_method_handler, "Fail": grpc.unary_unary_rpc_method_handler,
                 "Hang": grpc.unary_unary_rpc_method_handler, "Count": grpc.unary_stream_rpc_method_handler,
                 "Sum": grpc.stream_unary_rpc_method_handler, "Chat": grpc.stream_stream_rpc_method_handler,
                 "Watch": grpc.unary_stream_rpc_method_handler}
        name = details.method.rsplit("/", 1)[1]
        if name not in kinds:
            return None
        return kinds[name](getattr(self, name.lower()), identity, identity)

    def echo(self, request, context):
        self.remaining = context.time_remaining()
        context.set_trailing_metadata((("x-sum", str(len(request))),))
        return request

    def fail(self, request, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100 % no")

    def hang(self, request, context):
        context.add_callback(self.cancelled.set)
        self.hanging = True
        self.cancelled.wait(60)
        return b""

    def count(self, request, context):
        for i in range(int(request)):
            yield b"%d" % i

    def watch(self, request, context):
        context.send_initial_metadata(())
        self.remaining = context.time_remaining()
        yield b"first"
        self.go_on.wait(30)
        yield b"last"

    def sum(self, requests, context):
        return b"%d" % sum(len(one) for one in requests)

    def chat(self, requests, context):
        for one in requests:
            yield one.upper()


@pytest.fixture(scope="module")
def grpc_server():
    service = Service()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=(service,))
    service.address = "127.0.0.1:%d" % server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service
    server.stop(0).wait()


@pytest.fixture(scope="module")
def broken_server():
    """A head and a message, and then silence, or a connection or a stream that ends in the middle of another message."""
    def answer(server, conn, stream_id, stream):
        conn.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        conn.send_data(stream_id, b"\0\0\0\0\5first\0\0\0\0\5l")
        if stream.headers[":path"] == "/broken.B/Ends":
            conn.fg_socket.sendall(conn.data_to_send())
            conn.fg_socket.shutdown(socket.SHUT_WR)
        if stream.headers[":path"] == "/broken.B/Resets":
            conn.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
    with serving(H2Server(answer)) as server:
        yield server


def routes(*more):
    return [*more, {"name": "grpc", "match": {"prefix": "/t.T/"}, "to": "cluster:grpc", "timeout": "20s"}]


@pytest.fixture(scope="module")
def gateway(launch_module, grpc_server, broken_server):
    return launch_module({
        "routes": routes({"name": "watch", "match": {"path": "/t.T/Watch"}, "to": "cluster:grpc", "timeout": "3s",
                          "stream_idle_timeout": "30s"},
                         {"name": "short", "match": {"path": "/broken.B/Silent"}, "to": "cluster:broken", "timeout": "2s"},
                         {"name": "broken", "match": {"prefix": "/broken.B/"}, "to": "cluster:broken"},
                         {"name": "limited", "match": {"path": "/t.T/Limited"}, "to": "cluster:grpc",
                          "rate_limits": ["few"]},
                         {"name": "private", "match": {"path": "/t.T/Private"}, "to": "cluster:grpc",
                          "identity": "required"},
                         {"name": "down", "match": {"prefix": "/down.D/"}, "to": "cluster:down"}),
        "policies": {"rate_limits": {"few": {"key": "route", "rate": "1/h", "burst": 1}}},
        "clusters": {"grpc": {"endpoints": [grpc_server.address], "protocol": "h2"},
                     "broken": {"endpoints": [broken_server.address], "protocol": "h2"},
                     "down": {"endpoints": [f"127.0.0.1:{free_port()}"], "protocol": "h2"}},
        "limits": {"threads": 1}}, keep_ready=False)


@pytest.fixture
def channel(gateway):
    wait_for(lambda: gateway.readiness() is not None)
    credentials = grpc.ssl_channel_credentials(gateway.certificate.read_bytes())
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_retries", 0))
    with grpc.secure_channel(f"127.0.0.1:{gateway.port}", credentials, options) as one:
        yield one


def unary(channel, name):
    return channel.unary_unary(name, identity, identity)


def test_unary_with_trailing_metadata(channel):
    call = unary(channel, "/t.T/Echo")
    for size in (0, 10, 100_000, 700_000):
        answer, state = call.with_call(b"x" * size)
        assert answer == b"x" * size
        assert dict(state.trailing_metadata())["x-sum"] == str(size)


def test_a_status_of_the_servers_arrives(channel):
    with pytest.raises(grpc.RpcError) as error:
        unary(channel, "/t.T/Fail")(b"x")
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.value.details() == "not now: 100 % no"
    assert dict(error.value.trailing_metadata())["x-why"] == "because"


def test_an_unknown_method_is_a_head_that_is_all(channel):
    with pytest.raises(grpc.RpcError) as error:
        unary(channel, "/t.T/Nothing")(b"x")
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_streams(channel):
    assert list(channel.unary_stream("/t.T/Count", identity, identity)(b"300")) == [b"%d" % i for i in range(300)]
    assert channel.stream_unary("/t.T/Sum", identity, identity)(iter([b"x" * 1000] * 300)) == b"300000"


def test_a_conversation(channel):
    """Each message is answered before the next is sent: nothing may wait for the end of a body."""
    answers, send = [], threading.Event()

    def messages():
        for i in range(5):
            send.clear()
            yield b"hello %d" % i
            assert send.wait(60)

    for answer in channel.stream_stream("/t.T/Chat", identity, identity)(messages()):
        answers.append(answer)
        send.set()
    assert answers == [b"HELLO %d" % i for i in range(5)]


def test_the_deadline_reaches_the_server_and_ends_the_call(channel, grpc_server):
    """The client's or the route's, whichever is shorter; the server tells it by two clocks, some milliseconds apart."""
    unary(channel, "/t.T/Echo")(b"x", timeout=7)
    assert 0 < grpc_server.remaining < 8
    for more in ({}, {"timeout": 60}):
        unary(channel, "/t.T/Echo")(b"x", **more)
        assert 8 < grpc_server.remaining < 21  # the route has 20
    grpc_server.cancelled.clear()
    with pytest.raises(grpc.RpcError) as error:
        unary(channel, "/t.T/Hang")(b"x", timeout=4)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert grpc_server.cancelled.wait(60)


def test_a_stream_goes_on_beyond_the_time_for_its_head(channel, grpc_server):
    """The server is told of the client's own deadline, and of none where it has none."""
    watch = channel.unary_stream("/t.T/Watch", identity, identity)
    started = time.monotonic()
    answers = watch(b"", wait_for_ready=True)
    assert next(answers) == b"first"
    assert grpc_server.remaining is None or grpc_server.remaining > 1000  # grpcio: no deadline is a far one
    wait_for(lambda: time.monotonic() > started + 3.2, what="the end of the route's time")
    grpc_server.go_on.set()
    assert list(answers) == [b"last"]
    assert list(watch(b"", timeout=25)) == [b"first", b"last"]
    assert 3 < grpc_server.remaining < 30


@pytest.mark.parametrize("method, code", [("/broken.B/Silent", grpc.StatusCode.DEADLINE_EXCEEDED),
                                          ("/broken.B/Ends", grpc.StatusCode.UNAVAILABLE),
                                          ("/broken.B/Resets", grpc.StatusCode.UNAVAILABLE)])
def test_what_breaks_off_behind_its_head_ends_with_a_status(channel, broken_server, method, code):
    """The route's own time, of which the client does not know; and a server that dies, or ends the call at once."""
    answers = channel.unary_stream(method, identity, identity)(b"")
    assert next(answers) == b"first"
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    assert error.value.code() == code and error.value.details()
    if method == "/broken.B/Silent":
        wait_for(lambda: broken_server.streams[-1][2].reset is not None, what="the end of the server's call")


def test_cancelling_reaches_the_server(channel, grpc_server):
    grpc_server.cancelled.clear()
    grpc_server.hanging = False
    call = unary(channel, "/t.T/Hang").future(b"x")
    wait_for(lambda: grpc_server.hanging)
    call.cancel()
    assert grpc_server.cancelled.wait(60)


@pytest.mark.parametrize("method, code", [
    ("/down.D/Call", grpc.StatusCode.UNAVAILABLE),
    ("/t.T/Private", grpc.StatusCode.UNAUTHENTICATED),
    ("/nowhere.N/Call", grpc.StatusCode.UNIMPLEMENTED),
])
def test_our_refusals_have_a_grpc_status(channel, method, code):
    with pytest.raises(grpc.RpcError) as error:
        unary(channel, method)(b"x")
    assert error.value.code() == code
    assert error.value.details()
    assert dict(error.value.trailing_metadata()).get("x-request-id")


def test_a_rate_limit_is_resource_exhausted(channel):
    codes = []
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as error:
            unary(channel, "/t.T/Limited")(b"x")
        codes.append(error.value.code())
    assert codes == [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert int(dict(error.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
