"""Rule 6: the books balance, whatever is settled in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_sessions._ledger import Ledger

batch = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)).filter(any)


@given(st.lists(st.tuples(st.sampled_from("abc"), batch, st.sampled_from(["stopped", "cancelled"]))), st.randoms())
def test_books_balance_at_any_moment(batches: list[tuple[str, tuple[int, int, int], str]], rng: object) -> None:
    ledger = Ledger()
    entries = [(ledger.accept(relayer, sum(parts)), parts, reason) for relayer, parts, reason in batches]
    rng.shuffle(entries)  # type: ignore[attr-defined]
    pending = sum(sum(parts) for _, parts, _ in entries)
    for entry, (answered, unanswered, undelivered), reason in entries:
        assert ledger.total().pending == pending
        assert not ledger.total().balanced
        entry.settle(answered=answered, unanswered=unanswered, undelivered=undelivered, reason=reason)
        pending -= answered + unanswered + undelivered
        for messages in (ledger.total(), *ledger.by_relayer().values()):
            settled = messages.answered + messages.unanswered + sum(messages.undelivered.values())
            assert messages.accepted == settled + messages.pending
            assert messages.pending >= 0
    assert ledger.total().balanced
    assert all(messages.balanced for messages in ledger.by_relayer().values())
    assert sum(messages.accepted for messages in ledger.by_relayer().values()) == ledger.total().accepted
    for reason in ("stopped", "cancelled"):
        expected = sum(parts[2] for _, parts, why in entries if why == reason)
        assert ledger.total().undelivered.get(reason, 0) == expected


@pytest.mark.parametrize(
    "parts",
    [
        {"answered": 4},
        {"answered": 2, "unanswered": 2},
        {"answered": 6},
        {"undelivered": 5},
        {},
    ],
    ids=["too few", "too few in sum", "too many", "no reason", "nothing"],
)
def test_an_entry_that_does_not_add_up_is_a_bug(parts: dict[str, int]) -> None:
    ledger = Ledger()
    entry = ledger.accept("a", 5)
    with pytest.raises(RuntimeError, match="batch of 5"):
        entry.settle(**parts)  # type: ignore[arg-type]
    assert ledger.total().pending == 5
    assert not entry.settled


def test_an_entry_is_settled_once() -> None:
    ledger = Ledger()
    entry = ledger.accept("a", 5)
    entry.settle(answered=5)
    with pytest.raises(RuntimeError, match="second time"):
        entry.settle(answered=5)
    assert ledger.total().answered == 5
