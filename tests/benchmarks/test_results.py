"""The file of results: what was saved is read again, and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks._results import SCHEMA, Measurement, Problem, ResultsError, load_results
from tests.benchmarks.support import results


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    made = results(
        {"relay/plain:rate": [10.5, 11.0], "relay/plain:cpu": [3.0, 4.0]},
        problems=(Problem("rest/aiohttp", 0, "aiohttp is not installed", failed=False),),
    )
    made.measurements.append(Measurement("ramp/plain", 0, {"ceiling": 1.0}, {"ramp": [{"offered": 1.0}]}, ["odd"], 2.0))
    made.save(tmp_path / "results.json", promises=[{"claim": "more"}])
    assert load_results(tmp_path / "results.json") == made


def test_values_come_by_round_and_only_numbers() -> None:
    made = results({"relay/plain:rate": [1.0, float("nan"), 3.0]})
    assert made.values("relay/plain:rate") == {0: 1.0, 2: 3.0}
    assert made.values("relay/plain:cpu") == {}
    assert made.values("relay/gso:rate") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("{", "holds no JSON", id="torn"),
        pytest.param("[" * 100_000, "holds no JSON", id="too deep"),
        pytest.param("[]", "its schema is None", id="a list"),
        pytest.param(
            '{"schema": "trio_sessions.benchmarks/0"}', "its schema is 'trio_sessions.benchmarks/0'", id="old"
        ),
        pytest.param(json.dumps({"schema": SCHEMA}), "is damaged: KeyError", id="empty"),
        pytest.param(
            json.dumps(
                {
                    "schema": SCHEMA,
                    "date": "",
                    "machine": {},
                    "versions": {},
                    "git": {},
                    "parameters": {},
                    "measurements": [{"case": "relay/plain", "round": 0, "values": {"rate": "fast"}}],
                    "problems": [],
                }
            ),
            "is damaged: ValueError: a value of relay/plain is no number",
            id="a word for a number",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(ResultsError) as caught:
        load_results(file)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot be read: No such file"):
        load_results(tmp_path / "nothing")
