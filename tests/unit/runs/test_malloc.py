"""The learner keeps freed memory where the C library can."""

from __future__ import annotations

import ctypes

import pytest

from mtrl.runs.malloc import keep_freed_memory


def test_glibc_takes_the_settings() -> None:
    assert keep_freed_memory() == hasattr(ctypes.CDLL(None), "mallopt")


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
