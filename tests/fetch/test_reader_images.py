"""Reading whole batches of images: in items of any form, and of datasets that declare them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoded_images import encode
from PIL import Image
from reading import Declared, Items, pixels_of, png_of, read, reader_of, request_of

from dalikit.callables import seeded_generators
from dalikit.datasets import ImageFolder
from dalikit.datasets.base import declares_images
from dalikit.errors import ArgumentError, DecodeError, ReadError
from dalikit.fetch import HostFunction, ImageBatch, OtherBatch, Request
from dalikit.fetch.headers import HeaderRules, add_headers
from dalikit.fetch.reader import is_iterable
from dalikit.items import PAIR, Layout
from dalikit.transforms.purposes import Purpose


class TestEncoded:
    """Items with the bytes of image files."""

    def test_a_batch(self) -> None:
        """Bytes as they are, targets collated, all else from the request."""
        request = Request(np.array([2, 0]), np.array([8, 9]), taken=3, passes=1, state={"a": 1})
        batch = reader_of(Items(lambda index: (png_of(index), index * 10))).read(request)
        assert isinstance(batch, ImageBatch)
        assert [data.tobytes() for data in batch.data] == [png_of(2), png_of(0)]
        assert batch.targets.tolist() == [20, 0]
        assert (batch.layout, batch.decoded, batch.collated, batch.batched) == (PAIR, False, True, True)
        assert (batch.taken, batch.state, batch.headers) == (3, {"a": 1}, [])
        assert list(batch.indices) == [2, 0]
        assert batch.positions is request.positions

    def test_a_collate_fn_of_the_users_is_left_the_targets(self) -> None:
        """It comes later, when the images are there."""
        batch = read(Items(lambda index: (png_of(index), index)), collate_fn=list)
        assert (batch.targets, batch.collated) == ([2, 0, 1], False)

    def test_bare_images(self) -> None:
        """Have no targets."""
        batch = read(Items(png_of))
        assert (batch.layout, batch.targets, batch.collated) == (Layout(()), None, True)
        batch = read(Items(png_of), collate_fn=list)
        assert (batch.targets, batch.collated) == ([None] * 3, False)

    def test_a_dict(self) -> None:
        """The rest is collated with a number in the image's place, and the images can be put there."""
        batch = read(Items(lambda index: {"key": str(index), "png": png_of(index), "cls": index}))
        assert list(batch.targets) == ["key", "png", "cls"]
        whole = batch.layout.bundle(batch.targets, "images")
        assert list(whole.items())[:2] == [("key", ["2", "0", "1"]), ("png", "images")]
        assert whole["cls"].tolist() == [2, 0, 1]

    def test_one_item_that_is_no_batch(self) -> None:
        """Its target stays as it is."""
        batch = reader_of(Items(lambda index: (png_of(index), index))).read(request_of([4], batched=False))
        assert isinstance(batch, ImageBatch)
        assert (batch.targets, batch.collated, batch.batched, len(batch)) == ([4], False, False, 1)

    def test_without_a_transform(self) -> None:
        """Encoded images are images all the same."""
        batch = read(Items(lambda index: (png_of(index), index)), transformed=False)
        assert isinstance(batch, ImageBatch)
        assert not batch.decoded

    def test_encoded_false(self) -> None:
        """Then they are data."""
        batch = read(Items(lambda index: (png_of(index), index)), transformed=False, encoded=False)
        assert isinstance(batch, OtherBatch)
        assert list(batch.value[0]) == [png_of(2), png_of(0), png_of(1)]

    def test_a_function(self) -> None:
        """Has the image as Pillow decodes it; what it returns is a decoded image."""
        function = HostFunction(lambda image: image.rotate(180), 5)
        batch = read(Items(lambda index: (png_of(index), index)), function=function)
        assert batch.decoded
        assert all(
            np.array_equal(data, pixels_of(index)[::-1, ::-1])
            for data, index in zip(batch.data, (2, 0, 1), strict=True)
        )

    def test_a_broken_image_among_them(self) -> None:
        """Is still an image: its header tells, with its place. Even as the first of the batch."""
        for bad in (2, 1):
            batch = read(Items(lambda index, bad=bad: (b"nothing" if index == bad else png_of(index), index)))
            with pytest.raises(
                DecodeError, match=rf"not an image .*b'nothing'.*dataset=Items, index={bad}.*stage=header"
            ):
                add_headers(batch, HeaderRules())

    def test_a_broken_image_for_a_function(self) -> None:
        """Is found when Pillow decodes it."""
        dataset = Items(lambda index: (png_of(index)[:60] if index == 1 else png_of(index), index))
        with pytest.raises(DecodeError, match=r"by Pillow.*index=1, position=102, stage=decode"):
            read(dataset, function=HostFunction(lambda image: image, 5))

    def test_a_function_that_fails(self) -> None:
        """Says which sample it had."""
        with pytest.raises(TypeError, match="the function of OnCPU returned str") as caught:
            read(Items(lambda index: (png_of(index), index)), function=HostFunction(lambda _: "x", 5))
        assert caught.value.__notes__ == ["in Items: index=2, position=100, stage=transform"]


