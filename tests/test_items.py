"""Where the image of an item is, taking it out, and putting it back."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections import OrderedDict, UserDict, namedtuple
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from encoded_images import encode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import default_collate

from dalikit.errors import ArgumentError, DecodeError
from dalikit.items import PAIR, Layout, as_encoded, as_pixels, describe_item, find_image, holds_bytes

Sample = namedtuple("Sample", ["image", "target"])


def make_image(width: int = 7, height: int = 5, mode: str = "RGB") -> Image.Image:
    """A PIL image in which all pixels differ."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


JPEG = encode(make_image(), "JPEG")
PNG = encode(make_image(), "PNG")
ARRAY = np.asarray(make_image())
GRAY = np.asarray(make_image(mode="L"))
TENSOR = torch.from_numpy(ARRAY.copy()).permute(2, 0, 1)


def find(item: Any, encoded: bool | None = None, transformed: bool = True) -> tuple[Layout, bool] | None:
    """`find_image` as a loader with a transform calls it."""
    return find_image(item, encoded=encoded, transformed=transformed)


class TestFindImage:
    """The strongest candidate decides."""

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
    def test_encoded_bytes(self, make: Any) -> None:
        """In whatever they come, with a transform or without."""
        for transformed in (False, True):
            assert find((make(JPEG), 3), transformed=transformed) == (PAIR, False)

    def test_encoded_tensor(self) -> None:
        """1-D uint8."""
        assert find(torch.frombuffer(bytearray(PNG), dtype=torch.uint8)) == (Layout(()), False)

    @pytest.mark.parametrize(
        "image",
        [make_image(), make_image(mode="L"), ARRAY, GRAY, GRAY[:, :, None], TENSOR, TENSOR[:1]],
        ids=["PIL", "PIL gray", "HWC", "HW", "HW1", "CHW", "1HW"],
    )
    def test_decoded_images_count_if_there_is_a_transform(self, image: Any) -> None:
        """Without one they are data."""
        assert find((image, 3)) == (PAIR, True)
        assert find(image) == (Layout(()), True)
        assert find((image, 3), transformed=False) is None
        assert find((image, 3), encoded=False) == (PAIR, True)

    @pytest.mark.parametrize(
        "value",
        [
            *(3, 2.5, "text", b"7", b"", None, np.float32(1), np.zeros(5, np.uint8), np.zeros((4, 5, 4), np.uint8)),
            *(ARRAY.astype(np.float32), TENSOR.float(), TENSOR.to(torch.int64), np.zeros((3, 4, 5), np.uint8)),
            *(torch.zeros(4, 5, dtype=torch.uint8), torch.zeros(4, 5, 3, dtype=torch.uint8), np.zeros((2, 3, 4, 3))),
        ],
        ids=lambda value: describe_item(value)[:40],
    )
    def test_no_images(self, value: Any) -> None:
        """Other dtypes, shapes and types."""
        assert find(value) is None
        assert find((value, {"x": [value]})) is None

    @pytest.mark.parametrize(
        ("item", "path"),
        [
            ((JPEG, 1, "x"), (0,)),
            ((1, JPEG), (1,)),
            ([JPEG, 1], (0,)),
            (Sample(JPEG, 1), (0,)),
            ({"cls": 1, "jpg": JPEG}, ("jpg",)),
            (({"inner": [0, (JPEG,)]}, 5), (0, "inner", 1, 0)),
            (OrderedDict(a=1, b=JPEG), ("b",)),
            (UserDict(a=1, b=JPEG), ("b",)),
            (MappingProxyType({"b": JPEG}), ("b",)),
        ],
    )
    def test_nests(self, item: Any, path: tuple[Any, ...]) -> None:
        """Of tuples, lists, named tuples and mappings, at any depth."""
        found = find(item)
        assert found is not None
        assert (found[0].path, found[0].bare_pair, found[1]) == (path, False, False)

    def test_stronger_candidates_win(self) -> None:
        """Encoded or PIL, then three channels, then one, then (H, W)."""
        order = [JPEG, ARRAY, TENSOR[:1], GRAY]
        for first in range(4):
            item = {str(place): image for place, image in enumerate(order) if place >= first}
            assert find(dict(reversed(item.items()))) == (Layout((str(first),)), first > 0)
        assert find({"label": GRAY, "pil": make_image()}) == (Layout(("pil",)), True)
        assert find({"mask": GRAY, "image": make_image(), "x": ARRAY}) == (Layout(("image",)), True)

    @pytest.mark.parametrize("mask", [GRAY, GRAY[:, :, None], TENSOR[:1]], ids=["HW", "HW1", "1HW"])
    @pytest.mark.parametrize(
        "image",
        [
            *(TENSOR.float(), ARRAY.astype(np.float32), ARRAY.astype(np.uint16), ARRAY.transpose(2, 0, 1)),
            *(TENSOR.permute(1, 2, 0), np.zeros((5, 7, 4), np.uint8)),
        ],
        ids=lambda image: describe_item(image),
    )
    def test_a_mask_is_not_taken_for_the_image(self, image: Any, mask: Any) -> None:
        """If there is an image in a form that is not transformed."""
        for item, places in (((image, mask), (0, 1)), ((mask, {"x": [image]}), ("1]['x'][0", 0))):
            message = r"has the shape of an image but is none.*which may be its mask.*Give the image as uint8"
            with pytest.raises(ArgumentError, match=message) as caught:
                find(item)
            assert all(f"at item[{place}]" in str(caught.value) for place in places)

    def test_an_image_of_one_channel_beside_other_data(self) -> None:
        """Boxes, heat maps and volumes are no images."""
        for other in (np.zeros((3, 3)), np.zeros((9, 5, 7)), torch.zeros(2, 3, 5, 7), torch.zeros(4, 5, 7), JPEG[:1]):
            assert find((GRAY, other)) == (PAIR, True)

    def test_encoded_true_takes_any_bytes(self) -> None:
        """The only ones, or those that begin as an image does."""
        assert find((b"raw", 1), encoded=True) == (PAIR, False)
        assert find((b"raw", 1)) is None
        assert find({"cls": b"7", "jpg": JPEG}, encoded=True) == (Layout(("jpg",)), False)
        assert find({"cls": b"7", "jpg": b"broken"}, encoded=True) is None
        assert find(np.zeros(9, np.uint8), encoded=True, transformed=False) == (Layout(()), False)

    def test_encoded_false_takes_none(self) -> None:
        """Bytes are data then, and no rival of a decoded image."""
        assert find((JPEG, 1), encoded=False) is None
        assert find((JPEG, make_image()), encoded=False) == (Layout((1,), in_tuple=True), True)

    @pytest.mark.parametrize(
        ("item", "places"),
        [
            ({"jpg": JPEG, "mask.png": PNG}, r"2 images.* item\['jpg'\] and item\['mask.png'\]"),
            ((JPEG, PNG), r"item\[0\] and item\[1\]"),
            ((make_image(), make_image()), r"item\[0\] and item\[1\]"),
            ((make_image(), JPEG), r"item\[0\] and item\[1\]\. It takes one image"),
            ((ARRAY, TENSOR, GRAY), r"item\[0\] and item\[1\]\."),
            ((GRAY, {"masks": [GRAY]}), r"item\[0\] and item\[1\]\['masks'\]\[0\]"),
            ([[JPEG] * 9, [1] * 9], r"9 images.*item\[0\]\[0\], .*item\[0\]\[5\] and 3 more"),
        ],
    )
    def test_two_images_are_refused(self, item: Any, places: str) -> None:
        """The message says where they are and what to do."""
        with pytest.raises(ArgumentError, match=rf"(?s){places}.*another dtype than uint8"):
            find(item)

    def test_bytes_can_be_left_alone(self) -> None:
        """The message says how, if there are any."""
        with pytest.raises(ArgumentError, match="encoded=False hands all bytes on as they are"):
            find((make_image(), JPEG))
        assert find((JPEG, PNG), encoded=False) is None

    def test_two_encoded_images_are_refused_with_encoded_true_as_well(self) -> None:
        """Whichever came first would be a guess."""
        with pytest.raises(ArgumentError, match=r"item\['depth.png'\] and item\['jpg'\]"):
            find({"depth.png": PNG, "jpg": JPEG}, encoded=True)

    def test_bytes_are_found(self) -> None:
        """In any depth."""
        assert holds_bytes({"a": [1, (b"x",)]})
        assert not holds_bytes({"a": [1, ("x", ARRAY)]})

    def test_neither_torch_nor_pillow_is_imported(self) -> None:
        """What is not there has made no item."""
        script = (
            "import sys, numpy; from dalikit.items import find_image, as_pixels, describe_item\n"
            "item = ({'a': numpy.zeros((4, 5, 3), 'u1')}, b'x', 1.5)\n"
            "layout, decoded = find_image(item, encoded=None, transformed=True)\n"
            "as_pixels(layout.take(item)[0]), describe_item(item)\n"
            "assert not {'torch', 'PIL'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


LEAVES = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.binary(max_size=2), st.floats(allow_nan=False))
NESTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.tuples(inner, inner).map(lambda pair: Sample(*pair)),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.dictionaries(st.integers(0, 9), inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=8,
)


