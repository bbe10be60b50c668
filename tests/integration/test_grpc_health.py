"""
test_grpc_health.py: health checks by gRPC (grpc.health.v1) of a real server (python3-grpcio).
"""
import concurrent.futures
import contextlib

import grpc
import pytest

from harness import wait_for
from upstreams import cluster, figures

CHECK = {"kind": "grpc", "interval": "50ms", "timeout": "5s", "healthy_after": 1, "unhealthy_after": 1}
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Health(grpc.GenericRpcHandler):
    """What Check says of each service; one that is not there is NOT_FOUND, as the protocol has it."""

    def __init__(self, **services):
        self.services, self.asked = services, []

    def service(self, details):
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self.check, bytes, bytes)

    def check(self, request, context):
        name = request[2:].decode()
        self.asked.append((name, context.time_remaining()))
        if name not in self.services:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self.services[name]


@contextlib.contextmanager
def server(*handlers):
    one = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=handlers)
    port = one.add_insecure_port("127.0.0.1:0")
    one.start()
    yield f"127.0.0.1:{port}"
    one.stop(0).wait()


def state(gateway):
    return figures(gateway)["endpoints"][0]["state"]


@pytest.mark.parametrize("service", ["", "shop.v1.Orders"])
def test_the_service_is_asked_and_believed(launch, service):
    health = Health(**{"": SERVING, "shop.v1.Orders": SERVING})
    with server(health) as address:
        check = {**CHECK, "service": service} if service else CHECK
        gateway = launch(cluster([address], protocol="h2", health_check=check))
        assert state(gateway) == "healthy"
        health.services[service] = NOT_SERVING
        wait_for(lambda: state(gateway) == "unhealthy", what="NOT_SERVING")
        assert figures(gateway)["endpoints"][0]["check_fault"] == "it does not say that it is SERVING"
        health.services[service] = SERVING
        wait_for(lambda: state(gateway) == "healthy", what="SERVING")
        del health.services[service]
        wait_for(lambda: state(gateway) == "unhealthy", what="NOT_FOUND")
    assert {name for name, _ in health.asked} == {service} and all(0 < left <= 5 for _, left in health.asked)


def test_who_does_not_know_the_protocol_is_not_well(launch):
    with server() as address:  # UNIMPLEMENTED
        gateway = launch(cluster([address], protocol="h2", health_check=CHECK), keep_ready=False)
        wait_for(lambda: gateway.readiness() is not None)
        wait_for(lambda: state(gateway) == "unhealthy", what="the first check")


@pytest.mark.parametrize("keys", [
    {"protocol": "http1"}, {}, {"protocol": "h2", "health_check": {"kind": "grpc", "path": "/"}},
    {"protocol": "h2", "health_check": {"kind": "http", "service": "a"}},
    {"protocol": "h2", "health_check": {"kind": "grpc", "service": "x" * 128}},
])
def test_mistakes_are_told(launch, keys):
    with pytest.raises(AssertionError, match="expected|grpc"):
        launch(cluster(["127.0.0.1:9"], **{"health_check": CHECK, **keys}))
