"""The last step, on the user's thread: from a finished batch to what `next()` gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dalikit.callables import seeded_generators
from dalikit.collate import as_tensors, move_tensors, parameters_of_samples, samples_of
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

    Raises:
        ArgumentError: the recipe mixes batches, and there is a collate_fn, which would make them afterwards.
    """

    def __init__(
        self, recipe: Recipe, device: torch.device, collate_fn: Callable[[list[Any]], Any] | None = None
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._collate_fn = collate_fn
        if recipe.mixing is not None:
            check_mixing(recipe.mixing, floating=recipe.floating, single=recipe.single, collate_fn=collate_fn)

    def __call__(self, batch: FinishedBatch, seed: int) -> Any:
        """What the user gets of a batch."""
        images, targets = batch.images, batch.targets
        if self._recipe.mixing is not None:
            images, targets = apply_mix(draw_mix(self._recipe.mixing, seed, batch.first_position), images, targets)
        parts = [move_tensors(targets, self._device)]
        if batch.parameters is not None:
            parts.append(move_tensors(as_tensors(batch.parameters), self._device))
        if self._collate_fn is None:
            return images, *parts
        if batch.parameters is not None:
            parts[1] = parameters_of_samples(self._recipe, parts[1], len(parts[0]))
        samples = samples_of(self._recipe, images, *parts)
        named = SampleList(samples, batch=images, seed=seed, first_position=batch.first_position)
        try:
            # What a user's function draws by chance follows from the batch's position too.
            with seeded_generators(seed, batch.first_position, Purpose.COLLATION):
                return self._collate_fn(named)
        except StopIteration as error:  # would end the user's loop without a word (PEP 479)
            raise RuntimeError("collate_fn raised StopIteration") from error
