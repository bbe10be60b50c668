"""`floodgate rehearse`: a promotion simulated, the same as real traffic, and errors as one clear line each."""
import json
import re
import subprocess

import pytest

from harness import BINARY, ROOT, Upstream, run_binary

SHOP = {
    "clusters": {"shop": {"endpoints": ["127.0.0.1:9"]}},
    "routes": [
        {"name": "order", "match": {"path": "/order", "methods": ["POST"]}, "to": "cluster:shop",
         "priority": "critical", "identity": "required", "timeout": "2s"},
        {"name": "browse", "match": {"prefix": "/browse"}, "to": "cluster:shop", "priority": "low", "timeout": "2s"},
        {"name": "claim", "match": {"path": "/claim"}, "respond": {"body": "one"}},
    ],
}
CROWD = {"arrivals": [{"rate": "40/s"}], "journey": ["GET /browse"], "retry": 1}


@pytest.fixture
def write(tmp_path):
    """A configuration, whose files need not be there, and a scenario."""
    def make(scenario, config=None):
        (tmp_path / "floodgate.yaml").write_text(json.dumps({
            "listeners": [{"address": "127.0.0.1:8443", "certificate": "none.pem", "private_key": "none.pem"}],
            **(config or SHOP)}))
        (tmp_path / "night.yaml").write_text(scenario if isinstance(scenario, str) else json.dumps(scenario))
        return "-c", str(tmp_path / "floodgate.yaml"), "--scenario", str(tmp_path / "night.yaml")
    return make


def test_simulates_the_configuration_and_writes_a_report(write, tmp_path):
    files = write({"name": "A night", "duration": "20s", "seed": 5,
                   "backends": {"shop": {"slots": 4, "service": "20ms"}},
                   "crowds": {"guests": {**CROWD, "arrivals": [{"rate": "600/s"}]},
                              "buyers": {**CROWD, "arrivals": [{"rate": "20/s"}],
                                         "journey": [{"request": "POST /order", "goal": True}]}}})
    report = tmp_path / "report.html"
    done = run_binary("rehearse", *files, "--simulate", "--report", str(report))
    assert done.returncode == 0, done.stderr
    assert "What bites first" in done.stdout and "seed 5" in done.stdout
    assert "Not modelled: descriptors" in done.stdout
    order = re.search(r"^order +critical +(\d+) +0 +([\d.]+) %", done.stdout, re.M)
    assert order and int(order[1]) > 300 and float(order[2]) > 99, done.stdout
    low = re.search(r"^  low +([\d.]+) % good", done.stdout, re.M)
    assert low and float(low[1]) < 60, done.stdout # three times of what the four slots can do
    html = report.read_text()
    assert "A night" in html and "http" not in re.sub(r"http://www\.w3\.org/\S+", "", html)
    assert html.index("What bites first") < html.index("<svg")
    assert re.search(r"simulated in [\d.]+ s", done.stderr)
    again = run_binary("rehearse", *files, "--simulate", "--report", str(report))
    assert again.stdout == done.stdout and report.read_text() == html # to the last byte
    other = run_binary("rehearse", *files, "--simulate", "--report", str(report), "--seed", "6")
    assert other.stdout != done.stdout and report.read_text() != html


@pytest.mark.parametrize("more, good, bites", [
    ({}, (100, 100), "nothing: every request succeeded"),
    ({"waiting_room": {"admit": "5/s"}}, (5, 30), r"go +in_line"),
    ({"rate_limits": ["few"]}, (5, 30), r"go +rate_limit")], ids=["at once", "line", "limit"])