@st.composite
def items_with_an_image(draw: st.DrawFn) -> Any:
    """A nest with one image somewhere in it."""
    item: Any = JPEG
    for _ in range(draw(st.integers(0, 4))):
        others = draw(st.lists(NESTS, max_size=3))
        place = draw(st.integers(0, len(others)))
        parts = [*others[:place], item, *others[place:]]
        kind = draw(st.sampled_from(["tuple", "list", "dict", "named"]))
        if kind == "named":
            item = Sample(item, draw(NESTS)) if draw(st.booleans()) else Sample(draw(NESTS), item)
        elif kind == "dict":
            item = {f"key {number}": part for number, part in enumerate(parts)}
        else:
            item = parts if kind == "list" else tuple(parts)
    return item


def same(one: Any, other: Any) -> bool:
    """Whether two nests are equal, types and order of keys included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(part, other[key]) for key, part in one.items())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class TestLayout:
    """Taking an image out, and putting it back."""

    @given(items_with_an_image())
    def test_put_undoes_take(self, item: Any) -> None:
        """Containers, their types and the order of their keys stay, and so does the item."""
        found = find(item)
        assert found is not None
        layout, decoded = found
        before = pickle.loads(pickle.dumps(item))
        image, rest = layout.take(item)
        assert image is JPEG
        assert not decoded
        assert same(layout.put(rest, image), item)
        assert same(item, before)
        assert pickle.loads(pickle.dumps(layout)) == layout

    def test_the_rest_of_a_pair_is_its_target(self) -> None:
        """That of a bare image nothing; else the containers with a number in the image's place."""
        assert PAIR.take((JPEG, {"a": 1})) == (JPEG, {"a": 1})
        assert Layout(()).take(JPEG) == (JPEG, None)
        assert Layout(("jpg",)).take({"jpg": JPEG, "cls": 1}) == (JPEG, {"jpg": 0, "cls": 1})
        assert Layout((0,)).take(Sample(JPEG, 1)) == (JPEG, Sample(0, 1))

    @pytest.mark.parametrize(
        "container", [UserDict(a=1, b=JPEG), MappingProxyType({"a": 1, "b": JPEG}), OrderedDict(b=JPEG, a=1)]
    )
    def test_mappings_of_all_kinds(self, container: Any) -> None:
        """Their type stays."""
        image, rest = Layout(("b",)).take(container)
        back = Layout(("b",)).put(rest, image)
        assert type(back) is type(rest) is type(container)
        assert list(back) == list(container)
        assert dict(back) == dict(container)
        assert rest["b"] == 0

    def test_subclasses_that_take_no_parts_become_plain(self) -> None:
        """A tuple then is a tuple."""

        class Odd(tuple[Any, ...]):
            def __new__(cls, image: Any, target: Any) -> Odd:
                return super().__new__(cls, (image, target))

        image, rest = Layout((0,)).take(Odd(JPEG, 1))
        assert (image, rest) == (JPEG, (0, 1))

    @pytest.mark.parametrize(
        ("layout", "item", "message"),
        [
            (PAIR, (JPEG, 1, 2), r"no tuple \(image, target\) but tuple \(bytes of .* beginning with .*, int, int\)"),
            (PAIR, [JPEG, 1], r"no tuple \(image, target\) but list"),
            (PAIR, JPEG, "no tuple .* but bytes"),
            (Layout(("jpg",)), {"png": PNG}, r"has no item\['jpg'\]: it is dict {'png': bytes"),
            (Layout(("jpg",)), (JPEG, 1), r"has no item\['jpg'\]: it is tuple"),
            (Layout((0, "a")), ({"b": 1}, 1), r"has no item\[0\]\['a'\]"),
            (Layout((2,)), (1, 2), r"has no item\[2\]: it is tuple \(int, int\)"),
            (Layout((0,)), 5, r"has no item\[0\]: it is int"),
        ],
    )
    def test_an_item_without_it(self, layout: Layout, item: Any, message: str) -> None:
        """Is named, with the place where the image should be."""
        with pytest.raises(ArgumentError, match=message):
            layout.take(item)

    @pytest.mark.parametrize(
        "item",
        [
            (JPEG, 1),
            (1, JPEG),
            (JPEG, 1, 2.5),
            [JPEG, 1],
            Sample(JPEG, 1),
            {"b": 1, "jpg": JPEG, "a": 2},
            {"x": {"jpg": JPEG, "y": 1}, "z": "text"},
            OrderedDict(b=1, a=JPEG),
        ],
        ids=str,
    )
    def test_bundle_puts_the_images_into_what_torch_collated(self, item: Any) -> None:
        """A batch has the type of its items, and the images where they had theirs."""
        found = find(item)
        assert found is not None
        layout = found[0]
        rests = default_collate([layout.take(item)[1]] * 3)
        images = torch.zeros(3, 2)
        batch = layout.bundle(rests, images)
        assert type(batch) is type(item)
        assert layout.take(batch)[0] is images
        if isinstance(item, dict):
            assert list(batch) == list(item)

    def test_bundle_of_bare_images(self) -> None:
        """Is the images; and a pair's is the pair."""
        assert Layout(()).bundle(None, "images") == "images"
        assert PAIR.bundle("targets", "images") == ("images", "targets")


