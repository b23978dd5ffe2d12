"""The benchmarks, one file each."""

from mtrl.supervised.problem import Benchmark
from mtrl.supervised.problems.digits import Digits
from mtrl.supervised.problems.multimnist import MultiMNIST
from mtrl.supervised.problems.toy import Toy

PROBLEMS: dict[str, type[Benchmark]] = {"toy": Toy, "digits": Digits, "multimnist": MultiMNIST}
