"""`floodgate rehearse --target`: what it makes of targets that refuse, leave, die, or are somebody else."""
import json
import re
import signal
import socket
import subprocess
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest

from harness import BINARY, environment, run_binary

ROUTES = [{"name": "browse", "match": {"prefix": "/browse"}, "to": "cluster:shop", "priority": "low", "timeout": "5s"}]
CROWD = {"arrivals": [{"rate": "40/s"}], "journey": ["GET /browse?from={user}"], "retry": 1, "patience": "20s"}


@pytest.fixture
def night(tmp_path):
    def write(scenario):
        (tmp_path / "floodgate.yaml").write_text(json.dumps({
            "listeners": [{"address": "127.0.0.1:8443", "kind": "plain"}],
            "clusters": {"shop": {"endpoints": ["127.0.0.1:9"]}}, "routes": ROUTES}))
        (tmp_path / "night.yaml").write_text(json.dumps({"duration": "2s", "crowds": {"guests": CROWD}, **scenario}))
        return "-c", str(tmp_path / "floodgate.yaml"), "--scenario", str(tmp_path / "night.yaml")
    return write


class Target:
    """HTTP/2 in the clear. A connection says goodbye after `per_connection` requests, and its first one is then still
    to be answered; after `most` requests in all nobody is there any more."""

    def __init__(self, per_connection=None, most=None):
        self.per_connection, self.most = per_connection, most
        self.count = self.goodbyes = 0
        self.lock = threading.Lock()
        self.is_done = threading.Event()
        self.problems = []
        self.connections = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.is_done.is_set():
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with self.lock:
                self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def stop(self):
        self.is_done.set()
        self.server.close()
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass # it is gone already

    def serve(self, connection):
        try:
            self.talk(connection)
        except OSError:
            pass # the client, or stop(), has closed it
        except Exception as error: # pylint: disable=broad-except
            self.problems.append(error)
        finally:
            connection.close()

    def talk(self, connection):
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        connection.sendall(state.data_to_send())
        streams = []
        while data := connection.recv(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    streams.append(event.stream_id)
                    self.on_request(state, streams)
            connection.sendall(state.data_to_send())
            if self.most is not None and self.count >= self.most:
                self.stop()
                return
            if self.per_connection is not None and len(streams) >= self.per_connection:
                # GOAWAY by hand: the library would take nothing more
                connection.sendall(b"\0\0\x08\x07\0\0\0\0\0" + streams[-1].to_bytes(4, "big") + b"\0\0\0\0")
                self.goodbyes += 1
                self.is_done.wait(20) # the first stream stays open, so the connection does
                return

    def on_request(self, state, streams):
        with self.lock:
            self.count += 1
        if self.per_connection is not None and len(streams) == 1:
            return
        state.send_headers(streams[-1], [(":status", "204")], end_stream=True)


@pytest.fixture
def target():
    made = []

    def make(**kwargs):
        made.append(Target(**kwargs))
        return made[-1]
    yield make
    for one in made:
        one.stop()
        assert not one.problems, one.problems


def share_of(done, outcome):
    """In per cent of what the route was asked."""
    columns = ["good", "refused", "failed", "late", "gave up", "in line"]
    row = re.search(r"^browse +low +[\d,]+ +[\d,]+ +(.*)$", done.stdout, re.M)[1]
    return float(row.replace("%", "").split()[columns.index(outcome)])


def went_well(done):
    """What a busy machine still has on the way at the end counts as nothing."""
    return share_of(done, "good") > 30 and share_of(done, "failed") == share_of(done, "refused") == 0


def test_a_connection_that_says_goodbye_is_replaced_at_once(night, target):
    """Its last answers are still to come: nothing goes there meanwhile, and nothing fails."""
    leaving = target(per_connection=10)
    done = run_binary("rehearse", *night({"duration": "3s"}), "--target", f"http://127.0.0.1:{leaving.port}",
                      "--connections", "2")
    assert done.returncode == 0, done.stderr
    assert leaving.goodbyes >= 2
    # two stand for two that leave; when these leave as well, nobody is left until the end
    assert leaving.count >= 40, done.stdout


def test_a_target_that_dies_makes_failures_and_a_report(night, target):
    dying = target(most=20)
    done = run_binary("rehearse", *night({}), "--target", f"http://127.0.0.1:{dying.port}", "--connections", "2")
    assert done.returncode == 0, done.stderr
    assert share_of(done, "failed") > 30 and share_of(done, "good") > 10, done.stdout


def test_what_the_gateway_has_no_route_for_is_no_success(night, launch):
    site = launch({"routes": [{"name": "other", "match": {"path": "/other"}, "respond": {"body": "here"}}]})
    done = run_binary("rehearse", *night({}), "--target", f"https://127.0.0.1:{site.port}", "--insecure",
                      "--connections", "2")
    assert done.returncode == 0, done.stderr
    assert share_of(done, "good") == 0 and re.search(r"browse +no_route", done.stdout), done.stdout


def test_the_scenarios_host_is_asked_for_at_the_target(night, launch, upstream):
    shop = upstream()
    site = launch({"clusters": {"shop": {"endpoints": [f"127.0.0.1:{shop.port}"]}},
                   "routes": [{**ROUTES[0], "match": {"prefix": "/browse", "host": "www.example.org"}}]})
    done = run_binary("rehearse", *night({"host": "www.example.org"}), "--target", f"https://127.0.0.1:{site.port}",
                      "--insecure", "--connections", "2")
    assert done.returncode == 0, done.stderr
    assert went_well(done), done.stdout
    assert all(re.fullmatch(r"/browse\?from=\d+", path) for _, path, _ in shop.requests)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_certificates_are_looked_at(night, launch, certificate, host):
    """A name that leads to several addresses, of which one is the gateway's, is good enough."""
    site = launch({"routes": [{"name": "all", "match": {"prefix": "/"}, "respond": {"body": "here"}}]})
    files = night({})
    url = f"https://{host}:{site.port}"
    trusted = run_binary("rehearse", *files, "--target", url, "--connections", "2",
                         env={"SSL_CERT_FILE": str(certificate[0])})
    assert trusted.returncode == 0 and went_well(trusted), (trusted.stdout, trusted.stderr)
    stranger = run_binary("rehearse", *files, "--target", url, "--connections", "2")
    assert stranger.returncode == 1 and "certificate is not trusted" in stranger.stderr


def test_an_interrupt_ends_it_with_a_report_of_what_was_done(night, target, tmp_path):
    page = tmp_path / "report.html"
    with subprocess.Popen([str(BINARY), "rehearse", *night({"duration": "10m"}), "--target",
                           f"http://127.0.0.1:{target().port}", "--connections", "2", "--report", str(page)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            while "asked" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, stderr
    assert re.search(r"^interrupted after [\d.]+ m?s", stdout, re.M) and "What bites first" in stdout
    assert "interrupted after" in page.read_text()


SLOTS, SERVICE_S = 4, 0.04 # 100 requests a second
SHARED = {"routes": [{"name": "order", "match": {"path": "/order"}, "to": "cluster:shop", "priority": "critical",
                      "timeout": "3s"},
                     {"name": "browse", "match": {"prefix": "/browse"}, "to": "cluster:shop", "priority": "low",
                      "timeout": "3s"},
                     {"name": "ask", "match": {"path": "/ask"}, "to": "cluster:shop", "rate_limits": ["few"]}],
          "policies": {"rate_limits": {"few": {"key": "route", "rate": "10/s", "burst": 10}}}}


def figures(done, route):
    """Asked, and of it good, refused and the rest, as shares of one."""
    row = re.search(rf"^{route} +\w+ +([\d,]+) +[\d,]+ +(.*)$", done.stdout, re.M)
    good, refused, *rest = (float(share) / 100 for share in row[2].replace("%", "").split()[:6])
    return int(row[1].replace(",", "")), good, refused, sum(rest)


def test_what_was_simulated_comes_true(launch, upstream, tmp_path):
    """Within bounds that a busy machine keeps: who is served, who is refused, and by what."""
    slots = threading.Semaphore(SLOTS)

    def serve(_):
        with slots:
            time.sleep(SERVICE_S) # the work of a request, not a wait for something
        return 200, {}, b"ok"

    shop = upstream(serve)
    site = launch({**SHARED, "clusters": {"shop": {"endpoints": [f"127.0.0.1:{shop.port}"]}}})
    scenario = tmp_path / "night.yaml"
    crowd = {"retry": 1, "patience": "3s"}
    scenario.write_text(json.dumps({
        "duration": "6s", "seed": 3, "backends": {"shop": {"slots": SLOTS, "service": "40ms", "spread": "fixed"}},
        "crowds": {"buyers": {**crowd, "arrivals": [{"rate": "10/s"}], "journey": ["POST /order"]},
                   "guests": {**crowd, "arrivals": [{"rate": "300/s"}], "journey": ["GET /browse"]},
                   "askers": {**crowd, "arrivals": [{"rate": "50/s"}], "journey": ["GET /ask"]}}}))
    files = ("-c", str(site.config), "--scenario", str(scenario))
    simulated = run_binary("rehearse", *files, "--simulate")
    live = run_binary("rehearse", *files, "--target", f"https://127.0.0.1:{site.port}", "--insecure",
                      "--connections", "8")
    assert simulated.returncode == 0 and live.returncode == 0, live.stderr
    for route in ("order", "browse", "ask"):
        asked, good, refused, _ = figures(simulated, route)
        asked_live, good_live, refused_live, rest_live = figures(live, route)
        assert abs(asked - asked_live) <= 0.1 * asked, (simulated.stdout, live.stdout) # the same crowd
        assert 0.3 * good <= good_live <= 1.3 * good + 0.05, (simulated.stdout, live.stdout)
        assert refused_live >= 0.7 * refused and rest_live <= 0.2, (simulated.stdout, live.stdout)
    assert figures(simulated, "order")[1] > 0.9 and figures(live, "order")[1] > 0.7, live.stdout
    for done in (simulated, live):
        assert re.search(r"browse +(priority_shed|queue_shed)", done.stdout), done.stdout
        assert re.search(r"ask +rate_limit +\d+", done.stdout), done.stdout
