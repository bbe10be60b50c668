"""The command line, configuration errors, failing starts and reloads: one clear line each."""
import json
import re
import signal
import socket
import struct
import subprocess
import threading

import httpx
import pytest

from harness import (GOLDEN, ROOT, children_of, free_port, is_alive, plain_http, run_binary, send_signal,
                     wait_for)


@pytest.fixture
def write(tmp_path, certificate):
    """A configuration file with these sections, small but complete."""
    def make(text=None, **sections):
        path = tmp_path / "floodgate.yaml"
        if text is None:
            whole = {
                "listeners": [{"address": f"127.0.0.1:{free_port()}", "certificate": str(certificate[0]),
                               "private_key": str(certificate[1])}],
                "admin": {"address": f"127.0.0.1:{free_port()}"},
                "identity": {"jwt": {"secret_file": str(tmp_path / "jwt.key")}},
                "routes": [{"match": {"prefix": "/"}, "respond": {"body": "ok"}}],
                **sections}
            text = json.dumps({name: value for name, value in whole.items() if value is not None}, indent=1)
        path.write_text(text)
        return path
    return make


def serve_fails(path, pattern, env=None):
    """`serve` ends by itself with 2 and one line that says what to do."""
    done = run_binary("serve", "-c", path, env=env, cwd=path.parent)
    lines = [line for line in done.stderr.splitlines() if " event=" not in line]
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert any(re.search(pattern, line) for line in lines), done.stderr
    assert len(lines) <= 2, f"more than one line:\n{done.stderr}"
    assert "Sanitizer" not in done.stderr and "Assertion" not in done.stderr


# ---- the command line ----

@pytest.mark.parametrize("arguments, code, stream, text", [
    (["--help"], 0, "stdout", "usage: floodgate"), (["-h"], 0, "stdout", "usage: floodgate"),
    (["serve", "--help"], 0, "stdout", "usage: floodgate serve [-c FILE]"),
    (["-c", "x", "reload", "--help"], 0, "stdout", "--wait SECONDS"), (["-h", "token"], 0, "stdout", "--sign KEY"),
    (["-c", "x", "fly", "--help"], 2, "stderr", "'fly' is not a command; expected serve, check,"), (["--version"], 0, "stdout", "floodgate "),
    ([], 2, "stderr", "usage"), (["fly"], 2, "stderr", "fly"), (["fly", "--help"], 2, "stderr", "'fly' is not a command; expected serve, check,"),
    (["serve", "--fast"], 2, "stderr", "--fast"),
    (["check", "-c"], 2, "stderr", "-- 'c'"), (["check", "one", "two"], 2, "stderr", "usage"),
    (["check", "-c", "/nonexistent/x.yaml"], 2, "stderr", "/nonexistent/x.yaml"),
    (["serve", "-c", "/nonexistent/x.yaml"], 2, "stderr", "/nonexistent/x.yaml"),
    (["check", "-c", "/"], 2, "stderr", "/"),
])
def test_command_line(arguments, code, stream, text):
    done = run_binary(*arguments)
    assert done.returncode == code, done.stderr
    assert text in getattr(done, stream)


def test_help_on_a_command_is_about_it_alone():
    done = run_binary("reload", "--help")
    assert "--workers" in done.stdout and "--scenario" not in done.stdout and "rehearse" not in done.stdout
    everything = run_binary("--help").stdout
    assert all(option in everything for option in ("--config", "--workers", "--scenario", "--sign", "--help"))


def test_help_on_a_command_says_what_stands_behind_it():
    assert "usage: floodgate explain REQUEST_ID [-c FILE]" in run_binary("explain", "--help").stdout