def test_an_answer_of_the_configuration_stands_behind_line_and_limits(write, more, good, bites):
    """As in the gateway, where it comes at once only when the route asks for nothing before it."""
    done = run_binary("rehearse", *write(
        {"duration": "20s", "crowds": {"all": {**CROWD, "arrivals": [{"rate": "40/s"}], "journey": ["GET /go"]}}},
        {"policies": {"rate_limits": {"few": {"key": ["route"], "rate": "5/s"}}},
         "routes": [{"name": "go", "match": {"path": "/go"}, "redirect": "https://shop.example/", **more}]}), "--simulate")
    assert done.returncode == 0, done.stderr
    share = float(re.search(r"^go +normal +\d+ +\d+ +([\d.]+) %", done.stdout, re.M)[1])
    assert good[0] <= share <= good[1] and re.search(bites, done.stdout), done.stdout


def test_what_bites_first_is_told_by_the_name_of_the_resource():
    scenario = str(ROOT / "conf" / "scenarios" / "long-answers.yaml")
    done = run_binary("rehearse", "-c", str(ROOT / "conf" / "floodgate.yaml"), "--scenario", scenario, "--simulate")
    assert done.returncode == 0, done.stderr
    first = re.search(r"What bites first\n +\S+ +(\S+) +(\S+)", done.stdout)
    assert first and first.groups() == ("chat", "overload.kv_blocks"), done.stdout


def test_what_is_expected_decides_the_exit_code(write):
    night = {"duration": "20s", "backends": {"shop": {"slots": 4, "service": "20ms"}},
             "crowds": {"guests": {**CROWD, "arrivals": [{"rate": "600/s"}]},
                        "buyers": {**CROWD, "arrivals": [{"rate": "20/s"}], "journey": ["POST /order"]}}}
    fine = run_binary("rehearse", *write({**night, "expect": {"critical": "99%"}}), "--simulate")
    assert fine.returncode == 0 and re.fullmatch(r"simulated in [\d.]+ s\n", fine.stderr), fine.stderr
    bad = run_binary("rehearse", *write({**night, "expect": {"low": "95%", "recovery": "2s"}}), "--simulate")
    assert bad.returncode == 1
    assert re.search(r"not as expected: low [\d.]+ % good; expected at least 95.0 %", bad.stderr)
    assert "not as expected: shop not normal before the end; expected within 2.0 s" in bad.stderr


@pytest.mark.parametrize("scenario, message", [
    ({"crowds": {"a": CROWD}}, r'night.yaml:1:1: "duration" is missing in the scenario'),
    ({"duration": "1m", "crowd": {"a": CROWD}}, r'night.yaml:1:20: unknown key in the scenario: "crowd"; did you '
                                               r'mean "crowds"\?'),
    ({"duration": "1m", "crowds": {"a": {**CROWD, "journey": ["GET /brows"]}}},
     r'"GET /brows" matches no route of \S+floodgate.yaml; did you mean "/browse"\?'),
    ({"duration": "1m", "crowds": {"a": {**CROWD, "journey": ["GET /order"]}}},
     r'"GET /order" has a method that no route at this path takes'),
    ({"duration": "1m", "crowds": {"a": {**CROWD, "journey": ["/browse"]}}},
     r'"/browse" is not a request; expected METHOD /path'),
    ({"duration": "1m", "crowds": {"a": {**CROWD, "journey": ["GET /browse?a=b#c"]}}},
     r'"GET /browse\?a=b#c" is not a request; expected METHOD /path'),
    ({"duration": "1m", "backends": {"shop": {"faults": [{"at": 0, "for": "1s", "endpoints": 2}]}}, "crowds": {"a": CROWD}},
     r"endpoints: more than shop has in the configuration; expected at most 1"),
    ({"duration": "1m", "backends": {"shap": {}}, "crowds": {"a": CROWD}},
     r'no such backend in the configuration: "shap"; did you mean "shop"\?'),
    ({"duration": "soon", "crowds": {"a": CROWD}}, r'duration: "soon" is not a duration; expected'),
    ({"duration": "1m", "crowds": {"a": {**CROWD, "users": 5, "arrivals": [{"rate": "0/s"}]}}},
     r"no rate above 0 within the duration"),
    ("duration: 1m\ncrowds:\n  a: {arrivals: [{at: 2s, rate: 1/s}, {at: 1s, rate: 1/s}], journey: [GET /browse]}\n",
     r"night.yaml:3:44: at: not after the point before it"),
])
def test_mistakes_in_the_scenario_are_told_with_their_place(write, scenario, message):
    done = run_binary("rehearse", *write(scenario), "--simulate")
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["--simulate", "--target", "https://127.0.0.1:1"],
                                       ["--target", "127.0.0.1:1"], ["--target", "https://127.0.0.1:1/path"],
                                       ["--simulate", "--seed", "x"], ["--target", "https://127.0.0.1:1",
                                                                       "--connections", "0"]])
