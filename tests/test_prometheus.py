"""Metrics: their names, types and values as Prometheus' own parser reads them, and a bound on their number."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping
from functools import partial

import pytest
import trio
from hypothesis import given, settings, strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from trio.testing import MockClock

from tests.openmetrics import parse_openmetrics, show_openmetrics
from tests.test_instruments import watched_pool, watched_world
from tests.worlds import in_namespace, inline
from trio_sessions import (
    BatchSettled,
    CallEnded,
    DemandEnded,
    EndReason,
    InvalidInputError,
    ListenerKey,
    Node,
    NodeOptions,
    NodePolled,
    Observation,
    OpenEnded,
    OrphanSettled,
    PoolOptions,
    PoolReport,
    SessionEnded,
    SessionInfo,
    SessionOpenError,
    SessionsError,
    State,
    _errors,
)
from trio_sessions.prometheus import PrometheusInstruments
from trio_sessions.simulator import SimulatorConfig, parse_fault

#: The names that users' dashboards and alerts rely on.
NAMES = {
    "acquire_pending": "gauge",
    "acquire_timeouts": "counter",
    "acquire_wait_seconds": "histogram",
    "build_info": "gauge",
    "closes": "counter",
    "janitor_backlog": "gauge",
    "left": "gauge",
    "limit": "gauge",
    "messages": "counter",
    "messages_accepted": "counter",
    "node_healthy": "gauge",
    "open": "gauge",
    "open_duration_seconds": "histogram",
    "open_failures": "counter",
    "opens": "counter",
    "orphans": "gauge",
    "reaped": "counter",
    "rest_call_seconds": "histogram",
    "rest_calls": "counter",
    "rtt_seconds": "histogram",
}

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: PrometheusInstruments) -> Samples:
    """All samples by name and labels, as the parser of the text format reads them."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name.removeprefix("trio_sessions_"), frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def total(samples: Samples, wanted: str, **labels: str) -> float:
    """The sum over all other labels."""
    return sum(number for (name, having), number in samples.items() if name == wanted and labels.items() <= set(having))


def test_names_and_types() -> None:
    metrics = PrometheusInstruments()
    families = parse_text(generate_latest(metrics.registry).decode())
    found = {family.name.removeprefix("trio_sessions_"): family.type for family in families}
    assert found == NAMES
    # The stricter parser, with its own view of an info.
    strictly = parse_openmetrics(show_openmetrics(metrics.registry))
    names = {family.name.removeprefix("trio_sessions_") for family in strictly}
    assert names == NAMES.keys() - {"build_info"} | {"build"}


def test_nothing_is_registered_but_where_it_was_asked_for() -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    registry = CollectorRegistry()
    metrics = PrometheusInstruments(registry)
    assert metrics.registry is registry
    assert PrometheusInstruments().registry is not PrometheusInstruments().registry
    assert {metric.name for metric in REGISTRY.collect()} == before
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusInstruments(registry)


def test_counters_stand_at_zero_before_anything_has_happened() -> None:
    samples = scrape(PrometheusInstruments())
    assert {number for (name, _), number in samples.items() if name.endswith(("_total", "_count"))} == {0.0}
    for outcome in ("opened", "failed", "ended"):
        value(samples, "opens_total", outcome=outcome)
    for outcome in ("answered", "unanswered", "undelivered"):
        value(samples, "messages_total", outcome=outcome)
    value(samples, "closes_total", reason="stopped", outcome="left")
    assert ("node_healthy", frozenset()) not in samples


def assert_equal(samples: Samples, report: PoolReport) -> None:
    """The metrics say what the report says."""
    messages, sessions = report.messages, report.sessions
    assert value(samples, "messages_accepted_total") == messages.accepted
    assert value(samples, "messages_total", outcome="answered") == messages.answered
    assert value(samples, "messages_total", outcome="unanswered") == messages.unanswered
    assert value(samples, "messages_total", outcome="undelivered") == sum(messages.undelivered.values())
    assert value(samples, "rtt_seconds_count") == messages.answered
    assert value(samples, "opens_total", outcome="opened") == sessions.opened
    assert value(samples, "opens_total", outcome="failed") == sessions.failed
    assert total(samples, "open_failures_total") == sessions.failed
    assert total(samples, "closes_total", outcome="confirmed") == sessions.closed
    assert total(samples, "closes_total", outcome="lost") == sessions.lost


