"""The last step, on the user's thread: from a finished batch to what `next()` gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import default_convert

from dalikit.callables import seeded_generators
from dalikit.collate import as_tensors, move_tensors, parameters_of_samples, pin_tensors, views_of_samples
from dalikit.errors import ArgumentError
from dalikit.fetch import OtherBatch, show_indices
from dalikit.mixing import apply_mix
from dalikit.samples import SampleList
from dalikit.stream import FinishedBatch
from dalikit.transforms.mixing import check_mixing, draw_mix
from dalikit.transforms.purposes import Purpose
from dalikit.transforms.recipe import Recipe

__all__ = ["Delivery"]


class Delivery:
    """Mixes, moves to the device, and collates.

    Args:
        recipe: how the images were made.
        device: where targets go; the images are there.
        collate_fn: makes a batch of the list of its samples; None: (images, targets), and what was drawn if asked for.
        pin_memory: whether what stays on the CPU is pinned.

    Raises:
        ArgumentError: the recipe mixes batches, and there is a collate_fn, which would make them afterwards.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        pin_memory: bool = False,
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._collate_fn = collate_fn
        self._pin_memory = pin_memory
        if recipe.mixing is not None:
            check_mixing(recipe.mixing, floating=recipe.floating, single=recipe.single, collate_fn=collate_fn)

    def __call__(self, batch: FinishedBatch | OtherBatch, seed: int) -> Any:
        """What the user gets of a batch."""
        if isinstance(batch, OtherBatch):  # collated where it was read, as torch does
            value = move_tensors(batch.value, self._device)
        elif self._collate_fn is None and batch.batched:
            value = self._bundle(batch, seed)
        else:
            value = self._of_samples(batch, seed)
        return pin_tensors(value) if self._pin_memory else value

    def _bundle(self, batch: FinishedBatch, seed: int) -> Any:
        """Images and targets in their places."""
        images, targets = batch.images, batch.targets
        if self._recipe.mixing is not None:
            if not batch.layout.bare_pair:
                raise ArgumentError("MixUp and CutMix take items (image, target); the dataset gives other ones")
            images, targets = apply_mix(draw_mix(self._recipe.mixing, seed, batch.first_position), images, targets)
        whole = batch.layout.bundle(move_tensors(targets, self._device), images)
        return whole if batch.parameters is None else _with(whole, self._drawn(batch))

    def _of_samples(self, batch: FinishedBatch, seed: int) -> Any:
        """What the user's function makes of the samples; of one that is no list of samples, the sample."""
        targets = move_tensors(batch.targets, self._device)
        views = views_of_samples(self._recipe, batch.images, len(targets))
        samples = [batch.layout.put(target, view) for target, view in zip(targets, views, strict=True)]
        if batch.parameters is not None:
            drawn = parameters_of_samples(self._recipe, self._drawn(batch), len(samples))
            samples = [_with(sample, each) for sample, each in zip(samples, drawn, strict=True)]
        given: Any = SampleList(samples, batch=batch.images, seed=seed, first_position=batch.first_position)
        if not batch.batched:
            given = samples[0]
        if self._collate_fn is None:
            return move_tensors(_converted(given), self._device)
        try:
            # What a user's function draws by chance follows from the batch's position too.
            with seeded_generators(seed, batch.first_position, Purpose.COLLATION):
                return self._collate_fn(given)
        except StopIteration as error:  # would end the user's loop without a word (PEP 479)
            raise RuntimeError("collate_fn raised StopIteration") from error
        except Exception as error:  # the user's own: its type and words stay
            error.add_note(f"in collate_fn, of the batch with indices {show_indices(batch.indices)}")
            raise

    def _drawn(self, batch: FinishedBatch) -> Any:
        return move_tensors(as_tensors(batch.parameters), self._device)


def _with(value: Any, drawn: Any) -> tuple[Any, ...]:
    """What was drawn as one more part."""
    return (*value, drawn) if type(value) is tuple else (value, drawn)


def _converted(item: Any) -> Any:
    """As torch does with an item that is a batch already: arrays become tensors."""
    converted = default_convert(item)  # type: ignore[no-untyped-call]
    return tuple(converted) if type(item) is tuple else converted
