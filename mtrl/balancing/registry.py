"""The balancing methods by name, their options, and how to build one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module

from mtrl.balancing.base import Aggregator, Needs
from mtrl.balancing.options import check_keywords
from mtrl.balancing.performance_informed import PIOptions, inform
from mtrl.errors import PluginError, suggest
from mtrl.plugins import load_plugin, plugin_names


class _Methods(Mapping[str, type[Aggregator]]):
    """Classes by name. Looking up NAME imports the file `methods/NAME.py`."""

    def __init__(self, classes: Mapping[str, str]) -> None:
        self._classes = classes

    def __getitem__(self, name: str) -> type[Aggregator]:
        kind = self._classes[name]
        return getattr(import_module(f"mtrl.balancing.methods.{name}"), kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


METHODS = _Methods(
    {
        "ls": "LS",
        "fixed": "Fixed",
        "si": "SI",
        "rlw": "RLW",
        "dwa": "DWA",
        "uw": "UW",
        "gradnorm": "GradNorm",
        "imtl_l": "IMTLL",
        "famo": "FAMO",
        "go4align": "GO4Align",
        "mgda": "MGDA",
        "pcgrad": "PCGrad",
        "ri_pcgrad": "RIPCGrad",
        "gradvac": "GradVac",
        "graddrop": "GradDrop",
        "cagrad": "CAGrad",
        "imtl_g": "IMTLG",
        "imtl": "IMTL",
        "edm": "EDM",
        "cdtt": "CDTT",
        "moco": "MoCo",
        "nash_mtl": "NashMTL",
        "fairgrad": "FairGrad",
        "aligned_mtl": "AlignedMTL",
        "pivrg": "PIVRG",
        "sam_gs": "SAMGS",
        "rgb": "RGB",
        "upgrad": "UPGrad",
    }
)


def build(
    name: str, num_tasks: int, num_shared: int, *, seed: int = 0, **options: object
) -> Aggregator:
    """Build a balancing method.

    Args:
        name: a key of :data:`METHODS`, or of the entry-point group `mtrl.methods`.
        num_tasks: m.
        num_shared: n, the number of shared parameters.
        seed: seed of the method's random numbers.
        **options: the method's keyword arguments. `pi` adds performance-informed weights
            (`mtrl.balancing.performance_informed`); its value holds their options, `{}` the defaults.

    Raises:
        ValueError: an unknown method or option, or an option out of range.
    """
    check_options(name, options)
    return _make(name, num_tasks, num_shared, seed, options)


def method_class(name: str) -> type[Aggregator]:
    """The class of a method, built in or from a plug-in.

    Raises:
        ValueError: no such method; the message names the closest.
        PluginError: the plug-in cannot be loaded, or is not a method.
    """
    if name in METHODS:
        return METHODS[name]
    plugin = load_plugin("mtrl.methods", name)
    if plugin is None:
        known = sorted({*METHODS, *plugin_names("mtrl.methods")})
        raise ValueError(
            f"Unknown balancing method {name!r}. Expected one of {', '.join(known)}."
            f"{suggest(name, known)}"
        )
    if not (isinstance(plugin, type) and issubclass(plugin, Aggregator)):
        raise PluginError(
            f"The plug-in {name!r} of the group mtrl.methods should be a class derived from"
            f" mtrl.balancing.Aggregator. Found {plugin!r}."
        )
    return plugin


def method_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a method: its constructor's keyword arguments, without `seed`."""
    parameters = inspect.signature(method_class(name).__init__).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key != "seed"
    }


def check_options(name: str, options: dict[str, object]) -> None:
    """Raise `ValueError` for an unknown option or a value that the method refuses."""
    own = {key: value for key, value in options.items() if key != "pi"}
    supplied = ("num_tasks", "num_shared", "seed")
    check_keywords(f"The method {name!r}", method_class(name), own, supplied=supplied)
    if isinstance(pi := options.get("pi"), Mapping):
        check_keywords("The layer 'pi'", PIOptions, pi)
    try:
        _make(name, method_class(name).example_tasks(options), 2, 0, options)
    except TypeError as error:
        raise ValueError(f"The method {name!r} refuses its options {options}: {error}") from error


def needs_positive_losses(name: str, options: Mapping[str, object]) -> bool:
    """Whether a method with these options takes logarithms or ratios of losses."""
    options = {**method_class(name).example_options, **options}
    tasks = method_class(name).example_tasks(options)
    return _make(name, tasks, 2, 0, options).positive_losses


def reads_performance(name: str, options: Mapping[str, object]) -> bool:
    """Whether a method with these options reads the performance of the tasks."""
    options = {**method_class(name).example_options, **options}
    method = _make(name, method_class(name).example_tasks(options), 2, 0, options)
    return Needs.PERFORMANCE in method.needs


def arm_name(name: str, options: Mapping[str, object]) -> str:
    """Name of an arm of a comparison: the method's name, with `-omega-one` if `omega: one` is set.

    A method with omega = 1 is the control of the same method with performance. Runs and tables need
    two names for them.
    """
    return f"{name}-omega-one" if options.get("omega") == "one" else name


def _make(
    name: str, num_tasks: int, num_shared: int, seed: int, options: dict[str, object]
) -> Aggregator:
    own = {key: value for key, value in options.items() if key != "pi"}
    method = method_class(name)(num_tasks, num_shared, seed=seed, **own)
    pi = options.get("pi")
    if pi is None:
        return method
    if not isinstance(pi, Mapping):
        raise ValueError(f"`pi` should be a mapping of options, {{}} for defaults. Found {pi!r}.")
    return inform(method, PIOptions(**pi))