def test_usage(write, arguments):
    done = run_binary("rehearse", *write({"duration": "1m", "crowds": {"a": CROWD}}), *arguments)
    assert done.returncode in (1, 2) and "expected" in done.stderr, done.stderr


def test_the_scenarios_that_come_along_fit_the_demo(tmp_path):
    for path in sorted((ROOT / "conf" / "scenarios").glob("*.yaml")):
        text = path.read_text()
        config = re.search(r"-c (conf/\S+)", text)[1]
        short = re.sub(r"^duration: .*", "duration: 2s", text, flags=re.M)
        short = re.sub(r"^( +)users: \d+$", r"\1users: 500", short, flags=re.M)
        (tmp_path / path.name).write_text(short)
        done = run_binary("rehearse", "-c", str(ROOT / config), "--scenario", str(tmp_path / path.name), "--simulate")
        assert done.returncode == 0, (path, done.stderr)


def test_live_traffic_is_open_loop_and_counts_as_the_gateway_does(launch, upstream, tmp_path):
    bodies = []

    def answer(request):
        bodies.append(request.body)
        return 200, {}, b"{}"

    shop = upstream(answer)
    config = {**SHOP, "clusters": {"shop": {"endpoints": [f"127.0.0.1:{shop.port}"]}}}
    site = launch(config)
    scenario = tmp_path / "night.yaml"
    scenario.write_text(json.dumps({
        "duration": "2s",
        "crowds": {"guests": {**CROWD, "patience": "10s"},
                   "buyers": {**CROWD, "arrivals": [{"rate": "20/s"}], "patience": "10s",
                              "journey": [{"request": "POST /order", "body": '{"n":{n}}', "goal": True,
                                           "headers": {"idempotency-key": "night-{n}"}}, "GET /claim"]}}}))
    done = run_binary("rehearse", "-c", str(site.config), "--scenario", str(scenario), "--target",
                      f"https://127.0.0.1:{site.port}", "--insecure", "--connections", "3")
    assert done.returncode == 0, done.stderr
    assert re.search(r"asked +\d+ good", done.stderr) # progress, a line a second
    asked = {name: int(count.replace(",", "")) for name, count in
             re.findall(r"^(\w+) +(?:critical|low|normal) +([\d,]+) ", done.stdout, re.M)}
    orders = [fields for _, path, fields in shop.requests if path == "/order"]
    assert abs(len(orders) - asked["order"]) <= 20 and asked["order"] >= 20
    keys = {fields.get("idempotency-key", fields.get("Idempotency-Key")) for fields in orders}
    assert len(keys) == len(orders) and all(re.fullmatch(r"night-\d+", key) for key in keys)
    assert all(json.loads(body)["n"] >= 0 for body in bodies if body) and any(bodies)
    assert asked["browse"] >= 40 and asked["claim"] >= 10
    assert "refused" in done.stdout and "unauthenticated" not in done.stdout
    assert "Not modelled" not in done.stdout


def test_live_traffic_says_when_nobody_is_there(write):
    done = subprocess.run([str(BINARY), "rehearse", *write({"duration": "1s", "crowds": {"a": CROWD}}), "--target",
                           "http://127.0.0.1:9", "--connections", "1"], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
