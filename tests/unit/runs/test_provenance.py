"""The commit in a manifest: the package's own, or none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mtrl.runs.provenance import package_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a package of its own, tracked, and an installed one, untracked."""
    for package in ("own", "venv/site-packages/mtrl"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "own")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_tracked_package_has_the_commit_of_its_checkout(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert package_commit(checkout / "own") == {"commit": head, "dirty": False}
    (checkout / "own" / "__init__.py").write_text("changed = True\n")
    assert package_commit(checkout / "own") == {"commit": head, "dirty": True}


def test_a_file_that_is_not_the_packages_does_not_make_it_dirty(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("")
    found = package_commit(checkout / "own")
    assert found is not None and not found["dirty"]
    (checkout / "own" / "new.py").write_text("")
    found = package_commit(checkout / "own")
    assert found is not None and found["dirty"]


def test_a_changed_preset_makes_the_package_dirty(checkout: Path) -> None:
    (checkout / "presets").mkdir()
    (checkout / "own" / "configs").symlink_to("../presets")
    git(checkout, "add", "own")
    git(checkout, "commit", "-qm", "second")
    assert not (package_commit(checkout / "own") or {})["dirty"]
    (checkout / "presets" / "quick.yaml").write_text("seed: 1\n")
    assert (package_commit(checkout / "own") or {})["dirty"]


def test_an_installed_copy_within_another_repository_has_none(checkout: Path) -> None:
    assert package_commit(checkout / "venv/site-packages/mtrl") is None


def test_a_hook_of_another_repository_does_not_lend_its_commit(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "__init__.py").write_text("")
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    found = package_commit(checkout / "own")
    monkeypatch.delenv("GIT_DIR")
    assert found == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_without_git_there_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert package_commit(checkout / "own") is None
