"""An argument that cannot be meant is answered with its name, what came and what is allowed."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms.base import Sizes
from dalikit.transforms.draws import Draws

SIZE = "must be an int or a pair (height, width) of pixels, each from 1 to 65535"
PADDING = "must be an int, (left/right, top/bottom) or (left, top, right, bottom), in pixels, each from 0 to 65535"
FILL = "must be a whole number from 0 to 255, or three of them (red, green, blue)"
INTERPOLATION = "must be one of nearest, bilinear, bicubic"
RATIO = "must be (minimum, maximum) with 0 < minimum <= maximum <= any number"
SCALE = "must be (minimum, maximum) with 0 <= minimum <= maximum <= 1"
PROBABILITY = "must be a number from 0 to 1"
BOOL = "must be True or False"
NAN, INF = float("nan"), float("inf")
SIZES = Sizes.full(99, 30, 40)

BAD: list[tuple[type[T.Transform], dict[str, Any], str, str]] = [
    *[
        (kind, {"size": size}, "size", SIZE)
        for kind in (T.RandomResizedCrop, T.Resize, T.CenterCrop, T.RandomCrop)
        for size in (0, -1, 65536, 2.5, "224", None, True, (), (1, 2, 3), (0, 5), (5, 1.5), (5, True))
    ],
    *[
        (T.RandomResizedCrop, {"size": 8, "scale": scale}, "scale", SCALE)
        for scale in ((-0.1, 1), (0.5, 0.4), (0.1, 1.1), (-1, 1))
    ],
    *[
        (T.RandomResizedCrop, {"size": 8, "scale": scale}, "scale", "must be a sequence of 2 ")
        for scale in (0.5, (0.5,), (0.1, 0.2, 0.3), (0.1, NAN), (0.1, INF), ("a", "b"), "12", None)
    ],
    *[(T.RandomResizedCrop, {"size": 8, "ratio": ratio}, "ratio", RATIO) for ratio in ((0, 1), (2, 1), (-2, -1))],
    *[
        (T.RandomResizedCrop, {"size": 8, "ratio": ratio}, "ratio", "must be a sequence of 2 ")
        for ratio in (1, (1, INF), "34", None)
    ],
    *[
        (kind, {"size": 8, "interpolation": mode}, "interpolation", INTERPOLATION)
        for kind in (T.RandomResizedCrop, T.Resize)
        for mode in ("lanczos", "BILINEAR", 1, 7, None, [], Image.Resampling.LANCZOS)
    ],
    *[
        (kind, {"size": 8, "antialias": value}, "antialias", BOOL)
        for kind in (T.RandomResizedCrop, T.Resize)
        for value in ("warn", 1, 0)
    ],
    *[
        (T.Resize, {"size": 8, "max_size": limit}, "max_size", "must be an int larger than size=8")
        for limit in (8, 7, (9, 10))
    ],
    *[(T.Resize, {"size": 8, "max_size": limit}, "max_size", SIZE) for limit in (0, 9.5, "9")],
    (T.Resize, {"size": (8, 9), "max_size": 10}, "max_size", "size=(8, 9), which must be an int then"),
    *[
        (T.RandomCrop, {"size": 8, "padding": padding}, "padding", PADDING)
        for padding in (-1, 1.5, (1, 2, 3), (1, -1), (1, 2.5), "12", True, (), 65536, {1: 2})
    ],
    *[(T.RandomCrop, {"size": 8, "pad_if_needed": value}, "pad_if_needed", BOOL) for value in (None, 1, "yes")],
    *[
        (T.RandomCrop, {"size": 8, "fill": fill}, "fill", FILL)
        for fill in (-1, 256, 1.5, (1, 2), (1, 2, 3, 4), "red", None, NAN, INF, (0, NAN, 0), (0, 0, 300))
    ],
    *[
        (T.RandomCrop, {"size": 8, "padding_mode": mode}, "padding_mode", "must be 'constant', the only one on the")
        for mode in ("reflect", "edge", None)
    ],
    *[
        (kind, {"p": value}, "p", PROBABILITY)
        for kind in (T.RandomHorizontalFlip, T.RandomVerticalFlip)
        for value in (-0.1, 1.1, NAN, "0.5", None, True)
    ],
    *[(T.Decode, {"adjust_orientation": value}, "adjust_orientation", BOOL) for value in (None, 1, "exif")],
    *[
        (T.Normalize, {"mean": (0.5,) * 3, "std": (0.5,) * 3, name: value}, name, "must be a sequence of 1 or 3 ")
        for name in ("mean", "std")
        for value in (NAN, (), (1, 2), (1, 2, 3, 4), (1, NAN, 1), (1, INF, 1), "123", None, ("a",))
    ],
    (T.Normalize, {"mean": (0,), "std": (1, 0, 1)}, "std", "must not be zero"),
    (T.Compose, {"transforms": T.ToTensor()}, "transforms", "must be a list of dalikit transforms"),
    (T.Compose, {"transforms": None}, "transforms", "must be a list of dalikit transforms"),
]


@pytest.mark.parametrize(("kind", "arguments", "name", "allowed"), BAD)
def test_a_bad_argument_is_named(kind: type[T.Transform], arguments: dict[str, Any], name: str, allowed: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(allowed)) as caught:
        kind(**arguments)
    assert str(caught.value).startswith(f"{name}=")
    assert isinstance(caught.value, ValueError)
    if name != "std" or "zero" not in allowed:
        assert repr(arguments[name]) in str(caught.value)


@pytest.mark.parametrize("part", [str, "flip", 5, None, np.flip])
def test_compose_names_the_part_that_is_no_transform(part: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^transforms\[1\]=.*must be a transform of dalikit\.transforms, came \w"):
        T.Compose([T.ToTensor(), part])


class TorchvisionsMode(Enum):
    """What torchvision's InterpolationMode looks like to those who do not import it."""

    BICUBIC = "bicubic"
    NEAREST_EXACT = "nearest-exact"


