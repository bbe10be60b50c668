"""What the documentation says can be written into a configuration is taken, and its links lead somewhere."""
import re
import textwrap

import pytest

from harness import ROOT, run_binary

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MIGRATION = (ROOT / "docs/migration.md").read_text()
# Cells of the tables: a path of keys and a value in YAML's flow style.
SETTING = re.compile(r"`((?:listeners\[\]|routes\[\]|[a-z]+)(?:\.[a-zA-Z_]+)*): ([^`]+)`")
ROWS = [row for row in MIGRATION.splitlines() if row.startswith("| `") and SETTING.search(row.split(" | ")[1])]
SECTIONS = ("listeners", "tls", "limits", "identity", "policies", "static", "clusters", "orders", "inference", "routes",
            "admin", "observability")
NEEDED = {"listeners": '[{address: "127.0.0.1:8080", kind: plain}]',
          "routes": "[{match: {prefix: /}, respond: {body: ok}}]"}
# Files of a reader's machine are missing here; nothing else may be wrong.
MISSING_FILES = re.compile(r"cannot (open|read)|No such file|errors?$")


def problems_of(path):
    done = run_binary("check", "-c", path, cwd=path.parent, env={"REDIS_PASSWORD": "x"})
    return [line for line in done.stderr.splitlines() if not MISSING_FILES.search(line)]


def base():
    """The rest of a configuration: mappings of keys to values as text, or to further mappings."""
    return {"listeners[]": {"address": '"127.0.0.1:8443"', "kind": "tls", "certificate": "a.crt", "private_key": "a.key"},
            "policies": {"rate_limits": {"NAME": {"rate": "10/s"}}},
            "clusters": {"NAME": {"endpoints": '["10.0.0.1:80"]'}},
            "identity": {"jwt": {"secret_file": "jwt.key"}},
            "routes[]": {"match": "{prefix: /}", "to": '"cluster:NAME"'}}


def put(tree, path, value):
    """Set what a cell says; a mapping is laid over what is there."""
    *above, last = path.split(".")
    for key in above:
        tree = tree.setdefault(key, {})
    there = tree.get(last)
    if isinstance(there, dict) and value.startswith("{"):
        inner = value[1:-1]
        tree[last] = {key: old for key, old in there.items() if not re.search(rf"(^|, ){key}:", inner)} | {None: inner}
    else:
        tree[last] = value


def text_of(tree):
    if isinstance(tree, str):
        return tree
    items = [value if key is None else f"{key}: {text_of(value)}" for key, value in tree.items()]
    return "{" + ", ".join(items) + "}"


def configuration(row):
    tree = base()
    for path, value in SETTING.findall(row.split(" | ")[1]):
        put(tree, path, value)
    listener, route = tree["listeners[]"], tree["routes[]"]
    if "static" in tree:
        tree["static"]["NAME"].setdefault("root", "/srv/www")
        del tree["clusters"]
        route["to"] = '"static:NAME"'
    if "kind: redirect" in text_of(listener):
        del listener["certificate"], listener["private_key"]
    if "redirect" in route or "respond" in route:
        del route["to"]
    return "".join(f"{key[:-2]}: [{text_of(value)}]\n" if key.endswith("[]") else f"{key}: {text_of(value)}\n"
                   for key, value in tree.items())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[0][2:40])
def test_what_stands_beside_a_foreign_directive_is_taken(row, tmp_path):
    path = tmp_path / "floodgate.yaml"
    path.write_text(configuration(row))
    assert not problems_of(path), path.read_text()


def test_a_key_that_is_none_would_be_seen(tmp_path):
    path = tmp_path / "floodgate.yaml"
    path.write_text(configuration("| `x` | `routes[].cashe: true` |"))
    assert "cashe" in problems_of(path)[0]


def configurations_of(page):
    """Blocks, fenced or indented, that begin with a section; what they leave out is put beside them."""
    text = page.read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += map(textwrap.dedent, re.findall(r"(?<=\n\n)((?:    .*\n|\n(?=    ))+)", text))
    for block in blocks:
        sections = re.findall(r"^([a-z_]+):", block, re.MULTILINE)
        if sections and sections[0] in SECTIONS:
            yield block + "".join(f"{name}: {value}\n" for name, value in NEEDED.items() if name not in sections)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configurations_are_taken(page, tmp_path):
    path = tmp_path / "floodgate.yaml"
    for text in configurations_of(page):
        path.write_text(text)
        assert not [line for line in problems_of(path) if "unknown backend" not in line], text


def anchors_of(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link
