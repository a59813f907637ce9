"""Whatever the arguments are, the status is one of the documented ones, and there is no traceback."""

from __future__ import annotations

import contextlib
import io
import json

from hypothesis import given, settings, strategies as st

from trio_sessions.cli._main import run_command

STATUSES = {0, 1, 2, 3, 69, 77, 78}

numbers = st.one_of(
    st.integers(-5, 1005).map(str),
    st.floats().map(str),
    st.sampled_from(["", "0", "1e-320", "1e308", "-0", "0x10", "1_000", "٣", "1,2", " 5 "]),
)
addresses = st.sampled_from(["0x" + "ab" * 20, "0x" + "CD" * 20, "0x12", "0X" + "ab" * 20, "peer", ""])
texts = st.text(max_size=20)
values = {
    "--relayers": st.one_of(numbers, st.lists(addresses, max_size=3).map(",".join), texts),
    "--destination": st.one_of(addresses, texts),
    "--hops": numbers,
    "--batch": numbers,
    "--rate": numbers,
    "--seed": numbers,
    "--stop-timeout": numbers,
    "--grace-period": numbers,
    "--token-file": st.one_of(st.sampled_from(["/", "/dev/null", "/no/file"]), texts),
    "--url": st.one_of(
        st.sampled_from(["http://127.0.0.1:1", "http://[::1]:1", "127.0.0.1", "http://", "x://y"]), texts
    ),
}
options = st.sampled_from(sorted(values)).flatmap(lambda name: values[name].map(lambda value: [name, value]))
flags = st.sampled_from([["--json"], ["-v"], ["-vv"], ["--simulat"], ["now"]])


@settings(max_examples=100, deadline=None)
@given(
    before=st.lists(st.one_of(options, flags), max_size=5),
    url=st.sampled_from([["--url", "http://127.0.0.1:1"], []]),
    # The last one counts: none of these runs for long.
    duration=st.sampled_from(["0.01", "0.01", "0.01", "nan", "-1", "", "-inf"]),
)
def test_run(before: list[list[str]], url: list[str], duration: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    arguments = [*(word for words in before for word in words), *url, "--duration", duration]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(["run", *arguments])
    assert status in STATUSES
    assert "Traceback" not in out.getvalue() + err.getvalue()
    if status:
        assert "trio-sessions: error: " in err.getvalue()
    if out.getvalue() and "--json" in arguments:
        json.loads(out.getvalue())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            options.filter(lambda words: words[0] in ("--destination", "--hops", "--token-file", "--url")),
            st.one_of(numbers, addresses, texts).map(lambda value: ["--relayer", value]),
            numbers.map(lambda value: ["--timeout", value]),
            st.one_of(texts, st.sampled_from(["dedicated", "5-4", "127.0.0.1"])).map(lambda v: ["--namespace", v]),
            texts.map(lambda value: ["--instance", value]),
            texts.map(lambda value: ["--connect-host", value]),
            st.sampled_from([["--json"], ["--no-journal"], ["--journal", "/"], ["--jso"], ["now"]]),
        ),
        max_size=4,
    )
)
def test_doctor(before: list[list[str]]) -> None:
    out, err = io.StringIO(), io.StringIO()
    # The last one counts: nobody is there, so that it looks at nothing else.
    arguments = [*(word for words in before for word in words), "--url", "http://127.0.0.1:1"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(["doctor", *arguments])
    assert status in {2, 69}
    assert "Traceback" not in out.getvalue() + err.getvalue()
    if status == 2:
        assert err.getvalue().startswith("trio-sessions: error: ")
        assert len(err.getvalue().splitlines()) == 1
        assert out.getvalue() == ""
    elif "--json" in arguments:
        assert json.loads(out.getvalue())["status"] == 69
    else:
        assert out.getvalue().startswith("fail  api        nothing listens at 127.0.0.1:1")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            texts.map(lambda text: ["--fault", text]),
            numbers.map(lambda number: ["--relayers", number]),
            numbers.map(lambda number: ["--open-latency", number]),
            texts.map(lambda text: ["--dialect", text]),
            texts.map(lambda text: ["--token", text]),
        ),
        max_size=4,
    )
)
def test_simulate(before: list[list[str]]) -> None:
    err = io.StringIO()
    # Always with something that is wrong: a simulator that is right runs until a signal.
    arguments = [*(word for words in before for word in words), "--fault", "no-such-fault"]
    with contextlib.redirect_stderr(err):
        assert run_command(["simulate", *arguments]) == 2
    assert "Traceback" not in err.getvalue()
    assert err.getvalue().startswith("trio-sessions: error: ")
