"""One file: each thing that is wrong in it is told, with its place, the rule and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from trio_sessions.cli._listen import ListenAddress
from trio_sessions.cli.settings import SETTINGS, Source, UnreadableError, read_file
from trio_sessions.cli.settings._file import read_text
from trio_sessions.cli.settings._text import template

ADDRESS = "0x" + "ab" * 20
FILE = Path("/etc/some.toml")


def problems(text: str | bytes) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in read_text(content, FILE, Source.PROJECT_FILE)[1]]


def values(text: str) -> dict[str, object]:
    found, wrong = read_text(text.encode(), FILE, Source.PROJECT_FILE)
    assert not wrong
    return {name: value for name, (value, _) in found.items()}


WRONG = {
    "unknown key": (
        "[sessions]\ngrace_perid = 1",
        "2: sessions.grace_perid: there is no such key; did you mean grace_",
    ),
    "nothing like it": ("[log]\nxyz = 1", "2: log.xyz: there is no such key; [log] has level, format"),
    "unknown section": ("\n[sesions]\na = 1", "2: sesions: there is no such section; did you mean [sessions]?"),
    "no such section": ("[q]\n", "1: q: there is no such section; there are [node], [sessions], [traffic], [log], [me"),
    "other section": ("[sessions]\nrate = 1", "2: sessions.rate: rate belongs to another section; write it below [tra"),
    "no section": ("grace_period = 1", "1: grace_period: grace_period belongs to another section; write it below [ses"),
    "section is a value": ("log = 3", "1: log: is a section; write it as a line of its own, [log]"),
    "sections in a list": ("[[log]]\n", "1: log: is a section; write it as a line of its own, [log]"),
    "number as text": ('[traffic]\nrate = "1"', "2: traffic.rate '1': must be a number, without quotes"),
    "flag for a number": ("[traffic]\nrate = true", "2: traffic.rate True: must be a number, without quotes"),
    "no number": ("[traffic]\nrate = nan", "2: traffic.rate nan: must be a finite number above 0 (messages a second)"),
    "huge number": (f"[traffic]\nrate = 1{'0' * 400}", "must be a finite number above 0"),
    "part of a message": ("[traffic]\nbatch = 1.5", "2: traffic.batch 1.5: must be a whole number, without quotes"),
    "too many": ("[traffic]\nbatch = 1001", "2: traffic.batch 1001: must be a whole number from 1 to 1000"),
    "no end": ("[traffic]\nduration = inf", "leave it out to run until a signal"),
    "hops": ("[sessions]\nhops = 4", "2: sessions.hops 4: must be a whole number from 0 to 3"),
    "negative": ("[sessions]\ngrace_period = -1", "2: sessions.grace_period -1: must be a finite number from 0 up"),
    "no seconds": ("[sessions]\npoll_interval = 0", "2: sessions.poll_interval 0: must be a finite number above 0"),
    "relayers 0": ("[sessions]\nrelayers = 0", "2: sessions.relayers 0: must be a number of relayers from 1 up"),
    "relayer": ("[sessions]\nrelayers = [\n'0x1',\n]", "2: sessions.relayers '0x1': not a node address; write 0x f"),
    "nobody": ("[sessions]\nrelayers = []", "2: sessions.relayers []: names nobody; leave it out to use every one"),
    "mixed": ("[sessions]\nrelayers = [1]", "2: sessions.relayers [1]: must be a whole number, a list of addresses, o"),
    "all relayers": ("[sessions]\nrelayers = true", "2: sessions.relayers True: must be a whole number, a list of a"),
    "destination": ("[sessions]\ndestinations = 'x'", "2: sessions.destinations 'x': must be a list of addresses"),
    "namespace": ("[sessions]\nnamespace = 'mine'", "2: sessions.namespace 'mine': is neither shared, dedicated, an"),
    "ports": ("[sessions]\nnamespace = '9-8'", "2: sessions.namespace '9-8': is reversed; write 8-9"),
    "instance": ("[sessions]\ninstance = 'a b'", "2: sessions.instance 'a b': must be 1 to 64 letters, digits"),
    "connect host": ("[sessions]\nconnect_host = 'me'", "2: sessions.connect_host 'me': is no ip address; write an ip"),
    "journal": ("[sessions]\njournal = 1", "2: sessions.journal 1: must be a string, in quotes, true or false"),
    "url": ("[node]\nurl = '127.0.0.1:3001'", "2: node.url '127.0.0.1:3001': not an http or https URL with a host"),
    "level": ("[log]\nlevel = 'loud'", "2: log.level 'loud': must be one of debug, info, warning, error"),
    "format": ("[log]\nformat = 'xml'", "2: log.format 'xml': must be one of text, json"),
    "port": (
        "[metrics]\nlisten = 65536",
        "2: metrics.listen '65536': must have a port from 0 to 65535; write for example 9464",
    ),
    "no port": ("[metrics]\nlisten = 'here'", "2: metrics.listen 'here': must have a port"),
    "no host": ("[metrics]\nlisten = ':80'", "has no host before the colon; write 0.0.0.0:80 for all networks"),
    "label": ("[metrics]\nrelayer_label = 1", "2: metrics.relayer_label 1: must be true or false"),
    "home of nobody": (
        "[node]\ntoken_file = '~no-such-user/t'",
        "2: node.token_file '~no-such-user/t': names the home",
    ),
    "syntax": ("[log]\nlevel = \n", "2: column 9: is no valid TOML: Invalid value"),
    "end": ("[log", "is no valid TOML: Expected ']'"),
    "twice": ("[log]\nlevel='info'\nlevel='info'", "3: is no valid TOML: Cannot overwrite a value, at its end"),
    "digits": (f"[log]\nlevel = {'9' * 5000}", "is no valid TOML: Exceeds the limit"),
    "nesting": (f"a = {'[' * 10_000}", "is nested too deeply"),
    "bytes": (b"[log]\n\n# \xff\n", "3: is no UTF-8 text; save it as such"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong(text: str | bytes, told: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(str(FILE))
    assert told in problem
    assert len(problem.splitlines()) == 1


def test_all_of_it_is_told_in_the_order_of_the_file() -> None:
    text = "rate = 1\n[log]\nlevel = 3\ncolour = 1\n[sessions]\nhops = 9\nhop = 1\n[what]\n"
    assert [problem.split(":")[1] for problem in problems(text)] == ["1", "3", "4", "6", "7", "8"]


@pytest.mark.parametrize("text", ["[node]\ntoken = 's3cret'", "token = 's3cret'", "[node]\nAPI-token = 's3cret'"])
def test_a_token_is_refused_and_not_shown(text: str) -> None:
    (problem,) = problems(text)
    assert "s3cret" not in problem
    assert "a token has no place in this file" in problem
    assert "name that as token_file in [node]" in problem


def test_values() -> None:
    text = f"""
    node = {{ url = "http://127.0.0.1:1" }}
    sessions.relayers = ["{ADDRESS}", "{ADDRESS.upper().replace("X", "x")}"]
    sessions.destinations = ["{ADDRESS}"]
    sessions.grace_period = 1
    sessions.hops = false
    sessions.journal = false
    metrics.listen = 9100
    """
    assert values(text) == {
        "url": "http://127.0.0.1:1",
        "relayers": (ADDRESS.upper().replace("X", "x"),),
        "destinations": (ADDRESS,),
        "grace_period": 1.0,
        "hops": None,
        "journal": False,
        "metrics": ListenAddress("127.0.0.1", 9100),
    }


def test_paths_are_meant_from_the_folder_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert values("node.token_file = 'token'") == {"token_file": "/etc/token"}
    assert values("node.token_file = '/run/token'") == {"token_file": "/run/token"}
    assert values("sessions.journal = '../var/j'") == {"journal": "/etc/../var/j"}
    assert values("sessions.journal = '~/j'") == {"journal": "/home/me/j"}


def test_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, told in {
        tmp_path / "none": "there is no such file",
        tmp_path: "cannot be read: Is a directory",
        tmp_path / "pipe": "is a pipe",
        Path("/dev/zero"): "has more than",
    }.items():
        with pytest.raises(UnreadableError, match=told):
            read_file(path, Source.USER_FILE)


def test_the_template_says_every_default_and_is_valid_with_all_lines_uncommented() -> None:
    assert values(template()) == {}
    lines = [line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in template().splitlines()]
    found = values("\n".join(lines))
    assert found.keys() == SETTINGS.keys()
    differs = {name for name, value in found.items() if value != SETTINGS[name].default}
    # This one has no default that could be written.
    assert differs == {"url"}
    for each in SETTINGS.values():
        assert each.help.split()[0] in template()


PLAIN = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["shared", "127.0.0.1:80", ADDRESS, "http://127.0.0.1:1", "info", "~x/y", "\x00"]),
)
KEY = st.one_of(st.sampled_from([*(each.key for each in SETTINGS.values()), "token"]), st.text(max_size=6))
ANY = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3))
SECTION = st.one_of(st.sampled_from(["node", "sessions", "traffic", "log", "metrics"]), st.text(max_size=6))


def toml(value: object) -> str:
    """``value`` as TOML, inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    return repr(value)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(SECTION, st.one_of(st.dictionaries(KEY, ANY, max_size=4), ANY), max_size=4))
