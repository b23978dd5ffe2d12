"""Multi-MNIST from the IDX files of MNIST.

Source: Gama and Grassi's comparison of uniform losses and specialised optimisers, with the LeNet variant
of Kurin et al., NeurIPS 2022. The paper does not print these choices, which are ours: a decoder
50-128-784 with a sigmoid, mean squared error, batches of 256, 100 epochs. We have not run the problem at
full scale, because we did not have the files.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mtrl.supervised.problem import Model, Problem, Recipe, Split, TensorData, TrunkAndHeads
from mtrl.supervised.problems.pairs import overlay, pair_data, pair_head, tasks_of

_IMAGES, _LABELS = 2051, 2049  # magic numbers of the two kinds of file
_OFFSET, _CANVAS, _SIZE = 6, 36, 28
_VALIDATION_SHARE = 6  # the last sixth of the training file: 10,000 of 60,000


class MultiMNIST(Problem):
    """Classify and reconstruct two overlapping digits of MNIST.

    The left digits are the images of a split in order. The right digits are drawn from the same split
    by a fixed seed.

    Args:
        data_root: folder of `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
            `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each plain or with `.gz`.
        variant: tasks, joined by `_`. CL and CR classify the left or right digit, RL and RR reconstruct
            it.
        dropout: dropout rate after the convolutions.
    """

    recipe = Recipe(epochs=100, batch_size=256, learning_rate=1e-3)

    def __init__(self, *, data_root: Path, variant: str = "CL_RR", dropout: float = 0.0) -> None:
        self.tasks = tasks_of(variant)
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` should be in [0, 1). Found {dropout}.")
        self.root, self.variant, self.dropout = data_root, variant, dropout
        for part in ("train", "t10k"):
            _find(data_root, f"{part}-images-idx3-ubyte")
            _find(data_root, f"{part}-labels-idx1-ubyte")

    def data(self, split: Split, seed: int) -> TensorData:
        """Pairs `[N, 1, 28, 28]` with pixels in [0, 1]; the seed is not used."""
        part = "t10k" if split == "test" else "train"
        images = read_idx(_find(self.root, f"{part}-images-idx3-ubyte"), _IMAGES)
        labels = read_idx(_find(self.root, f"{part}-labels-idx1-ubyte"), _LABELS)
        if len(images) != len(labels) or images.shape[1:] != (_SIZE, _SIZE):
            raise ValueError(
                f"{self.root}: expected as many 28x28 images as labels in the {part} files. Found"
                f" images {list(images.shape)} and {len(labels)} labels."
            )
        held_out = len(images) // _VALIDATION_SHARE
        if split == "train":
            images, labels = images[: len(images) - held_out], labels[: len(labels) - held_out]
        elif split == "val":
            images, labels = images[len(images) - held_out :], labels[len(labels) - held_out :]
        left, classes = images.float() / 255.0, labels.long()
        draw = torch.Generator().manual_seed(1)
        chosen = torch.randint(len(left), (len(left),), generator=draw)
        canvas = overlay(left, left[chosen], _OFFSET, _CANVAS)[:, None]
        inputs = functional.interpolate(canvas, size=(_SIZE, _SIZE), mode="nearest")
        return pair_data(inputs, left, left[chosen], (classes, classes[chosen]), self.variant)

    def model(self, copy: int = 0) -> Model:
        """A LeNet trunk with 50 features, class heads 50-50-10 and decoders 50-128-784."""
        trunk = nn.Sequential(
            nn.Conv2d(1, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(10, 20, 5),
            nn.Dropout(self.dropout),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(320, 50),
            nn.ReLU(),
        )
        hidden = {"C": 50, "R": 128}
        heads = [pair_head(task, 50, hidden, _SIZE * _SIZE) for task in self.tasks]
        return TrunkAndHeads(trunk, heads)


def read_idx(path: Path, magic: int) -> Tensor:
    """Read an IDX file of bytes, plain or gzipped, as uint8.

    Raises:
        ValueError: the file is not such a file, or it is truncated.
    """
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = int.from_bytes(content[:4], "big")
    if len(content) < 8 or found != magic:
        raise ValueError(f"{path} should be an IDX file with magic number {magic}. Found {found}.")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != int(np.prod(shape)):
        raise ValueError(
            f"{path} should hold {shape} bytes after its header. Found {len(values)}. Fetch it again."
        )
    return torch.from_numpy(values.reshape(shape).copy())


def _find(root: Path, name: str) -> Path:
    # Some mirrors replace the hyphen before `idx` by a dot.
    for candidate in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = root / f"{candidate}{suffix}"
            if path.is_file():
                return path
    raise ValueError(
        f"The problem 'multimnist' reads {name} or {name}.gz. Found neither in {root}. Point `data_root`"
        " at the folder with MNIST's four IDX files."
    )
