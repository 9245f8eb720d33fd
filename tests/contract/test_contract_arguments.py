"""Contract: arguments that are refused, in torch's words, and the attributes that a loader has."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
from typing import Any

import pytest
import torch
from contract_datasets import Numbers, Stream
from contract_loader import Make, assert_as_torch, raises, refuses

MAP, ITERABLE = Numbers(4), Stream(4)

BAD_METHOD = (
    f"multiprocessing_context option should specify a valid start method in {multiprocessing.get_all_start_methods()!r}"
    ", but got multiprocessing_context='bad'"
)

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "negative workers": (
        MAP,
        {"num_workers": -1},
        "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.",
    ),
    "prefetch without workers": (
        MAP,
        {"prefetch_factor": 2},
        "prefetch_factor option could only be specified in multiprocessing.",
    ),
    "negative prefetch": (
        MAP,
        {"prefetch_factor": -1, "num_workers": 1},
        "prefetch_factor option should be non-negative",
    ),
    "persistent without workers": (
        MAP,
        {"persistent_workers": True},
        "persistent_workers option needs num_workers > 0",
    ),
    "context without workers": (
        MAP,
        {"multiprocessing_context": "fork"},
        "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got num_workers=0",
    ),
    "unknown context": (
        MAP,
        {"multiprocessing_context": "bad", "num_workers": 1},
        BAD_METHOD,
    ),
    "sampler and shuffle": (
        MAP,
        {"sampler": [1], "shuffle": True},
        "sampler option is mutually exclusive with shuffle",
    ),
    **{
        f"batch_sampler and {name}": (
            MAP,
            {"batch_sampler": [[1]], name: value},
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
        )
        for name, value in {"batch_size": 2, "shuffle": True, "sampler": [1], "drop_last": True}.items()
    },
    "batch_sampler and no batches": (
        MAP,
        {"batch_sampler": [[1]], "batch_size": None},
        "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
    ),
    "no batches and drop_last": (
        MAP,
        {"batch_size": None, "drop_last": True},
        "batch_size=None option disables auto-batching and is mutually exclusive with drop_last",
    ),
    "stream and shuffle": (
        ITERABLE,
        {"shuffle": True},
        "DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle=True",
    ),
    "stream and sampler": (
        ITERABLE,
        {"sampler": [1]},
        "DataLoader with IterableDataset: expected unspecified sampler option, but got sampler=[1]",
    ),
    "stream and batch_sampler": (
        ITERABLE,
        {"batch_sampler": [[1]]},
        "DataLoader with IterableDataset: expected unspecified batch_sampler option, but got batch_sampler=[[1]]",
    ),
    **{
        f"batch_size {size!r}": (
            MAP,
            {"batch_size": size},
            f"batch_size should be a positive integer value, but got batch_size={size!r}",
        )
        for size in (0, -3, True, 2.0)
    },
    "batch_size '2'": (MAP, {"batch_size": "2"}, "batch_size should be a positive integer value, but got batch_size="),
    "batch_size of a stream": (
        ITERABLE,
        {"batch_size": 0},
        "batch_size should be a positive integer value, but got batch_size=0",
    ),
    "drop_last": (MAP, {"drop_last": 1}, "drop_last should be a boolean value, but got drop_last=1"),
    "nothing to shuffle": (
        [],
        {"shuffle": True},
        "num_samples should be a positive integer value, but got num_samples=0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(make: Make, name: str) -> None:
    """When the loader is made: a ValueError with torch's words; of dalikit's kind an ArgumentError."""
    dataset, arguments, words = REFUSED[name]
    with refuses(make, words):
        make(dataset, **arguments)


def test_a_context_of_another_type(make: Make) -> None:
    """torch's TypeError; dalikit's is an ArgumentError, as for every argument."""
    words = "multiprocessing_context option should be a valid context object or a string specifying the start method"
    with raises(TypeError if make.is_torch else make.argument_error, words):
        make(MAP, num_workers=1, multiprocessing_context=3)


def test_an_unknown_argument(make: Make) -> None:
    """A TypeError, as of any function."""
    with raises(TypeError, "unexpected keyword argument 'num_worker'"):
        make(MAP, num_worker=1)


ALLOWED: dict[str, tuple[Any, dict[str, Any]]] = {
    "sampler without shuffle": (MAP, {"sampler": [2, 1], "shuffle": False}),
    "shuffle None": (MAP, {"shuffle": None}),
    "batch_sampler and batch_size 1": (MAP, {"batch_sampler": [[2, 1]], "batch_size": 1, "shuffle": False}),
    "nothing given": (MAP, {"prefetch_factor": None, "multiprocessing_context": None, "generator": None}),
    "timeout 0": (MAP, {"timeout": 0}),
    "timeout with workers": (MAP, {"timeout": 60.0, "num_workers": 1}),
    "init function without workers": (MAP, {"worker_init_fn": print}),
    "pin_memory_device": (MAP, {"pin_memory_device": ""}),
    "in order": (MAP, {"in_order": True}),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed(make: Make, name: str) -> None:
    """Arguments that say nothing new, or do nothing here."""
    dataset, arguments = ALLOWED[name]
    assert_as_torch(make, dataset, **arguments)


def test_attributes(make: Make) -> None:
    """The arguments are there under their names, for trainers that look."""
    generator = torch.Generator()
    named: dict[str, Any] = {
        "batch_size": 2,
        "num_workers": 1,
        "collate_fn": list,
        "pin_memory": False,
        "drop_last": True,
        "timeout": 5,
        "worker_init_fn": print,
        "generator": generator,
        "prefetch_factor": 3,
        "persistent_workers": True,
        "in_order": True,
    }
    loader = make(MAP, sampler=[1, 2, 3], **named)
    assert loader.dataset is MAP
    assert {name: getattr(loader, name) for name in named} == named
    assert list(loader.sampler) == [1, 2, 3]
    assert loader.generator is generator
    assert loader.multiprocessing_context is None


def test_attributes_that_were_not_given(make: Make) -> None:
    """Defaults are torch's; the sampler and the batch sampler that were made may be iterated."""
    loader = make(MAP, batch_size=3)
    assert list(loader.sampler) == [0, 1, 2, 3]
    assert list(loader.batch_sampler) == [[0, 1, 2], [3]]
    assert (loader.num_workers, loader.drop_last, loader.pin_memory) == (0, False, False)
    assert (loader.persistent_workers, loader.prefetch_factor) == (False, None)
    assert loader.worker_init_fn is None
    assert loader.collate_fn([1, 2]).tolist() == [1, 2]
    assert make(MAP, num_workers=1).prefetch_factor == 2


