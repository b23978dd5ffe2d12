"""Building methods: names, options, and what is refused with which words."""

from __future__ import annotations

import pytest
import torch

from mtrl.balancing import METHODS, Needs, Weighting, build, check_options, method_options
from mtrl.balancing.options import check_keywords

BAD = [
    ("rlw", {"distribution": "cauchy"}),
    ("dwa", {"window": 0}),
    ("dwa", {"temperature": 0.0}),
    ("uw", {"limit": 0.0}),
    ("uw", {"learning_rate": 0.0}),
    ("gradnorm", {"restoring_force": -1.0}),
    ("imtl_l", {"limit": -1.0}),
    ("famo", {"weight_decay": -1.0}),
    ("go4align", {"groups": 0}),
    ("go4align", {"rate": -1.0}),
    ("go4align", {"floor": 0.0}),
    ("mgda", {"normalise": "l1"}),
    ("gradvac", {"decay": 2.0}),
    ("graddrop", {"leak": 2.0}),
    ("cagrad", {"radius": -0.1}),
    ("cagrad", {"rescale": "cube"}),
    ("imtl_g", {"negative_limit": -1.0}),
    ("imtl", {"negative_limit": -1.0}),
    ("cdtt", {"tension": 1.5}),
    ("cdtt", {"window": 0}),
    ("moco", {"tracking_rate": 0.0}),
    ("moco", {"weight_rate": -1.0}),
    ("moco", {"rows": "unit"}),
    ("moco", {"projection": "none"}),
    ("nash_mtl", {"update_every": 0}),
    ("nash_mtl", {"solver": "cvxpy"}),
    ("fairgrad", {"alpha": 0.0}),
    ("fairgrad", {"ridge": -1.0}),
    ("aligned_mtl", {"component_scale": "max"}),
    ("aligned_mtl", {"reduction": "max"}),
    ("pivrg", {"bound": 1.0}),
    ("pivrg", {"min_temperature": 0.0}),
    ("sam_gs", {"similarity": "max"}),
    ("sam_gs", {"beta1": 1.0}),
    ("rgb", {"decay": 1.0}),
    ("rgb", {"inner_steps": -1}),
    ("rgb", {"min_steps": 10, "max_steps": 5}),
    ("rgb", {"inner_rate": 0.0}),
    ("rgb", {"proximity_weight": -1.0}),
    ("rgb", {"interval": 0}),
    ("ls", {"pi": {"bound": 1.0}}),
    ("ls", {"pi": {"min_temperature": -1.0}}),
    ("ls", {"pi": {"temperature": 1.0}}),
    ("ls", {"pi": 3}),
    ("fixed", {}),
    ("fixed", {"weights": [1.0, -1.0]}),
]


@pytest.mark.parametrize(("name", "options"), BAD)
def test_bad_options_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Found|refuses|option"):
        check_options(name, options)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "pivrg",
            {"bound": "wide"},
            "'bound' of the method 'pivrg' should be a number. Found 'wide'",
        ),
        ("pivrg", {"bound": True}, "should be a number. Found True"),
        ("dwa", {"window": 2.5}, "should be a whole number. Found 2.5"),
        ("rgb", {"adaptive": 1}, "should be true or false. Found 1"),
        ("mgda", {"normalise": "l1"}, "should be one of none, l2, loss, loss\\+. Found 'l1'"),
        ("fixed", {"weights": ["a", 1]}, "a list, each entry a number. Found"),
        ("fixed", {"weights": 3}, "a list, each entry a number. Found 3"),
        ("ls", {"pi": {"bound": "x"}}, "'bound' of the layer 'pi' should be a number"),
    ],
)
def test_a_wrong_type_is_refused_in_plain_words(
    name: str, options: dict[str, object], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        check_options(name, options)


def test_a_whole_number_is_a_number_and_none_may_be_absent() -> None:
    check_options("pivrg", {"bound": 3})

    def call(*, path: str | None = None) -> None: ...

    check_keywords("It", call, {"path": None})


def test_every_refusal_names_method_or_option_of_the_list() -> None:
    assert {name for name, _ in BAD} <= set(METHODS)
    for name, options in BAD:
        assert set(options) <= {*method_options(name), "pi"}


def test_unknown_names_come_with_the_closest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'pcgrad'"):
        build("pcgard", 2, 2)
    with pytest.raises(ValueError, match="Did you mean 'radius'"):
        build("cagrad", 2, 2, radios=0.4)


def test_methods_that_take_logarithms_say_so() -> None:
    positive = {name for name, method in METHODS.items() if method.positive_losses}
    assert positive == {
        *("si", "dwa", "uw", "gradnorm", "imtl_l", "imtl", "cdtt", "famo", "go4align")
    }
    assert build("mgda", 2, 2, normalise="loss").positive_losses


def test_options_can_change_what_a_method_needs() -> None:
    assert Needs.LOSSES not in build("mgda", 2, 2).needs
    assert Needs.LOSSES in build("mgda", 2, 2, normalise="loss+").needs
    assert Needs.LOSSES in build("rgb", 2, 2, adaptive=True).needs
    assert Needs.PERFORMANCE in build("ls", 2, 2, pi={}).needs
    assert build("nash_mtl", 2, 2, solver="device").capturable
    assert not build("nash_mtl", 2, 2, solver="device", update_every=2).capturable


def test_fixed_weights_are_checked_for_any_number_of_tasks() -> None:
    check_options("fixed", {"weights": [1.0] * 7})
    with pytest.raises(ValueError, match="should be 3 finite numbers"):
        build("fixed", 3, 2, weights=[1.0, 2.0])
    method = build("fixed", 2, 1, weights=[1.1, 2.9], normalise=False)
    torch.testing.assert_close(method.fixed, torch.tensor([1.1, 2.9], dtype=torch.float64))
    method = build("fixed", 2, 1, weights=[1.1, 2.9])
    torch.testing.assert_close(method.fixed, torch.tensor([0.55, 1.45], dtype=torch.float64))


def test_nash_reuses_its_weights_between_solves() -> None:
    from mtrl.balancing import Signals

    torch.manual_seed(0)
    method = build("nash_mtl", 2, 5, update_every=3)
    assert isinstance(method, Weighting)
    seen = [method.weights(Signals(jacobian=torch.randn(2, 5))) for _ in range(4)]
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])
