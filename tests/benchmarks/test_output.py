"""What people see: tables, numbers, plots."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks._case import Figure
from benchmarks._catalogue import make_plan
from benchmarks._compare import compare
from benchmarks._numbers import change_text, number_text, value_text
from benchmarks._plots import draw_plots
from benchmarks._results import Measurement, Problem, Results
from benchmarks._statistics import judge
from benchmarks._table import print_changes, print_promises, print_quotients, print_works
from tests.benchmarks.support import results

RELAY = results(
    {
        "floor/plain:rate": [200_000.0, 190_000.0, 210_000.0],
        "floor/plain:echo_busy": [0.5, 0.95, 0.6],
        "floor/plain:echo_ceiling": [400_000.0] * 3,
        "relay/plain:rate": [80_000.0, 76_000.0, 63_000.0],
        "relay/plain:unanswered": [0.0, 0.01, 0.02],
    },
    problems=(Problem("relay/gso", 0, "the echo side needs a C compiler", failed=True),),
)


def shown(results: Results, *names: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    plan = make_plan(names, quick=False)
    print_works(console, plan, results)
    print_quotients(console, plan, results)
    print_promises(console, judge(results, plan.promises, plan.quotients))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_with(text: str, *parts: str) -> str:
    (found,) = (line for line in text.splitlines() if all(part in line for part in parts))
    return found


def test_the_table_of_a_work() -> None:
    text = shown(RELAY, "relay")
    assert "200,000/s ±5%" in line_with(text, "plain: bare loop")
    assert "1 % ±100%" in line_with(text, "plain: echo datagram")
    assert "CPU" not in text, "a column without figures"
    assert "relay/gso: FAILED: the echo side needs a C compiler" in text
    assert "0.40" in line_with(text, "relay of the floor")


def test_the_far_end_and_a_warning_when_it_is_too_busy() -> None:
    text = shown(RELAY, "relay")
    assert "echo busy at most, of a core: plain 95% (can do 400,000 datagrams/s)" in text
    assert "warning: with plain the echo was above 90% busy" in text


def test_a_promise_has_its_budget_the_figure_and_the_verdict() -> None:
    text = shown(RELAY, "relay")
    assert line_with(text, "at least 0.5 of the floor").split("│")[2:5] == [" >= 0.500 ", "    0.400 ", " MISSED "]
    assert "not measured" in shown(results({}), "relay")


def test_changes() -> None:
    console = Console(file=io.StringIO(), width=200)
    faster = results({"relay/plain:rate": [90_000.0, 91_000.0, 92_000.0]})
    print_changes(console, compare(RELAY, faster), ["another machine"], "then.json")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "not quite comparable: another machine" in text
    line = line_with(text, "relay/plain:rate")
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["76,000/s", "91,000/s", "+19.7 %", "better"]
    assert "1 of 1 figures are outside of the noise" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3, "3"),
        (0.5, "0.500"),
        (12.345, "12.3"),
        (999.9, "1000"),
        (195_123.4, "195,123"),
        (0.00012, "0.0001"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


def test_units() -> None:
    assert value_text(0.123, Figure("", "%")) == "12.3 %"
    assert value_text(1234.5, Figure("", "/s")) == "1,234/s"
    assert value_text(1.5, Figure("", "ms")) == "1.50 ms"
    assert number_text(float("nan")) == "-"
    assert change_text(-0.0312) == "-3.1 %"


def test_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib, of the extra bench")
    made = results(
        {
            "relay/plain:rate": [1.0, 2.0],
            "relay/plain:echo_busy": [0.1, 0.1],
            "relay/plain:p50": [1.0, 2.0],
            "relay/plain:p99": [3.0, 4.0],
            "rest/client:rate": [5.0],
            "rest/client:node_ceiling": [5.0],
            "scale/100:memory": [16.0],
            "scale/1000:memory": [15.0],
            "stop/shared-200:stop": [1.0],
        }
    )
    made.measurements.append(
        Measurement("ramp/plain", 0, {"ceiling": 1.0}, {"ramp": [{"offered": 1.0, "p50": 1.0, "p99": 2.0}]})
    )
    files = draw_plots(made, tmp_path, "svg")
    assert [file.name for file in files] == ["throughput.svg", "calls.svg", "latency.svg", "size.svg"]
    assert all(file.read_bytes().startswith(b"<?xml") for file in files)
    (file,) = draw_plots(results({"stop/shared-200:stop": [1.0]}), tmp_path, "png")
    assert file.read_bytes().startswith(b"\x89PNG")
    assert draw_plots(results({}), tmp_path, "svg") == []