class TestConversion:
    """Of images of all kinds into arrays."""

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
    def test_bytes_are_not_copied(self, make: Any) -> None:
        """The array shows the very memory."""
        made = make(bytearray(JPEG)) if make is memoryview else make(JPEG)
        array = as_encoded(made)
        assert array.dtype == np.uint8
        assert array.tobytes() == JPEG
        assert np.shares_memory(array, np.frombuffer(made, np.uint8))

    def test_bytes_with_gaps_are_copied(self) -> None:
        """Decoders take contiguous ones."""
        twice = bytes(byte for byte in JPEG for _ in range(2))
        for image in (memoryview(twice)[::2], np.frombuffer(twice, np.uint8)[::2]):
            assert as_encoded(image).tobytes() == JPEG
            assert as_encoded(image).flags.c_contiguous
        assert as_encoded(torch.frombuffer(bytearray(twice), dtype=torch.uint8)[::2]).tobytes() == JPEG
        assert len(as_encoded(b"")) == 0

    def test_an_encoded_tensor_is_not_copied(self) -> None:
        """Its array shows the same memory."""
        tensor = torch.frombuffer(bytearray(JPEG), dtype=torch.uint8)
        array = as_encoded(tensor)
        tensor[0] = 9
        assert array[0] == 9

    def test_what_is_no_bytes(self) -> None:
        """Is named."""
        with pytest.raises(ArgumentError, match=r"no bytes of an image but PIL image RGB of 5x7 .*must be bytes"):
            as_encoded(make_image())

    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            (make_image(), ARRAY),
            (make_image(mode="L"), np.repeat(GRAY[:, :, None], 3, 2)),
            (make_image(mode="RGBA"), ARRAY),
            (ARRAY, ARRAY),
            (ARRAY[:, ::-1], ARRAY[:, ::-1]),
            (GRAY, np.repeat(GRAY[:, :, None], 3, 2)),
            (GRAY[:, :, None], np.repeat(GRAY[:, :, None], 3, 2)),
            (TENSOR, ARRAY),
            (TENSOR[:1], np.repeat(ARRAY[:, :, :1], 3, 2)),
        ],
    )
    def test_pixels(self, image: Any, expected: Any) -> None:
        """uint8 (H, W, 3), contiguous."""
        pixels = as_pixels(image)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert np.array_equal(pixels, expected)

    def test_contiguous_pixels_are_not_copied(self) -> None:
        """They may be a large dataset's."""
        assert as_pixels(ARRAY) is ARRAY

    @pytest.mark.parametrize(
        "image",
        [
            *(np.zeros((0, 5, 3), np.uint8), np.zeros((5, 0), np.uint8), torch.zeros(3, 0, 4, dtype=torch.uint8)),
            Image.new("L", (0, 3)),
        ],
    )
    def test_an_image_without_pixels(self, image: Any) -> None:
        """Is a bad image, and says its size."""
        with pytest.raises(DecodeError, match=r"an image of (0x5|5x0|0x4|3x0) pixels"):
            as_pixels(image)

    def test_a_file_that_pillow_cannot_decode(self) -> None:
        """Pillow reads the pixels only when they are asked for."""
        data = encode(make_image(200, 100), "JPEG")
        image = Image.open(io.BytesIO(data[: len(data) // 2]))
        with pytest.raises(DecodeError, match=r"cannot be decoded by Pillow: .*truncated"):
            as_pixels(image)

    @pytest.mark.parametrize("image", [np.zeros((4, 5, 4), np.uint8), ARRAY.astype(float), JPEG, "text"])
    def test_what_is_no_decoded_image(self, image: Any) -> None:
        """Is named, with what it may be."""
        with pytest.raises(ArgumentError, match=r"no decoded image but (ndarray of|bytes of|str).*uint8 tensor \(3, H"):
            as_pixels(image)


class TestDescription:
    """Items in words."""

    @pytest.mark.parametrize(
        ("item", "words"),
        [
            ((b"\xff\xd8\xff", 3), r"tuple (bytes of 3 beginning with b'\xff\xd8\xff', int)"),
            ({"a": b"", "b": "text"}, "dict {'a': bytes without a byte, 'b': str}"),
            (np.zeros((2, 3), np.float32), "ndarray of float32 (2, 3)"),
            (torch.zeros(4, dtype=torch.int32), "Tensor of int32 (4,)"),
            (torch.tensor([80, 54], dtype=torch.uint8), "Tensor of uint8 (2,) beginning with b'P6'"),
            (list(range(20)), "list (int, int, int, int, int, int, int, int, ...)"),
            ([[[[[1]]]]], "list (list (list (list (...))))"),
            (Sample(make_image(mode="L"), None), "Sample (PIL image L of 5x7 (height x width), NoneType)"),
        ],
        ids=lambda given: given if isinstance(given, str) else type(given).__name__,
    )
    def test_words(self, item: Any, words: str) -> None:
        """Types, shapes, first bytes; not too long."""
        assert describe_item(item) == words
