"""Benchmarks: their data, and what they say about files that are not as they should be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from mtrl.supervised.problems.digits import Digits
from mtrl.supervised.problems.multimnist import MultiMNIST
from mtrl.supervised.problems.pairs import overlay

VARIANTS = ["CL_RR", "CL_CR", "RL_RR", "CL_CR_RL_RR"]
COUNT = 60


def write_idx(path: Path, magic: int, shape: list[int], content: bytes) -> None:
    header = magic.to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in shape)
    path.write_bytes(header + content)


def write_mnist(root: Path) -> None:
    """A tiny MNIST: image i is filled with i % 10 * 20, its class is i % 10."""
    root.mkdir(exist_ok=True)
    for part in ("train", "t10k"):
        pixels = b"".join(bytes([i % 10 * 20]) * 784 for i in range(COUNT))
        write_idx(root / f"{part}-images-idx3-ubyte", 2051, [COUNT, 28, 28], pixels)
        labels = bytes(i % 10 for i in range(COUNT))
        write_idx(root / f"{part}-labels-idx1-ubyte", 2049, [COUNT], labels)


def test_overlay_keeps_the_brighter_pixel() -> None:
    left, right = torch.full((1, 2, 2), 0.5), torch.tensor([[[0.2, 0.9], [0.8, 0.1]]])
    expected = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.5, 0.9], [0.0, 0.8, 0.1]]])
    assert torch.equal(overlay(left, right, 1, 3), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_digits_targets_belong_to_their_inputs(variant: str) -> None:
    problem = Digits(variant=variant, pairs=200)
    names = variant.split("_")
    for split, count in (("train", 200), ("val", 50), ("test", 50)):
        data = problem.data(split, seed=0)  # type: ignore[arg-type]
        assert len(data) == count
        inputs, targets = data[torch.arange(count)]
        assert inputs.shape == (count, 1, 10, 10)
        assert inputs.min() >= 0 and inputs.max() == 1
        by_name = dict(zip(names, targets, strict=True))
        if "RL" in by_name and "RR" in by_name:
            left, right = by_name["RL"].view(-1, 8, 8), by_name["RR"].view(-1, 8, 8)
            assert torch.equal(inputs[:, 0], overlay(left, right, 2, 10))
        for name in set(names) & {"CL", "CR"}:
            assert set(by_name[name].tolist()) <= set(range(10))
    with torch.no_grad():
        predictions = problem.model()(problem.data("val", 0)[torch.arange(8)].inputs)
    assert [p.shape[1] for p in predictions] == [10 if n[0] == "C" else 64 for n in names]


def test_digits_of_the_test_are_never_trained_on() -> None:
    problem = Digits(variant="RL_RR")
    seen = {}
    for split in ("train", "val", "test"):
        data = problem.data(split, 0)  # type: ignore[arg-type]
        rows = torch.cat([data.targets[0], data.targets[1]])
        seen[split] = {tuple(row) for row in rows.tolist()}
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]


def test_all_runs_use_the_same_pairs() -> None:
    first, second = Digits().data("train", 0), Digits().data("train", 7)
    assert torch.equal(first.inputs, second.inputs)


@pytest.mark.parametrize("variant", ["CL", "CL_XX", "CL_CL", ""])
def test_digits_variants(variant: str) -> None:
    if variant == "CL":
        assert len(Digits(variant=variant).tasks) == 1
    else:
        with pytest.raises(ValueError, match="should join tasks"):
            Digits(variant=variant)


def test_multimnist_reads_idx_files(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    problem = MultiMNIST(data_root=tmp_path, variant="CL_RR")
    sizes = {split: len(problem.data(split, 0)) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    assert sizes == {"train": 50, "val": 10, "test": 60}
    inputs, (classes, right) = problem.data("train", 0)[torch.arange(50)]
    assert inputs.shape == (50, 1, 28, 28)
    assert classes.tolist() == [i % 10 for i in range(50)]
    # The right image is one shade, and shows at the bottom right of the canvas.
    assert torch.allclose(inputs[:, 0, 25, 25], right[:, -1])
    assert torch.allclose(inputs[:, 0, 0, 0], classes * 20 / 255.0)
    predictions = problem.model()(inputs[:4])
    assert [tuple(p.shape) for p in predictions] == [(4, 10), (4, 784)]


def test_multimnist_reads_gzip_and_dotted_names(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    plain = MultiMNIST(data_root=tmp_path).data("test", 0)
    for path in list(tmp_path.iterdir()):
        packed = tmp_path / f"{path.name.replace('-idx', '.idx')}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(MultiMNIST(data_root=tmp_path).data("test", 0).inputs, plain.inputs)


def test_multimnist_says_what_is_wrong_with_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        MultiMNIST(data_root=tmp_path)
    write_mnist(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="Fetch it again"):
        MultiMNIST(data_root=tmp_path).data("train", 0)
    images.write_bytes(b"<html>not here</html>")
    with pytest.raises(ValueError, match="magic number 2051"):
        MultiMNIST(data_root=tmp_path).data("train", 0)
    write_idx(images, 2051, [2, 28, 28], bytes(2 * 784))
    with pytest.raises(ValueError, match="as many 28x28 images as labels"):
        MultiMNIST(data_root=tmp_path).data("train", 0)
