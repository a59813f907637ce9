"""Sizes, bandwidths and balances: what the node prints and accepts, and nothing but our error for the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from trio_sessions._errors import InvalidInputError
from trio_sessions._model import Balance
from trio_sessions._units import (
    format_balance,
    format_bandwidth,
    format_size,
    parse_balance,
    parse_bandwidth,
    parse_size,
)

PARSERS = pytest.mark.parametrize("parse", [parse_size, parse_bandwidth, parse_balance])
U64 = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0 KB", 0),
        ("0 B", 0),
        ("1000 B", 1000),
        ("2048", 2048),
        ("2 MB", 2_000_000),
        ("1.9 MiB", 1_992_294),  # 1992294.4 rounded down
        ("1.5k", 1500),
        ("1KiB", 1024),
        ("3 ki", 3072),
        ("1 gB", 10**9),
        ("1 TiB", 2**40),
        ("16777215 tib", (2**24 - 1) * 2**40),
        ("0.0009 kb", 0),
    ],
)
def test_sizes_of_the_contract(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "KB",
        "-1 B",
        "1.5",
        "1 ",
        " 1",
        "1.B",
        ".5 B",
        "1 XB",
        "1 B/s",
        "1e3 B",
        "1 B 2 B",
        "\u0661 B",
        "1" * 200,
    ],
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(InvalidInputError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("2Mbps", 2_000_000),
        ("150.024kbps", 150_024),
        ("150.02456kbps", 150_024),  # what is less than 1 bps is dropped
        ("300 kb/s", 300_000),
        ("1.2Mbps", 1_200_000),
        ("1Gbps 12Mbps 5bps", 1_012_000_005),
        ("1gbit/s2Kbit/s", 1_000_002_000),
        ("0.6bps 0.6bps", 0),
        ("1 tb/s", 10**12),
    ],
)
def test_bandwidths_of_the_contract(text: str, bits: int) -> None:
    assert parse_bandwidth(text) == bits


@pytest.mark.parametrize(
    "text", ["", " ", "1", "1 k", "2 MBps", "2 MB/s", "2 KiB/s", "1Mbps,", "1Mbps x", "-1bps", "bps", "9" * 130 + "bps"]
)
def test_no_bandwidths(text: str) -> None:
    with pytest.raises(InvalidInputError, match="bandwidth"):
        parse_bandwidth(text)


@pytest.mark.parametrize(
    ("text", "amount", "token"),
    [
        ("0.1 xDai", "0.1", "xDai"),
        ("10 wxHOPR", "10", "wxHOPR"),
        ("0.000000000000000001 wxHOPR", "0.000000000000000001", "wxHOPR"),
        (f"{2**256} wxHOPR", str(2**256), "wxHOPR"),
    ],
)
def test_balances_of_the_contract(text: str, amount: str, token: str) -> None:
    balance = parse_balance(text)
    assert balance == Balance(Decimal(amount), token)
    assert format_balance(balance) == text


@pytest.mark.parametrize(
    "text", ["", "1", "xDai", "1xDai", "1 x Dai", "-1 xDai", "1e3 xDai", "NaN xDai", "1 " + "x" * 200]
)
def test_no_balances(text: str) -> None:
    with pytest.raises(InvalidInputError, match="balance"):
        parse_balance(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_size, str(2**64)), (parse_size, f"{2**24} tib"), (parse_bandwidth, f"{2**64}bps")],
    ids=["bare", "unit", "bandwidth"],
)
def test_more_than_64_bits(parse: Callable[[str], int], text: str) -> None:
    with pytest.raises(InvalidInputError, match="64 bits"):
        parse(text)


@given(U64)
def test_sizes_survive_the_way_to_the_node(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(U64)
def test_bandwidths_survive_the_way_to_the_node(bits: int) -> None:
    assert parse_bandwidth(format_bandwidth(bits)) == bits


@given(st.decimals(0, 10**40, places=18), st.sampled_from(["xDai", "wxHOPR"]))
def test_balances_are_exact(amount: Decimal, token: str) -> None:
    assert parse_balance(format_balance(Balance(amount, token))) == Balance(amount, token)


@given(st.integers(0, 10**9), st.sampled_from("kmgtpe"), st.booleans(), st.booleans(), st.sampled_from(["", " ", "\t"]))
def test_any_case_and_space(number: int, prefix: str, binary: bool, upper: bool, space: str) -> None:
    unit = prefix + ("ib" if binary else "b")
    value = number * (1024 if binary else 1000) ** ("kmgtpe".index(prefix) + 1)
    text = f"{number}{space}{unit.upper() if upper else unit}"
    if value < 2**64:
        assert parse_size(text) == value
    else:
        with pytest.raises(InvalidInputError):
            parse_size(text)


@PARSERS
@given(text=st.text() | st.from_regex(r"[0-9.]{0,9} ?[kKMGi]?(b|B|bps|b/s| xDai)?"))
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    with suppress(InvalidInputError):
        parse(text)
