"""Saving by the clock and before an error: when, when not, and what is said."""

from __future__ import annotations

import pytest

from mtrl.runs import saving
from mtrl.runs.saving import Saving


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(saving.time, "monotonic", lambda: now)
    bound, unbound = Saving(300.0), Saving(0.0)
    now += 299.0
    assert not bound.overdue
    now += 1.0
    assert bound.overdue
    assert not unbound.overdue
    bound.on_save()
    assert not bound.overdue


def fail(saving: Saving, *, inside: bool, save_fails: bool = False) -> tuple[int, str]:
    """An error within or after a change: how often it was saved, and what was said."""
    saves, said = [], []

    def save() -> None:
        saves.append(1)
        if save_fails:
            raise OSError("disk full")

    with pytest.raises(ValueError, match="first"), saving.rescuing(save, said.append):
        if inside:
            with saving.changing():
                raise ValueError("first")
        with saving.changing():
            pass
        raise ValueError("first")
    (text,) = said
    return len(saves), text


def test_an_error_between_changes_saves() -> None:
    saves, text = fail(Saving(0), inside=False)
    assert saves == 1
    assert "A checkpoint was written" in text


def test_an_error_within_a_change_does_not() -> None:
    saves, text = fail(Saving(0), inside=True)
    assert saves == 0
    assert "in the middle of a change" in text


def test_a_save_that_fails_does_not_hide_the_error() -> None:
    saves, text = fail(Saving(0), inside=False, save_fails=True)
    assert saves == 1
    assert "disk full" in text


def test_without_an_error_nothing_is_saved_or_said() -> None:
    with Saving(0).rescuing(pytest.fail, pytest.fail):
        pass
    with pytest.raises(SystemExit), Saving(0).rescuing(pytest.fail, pytest.fail):
        raise SystemExit  # the second signal ends a run at once
