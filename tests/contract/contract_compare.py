"""Whether two batches are the same: values, types, dtypes, shapes, keys and their order, all the way down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image


def assert_same(actual: Any, expected: Any, path: str = "batches") -> None:
    """Both are the same; `path` says where they are not."""
    assert type(actual) is type(expected), f"{path}: {type(actual)} is not {type(expected)}"
    if isinstance(expected, torch.Tensor):
        _assert_same_tensors(actual, expected, path)
    elif isinstance(expected, np.ndarray):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), path
        assert actual.tolist() == expected.tolist(), path
    elif isinstance(expected, Image.Image):
        assert (actual.mode, actual.size, actual.tobytes()) == (expected.mode, expected.size, expected.tobytes()), path
    elif isinstance(expected, Mapping):
        assert list(actual) == list(expected), f"{path}: other keys"
        for key in expected:
            assert_same(actual[key], expected[key], f"{path}[{key!r}]")
    elif isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
        assert len(actual) == len(expected), f"{path}: {len(actual)} is not {len(expected)} long"
        for place, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(one, other, f"{path}[{place}]")
    else:
        both_nan = actual != actual and expected != expected
        assert actual == expected or both_nan, f"{path}: {actual!r} is not {expected!r}"


def _assert_same_tensors(actual: torch.Tensor, expected: torch.Tensor, path: str) -> None:
    for name in ("dtype", "shape", "device", "layout", "requires_grad"):
        assert getattr(actual, name) == getattr(expected, name), f"{path}: another {name}"
    same = actual == expected
    if expected.is_floating_point() or expected.is_complex():
        same = same | (actual.isnan() & expected.isnan())
    assert bool(same.all()), f"{path}: {actual} is not {expected}"