def test_schema_is_the_one_in_the_tree():
    done = run_binary("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((ROOT / "conf/floodgate.schema.json").read_text())


@pytest.mark.parametrize("path", sorted((ROOT / "conf/examples").glob("*.yaml")) + [ROOT / "conf/floodgate.yaml"],
                         ids=lambda path: path.name)
def test_the_examples_are_fine(path):
    environment_of_examples = {name: "x" for name in re.findall(r"\$\{(\w+)\}", path.read_text())}
    done = run_binary("check", "-c", path, env=environment_of_examples)
    problems = [line for line in done.stderr.splitlines() if not re.search(
        r"\.crt|\.key|\.pem|\.gguf|certificate|private_key|cannot (open|read)|errors?$", line)]
    assert not problems, problems  # files of another machine may be missing here, nothing else


def test_show_fills_in_defaults_and_hides_secrets(write):
    path = write(orders={"redis": {"address": "127.0.0.1:6379", "password": "geheim-123"}})
    done = run_binary("show", "-c", path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["limits"]["connections_max"] == 20000
    assert shown["listeners"][0]["kind"] == "tls"
    assert "geheim-123" not in done.stdout


def test_check_says_it_is_fine(write):
    done = run_binary("check", "-c", write())
    assert done.returncode == 0 and "fine" in done.stdout and done.stderr == ""


# ---- errors of the file ----

def test_all_errors_at_once_with_their_places(write, certificate):
    path = write(f"""listeners:
  - address: "127.0.0.1:8443"
    certifcate: {certificate[0]}
    private_key: {certificate[1]}
limits:
  threads: many
  idle_timeout: 60
routes:
  - match: {{prefix: /}}
    to: cluster:nowhere
  - match: {{path: /x, prefix: /y}}
    respond: {{status: 99}}
polices: {{}}
""")
    done = run_binary("check", "-c", path)
    assert done.returncode == 2
    found = {}
    for line in done.stderr.splitlines():
        match = re.match(re.escape(str(path)) + r":(\d+):(\d+): (.+)", line)
        if match:
            found.setdefault(int(match[1]), []).append(match[3])
    assert "did you mean" in " ".join(found[3]).lower() and "certificate" in " ".join(found[3])
    assert "did you mean" in " ".join(found[13]).lower() and "policies" in " ".join(found[13])
    assert 6 in found and 7 in found and 10 in found and 12 in found
    assert len(done.stderr.splitlines()) >= 7


BROKEN = [
    ("empty", ""), ("a list", "- a\n"), ("a word", "word\n"), ("tab", "listeners:\n\t- a\n"),
    ("open quote", 'listeners: "a\n'), ("open brace", "listeners: {a: b\n"), ("NUL", "listeners: \0\n"),
    ("not UTF-8", "listeners: \udcff\n"), ("anchor", "a: &x 1\nb: *x\n"), ("two documents", "a: 1\n---\nb: 2\n"),
    ("deep", "[" * 2000), ("twice", "routes: []\nroutes: []\n"), ("tag", "routes: !!python/object:os.system []\n"),
]


@pytest.mark.parametrize("text", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_malformed_yaml(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for command in ("check", "serve"):
        done = run_binary(command, "-c", path)
        assert done.returncode == 2
        assert str(path) in done.stderr and "Sanitizer" not in done.stderr


# ---- starts that fail ----

def test_missing_certificate(write, tmp_path, certificate):
    listener = {"address": f"127.0.0.1:{free_port()}", "certificate": str(tmp_path / "no.crt"),
                "private_key": str(certificate[1])}
    serve_fails(write(listeners=[listener]), r"no\.crt")


def test_certificate_and_key_that_do_not_belong_together(write, tmp_path, certificate):
    other = tmp_path / "other.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-out", str(other)], check=True, capture_output=True)
    listener = {"address": f"127.0.0.1:{free_port()}", "certificate": str(certificate[0]), "private_key": str(other)}
    serve_fails(write(listeners=[listener]), r"other\.key")


def test_certificate_that_is_none(write, tmp_path, certificate):
    bad = tmp_path / "bad.crt"
    bad.write_text("hello")
    listener = {"address": f"127.0.0.1:{free_port()}", "certificate": str(bad), "private_key": str(certificate[1])}
    serve_fails(write(listeners=[listener]), r"bad\.crt")


def test_authorities_of_a_cluster_that_are_none(write, tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("hello")
    path = write(clusters={"api": {"endpoints": ["127.0.0.1:9"], "tls": {"ca_file": str(bad)}}},
                 routes=[{"match": {"prefix": "/"}, "to": "cluster:api"}])
    done = run_binary("check", "-c", path)
    assert done.returncode == 2
    assert re.search(r"^\S+floodgate\.yaml:\d+:\d+: ca_file: cannot use \S+bad\.pem: it holds no usable PEM certificate: "
                     r"no start line; expected a PEM file of authorities$", done.stderr, re.M), done.stderr


@pytest.mark.parametrize("which", ["listener", "admin"])
def test_port_in_use(write, certificate, which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        if which == "listener":
            path = write(listeners=[{"address": address, "certificate": str(certificate[0]),
                                     "private_key": str(certificate[1])}])
        else:
            path = write(admin={"address": address})
        serve_fails(path, re.escape(address) + r".*in use")


ORDERS = [{"match": {"prefix": "/api/"}, "to": "orders"}]


def test_no_redis_server_in_path(write, tmp_path):
    (tmp_path / "bin").mkdir()
    serve_fails(write(orders={"redis": {"directory": str(tmp_path / "redis")}, "skus": {"tea": 1}}, routes=ORDERS),
                r"redis-server",
                env={"PATH": str(tmp_path / "bin")})


def test_unreachable_external_redis_stops_nothing_else(launch):
    """It may come back: orders are refused clearly, and the rest is served."""
    address = f"127.0.0.1:{free_port()}"
    gateway = launch({"orders": {"redis": {"address": address, "connect_timeout": "200ms"}, "skus": {"tea": 1},
                                 "fulfil": {"workers": "off"}},
                      "routes": [*ORDERS, {"match": {"prefix": "/"}, "respond": {"body": "ok"}}]}, keep_ready=False)

    def says_why():
        answer = gateway.readiness()
        return answer is not None and answer.status_code == 503 and "orders" in answer.text
    wait_for(says_why, 60)
    assert gateway.get("/").text == "ok"
    refused = gateway.get("/api/stock/tea")
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] in ("orders_unavailable", "breaker_open")
    wait_for(lambda: "redis" in gateway.log.lower())


def test_environment_variable_that_is_not_set(write):
    serve_fails(write(orders={"redis": {"address": "127.0.0.1:1", "password": "${FG_NOT_SET_AT_ALL}"}}),
                "FG_NOT_SET_AT_ALL")


def inference(model, tmp_path):
    return {"enabled": True, "model": str(model), "socket_directory": str(tmp_path / "sockets"), "workers": 1}


def test_no_model(write, tmp_path):
    serve_fails(write(inference=inference(tmp_path / "none.gguf", tmp_path)), r"none\.gguf")


def gguf_cases(folder):
    """Broken models: (name, file, what the message must name)."""
    good = (GOLDEN / "tiny-qwen2.F16.gguf").read_bytes()
    at = good.index(b"qwen2", good.index(b"general.architecture"))
    epsilon = good.index(b"layer_norm_rms_epsilon") + len(b"layer_norm_rms_epsilon") + 4
    cases = {
        "empty": b"", "magic": b"GGML" + good[4:], "text": b"hello world, this is no model\n" * 10,
        "version": good[:4] + struct.pack("<I", 99) + good[8:],
        "header-only": good[:24], "cut-in-metadata": good[:2000], "cut-in-tensors": good[:-4096],
        "many-tensors": good[:8] + struct.pack("<Q", 2 ** 60) + good[16:],
        "many-keys": good[:16] + struct.pack("<Q", 2 ** 60) + good[24:],
        "architecture": good[:at] + b"gemma" + good[at + 5:],
        "nan-epsilon": good[:epsilon] + struct.pack("<f", float("nan")) + good[epsilon + 4:],
    }
    made = []
    for name, data in cases.items():
        path = folder / f"{name}.gguf"
        path.write_bytes(data)
        made.append(path)
    return made


def test_wrong_models(write, tmp_path):
    (tmp_path / "models").mkdir()
    for model in gguf_cases(tmp_path / "models"):
        serve_fails(write(inference=inference(model, tmp_path)), re.escape(model.name))


# ---- reload ----

def edit(gateway, change):
    change(gateway.sections)
    gateway.write_config()


def reload_and_wait(gateway, event):
    before = gateway.log.count(event)
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: gateway.log.count(event) > before, what=f"log event {event}")


def test_reload_good_and_bad(launch):
    gateway = launch({"routes": [{"name": "one", "match": {"prefix": "/"}, "respond": {"body": "one"}}]})
    assert gateway.get("/").text == "one"
    edit(gateway, lambda sections: sections["routes"][0]["respond"].update(body="two"))
    reload_and_wait(gateway, "event=ready")
    wait_for(lambda: gateway.get("/").text == "two")
    gateway.config.write_text("routes: [}")
    reload_and_wait(gateway, "event=reload_failed")
    assert gateway.get("/").text == "two"
    edit(gateway, lambda sections: sections["routes"][0].update(nonsense=1))
    reload_and_wait(gateway, "event=reload_failed")
    assert gateway.get("/").text == "two"
    edit(gateway, lambda sections: (sections["routes"][0].pop("nonsense"),
                                    sections["routes"][0]["respond"].update(body="three")))
    reload_and_wait(gateway, "event=ready")
    wait_for(lambda: gateway.get("/").text == "three")


@pytest.mark.races
def test_reload_drops_no_request(launch, upstream):
    backend = upstream()
    gateway = launch({"limits": {"threads": 2, "drain_timeout": "20s"},
                      "clusters": {"app": {"endpoints": [backend.address]}},
                      "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    script = (
        "import httpx, sys\n"
        "failed = 0\n"
        "for number in range(300):\n"
        "    try:\n"
        "        ok = httpx.get(sys.argv[1] + f'/{number}', verify=False, trust_env=False, timeout=30)"
        ".status_code == 200\n"
        "    except httpx.HTTPError as error:\n"
        "        print(repr(error)); ok = False\n"
        "    failed += not ok\n"
        "    if number == 20: print('going', flush=True)\n"
        "print('failed', failed)\n")
    client = subprocess.Popen(["/usr/bin/python3", "-c", script, gateway.url], stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "going\n"
    for _ in range(2):
        reload_and_wait(gateway, "event=ready")
    output, _ = client.communicate(timeout=120)
    assert output.strip().endswith("failed 0"), output


@pytest.mark.races
def test_reload_drops_no_question_of_operators(launch):
    gateway = launch({"routes": [{"match": {"prefix": "/"}, "respond": {"body": "ok"}}]})
    is_over, lost = threading.Event(), []

    def keep_asking():
        while not is_over.is_set():
            try:
                plain_http.get(gateway.admin + "/stats").raise_for_status()
            except httpx.HTTPError as error:
                lost.append(repr(error))
    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            reload_and_wait(gateway, "event=child_exited")
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)
    assert not lost


def test_pid_one_gone_takes_the_rest_with_it(launch):
    """A supervisor that is killed leaves no process behind."""
    gateway = launch({"orders": {"skus": {"milk-tea": 1}},
                      "routes": [{"match": {"prefix": "/api/"}, "to": "orders"}]})
    family = children_of(gateway.process.pid)
    assert len(family) >= 3
    gateway.signal(signal.SIGKILL)
    gateway.process.wait()
    gateway.process = None
    wait_for(lambda: not [pid for pid in family if is_alive(pid)], what="the children's end")


def test_a_killed_gateway_process_is_started_again(launch):
    gateway = launch({"routes": [{"match": {"prefix": "/"}, "respond": {"body": "ok"}}]})
    pid = gateway.stats()["process"]["pid"]
    send_signal(pid, signal.SIGKILL)

    def serves_again():
        answer = gateway.readiness()
        return answer is not None and answer.status_code == 200 and gateway.stats()["process"]["pid"] != pid
    wait_for(serves_again)
    assert gateway.get("/").text == "ok"



@pytest.mark.parametrize("script", ["run", "test", "bench"])
def test_scripts_say_how_they_are_used(script, tmp_path):
    """From any folder, and without building or starting anything."""
    for argument, code in (("--help", 0), ("-h", 0), ("--nonsense", 2)):
        said = subprocess.run([str(ROOT / "scripts" / script), argument], capture_output=True, text=True, timeout=60,
                              cwd=tmp_path, check=False)
        assert said.returncode == code
        usage, other = (said.stdout, said.stderr) if code == 0 else (said.stderr, said.stdout)
        assert f"scripts/{script} [" in usage or f"scripts/{script} STEP" in usage
        assert other == "" and list(tmp_path.iterdir()) == []
