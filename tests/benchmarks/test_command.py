"""``python -m benchmarks`` from outside: what it refuses, and a real run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks._catalogue import WORKS
from benchmarks._command import main
from benchmarks._results import Measurement, Problem, load_results
from benchmarks._runner import run_plan
from tests.benchmarks.support import results

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param(["relays"], "there is no work 'relays'; there are floor, relay,", id="work"),
        pytest.param(["relay/quick"], "relay has no case 'quick'; it has plain, gso", id="case"),
        pytest.param(["--compare", "/nowhere.json"], "/nowhere.json cannot be read", id="no such file"),
        pytest.param(["--show", __file__], "holds no JSON", id="no JSON"),
        pytest.param(["--rounds", "0"], "--rounds", id="rounds"),
        pytest.param(["--duration", "never"], "--duration", id="duration"),
        pytest.param(["--fast"], "--fast", id="option"),
        pytest.param(["--out", __file__], "--out", id="a file for a folder"),
        pytest.param(["--out", "/proc/nowhere"], "cannot write into /proc/nowhere", id="no place to write"),
    ],
)
def test_bad_input_is_told_in_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks._command.run_plan", pytest.fail)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("python -m benchmarks: ")
    assert problem in captured.err


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    text = capsys.readouterr().out
    for work in WORKS.values():
        for case in work.cases:
            assert f"{work.name}/{case.name}: " in text


def save(folder: Path, *, share: float, problems: tuple[Problem, ...] = ()) -> str:
    made = results({"floor/plain:rate": [100.0], "relay/plain:rate": [100.0 * share]}, problems=problems)
    folder.mkdir()
    made.save(folder / "results.json")
    return str(folder)


def test_the_status_is_about_promises_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, missed = save(tmp_path / "kept", share=0.6), save(tmp_path / "missed", share=0.4)
    assert main(["--show", missed]) == 0
    assert "MISSED" in capsys.readouterr().out
    assert main(["--show", missed, "--check"]) == 1
    assert main(["--show", kept, "--check"]) == 0


def test_a_failed_case_makes_the_status_one_and_a_skipped_one_does_not(tmp_path: Path) -> None:
    skipped = Problem("rest/aiohttp", 0, "aiohttp is not installed", failed=False)
    failed = Problem("relay/gso", 0, "no compiler", failed=True)
    assert main(["--show", save(tmp_path / "skipped", share=1, problems=(skipped,))]) == 0
    assert main(["--show", save(tmp_path / "failed", share=1, problems=(failed,))]) == 1


def test_two_files_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then, now = save(tmp_path / "then", share=0.5), save(tmp_path / "now", share=0.75)
    assert main(["--show", now, "--compare", then]) == 0
    assert "+50.0 %" in capsys.readouterr().out


def test_an_interrupt_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        made = arguments[3]
        made.measurements.append(Measurement("floor/plain", 0, {"rate": 1.0}))  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks._command.run_plan", interrupted)
    assert main(["floor", "--out", str(tmp_path), "--plots", "none"]) == 130
    assert load_results(tmp_path / "results.json").values("floor/plain:rate") == {0: 1.0}


def test_a_real_run(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "stop/dedicated-200",
        "--quick",
        "--plots",
        "none",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "stop: nothing left unnamed, dedicated, 200" in done.stdout
    assert "node busy at most, of a core: dedicated-200" in done.stdout
    assert "round 1 of 1: stop/dedicated-200: stop " in done.stderr
    made = load_results(tmp_path / "results.json")
    assert {each.case for each in made.measurements} == {"stop/dedicated-200"}
    assert made.values("stop/dedicated-200:left") == {0: 0}
    assert 0 < made.values("stop/dedicated-200:stop")[0] < 10
    assert made.parameters["quick"] is True
    assert made.versions["trio"]
    promises = json.loads((tmp_path / "results.json").read_text())["promises"]
    assert [(each["claim"], each["verdict"]) for each in promises] == [
        ("stop: nothing left unnamed, dedicated, 200", "ok")
    ]


def test_without_a_compiler_a_case_says_so_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/no/cc")
    assert main(["floor/plain", "startup/python", "--quick", "--out", str(tmp_path), "--plots", "none"]) == 1
    captured = capsys.readouterr()
    assert "floor/plain: FAILED: the C compiler /no/cc does not start: No such file or directory" in captured.out
    assert "startup/python: median " in captured.err
    assert "Traceback" not in captured.out + captured.err


def test_the_runner_does_not_try_again_what_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import _runner
    from benchmarks._case import Settings
    from benchmarks._catalogue import make_plan

    tried: list[tuple[str, int]] = []

    def fake(key: str, settings: Settings, number: int, environment: dict[str, str]) -> Measurement | Problem:
        tried.append((key, number))
        return Problem(key, number, "no", failed=True) if key == "startup/parts" else Measurement(key, number, {})

    monkeypatch.setattr(_runner, "_run_case", fake)
    monkeypatch.setenv("CC", "/no/cc")
    made = results({})
    plan = make_plan(["startup/python", "startup/parts"], quick=False)
    run_plan(plan, Settings(), 2, made, lambda *_: None)
    assert tried == [("startup/python", 0), ("startup/parts", 0), ("startup/python", 1)]
    assert len(made.measurements) == 2
    assert len(made.problems) == 1
