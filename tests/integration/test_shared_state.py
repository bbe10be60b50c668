"""The Redis that policies share: found, lost and found again, and never in the way."""
import signal

from harness import send_signal, wait_for
from redis_tools import redis_server

ROUTES = [{"name": "hello", "match": {"prefix": "/"}, "respond": {"status": 200, "body": "hello"}}]


def shared(gateway):
    return gateway.stats()["policies"]["shared_state"]


def test_without_it_there_is_no_connection(launch):
    assert "shared_state" not in launch({"routes": ROUTES}).stats()["policies"]


def test_its_state_is_told_and_requests_go_on_without_it(launch, tmp_path):
    with redis_server(tmp_path, "--requirepass", "very-secret") as (port, client, process):
        gateway = launch({
            "policies": {"shared_state": {"redis": {"address": f"127.0.0.1:{port}", "password": "very-secret"}}},
            "routes": ROUTES})
        wait_for(lambda: shared(gateway)["state"] == "connected")
        figures = shared(gateway)
        assert figures["connected_threads"] == 2 and figures["address"] == f"127.0.0.1:{port}"
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for(lambda: shared(gateway)["connects"] == 4 and shared(gateway)["state"] == "connected")
        send_signal(process.pid, signal.SIGKILL)
        process.wait(20)
        wait_for(lambda: shared(gateway)["state"] == "disconnected")
        assert gateway.get("/").status_code == 200
        assert gateway.readiness().status_code == 200
        assert "very-secret" not in gateway.log


def test_it_is_the_redis_of_orders_unless_said_otherwise(launch):
    gateway = launch({
        "policies": {"shared_state": True},
        "orders": {"skus": {"milk-tea": {"stock": 1}}},
        "routes": [{"match": {"prefix": "/api"}, "to": "orders"}, *ROUTES]})
    wait_for(lambda: shared(gateway)["state"] == "connected")
    assert shared(gateway)["address"] == f"unix:{gateway.run}/redis/redis.sock"