def test_attributes_of_a_batch_sampler(make: Make) -> None:
    """batch_size is None then; the batch sampler is the user's own."""
    batches = [[1], [2, 3]]
    loader = make(MAP, batch_sampler=batches)
    assert loader.batch_sampler is batches
    assert loader.batch_size is None
    assert loader.drop_last is False


def test_attributes_without_batches(make: Make) -> None:
    """There is no batch sampler, and the collate function converts a single item."""
    loader = make(MAP, batch_size=None)
    assert loader.batch_size is None
    assert loader.batch_sampler is None
    assert loader.collate_fn((1, "a")) == [1, "a"]


@pytest.mark.parametrize("context", ["spawn", multiprocessing.get_context("fork")], ids=["name", "object"])
def test_the_context_is_an_object(make: Make, context: Any) -> None:
    """Whether it was given by name or not."""
    loader = make(MAP, num_workers=1, multiprocessing_context=context)
    assert isinstance(loader.multiprocessing_context, multiprocessing.context.BaseContext)
    assert loader.multiprocessing_context.get_start_method() in ("spawn", "fork")


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_attributes_that_are_fixed(make: Make, name: str) -> None:
    """Setting them later is refused: it would do nothing."""
    loader = make(MAP)
    with refuses(make, f"{name} attribute should not be set after DataLoader is initialized"):
        setattr(loader, name, None)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="memory can be pinned here")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_pin_memory_without_an_accelerator(make: Make, num_workers: int) -> None:
    """A warning, and ordinary memory."""
    words = "'pin_memory' argument is set as true but no accelerator is found"
    with pytest.warns(UserWarning, match=words):
        batches = list(make(MAP, batch_size=2, pin_memory=True, num_workers=num_workers))
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3]]
    assert not any(batch.is_pinned() for batch in batches)
