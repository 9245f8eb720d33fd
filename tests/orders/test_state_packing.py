"""States of other people's objects as JSON, and back."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from dalikit.errors import StateError
from dalikit.orders.packing import pack, unpack


def there_and_back(value: Any) -> Any:
    """Through text."""
    return unpack(json.loads(json.dumps(pack(value, "Owner"))))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2**200,
        0.1,
        "text",
        "",
        b"\x00\xff",
        [],
        (),
        {},
        [1, (2, [3.5, None])],
        {"a": {"b": (1, 2)}},
        {1: "a", (2, 3): "b", "~tensor": "c"},
        {"~bytes": "not ours"},
    ],
    ids=repr,
)
def test_plain_values_come_back(value: Any) -> None:
    """With their types."""
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int64, torch.float32, torch.bfloat16, torch.bool, torch.complex64]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)], ids=str)
def test_tensors_come_back(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Values, dtype and shape; not contiguous ones too."""
    tensor = torch.arange(6).to(dtype)[: max(1, int(np.prod(shape)))].expand(2, -1)[0]
    tensor = tensor[: int(np.prod(shape))].reshape(shape)
    back = there_and_back(tensor)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back, tensor)
    assert torch.equal(there_and_back(torch.ones(4, 3).T), torch.ones(3, 4))


@pytest.mark.parametrize("dtype", ["<i8", ">u2", "float32", "bool", "S3", "<U4", "datetime64[ns]"])
def test_arrays_come_back(dtype: str) -> None:
    """Values, dtype and shape; writable."""
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = there_and_back(array)
    assert back.dtype == array.dtype
    assert back.flags.writeable
    np.testing.assert_array_equal(back, array)


def test_states_of_generators_come_back() -> None:
    """What samplers keep: torch's, numpy's and Python's generators go on as they would have."""
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator()
    theirs.set_state(there_and_back(ours.get_state()))
    assert torch.equal(torch.rand(3, generator=ours), torch.rand(3, generator=theirs))

    legacy, restored = np.random.RandomState(1), np.random.RandomState()
    restored.set_state(there_and_back(legacy.get_state()))
    assert legacy.rand() == restored.rand()

    modern, other = np.random.default_rng(1), np.random.default_rng()
    other.bit_generator.state = there_and_back(modern.bit_generator.state)
    assert modern.random() == other.random()

    python, again = random.Random(1), random.Random()
    again.setstate(there_and_back(python.getstate()))
    assert python.random() == again.random()


def test_numbers_of_numpy_and_odd_dicts_become_plain() -> None:
    """They mean the same."""
    assert there_and_back({"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True)}) == {
        "a": 3,
        "b": 0.5,
        "c": True,
    }
    assert there_and_back(OrderedDict(b=1, a=2)) == {"b": 1, "a": 2}


def test_what_is_packed_is_a_copy() -> None:
    """It does not follow the object that it was taken from."""
    places, tensor = [1, 2], torch.zeros(2)
    packed = pack({"places": places, "tensor": tensor}, "Owner")
    places.append(3)
    tensor += 1
    assert unpack(packed)["places"] == [1, 2]
    assert torch.equal(unpack(packed)["tensor"], torch.zeros(2))


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array([None]), lambda: 0], ids=lambda value: type(value).__name__
)
def test_other_objects_are_refused(value: Any) -> None:
    """Nothing is pickled; the message names whose and what it is."""
    with pytest.raises(StateError, match=rf"Owner: its state_dict\(\) holds a {type(value).__name__}, which cannot be"):
        pack({"deep": [value]}, "Owner")


@pytest.mark.parametrize(
    "packed",
    [
        {"~tensor": "!", "dtype": "float32", "shape": [1]},
        {"~tensor": "AAAA", "dtype": "float32", "shape": [7]},
        {"~tensor": "AAAA", "dtype": "load", "shape": [3]},
        {"~array": "AAAA", "dtype": "no such", "shape": [3]},
        {"~unknown": 1},
        {"~bytes": 5},
    ],
    ids=str,
)
def test_broken_text_is_refused(packed: Any) -> None:
    """Whatever was done to it."""
    with pytest.raises(StateError, match=r"state: '~.*' in it is broken"):
        unpack({"outer": [packed]})
