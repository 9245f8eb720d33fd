"""The batch of DINOv2's training: crops of a kind in one tensor, and iBOT's masks for the global ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dalikit.callables import seeded_generators
from dalikit.collate import move_tensors
from dalikit.errors import ArgumentError
from dalikit.masking import KeyedSource, MaskingGenerator, RandomSource
from dalikit.samples import SampleList
from dalikit.transforms.purposes import Purpose

__all__ = ["collate_data_and_cast"]

Samples = Sequence[tuple[Any, ...]]
Masks = npt.NDArray[np.bool_]


def collate_data_and_cast(
    samples_list: Samples,
    mask_ratio_tuple: tuple[float, float],
    mask_probability: float,
    dtype: torch.dtype,
    n_tokens: int | None = None,
    mask_generator: Callable[[int], Any] | None = None,
) -> dict[str, Any]:
    """Makes DINOv2's training batch, argument for argument and key for key; pass it as collate_fn by `partial`.

    From dalikit's loader the crops are taken as they lie on the device, without a copy, and the masks follow from
    (seed, position of the batch's first sample): equal after a resume only at the same batch size and number of ranks,
    for they are shared out among the batch. From torch's loader the crops are stacked, and the masks' key is drawn from
    torch's generator.

    A mask_generator that is not dalikit's draws from wherever it does, DINOv2's from Python's `random`: with dalikit's
    loader the global generators are seeded for it, with torch's they are left as they are.

    Args:
        samples_list: B samples `(views, ...)`, views being a dict with lists of tensors: "global_crops", n tensors of
            (C, H, W), and "local_crops", any number of (C, h, w).
        mask_ratio_tuple: smallest and largest share of a masked crop's patches, 0 to 1. It is cut into as many equal
            parts as there are masked crops, and each of them draws its share from another part.
        mask_probability: share of the global crops that get a mask, 0 to 1.
        dtype: of the crops that come out.
        n_tokens: patches of a global crop; None: as many as the mask_generator's shape has.
        mask_generator: a MaskingGenerator, or what is called as one.

    Returns:
        With G = n * B global crops of N patches, crop-major (all samples' first crop, then their second), and M masked
        patches in all; every tensor is on the crops' device:
        "collated_global_crops": `dtype` (G, C, H, W).
        "collated_local_crops": `dtype` (number of them * B, C, h, w); without local crops (0, C, H, W).
        "collated_masks": bool (G, N), True where masked; which crops have a mask is drawn.
        "mask_indices_list": int64 (M,), the masked patches' places in the flattened masks.
        "masks_weight": float32 (M,), one over the number of masked patches of the patch's crop.
        "upperbound": int, M is never larger.
        "n_masked_patches": int64 (1,), M.

    Raises:
        ArgumentError: an argument is out of range, there is no mask_generator, or samples have no global crops.
    """
    ratios = _check_arguments(samples_list, mask_ratio_tuple, mask_probability)
    if mask_generator is None:
        raise ArgumentError("mask_generator=None: must be a MaskingGenerator, or what is called as one")
    tokens = math.prod(_shape_of(mask_generator)) if n_tokens is None else n_tokens
    global_crops = _collate_crops(samples_list, "global_crops")
    local_crops = _collate_crops(samples_list, "local_crops")
    if global_crops is None:
        raise ArgumentError("samples_list: the samples' list 'global_crops' is empty; masks are for global crops")
    if local_crops is None:
        local_crops = global_crops.new_empty((0, *global_crops.shape[1:]))

    # float32, as in DINOv2, so that `upperbound` is the same number.
    edges = torch.linspace(*ratios, int(len(global_crops) * mask_probability) + 1)
    masks = _draw_masks(samples_list, len(global_crops), edges.tolist(), tokens, mask_generator)
    return {
        "collated_global_crops": global_crops.to(dtype),
        "collated_local_crops": local_crops.to(dtype),
        **_collate_masks(masks, global_crops.device),
        "upperbound": int((edges[1:] * tokens).to(torch.int64).sum()),
    }


def _check_arguments(samples: Samples, ratios: Any, probability: Any) -> tuple[float, float]:
    try:
        low, high = (float(ratio) for ratio in ratios)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 <= low <= high <= 1:
        raise ArgumentError(f"mask_ratio_tuple={ratios!r}: must be (minimum, maximum), 0 <= minimum <= maximum <= 1")
    if not 0 <= probability <= 1:
        raise ArgumentError(f"mask_probability={probability!r}: must be a number from 0 to 1")
    if not len(samples) or not isinstance(samples[0][0], dict) or "global_crops" not in samples[0][0]:
        raise ArgumentError(
            "samples_list: must be samples (views, ...) with views['global_crops'] a list of tensors, at least one; "
            "DataAugmentationDINO makes such views"
        )
    return low, high


def _shape_of(mask_generator: Any) -> tuple[int, int]:
    if not hasattr(mask_generator, "get_shape"):
        raise ArgumentError("n_tokens=None: must be given, the mask_generator has no get_shape()")
    height, width = mask_generator.get_shape()
    return height, width


def _collate_crops(samples: Samples, name: str) -> Tensor | None:
    """All crops of a kind, crop-major: (n * B, C, H, W); None if there are none."""
    count = len(samples[0][0].get(name, ()))
    crops: list[Tensor] = [sample[0][name][place] for place in range(count) for sample in samples]
    if not crops:
        return None
    whole = _whole_batch(samples, name)
    # What the caller did to the list or to a sample decides: the batch counts only if it is made of these very crops.
    if whole is not None and len(whole) == len(crops) and all(map(Tensor.is_set_to, crops, whole.unbind(0))):
        return whole
    return torch.stack(crops)


def _whole_batch(samples: Samples, name: str) -> Tensor | None:
    """What dalikit's loader has made of a kind of crop, as (n * B, C, H, W) without a copy."""
    if not isinstance(samples, SampleList) or not isinstance(samples.batch, dict):
        return None
    stacked = samples.batch.get(name)
    if not isinstance(stacked, Tensor) or stacked.ndim != 5:
        return None
    whole = stacked.flatten(0, 1)
    return whole if whole.data_ptr() == stacked.data_ptr() else None


def _draw_masks(
    samples: Samples, num_crops: int, edges: list[float], tokens: int, generator: Callable[[int], Any]
) -> Masks:
    """bool (num_crops, N): one mask for each pair of neighbouring edges, the rest empty, in an order that is drawn."""
    source: RandomSource
    seeded: AbstractContextManager[None] = nullcontext()
    if isinstance(generator, MaskingGenerator):
        source = KeyedSource(*_key_of(samples))
    else:
        source = random  # where such a generator draws from too
        if isinstance(samples, SampleList):
            seeded = seeded_generators(*_key_of(samples), Purpose.MASKS)
    with seeded:
        numbers = [int(tokens * source.uniform(low, high)) for low, high in pairwise(edges)]
        numbers += [0] * (num_crops - len(numbers))
        if isinstance(generator, MaskingGenerator):
            masks = generator.masks(numbers, source)
        else:
            masks = np.stack([np.asarray(generator(number), dtype=np.bool_) for number in numbers])
        order = _shuffled(num_crops, source)
    return masks.reshape(num_crops, -1)[order]


def _key_of(samples: Samples) -> tuple[int, int]:
    """Seed and position; from torch's generator where no loader of dalikit's says them."""
    if isinstance(samples, SampleList):
        return samples.seed, samples.first_position
    return int(torch.empty((), dtype=torch.int64).random_()), 0


def _shuffled(count: int, source: RandomSource) -> list[int]:
    """The numbers from 0 to count - 1 in a random order (Fisher and Yates)."""
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        chosen = source.randint(0, last)
        order[last], order[chosen] = order[chosen], order[last]
    return order


def _collate_masks(masks: Masks, device: torch.device) -> dict[str, Tensor]:
    """What training needs of the masks. Worked out on the CPU: to ask a GPU how many there are would wait for it."""
    counts = np.count_nonzero(masks, axis=1)
    weights = np.float32(1) / np.maximum(counts, 1).astype(np.float32)
    on_cpu = {
        "collated_masks": torch.from_numpy(masks),
        "mask_indices_list": torch.from_numpy(np.flatnonzero(masks)),
        "masks_weight": torch.from_numpy(np.repeat(weights, counts)),
        "n_masked_patches": torch.full((1,), int(counts.sum())),
    }
    moved: dict[str, Tensor] = move_tensors(on_cpu, device)
    return moved
