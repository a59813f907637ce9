"""The settings as a whole: names, and that they and the library have the same rules and defaults."""

from __future__ import annotations

from math import inf, nan

import attrs
import pytest

from trio_sessions import InvalidInputError, NodeOptions, PoolOptions
from trio_sessions._options import CHANGEABLE
from trio_sessions.cli._plan import Plan
from trio_sessions.cli.settings import SETTINGS, Settings

OF_POOL = {name for name in SETTINGS if name in {field.name for field in attrs.fields(PoolOptions)}}
#: Those of the library that are numbers.
NUMBERS = sorted(name for name in OF_POOL | {"poll_interval"} if type(SETTINGS[name].default) in (int, float))


def test_names_are_unique_and_follow_from_one() -> None:
    assert len({each.path for each in SETTINGS.values()}) == len(SETTINGS)
    assert len({each.flag for each in SETTINGS.values()}) == len(SETTINGS)
    each = SETTINGS["grace_period"]
    assert (each.path, each.flag, each.variable) == (
        "sessions.grace_period",
        "--grace-period",
        "TRIO_SESSIONS_GRACE_PERIOD",
    )
    assert [SETTINGS[name].path for name in ("log_level", "metrics")] == ["log.level", "metrics.listen"]


def test_defaults_and_what_can_change_are_the_library_s() -> None:
    for name in OF_POOL - {"journal"}:
        assert SETTINGS[name].default == getattr(PoolOptions(), name), name
        assert SETTINGS[name].live is (name in CHANGEABLE), name
    assert SETTINGS["poll_interval"].default == NodeOptions().poll_interval
    plan = Plan(url="http://x")
    assert plan.pool_options("http://x:1") == attrs.evolve(
        PoolOptions(), journal=plan.pool_options("http://x:1").journal
    )
    assert plan.node_options == NodeOptions()
    for each in SETTINGS.values():
        assert Settings().of(each) == each.default


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, -0.5, 0, 0.5, 1, 1000, 1e9, inf, nan])
def test_numbers_are_read_or_refused_as_the_library_does(name: str, value: float) -> None:
    try:
        SETTINGS[name].kind.from_toml(value)
    except InvalidInputError:
        refused = True
    else:
        refused = False
    make = NodeOptions if name == "poll_interval" else PoolOptions
    if refused:
        with pytest.raises(InvalidInputError):
            make(**{name: value})  # type: ignore[arg-type]  # the very point
    else:
        make(**{name: value})  # type: ignore[arg-type]  # as above