def test_any_mapping_is_read_or_refused_with_its_key_named(mapping: dict[str, object]) -> None:
    lines = []
    for section, inner in mapping.items():
        lines.append(f"{toml(section)} = {toml(inner)}")
    found, wrong = read_text("\n".join(lines).encode(), FILE, Source.PROJECT_FILE)
    # What is found beside something wrong is right by itself.
    assert not {SETTINGS[name].path for name in found} & {problem.key for problem in wrong}
    for problem in wrong:
        assert problem.key is not None
        assert problem.key.split(".")[0] in {*mapping, *(key.split(".")[0] for key in mapping)}
        # A line for each of them here.
        assert problem.origin.line is not None
        assert problem.key.startswith(list(mapping)[problem.origin.line - 1])
        assert len(str(problem).splitlines()) == 1
    if not wrong:
        assert all(section in {"node", "sessions", "traffic", "log", "metrics"} for section in mapping)
    for name, (value, _) in found.items():
        # What was read can be written and read again.
        each = SETTINGS[name]
        again = f"{each.section}.{each.key} = {each.kind.to_toml(value)}"
        assert values(again) == {name: value}


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("[]{}=\"'.#\n ab1\\", max_size=40).map(str.encode)))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    found, wrong = read_text(content, FILE, Source.PROJECT_FILE)
    assert not found
    assert all(str(problem).startswith(str(FILE)) for problem in wrong)