class TestHeaders:
    """Of encoded and decoded images."""

    def test_sizes(self) -> None:
        """From the bytes, or from the pixels."""
        for make in (png_of, pixels_of):
            batch = read(Items(lambda index, make=make: (make(index), index)))
            add_headers(batch, HeaderRules())
            assert batch.heights().tolist() == [7, 5, 6]
            assert batch.widths().tolist() == [7, 7, 7]
            assert {header.codec for header in batch.headers} == {"" if batch.decoded else "png"}

    def test_orientation(self) -> None:
        """Of a JPEG that lies on its side."""
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encode(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
        batch = read(Items(lambda _: (data, 0)), [0])
        for adjust, size in ((False, (20, 30)), (True, (30, 20))):
            add_headers(batch, HeaderRules(adjust_orientation=adjust))
            assert (batch.headers[0].height, batch.headers[0].width) == size


class TestDecoded:
    """Items with images that the dataset decodes itself."""

    @pytest.mark.parametrize(
        "form",
        [Image.fromarray, lambda array: array, lambda array: torch.from_numpy(array).permute(2, 0, 1)],
        ids=["PIL", "array", "tensor"],
    )
    def test_pixels(self, form: Callable[[Any], Any]) -> None:
        """RGB arrays, whatever form they came in."""
        batch = read(Items(lambda index: (form(pixels_of(index)), index)))
        assert (batch.decoded, batch.layout, batch.targets.tolist()) == (True, PAIR, [2, 0, 1])
        assert all(np.array_equal(data, pixels_of(index)) for data, index in zip(batch.data, (2, 0, 1), strict=True))

    def test_a_function(self) -> None:
        """Has them as PIL images; it draws by position."""

        def crop(image: Any) -> Any:
            left = random.randrange(3)
            return image.crop((left, 0, left + 3, 3))

        batch = read(Items(lambda index: (pixels_of(index), index)), function=HostFunction(crop, 5))
        for row, index in enumerate((2, 0, 1)):
            with seeded_generators(5, 100 + row, Purpose.FUNCTION):
                left = random.randrange(3)
            assert np.array_equal(batch.data[row], pixels_of(index)[:3, left : left + 3])

    def test_without_a_transform(self) -> None:
        """They are data, collated as torch does."""
        batch = read(Items(lambda index: (pixels_of(0), index)), transformed=False)
        assert isinstance(batch, OtherBatch)
        assert batch.value[0].shape == (3, 5, 7, 3)

    def test_an_image_that_pillow_cannot_decode(self) -> None:
        """Is a bad image with a place."""
        data = encode(Image.fromarray(pixels_of(900)), "JPEG")
        with pytest.raises(DecodeError, match=r"by Pillow.*dataset=Items, index=2, position=100, stage=decode"):
            read(Items(lambda index: (Image.open(io.BytesIO(data[: len(data) // 2])), index)))


class TestKinds:
    """All items of a batch are of one kind."""

    @pytest.mark.parametrize(
        ("odd", "message"),
        [
            ((pixels_of(0), 1), r"no bytes of an image but ndarray of uint8 \(5, 7, 3\)"),
            ([png_of(0), 1], r"no tuple \(image, target\) but list \(bytes of"),
            ({"jpg": png_of(0)}, r"no tuple \(image, target\) but dict {'jpg'"),
            (7, r"no tuple \(image, target\) but int"),
        ],
    )
    def test_an_odd_one(self, odd: Any, message: str) -> None:
        """Both kinds are named, and the sample."""
        dataset = Items(lambda index: odd if index == 1 else (png_of(index), index))
        with pytest.raises(
            ArgumentError, match=message + r".*one kind.*has bytes at item\[0\]: tuple \(bytes of"
        ) as caught:
            read(dataset)
        assert caught.value.__notes__ == ["in Items: index=1, position=102, stage=read"]

    def test_encoded_among_decoded(self) -> None:
        """The other way round."""
        dataset = Items(lambda index: (png_of(index) if index == 1 else pixels_of(index), index))
        with pytest.raises(
            ArgumentError, match=r"no decoded image but bytes of.*has a decoded image at item\[0\]: tuple \(nd"
        ):
            read(dataset)

    def test_keys_that_differ(self) -> None:
        """As WebDataset gives files of differing extensions."""
        dataset = Items(lambda index: {("jpg" if index == 1 else "png"): png_of(index)})
        with pytest.raises(
            ArgumentError, match=r"has no item\['png'\]: it is dict {'jpg'.*bytes at item\['png'\]: dict"
        ):
            read(dataset)

    def test_two_images(self) -> None:
        """The sample is named."""
        with pytest.raises(ArgumentError, match=r"item\[0\] and item\[1\]") as caught:
            read(Items(lambda index: (png_of(index), png_of(index))))
        assert caught.value.__notes__ == ["in Items: index=2, position=100, stage=read"]

    @pytest.mark.parametrize(
        ("item", "options", "message"),
        [
            (
                (1.5, "x"),
                {},
                r"has a transform.* of Items holds none: it is tuple \(float, str\).*must hold one: the bytes",
            ),
            ((b"GIF88a" + bytes(9), 1), {}, r"bytes of 15 beginning with b'GIF88a.*decoded with encoded=True"),
            (
                (png_of(0), 1),
                {"encoded": False},
                r"has a transform.*\(1, H, W\); bytes are no image, as encoded=False says",
            ),
            (
                1.5,
                {"encoded": True, "transformed": False},
                "encoded=True, but an item of Items holds none: it is float",
            ),
            (
                {"a": b"x", "b": b"y"},
                {"encoded": True},
                r"holds none: it is dict \{'a': bytes of 1 beginning with b'x'",
            ),
        ],
    )
    def test_no_image_where_one_is_needed(self, item: Any, options: dict[str, Any], message: str) -> None:
        """The message shows the item, and says what it must be."""
        with pytest.raises(ArgumentError, match=message) as caught:
            read(Items(lambda _: item), **options)
        assert caught.value.__notes__ == ["in Items: index=2, position=100, stage=read"]


class TestDeclared:
    """Datasets that declare encoded images."""

    def test_by_index(self) -> None:
        """Bytes and targets, and the target transformed."""
        dataset = Declared()
        dataset.target_transform = lambda target: target + 1
        batch = read(dataset, np.array([2, 0]), transformed=False)
        assert [data.tobytes() for data in batch.data] == [png_of(2), png_of(0)]
        assert batch.targets.tolist() == [21, 1]
        assert (batch.layout, batch.decoded, batch.collated) == (PAIR, False, True)

    def test_from_files(self, photograph_root: Path) -> None:
        """As `get_image_data` gives them."""
        dataset = ImageFolder(photograph_root)
        batch = read(dataset, np.array([5, 3]))
        assert [data.tobytes() for data in batch.data] == [dataset.get_image_data(5), dataset.get_image_data(3)]
        add_headers(batch, HeaderRules())
        assert batch.heights().min() > 0
        with pytest.raises(IndexError, match="index 99 is out of range for ImageFolder of 12") as caught:
            read(dataset, [0, 99])
        assert caught.value.__notes__ == ["in ImageFolder of 12 samples: index=99, position=101, stage=read"]

    def test_a_file_that_is_gone(self, tmp_path: Path) -> None:
        """Is named with all that is known."""
        (tmp_path / "a").mkdir()
        for name in ("1.png", "2.png"):
            (tmp_path / "a" / name).write_bytes(png_of(1))
        dataset = ImageFolder(tmp_path)
        (tmp_path / "a" / "2.png").unlink()
        with pytest.raises(
            ReadError, match=r"No such file.*index=1, position=101, key=a/2.png, file=.*2.png, stage=read"
        ):
            read(dataset, [0, 1])

    def test_in_batches(self) -> None:
        """`get_batch`, where the dataset has it, for all rows at once."""

        class Batches(Declared):
            def get_image_data(self, index: int) -> Any:
                raise AssertionError(index)

            def get_batch(self, indices: list[int]) -> list[tuple[bytes, int]]:
                assert all(type(index) is int for index in indices)
                return [(png_of(index), index) for index in indices]

        batch = read(Batches(), np.array([2, 0]))
        assert [data.tobytes() for data in batch.data] == [png_of(2), png_of(0)]
        assert batch.targets.tolist() == [2, 0]

        class Changed(Batches):
            def get_image_data(self, index: int) -> Any:
                return png_of(index + 5)

        assert read(Changed(), [2]).data[0].tobytes() == png_of(7)

    def test_get_batch_of_a_wrong_count(self) -> None:
        """Is named."""

        class Short(Declared):
            def get_batch(self, indices: list[int]) -> Any:
                return [(b"", 0)] * (len(indices) - 1) if indices[0] else 1 / 0

        with pytest.raises(ArgumentError, match="get_batch of Short was asked for 2 items and gave 1"):
            read(Short(), [2, 0])
        with pytest.raises(ZeroDivisionError) as caught:
            read(Short(), [0, 1])
        assert caught.value.__notes__ == ["in Short: indices=[0, 1], stage=read"]

    def test_a_function(self) -> None:
        """Has each image."""
        batch = read(Declared(), function=HostFunction(lambda image: image.rotate(180), 5))
        assert batch.decoded
        assert np.array_equal(batch.data[0], pixels_of(2)[::-1, ::-1])

    def test_errors_of_the_users(self) -> None:
        """Say at what."""
        dataset = Declared()
        dataset.target_transform = lambda target: 1 / target
        with pytest.raises(ZeroDivisionError) as caught:
            read(dataset)
        assert caught.value.__notes__ == ["in Declared: index=0, position=101, stage=target_transform"]
        with pytest.raises(ZeroDivisionError) as caught:
            read(Declared(), function=HostFunction(lambda _: 1 / 0, 5))
        assert caught.value.__notes__ == ["in Declared: index=2, position=100, stage=transform"]

    def test_bytes_of_any_form(self) -> None:
        """All that shows its memory."""

        class Forms(Declared):
            def get_image_data(self, index: int) -> Any:
                forms: list[Callable[[bytes], Any]] = [
                    bytes,
                    bytearray,
                    memoryview,
                    lambda data: np.frombuffer(data, np.uint8),
                ]
                return forms[index](png_of(0)) if index < 4 else None

        batch = read(Forms(), range(4))
        assert {data.tobytes() for data in batch.data} == {png_of(0)}
        with pytest.raises(TypeError, match="bytes-like object is required") as caught:
            read(Forms(), [4])
        assert caught.value.__notes__ == ["in Forms: index=4, position=100, stage=read"]

    def test_what_is_what(self) -> None:
        """Told by what a dataset has."""
        assert declares_images(Declared())
        assert not declares_images(Items(png_of))
        for iterable in (iter([1]), {1, 2}):
            assert is_iterable(iterable)
        for mapped in ([1, 2], {"a": 1}, Items(png_of), Declared()):
            assert not is_iterable(mapped)
