"""What a cluster may have at once, over all threads and exactly; no retries while its gate sheds."""
import threading


from harness import plain_http, wait_for
from test_policies import in_background, join
from upstreams import Raw, serving


def cluster(address, **keys):
    return {"limits": {"threads": 2},
            "clusters": {"app": {"endpoints": [address], **keys}},
            "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]}


def limits(gateway):
    return gateway.stats()["backends"]["app"]["limits"]


def test_connections_are_counted_over_all_threads(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, max_connections=2, max_idle_connections=2,
                             concurrency={"kind": "fixed", "limit": 2},
                             queue={"requests_max": 1000, "wait_max": "60s", "target": "off"}))
    threads, answers = in_background(gateway, "/", 40)
    join(threads)
    # Whichever thread they came to: half of the connections each would have been too few.
    assert [answer.status_code for answer in answers] == [200] * 40
    assert backend.in_flight_most <= 2
    figures = limits(gateway)
    assert figures["connections"]["most"] <= 2 and figures["connections"]["max"] == 2
    wait_for(lambda: limits(gateway)["pending"]["used"] == limits(gateway)["requests"]["used"] == 0)


def test_an_idle_connection_is_given_up_to_another_thread(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, max_connections=1, max_idle_connections=1, idle_timeout="1h",
                             concurrency={"kind": "fixed", "limit": 1}))
    for _ in range(24):  # each on a connection of its own, so on either thread
        assert gateway.get("/").status_code == 200
    assert limits(gateway)["connections"]["most"] == 1


def test_one_request_too_many_is_told_why(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, limits={"requests": 2}, concurrency={"kind": "fixed", "limit": 8}))
    backend.gate.clear()
    threads, answers = in_background(gateway, "/held", 2)
    wait_for(lambda: backend.in_flight == 2)
    refused = gateway.get("/third")
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    error = refused.json()["error"]
    assert error["code"] == "cluster_requests" and "2 requests" in error["message"]
    last = gateway.explain(refused.headers["x-request-id"])["decisions"][-1]
    assert last["decided"] == "refuse" and last["reason"] == "cluster_requests"
    metrics = plain_http.get(gateway.admin + "/metrics").text
    for line in ('used{cluster="app",limit="requests"} 2', 'max{cluster="app",limit="requests"} 2',
                 'refused_total{cluster="app",limit="requests"} 1'):
        assert f"floodgate_cluster_limit_{line}" in metrics
    backend.gate.set()
    join(threads)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert backend.count("/third") == 0
    assert gateway.get("/fourth").status_code == 200


def test_in_shadow_nobody_is_refused(launch, upstream):
    backend = upstream()
    gateway = launch(cluster(backend.address, limits={"requests": 1, "shadow": True},
                             concurrency={"kind": "fixed", "limit": 8}))
    backend.gate.clear()
    threads, answers = in_background(gateway, "/", 3)
    wait_for(lambda: backend.in_flight == 3)
    assert limits(gateway)["requests"]["refused"] == 2 and limits(gateway)["shadow"]
    backend.gate.set()
    join(threads)
    assert [answer.status_code for answer in answers] == [200] * 3


def test_no_retries_while_the_clusters_own_gate_refuses(launch):
    asked, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def fail(connection, *_):
        asked.set()
        go_on.wait(60)
        connection.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
        return True

    with serving(Raw([fail])) as server:
        gateway = launch(cluster(server.address, retries={"attempts": 3}, breaker={"enabled": False},
                                 concurrency={"kind": "fixed", "limit": 1}, queue={"requests_max": "off"}))
        threads, answers = in_background(gateway, "/first", 1)
        assert asked.wait(30)

        def refused():
            with gateway.client() as client:
                while not done.is_set():
                    client.get("/refused")
        crowd = threading.Thread(target=refused)
        crowd.start()
        wait_for(lambda: gateway.gate("app")["queue"]["full_total"] > 0)
        go_on.set()
        wait_for(lambda: gateway.stats()["backends"]["app"]["requests"]["retries_refused"] > 0)
        done.set()
        join(threads + [crowd])
        assert answers[0].status_code == 503
        assert len([head for head, _ in server.requests if b"/first" in head]) == 1