@pytest.mark.parametrize(
    ("given_as", "mode"),
    [
        ("nearest", T.InterpolationMode.NEAREST),
        (TorchvisionsMode.NEAREST_EXACT, T.InterpolationMode.NEAREST),
        (TorchvisionsMode.BICUBIC, T.InterpolationMode.BICUBIC),
        (Image.Resampling.NEAREST, T.InterpolationMode.NEAREST),
        (Image.Resampling.BILINEAR, T.InterpolationMode.BILINEAR),
        (3, T.InterpolationMode.BICUBIC),
    ],
)
def test_interpolation_may_be_torchvisions_pillows_or_a_string(given_as: Any, mode: T.InterpolationMode) -> None:
    assert T.Resize(8, given_as).interpolation is mode
    assert T.RandomResizedCrop(8, interpolation=given_as).interpolation is mode


def test_defaults_are_torchvisions() -> None:
    crop = T.RandomResizedCrop(8)
    assert (crop.scale, crop.ratio) == ((0.08, 1.0), (3 / 4, 4 / 3))
    assert crop.interpolation is T.Resize(8).interpolation is T.InterpolationMode.BILINEAR
    assert crop.antialias is T.Resize(8).antialias is True
    assert T.Resize(8).max_size is None
    padded = T.RandomCrop(8)
    assert (padded.padding, padded.pad_if_needed, padded.fill) == (None, False, (0, 0, 0))
    assert T.RandomHorizontalFlip().p == T.RandomVerticalFlip().p == 0.5
    assert T.Decode().adjust_orientation is False


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (T.CenterCrop(8), T.CenterCrop((8, 8))),
        (T.CenterCrop(np.int64(8)), T.CenterCrop([8])),
        (T.RandomResizedCrop([8, 9], scale=[0.5, 1]), T.RandomResizedCrop((8, 9), scale=(0.5, 1.0))),
        (T.Resize([8]), T.Resize(8)),
        (T.Resize(8, antialias=None), T.Resize(8, antialias=True)),
        (T.RandomCrop(8, padding=2, fill=7), T.RandomCrop(8, padding=[2, 2, 2, 2], fill=(7, 7.0, 7))),
        (T.RandomCrop(8, padding=(1, 2)), T.RandomCrop(8, padding=(1, 2, 1, 2))),
        (T.RandomCrop(8, padding=np.int64(2), fill=np.uint8(7)), T.RandomCrop(8, padding=2, fill=7)),
        (T.Pad(3, fill=(np.float32(7), np.int16(8), 9)), T.Pad(3, fill=(7, 8, 9))),
        (T.RandomHorizontalFlip(np.float32(0.5)), T.RandomHorizontalFlip(0.5)),
        (T.RandomVerticalFlip(np.int64(1)), T.RandomVerticalFlip(1)),
        (T.Normalize([0.5], [2]), T.Normalize((0.5,) * 3, np.full(3, 2.0))),
        (T.Normalize(0.5, np.float64(2)), T.Normalize((0.5,) * 3, (2.0,) * 3)),
        (T.RandomErasing(value=np.float32(0.5)), T.RandomErasing(value=(0.5,) * 3)),
    ],
)
def test_arguments_that_mean_the_same_make_equal_transforms(left: T.Transform, right: T.Transform) -> None:
    assert left == right
    assert hash(left) == hash(right)
    assert repr(left) == repr(right)


@pytest.mark.parametrize("kind", [lambda scale: T.RandomResizedCrop(8, scale), lambda scale: T.RandomErasing(1, scale)])
def test_a_share_of_the_area_may_start_at_nothing(kind: Any) -> None:
    """As torchvision's may; a box of no pixel is not taken."""
    for scale in ((0, 0.3), (0, 0)):
        drawn, _ = kind(scale).draw(Draws(0, np.arange(99, dtype=np.uint64), np.zeros(99, np.uint64), 1), SIZES)
        assert all(np.isfinite(column).all() for column in drawn)
    assert (np.stack(drawn)[2] == (0 if isinstance(kind(scale), T.RandomErasing) else 30)).all()
