"""Samplers whose order is a function of the place: nothing stored, nothing replayed, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samplers.arguments import rank_and_world_size, whole_number
from samplers.keyed_orders import Blocks, KeyedOrders
from samplers.permutation import Order
from samplers.positions import COUNT_STOP
from samplers.sampler import EndlessSampler, FiniteSampler, Sampler

__all__ = ["KeyedEpochSampler", "KeyedInfiniteSampler", "Tail"]

Tail = Literal["uneven", "pad", "drop"]
"""What becomes of a pass that the ranks do not divide: some have one sample more; the first samples are repeated; the
last are left out."""


class _Keyed(Sampler):
    """What both have: an order that is keyed, and made in blocks."""

    elastic = True
    _laps_are_epochs: ClassVar[bool]
    _orders: KeyedOrders
    _blocks: Blocks

    @property
    def repeats(self) -> int:
        """At how many places in a row a sample stands."""
        return self._orders.repeats

    @property
    def weights(self) -> NDArray[np.int64] | None:
        """The weights' proportions, as they are kept: whole numbers (sample_count,), a fresh array. None: without."""
        return None if self._orders.weights is None else self._orders.weights.numbers()

    def after(self, place: int) -> Self:
        """The sampler for the rest of a pass; see Sampler.after."""
        rest = super().after(place)
        rest._blocks = rest._no_blocks()
        return rest

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream; see Sampler.identity. "weights" is a short hash of them."""
        return {**super().identity(), **self._orders.options()}

    def _no_blocks(self) -> Blocks:
        return Blocks(self._orders.lap // self.step)

    def _options(self) -> dict[str, object]:
        """Those of the arguments that are not left out."""
        repeats: dict[str, object] = {} if self.repeats == 1 else {"repeats": self.repeats}
        return repeats if self._orders.weights is None else {**repeats, "weights": self._orders.weights}

    def _indices(self, epoch: int, first: int, last: int) -> NDArray[np.int64]:
        return self._blocks.indices(epoch, first, last, self._here()[2], self._block)

    def _block(self, epoch: int, first: int, last: int) -> Order:
        return self._orders.indices(epoch, self._places(first, last), laps_are_epochs=self._laps_are_epochs)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        return np.arange(first, last, dtype=np.int64) * self.step + (self._base + self.start)


class KeyedEpochSampler(_Keyed, FiniteSampler):
    """Every sample once a pass, in a new random order each pass, dealt out to the ranks one by one.

    With 3 ranks and 8 samples; the order is made up:

        place    0  1  2  3  4  5  6  7
        index    6  1  3  0  7  2  5  4
        rank     0  1  2  0  1  2  0  1        "uneven": 3, 3 and 2 samples
                                        2      "pad":    rank 2 repeats place 0, index 6
                                               "drop":   places 6 and 7 are left out, 2 samples each

    What stands at a place does not depend on the number of ranks. The order is a KeyedPermutation, keyed by (seed,
    epoch): every place is found at once, so `advance` and `set_epoch` cost nothing, and nothing is stored, however
    large the dataset is.

    With `repeats` a sample stands at several places in a row, so that neighbouring ranks get it together; as the places
    differ, so do the augmentations. This is repeated augmentation (E. Hoffer et al., "Augment your batch", CVPR 2020;
    M. Berman et al., "MultiGrain", 2019), by default with passes that are as many times as long. With
    `size=sample_count` they are as long as ever and hold a part of the samples, as in DeiT's and timm's RASampler.

    With `weights` the samples come in proportion to them, by systematic sampling (SampleWeights has its sources): of
    the n slots of a lap over n samples, sample i takes n * weight / sum, rounded down or up at random; so no count is
    more than one away from what is expected, an expected whole number is met, and weight 0 never comes. (torch's
    WeightedRandomSampler draws each slot by itself: there a sample that is expected twice is left out of every seventh
    pass.) The n slots are then put in random order. `balanced_weights` makes weights of classes.

    Costs: some 60 ns an index. With weights some 200 ns if there are a million, and 8 bytes each.

    Args:
        sample_count: Samples in the dataset, in [1, 2**40).
        size: Places in a pass over all ranks, in [1, 2**40). Default None: a lap over the dataset, `sample_count *
            repeats`. With less, a pass is the beginning of the order; with more, the dataset is gone through again,
            each lap in an order of its own.
        shuffle: Whether to shuffle. Default True. Without, samples come in order of index, with repeats and weights
            too.
        seed: In [0, 2**63). Default 0. Without shuffle only the rounding of weights follows from it.
        start: This rank. Default None: torch.distributed's if it is initialised, else 0.
        step: The number of ranks. Default None: torch.distributed's if it is initialised, else 1.
        tail: "uneven", "pad" or "drop"; see above. Default "uneven": nothing is seen twice and nothing left out.
        advance: Samples of this rank that count as taken; see FiniteSampler. Default 0.
        repeats: At how many places in a row a sample stands, at least 1; a lap is below 2**40 places. Default 1.
        weights: Real numbers, shape (sample_count,), finite, not negative and not all 0, for less than 2**31 samples.
            Only their proportions count; see SampleWeights. Default None: every sample once a lap.

    Raises:
        TypeError, ValueError: an argument is not of its kind, or out of range.
    """

    _laps_are_epochs = False

    def __init__(
        self,
        *,
        sample_count: int,
        size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        tail: Tail = "uneven",
        advance: int = 0,
        repeats: int = 1,
        weights: ArrayLike | None = None,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        self._orders = orders = KeyedOrders(sample_count, shuffle=shuffle, seed=seed, repeats=repeats, weights=weights)
        places = orders.lap if size is None else size
        places = whole_number("size", places, 1, COUNT_STOP, "Pass the number of samples in a pass of all ranks.")
        if tail not in get_args(Tail):
            raise ValueError(f'tail is {tail!r}, but must be "uneven", "pad" or "drop".')
        self._tail = tail
        super().__init__(
            sample_count=orders.count,
            shuffle=orders.shuffle,
            seed=orders.seed,
            start=rank,
            step=world_size,
            size=places,
            advance=advance,
        )
        self._blocks = self._no_blocks()

    @property
    def tail(self) -> Tail:
        """What becomes of a pass that the ranks do not divide."""
        return self._tail

    def identity(self) -> dict[str, int | str | bool]:
        """What makes the stream; see Sampler.identity. "weights" is a short hash of them."""
        return {**super().identity(), "tail": self._tail}

    @property
    def common_samples(self) -> int:
        """Samples that every rank has at least in an epoch: so where short batches are left out, all ranks have as
        many batches, with an uneven tail too.
        """
        return (self.size - self._base) // self.step if self._tail == "uneven" else self.num_samples

    def _share(self, size: int) -> int:
        if self._tail == "uneven":
            return max(0, -(-(size - self.start) // self.step))
        return size // self.step if self._tail == "drop" else -(-size // self.step)

    def _places(self, first: int, last: int) -> NDArray[np.int64]:
        places = super()._places(first, last)
        return places % self.size if self._tail == "pad" else places

    def _arguments(self) -> Mapping[str, object]:
        return {
            "sample_count": self.sample_count,
            "size": self.size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "start": self.start,
            "step": self.step,
            "tail": self._tail,
            "advance": self.advance,
            **self._options(),
        }


class KeyedInfiniteSampler(_Keyed, EndlessSampler):
    """Epochs without end, each in a new random order, dealt out to the ranks one by one.

    With 3 ranks and 8 samples; the order is made up:

        epoch    0  0  0  0  0  0  0  0 | 1  1  1  1 ...
        index    6  1  3  0  7  2  5  4 | 3  5  0  6 ...
        rank     0  1  2  0  1  2  0  1 | 2  0  1  2 ...

    The ranks go on over the epoch's end, and do not drift apart: after k samples each, exactly the first `k * step`
    places are gone. Epoch e, a lap of `sample_count * repeats` places, has the order of KeyedEpochSampler's epoch e,
    for the same seed, repeats and weights; all that is said there of orders and costs holds here, wherever in the
    stream.

    Args:
        sample_count, shuffle, seed, start, step, repeats, weights: KeyedEpochSampler's.
        advance: Samples of this rank that are left out at the beginning. Default 0.

    Raises:
        TypeError, ValueError: an argument is not of its kind, or out of range.
    """

    _laps_are_epochs = True

    def __init__(
        self,
        *,
        sample_count: int,
        shuffle: bool = True,
        seed: int = 0,
        start: int | None = None,
        step: int | None = None,
        advance: int = 0,
        repeats: int = 1,
        weights: ArrayLike | None = None,
    ) -> None:
        rank, world_size = rank_and_world_size(start, step)
        self._orders = orders = KeyedOrders(sample_count, shuffle=shuffle, seed=seed, repeats=repeats, weights=weights)
        super().__init__(
            sample_count=orders.count,
            shuffle=orders.shuffle,
            seed=orders.seed,
            start=rank,
            step=world_size,
            share=max(1, orders.lap // world_size),
            advance=advance,
        )
        self._blocks = self._no_blocks()

    def _arguments(self) -> Mapping[str, object]:
        return {**super()._arguments(), **self._options()}