FAULTS = (
    "exit-full:open:p=0.3",
    "reply-lost:open:p=0.2",
    "loss:p=0.2",
    "status:close:p=0.3",
    "restart:at=12:seconds=2",
)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_run_with_faults_they_say_what_the_report_says(seed: int) -> None:
    config = SimulatorConfig(seed=seed, relayers=4, faults=tuple(map(parse_fault, FAULTS)))

    async def main() -> None:
        metrics = PrometheusInstruments()
        async with watched_world(config, metrics) as world:
            rng = random.Random(seed)
            options = PoolOptions(reconcile_interval=2.0, reply_timeout=0.5, open_attempts=1)
            node = Node(
                world.hoprd,
                NodeOptions(poll_interval=1.0),
                options,
                rng=rng,
                connect=world.sim.connect,
                in_thread=inline,
                instruments=metrics,
            )

            async def use() -> None:
                for _ in range(20):
                    await trio.sleep(rng.uniform(0, 2))
                    try:
                        await node.submit(rng.choice(world.relayers), rng.choice([1, 10, 100]))
                    except SessionsError:
                        return
                    samples, messages = scrape(metrics), node.report.messages
                    assert value(samples, "messages_accepted_total") == messages.accepted
                    assert total(samples, "messages_total") == messages.accepted - messages.pending

            async with trio.open_nursery() as nursery:
                await nursery.start(node.run)
                async with trio.open_nursery() as users:
                    for _ in range(5):
                        users.start_soon(use)
                samples = scrape(metrics)
                states = [info.state for info in node.pool.sessions()]
                assert states.count(State.ACTIVE) == value(samples, "open", state="active") > 0
                assert value(samples, "limit") > 100
                node.stop()
        report, samples = node.report, scrape(metrics)
        assert report.messages.balanced
        assert report.messages.unanswered > 0
        assert report.sessions.failed > 0
        assert_equal(samples, report)
        assert total(samples, "open") == value(samples, "acquire_pending") == value(samples, "janitor_backlog") == 0
        assert value(samples, "limit") == 0
        assert value(samples, "open_failures_total", error="RejectedError") > 0
        assert value(samples, "rest_calls_total", method="POST", status="200") >= report.sessions.opened
        assert total(samples, "rest_calls_total") == total(samples, "rest_call_seconds_count")
        assert value(samples, "open_duration_seconds_count") == total(samples, "opens_total")

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_histograms_and_gauges_of_a_run(autojump_clock: MockClock) -> None:
    metrics = PrometheusInstruments()
    config = SimulatorConfig(open_latency=1.5, echo_latency=0.25, faults=(parse_fault("hang:close"),))
    options = in_namespace("range", stop_timeout=4.0)
    async with watched_world(config, metrics) as world, watched_pool(world, metrics, options) as pool:
        assert value(scrape(metrics), "limit") == 1000
        with trio.move_on_after(0.5):
            await pool.session(world.relayers[0])
        assert value(scrape(metrics), "open", state="opening") == 1
        session = await pool.session(world.relayers[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.relay, 4)
            await trio.sleep(0.1)
            assert value(scrape(metrics), "messages_accepted_total") == 4
            assert total(scrape(metrics), "messages_total") == 0
        session.close()
        await trio.sleep(1)
        samples = scrape(metrics)
        assert value(samples, "janitor_backlog") == value(samples, "open", state="closing") == 1
        assert value(samples, "acquire_timeouts_total") == 1
        assert value(samples, "acquire_wait_seconds_bucket", le="0.5") == 1
        assert value(samples, "acquire_wait_seconds_bucket", le="2.5") == 2
        assert value(samples, "open_duration_seconds_bucket", le="1.0") == 0
        assert value(samples, "open_duration_seconds_bucket", le="2.5") == 1
        assert value(samples, "rtt_seconds_bucket", le="0.2") == 0
        assert value(samples, "rtt_seconds_bucket", le="0.5") == value(samples, "rtt_seconds_bucket", le="+Inf") == 4
        assert value(samples, "rtt_seconds_sum") == pytest.approx(4 * 0.25, abs=0.4)
    assert value(scrape(metrics), "closes_total", reason="closed_by_user", outcome="left") == 1


async def test_orphans_are_reaped(autojump_clock: MockClock) -> None:
    metrics = PrometheusInstruments()
    faults = (parse_fault("reply-lost:open:count=1"), parse_fault("delay:close:seconds=3"))
    async with watched_world(SimulatorConfig(faults=faults), metrics) as world:
        async with watched_pool(world, metrics, in_namespace("range")) as pool:
            await pool.session(world.relayers[0])
            with trio.fail_after(60):
                while not value(scrape(metrics), "orphans"):  # noqa: ASYNC110
                    await trio.sleep(0.1)
            assert value(scrape(metrics), "reaped_total") == 0
            await trio.sleep(10)
            samples = scrape(metrics)
            assert (value(samples, "orphans"), value(samples, "reaped_total")) == (0, 1)
            assert value(samples, "rest_calls_total", method="POST", status="ConnectionLostError") == 1


async def test_several_pools_add_up_and_name_their_relayers_when_asked(autojump_clock: MockClock) -> None:
    metrics = PrometheusInstruments(relayer_label=True)
    async with watched_world(None, metrics) as world:
        one, another = world.relayers[:2]
        async with watched_pool(world, metrics) as first, watched_pool(world, metrics) as second:
            await (await first.session(one)).relay(3)
            await (await second.session(another.upper().replace("X", "x"))).relay(5)
            assert value(scrape(metrics), "open", state="active") == 2
    samples = scrape(metrics)
    assert value(samples, "messages_total", outcome="answered", relayer=one.lower()) == 3
    assert value(samples, "messages_total", outcome="answered", relayer=another.lower()) == 5
    assert value(samples, "rtt_seconds_count", relayer=another.lower()) == 5
    assert value(samples, "opens_total", outcome="opened", relayer=one.lower()) == 1
    assert value(samples, "closes_total", outcome="confirmed", reason="stopped", relayer=one.lower()) == 1
    assert value(samples, "messages_accepted_total") == 8
    assert total(samples, "open") == 0


seconds = st.floats(0, 1e4)
texts = st.text(max_size=8)
settled = st.builds(BatchSettled, texts, *[st.integers(0, 9)] * 3, texts, st.lists(seconds, max_size=9).map(tuple))
call = st.builds(
    CallEnded,
    st.sampled_from(["GET", "POST", "DELETE"]),
    texts,
    st.none() | st.integers(),
    st.none() | texts | st.sampled_from(_errors.__all__),
    seconds,
)
failures = st.sampled_from([SessionOpenError("a", "b", attempts=1, retry_in=0), InvalidInputError("a", "b", "c")])
errors = failures | st.builds(lambda name: type(name, (SessionsError,), {})(), st.from_regex(r"\A[A-Z]\w{3}\Z"))
opening = st.builds(
    OpenEnded, texts, st.sampled_from(["opened", "failed", "ended"]), seconds, st.just(1), st.none() | errors
)
demand = st.builds(DemandEnded, texts, st.sampled_from(["ready", "timed out"]), seconds)


def info(reason: EndReason) -> SessionInfo:
    return SessionInfo(None, None, None, State.CLOSED, reason, None, None, None, 1)


ended = st.builds(
    SessionEnded, texts, st.sampled_from(["confirmed", "left", "lost"]), seconds, st.sampled_from(EndReason).map(info)
)
polled = st.builds(NodePolled, texts, st.none() | st.booleans(), st.integers(), st.integers())
observations = settled | call | opening | demand | ended | polled


@settings(deadline=None, max_examples=30)
@given(st.lists(observations, max_size=200))
def test_series_are_bounded_whatever_is_heard(heard: list[Observation]) -> None:
    metrics = PrometheusInstruments()
    for each in heard:
        metrics(each)
    series = sum(len(family.samples) for family in parse_openmetrics(show_openmetrics(metrics.registry)))
    # Of calls by three methods with the statuses and errors that there are, and of errors of opens.
    kinds = 64 + len(_errors.__all__) + 2
    assert series <= 250 + 3 * kinds + len(_errors.__all__) + 1
    samples = scrape(metrics)
    batches = [each for each in heard if isinstance(each, BatchSettled)]
    messages = sum(each.answered + each.unanswered + each.undelivered for each in batches)
    assert value(samples, "messages_accepted_total") == messages
    assert value(samples, "messages_total", outcome="answered") == sum(each.answered for each in batches)
    assert value(samples, "rtt_seconds_count") == sum(len(each.rtts) for each in batches)


def test_an_orphan_that_is_left_is_not_reaped() -> None:
    metrics = PrometheusInstruments()
    make = partial(OrphanSettled, "lost reply", "a", ListenerKey("udp", "127.0.0.1", 1))
    metrics(make("left"))
    assert value(scrape(metrics), "reaped_total") == 0
    metrics(make("confirmed"))
    assert value(scrape(metrics), "reaped_total") == 1


def test_without_prometheus_client_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import trio_sessions; import trio_sessions.prometheus"
    it = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    remedy = "pip install 'trio-sessions[metrics]'"
    assert it.stderr.splitlines()[-1] == f"ModuleNotFoundError: prometheus_client is not installed: {remedy}"
