"""Which of DALI's operators a transform's graph holds."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dalikit.graph
from dalikit.graph.build import build_pipeline
from dalikit.graph.chains import chains_of, first_chain
from dalikit.transforms.compiler import compile_recipe

__all__ = ["operators"]

_EVERYWHERE = ("external_source", "decoders.image", "crop_mirror_normalize")
"""The two ends of every graph."""
_FORM = ("cast", "cat", "expand_dims", "reinterpret", "reshape", "squeeze", "stack")
"""What brings parameters or images into another form."""
_PARTING = ("_conditional.split", "_conditional.merge")
"""What parts the batch, so that work is done for some samples."""


def operators(transform: Any) -> list[str]:
    """Names in `nvidia.dali.fn`, in the order of their first use, of those that make a transform what it is."""
    called: list[str] = []
    with _recorded(called):
        recipe = compile_recipe(transform)
        for chain in (first_chain(recipe), *(chain for _, chain in chains_of(recipe))):
            build_pipeline(chain, batch_size=1, num_threads=1, device_id=None)
    return [name for name in dict.fromkeys(called) if name not in _EVERYWHERE + _FORM + _PARTING]


class _Recorder:
    """Stands before `nvidia.dali.fn` or a module in it and writes down what is called."""

    def __init__(self, module: Any, called: list[str], prefix: str = "") -> None:
        self._module = module
        self._called = called
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        thing = getattr(self._module, name)
        full = f"{self._prefix}{name}"
        if not callable(thing):
            return _Recorder(thing, self._called, f"{full}.")

        def call(*inputs: Any, **arguments: Any) -> Any:
            self._called.append(full)
            return thing(*inputs, **arguments)

        return call


@contextmanager
def _recorded(called: list[str]) -> Iterator[None]:
    names = [info.name for info in pkgutil.iter_modules(dalikit.graph.__path__, "dalikit.graph.")]
    users = [module for module in map(importlib.import_module, names) if hasattr(module, "fn")]
    kept = [module.fn for module in users]
    for module in users:
        vars(module)["fn"] = _Recorder(module.fn, called)
    try:
        yield
    finally:
        for module, fn in zip(users, kept, strict=True):
            vars(module)["fn"] = fn
