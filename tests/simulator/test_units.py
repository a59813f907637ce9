"""Sizes and bandwidths as the daemon reads and prints them (contract §2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_sessions.simulator._units import format_bandwidth, format_byte_size, parse_bandwidth, parse_byte_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0 KB", 0),
        ("2 MB", 2_000_000),
        ("2mib", 2 * 1024**2),
        ("1.5 ki", 1536),
        ("7 b", 7),
        ("123", 123),
        (" 1 G ", 10**9),
        ("1tb", 10**12),
        ("1 PiB", 1024**5),
    ],
)
def test_byte_sizes_are_read(text: str, size: int) -> None:
    assert parse_byte_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "1.5", "1 xb", "1 kbit", "-1 B", "1 kibi", "1,5 MB"])
def test_what_is_no_byte_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_byte_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1000, "1000 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2_000_000, "1.9 MiB"),
        (1024**7, "1024.0 EiB"),
    ],
)
def test_byte_sizes_are_printed(size: int, text: str) -> None:
    assert format_byte_size(size) == text


@given(st.integers(0, 2**62))
def test_a_printed_size_is_read_within_its_rounding(size: int) -> None:
    again = parse_byte_size(format_byte_size(size))
    assert abs(again - size) <= max(size * 0.051, 0)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("2Mbps", 2_000_000),
        ("1.2Mbps", 1_200_000),
        ("300 kb/s", 300_000),
        ("1 Gbit/s", 10**9),
        ("1Mbps 500kbps", 1_500_000),
        ("5bps", 5),
        ("1 tbps ", 10**12),
    ],
)
def test_bandwidths_are_read(text: str, bits: int) -> None:
    assert parse_bandwidth(text) == bits


@pytest.mark.parametrize("text", ["", " ", "5", "5 MBps", "5 MB/s", "fast", "1Mbps fast"])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_bandwidth(text)


@pytest.mark.parametrize(
    ("bits", "text"), [(0, "0bps"), (5, "5bps"), (150_024, "150.024kbps"), (2_000_000, "2Mbps"), (10**10, "10Gbps")]
)
def test_bandwidths_are_printed(bits: int, text: str) -> None:
    assert format_bandwidth(bits) == text


@given(st.integers(0, 10**15))
def test_a_printed_bandwidth_is_read_exactly(bits: int) -> None:
    assert parse_bandwidth(format_bandwidth(bits)) == bits
