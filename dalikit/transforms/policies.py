"""Policies: RandAugment, TrivialAugmentWide, AutoAugment and AugMix.

Names, arguments, defaults, operations and magnitudes are torchvision's; what is drawn is dalikit's own stream. The
operations are those that torchvision carries out for PIL images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dalikit.errors import ArgumentError
from dalikit.transforms.arguments import check_bool, check_fill, check_number, check_warp_interpolation, check_whole
from dalikit.transforms.base import Columns, Drawn, Sizes, Transform
from dalikit.transforms.draws import Draws, Words, integers, uniform
from dalikit.transforms.gamma import log_gamma, shares
from dalikit.transforms.operations import InterpolationMode, Mixture, Operation
from dalikit.transforms.policy_space import NONE, PLACE_COLUMNS, Space, places_drawn
from dalikit.transforms.policy_tables import SUBPOLICIES, AutoAugmentPolicy
from dalikit.transforms.purposes import Purpose

__all__ = ["AugMix", "AutoAugment", "AutoAugmentPolicy", "RandAugment", "TrivialAugmentWide"]

_GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
_LEVELS = ("Posterize", "Solarize", "AutoContrast", "Equalize")

_AUTO = Space(
    names=(*_GEOMETRY, *_BLENDS, *_LEVELS, "Invert"),
    shear=0.3,
    translate=(150, 331),
    translate_by_side=True,
    rotate=30.0,
    blend=0.9,
    posterize=(8, 4),
)
_RAND = Space(
    names=("Identity", *_GEOMETRY, *_BLENDS, *_LEVELS),
    shear=0.3,
    translate=(150, 331),
    translate_by_side=True,
    rotate=30.0,
    blend=0.9,
    posterize=(8, 4),
)
_WIDE = Space(
    names=("Identity", *_GEOMETRY, *_BLENDS, *_LEVELS),
    shear=0.99,
    translate=(32, 1),
    translate_by_side=False,
    rotate=135.0,
    blend=0.99,
    posterize=(8, 6),
)
_MIX = Space(
    names=(*_GEOMETRY, *_LEVELS, *_BLENDS),
    shear=0.3,
    translate=(1, 3),
    translate_by_side=True,
    rotate=30.0,
    blend=0.9,
    posterize=(4, 4),
)
_MIX_NO_BLENDS = Space(
    names=(*_GEOMETRY, *_LEVELS),
    shear=0.3,
    translate=(1, 3),
    translate_by_side=True,
    rotate=30.0,
    blend=0.0,
    posterize=(4, 4),
)

_MAX_PLACES = 64
"""More operations than anybody lets follow one another; a recipe builds each of them."""
_BINS = 10
"""Magnitudes of AutoAugment and AugMix."""


class _Policy(Transform):
    """Common to all: how the warps are done, and what users are told."""

    interpolation: Any
    fill: Any

    def _check_warp(self) -> None:
        object.__setattr__(self, "interpolation", check_warp_interpolation("interpolation", self.interpolation))
        object.__setattr__(self, "fill", check_fill("fill", self.fill))

    def _places(self, space: Space, column: int, count: int) -> tuple[Operation, ...]:
        """The operations of places that follow one another."""
        return tuple(
            space.operation(column + place * PLACE_COLUMNS, self.interpolation, self.fill) for place in range(count)
        )

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """The numbers of the operations, in torchvision's order of them; -1: none. And their magnitudes."""
        return places_drawn(values)


def _with_sign(
    space: Space, numbers: npt.NDArray[np.int64], magnitudes: npt.NDArray[np.float64], words: Words
) -> npt.NDArray[np.float64]:
    """Half of the magnitudes that may have a sign become negative."""
    negative = space.signed(numbers) & (uniform(words) < 0.5)
    return magnitudes * np.where(negative, -1.0, 1.0)


