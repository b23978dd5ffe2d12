"""The problems that come with mtrl."""

from mtrl.supervised.problem import BaseProblem
from mtrl.supervised.problems.digits import Digits
from mtrl.supervised.problems.multimnist import MultiMNIST
from mtrl.supervised.problems.toy.toy_problem import Toy

PROBLEMS: dict[str, type[BaseProblem]] = {"toy": Toy, "digits": Digits, "multimnist": MultiMNIST}