@dataclass(frozen=True)
class RandAugment(_Policy):
    """Applies some operations, drawn from fourteen, all of one magnitude.

    Source: E. D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2019.

    Args:
        num_ops: how many operations follow one another, 1 to 64.
        magnitude: which of the magnitudes, 0 to `num_magnitude_bins` - 1.
        num_magnitude_bins: how many there are, at least 2.
        interpolation: "nearest" (default, as torchvision's) or "bilinear".
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them; None: black.

    Raises:
        ArgumentError: an argument is out of range.
    """

    num_ops: Any = 2
    magnitude: Any = 9
    num_magnitude_bins: Any = 31
    interpolation: Any = InterpolationMode.NEAREST
    fill: Any = None

    purpose: ClassVar[int] = Purpose.RAND_AUGMENT
    num_blocks: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        check_whole("num_ops", self.num_ops, 1, _MAX_PLACES)
        check_whole("num_magnitude_bins", self.num_magnitude_bins, 2, 65536)
        check_whole("magnitude", self.magnitude, 0, self.num_magnitude_bins - 1)
        self._check_warp()

    @property
    def num_columns(self) -> int:
        """A place for each operation."""
        return int(self.num_ops * PLACE_COLUMNS)

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the places."""
        words = draws.blocks(0, self.num_ops)  # (R, num_ops, 4): operation, sign
        numbers = integers(words[:, :, 0], len(_RAND.names))
        bins = np.full_like(numbers, self.magnitude)
        magnitudes = _RAND.magnitudes(numbers, bins, self.num_magnitude_bins, sizes)
        return _RAND.columns(numbers, _with_sign(_RAND, numbers, magnitudes, words[:, :, 1]), sizes), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """One place after the other."""
        return self._places(_RAND, column, self.num_ops)


@dataclass(frozen=True)
class TrivialAugmentWide(_Policy):
    """Applies one operation, drawn from fourteen, of a random magnitude.

    Source: S. G. Müller, F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021.

    Args:
        num_magnitude_bins: how many magnitudes there are, at least 2.
        interpolation: "nearest" (default, as torchvision's) or "bilinear".
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them; None: black.

    Raises:
        ArgumentError: an argument is out of range.
    """

    num_magnitude_bins: Any = 31
    interpolation: Any = InterpolationMode.NEAREST
    fill: Any = None

    purpose: ClassVar[int] = Purpose.TRIVIAL_AUGMENT_WIDE
    num_blocks: ClassVar[int] = 1
    _num_columns: ClassVar[int] = PLACE_COLUMNS

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        check_whole("num_magnitude_bins", self.num_magnitude_bins, 2, 65536)
        self._check_warp()

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the place."""
        words = draws.words()[:, None]  # (R, 1, 4): operation, magnitude, sign
        numbers = integers(words[:, :, 0], len(_WIDE.names))
        bins = integers(words[:, :, 1], self.num_magnitude_bins)
        magnitudes = _WIDE.magnitudes(numbers, bins, self.num_magnitude_bins, sizes)
        return _WIDE.columns(numbers, _with_sign(_WIDE, numbers, magnitudes, words[:, :, 2]), sizes), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """One place."""
        return self._places(_WIDE, column, 1)


@dataclass(frozen=True)
class AutoAugment(_Policy):
    """Applies one of 25 pairs of operations, each of the two with a probability of its own.

    Source: E. D. Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    Args:
        policy: an AutoAugmentPolicy (or torchvision's), or its value: "imagenet" (default), "cifar10" or "svhn".
        interpolation: "nearest" (default, as torchvision's) or "bilinear".
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them; None: black.

    Raises:
        ArgumentError: an argument is out of range.
    """

    policy: Any = AutoAugmentPolicy.IMAGENET
    interpolation: Any = InterpolationMode.NEAREST
    fill: Any = None

    purpose: ClassVar[int] = Purpose.AUTO_AUGMENT
    num_blocks: ClassVar[int] = 2
    _num_columns: ClassVar[int] = 2 * PLACE_COLUMNS

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        try:
            object.__setattr__(self, "policy", AutoAugmentPolicy(getattr(self.policy, "value", self.policy)))
        except ValueError:
            allowed = ", ".join(policy.value for policy in AutoAugmentPolicy)
            raise ArgumentError(f"policy={self.policy!r}: must be one of {allowed}") from None
        self._check_warp()

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the two places."""
        table = SUBPOLICIES[self.policy]
        words, signs = draws.words(0), draws.words(1)
        chosen = integers(words[:, 0], len(table))
        numbers, bins = (
            np.array([[pick(step) for step in pair] for pair in table])[chosen]
            for pick in (lambda step: _AUTO.names.index(step.name), lambda step: step.bin)
        )
        likely = np.array([[step.probability for step in pair] for pair in table])[chosen]
        numbers = np.where(uniform(words[:, 1:3]) < likely, numbers, NONE)
        magnitudes = np.where(numbers == NONE, 0.0, _AUTO.magnitudes(numbers, bins, _BINS, sizes))
        return _AUTO.columns(numbers, _with_sign(_AUTO, numbers, magnitudes, signs[:, :2]), sizes), sizes

    def operations(self, column: int) -> tuple[Operation, ...]:
        """Two places."""
        return self._places(_AUTO, column, 2)


@dataclass(frozen=True)
class AugMix(_Policy):
    """Blends the image with several copies, each of which went through a chain of operations of its own.

    Source: D. Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty",
    ICLR 2020. torchvision turns the image into a tensor first; here the operations are those for PIL images.

    Args:
        severity: largest magnitude of ten, 1 to 10.
        mixture_width: how many chains.
        chain_depth: how many operations a chain has; 0 or less: 1, 2 or 3 at random.
        alpha: shape of the Beta and Dirichlet distributions that the weights are drawn from, above 0.
        all_ops: draw brightness, color, contrast and sharpness too.
        interpolation: "bilinear" (default, as torchvision's) or "nearest".
        fill: colour of what lies outside the image: a level from 0 to 255, or three of them; None: black.

    Raises:
        ArgumentError: an argument is out of range.
    """

    severity: Any = 3
    mixture_width: Any = 3
    chain_depth: Any = -1
    alpha: Any = 1.0
    all_ops: Any = True
    interpolation: Any = InterpolationMode.BILINEAR
    fill: Any = None

    purpose: ClassVar[int] = Purpose.AUG_MIX
    num_blocks: ClassVar[int] = 14
    """Of the default: a block for each operation, and one for each weight and the sum of those of the chains."""

    def __post_init__(self) -> None:
        """Checks and normalises the arguments."""
        check_whole("severity", self.severity, 1, _BINS)
        check_whole("mixture_width", self.mixture_width, 1, 16)
        check_whole("chain_depth", self.chain_depth, -65536, 16)
        object.__setattr__(self, "alpha", check_number("alpha", self.alpha))
        if self.alpha <= 0.0:
            raise ArgumentError(f"alpha={self.alpha!r}: must be above 0")
        check_bool("all_ops", self.all_ops)
        self._check_warp()

    @property
    def _depth(self) -> int:
        """How many places a chain has."""
        return int(self.chain_depth) if self.chain_depth > 0 else 3

    @property
    def _space(self) -> Space:
        return _MIX if self.all_ops else _MIX_NO_BLENDS

    @property
    def num_columns(self) -> int:
        """The weights, and the places."""
        return int(1 + self.mixture_width + self.mixture_width * self._depth * PLACE_COLUMNS)

    def draw(self, draws: Draws, sizes: Sizes) -> tuple[Columns, Sizes]:
        """Columns: the weights of the image and of the chains; then the places, chain after chain."""
        space, width, depth = self._space, self.mixture_width, self._depth
        words = draws.blocks(0, width * depth)  # (R, places, 4): operation, magnitude, sign, length of the chain
        numbers = integers(words[:, :, 0], len(space.names))
        magnitudes = space.magnitudes(numbers, integers(words[:, :, 1], self.severity), _BINS, sizes)
        if self.chain_depth <= 0:
            lengths = 1 + integers(words[:, ::depth, 3], depth)
            within = np.arange(depth) < lengths[:, :, None]
            numbers = np.where(within.reshape(numbers.shape), numbers, NONE)
            magnitudes = np.where(numbers == NONE, 0.0, magnitudes)
        places = space.columns(numbers, _with_sign(space, numbers, magnitudes, words[:, :, 2]), sizes)
        return (*self._weights(draws, width * depth).T, *places), sizes

    def _weights(self, draws: Draws, block: int) -> npt.NDArray[np.float64]:
        """(R, 1 + width), each row of sum 1."""
        count = 2 + self.mixture_width
        logs = np.stack([log_gamma(draws, self.alpha, block + each, count) for each in range(count)], axis=1)
        both = shares(logs[:, :2])  # the image's weight, and that of all chains
        return np.concatenate([both[:, :1], both[:, 1:] * shares(logs[:, 2:])], axis=1)

    def operations(self, column: int) -> tuple[Operation, ...]:
        """A mixture of chains."""
        start, step = column + 1 + self.mixture_width, self._depth * PLACE_COLUMNS
        chains = (self._places(self._space, start + chain * step, self._depth) for chain in range(self.mixture_width))
        return (Mixture(column, tuple(chains)),)

    def drawn(self, values: npt.NDArray[np.float32]) -> tuple[Drawn, ...]:
        """Weights of the image and of the chains; numbers and magnitudes of the operations, chain after chain."""
        start = 1 + self.mixture_width
        return (Drawn("mixture_weights", values[:, :start], 0.0), *places_drawn(values[:, start:]))
