"""Formats that DALI lacks are decoded by Pillow, and JPEG files that were cut off if the user wants it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoded_images import encode
from item_datasets import Given
from PIL import Image

import dalikit.transforms as T
from dalikit import DataLoader
from dalikit.by_pillow import as_ppm, is_for_pillow
from dalikit.datasets import Manifest
from dalikit.errors import ArgumentError, DecodeError
from dalikit.signatures import is_encoded_image


def animation(image: Image.Image) -> bytes:
    """A GIF of two frames."""
    buffer = io.BytesIO()
    image.save(buffer, "GIF", save_all=True, append_images=[image.rotate(90)])
    return buffer.getvalue()


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "gif": lambda image: encode(image, "GIF"),
    "gif, gray": lambda image: encode(image.convert("L"), "GIF"),
    "gif, animated": animation,
    "avif": lambda image: encode(image, "AVIF"),
    "avif, transparent": lambda image: encode(image.convert("RGBA"), "AVIF"),
}


@pytest.fixture
def image(photographs: list[Path]) -> Image.Image:
    """A photograph of an odd size."""
    with Image.open(photographs[1]) as file:
        return file.convert("RGB").resize((61, 47))


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_pillows(image: Image.Image, kind: str, executor: str) -> None:
    """Bit for bit, as one of a batch of JPEG files, and cropped."""
    data = KINDS[kind](image)
    expected = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)
    dataset = Given([encode(image, "JPEG"), data, encode(image, "PNG")])
    with DataLoader(dataset, batch_size=3, device="cpu", executor=executor) as loader:
        [(images, targets)] = loader
    assert torch.equal(images[1], expected)
    assert targets.tolist() == [0, 1, 2]
    with DataLoader(dataset, batch_size=3, device="cpu", executor=executor, transform=T.CenterCrop(20)) as loader:
        [(images, _)] = loader
    assert torch.equal(images[1], T_center(expected))


def T_center(image: torch.Tensor) -> torch.Tensor:  # noqa: N802
    """Its middle, 20 x 20, as torchvision rounds."""
    top, left = round((image.shape[1] - 20) / 2), round((image.shape[2] - 20) / 2)
    return image[:, top : top + 20, left : left + 20]


@pytest.mark.parametrize("workers", [0, 1])
def test_as_items_and_from_files(image: Image.Image, tmp_path: Path, workers: int) -> None:
    """Bytes in what `__getitem__` gives; and a list of files."""
    data = KINDS["gif"](image)
    expected = torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)
    (tmp_path / "a.gif").write_bytes(data)
    (tmp_path / "list.csv").write_text("path,target\na.gif,0\n")
    items: Any = [(data, 0)]
    for dataset in (items, Manifest(str(tmp_path / "list.csv"))):
        with DataLoader(dataset, device="cpu", num_workers=workers) as loader:
            [(images, _)] = loader
        assert torch.equal(images[0], expected)


def test_its_orientation(image: Image.Image) -> None:
    """Applied if that is asked for."""
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = Given([encode(image, "AVIF", exif=exif)])
    for adjust, shape in ((False, (47, 61)), (True, (61, 47))):
        transform = T.Compose([T.Decode(adjust_orientation=adjust)])
        with DataLoader(dataset, device="cpu", transform=transform) as loader:
            [(images, _)] = loader
        assert images.shape[2:] == shape


@pytest.mark.parametrize("kind", ["gif", "avif"])
def test_broken_ones(image: Image.Image, kind: str) -> None:
    """An error that carries the place; too large ones are refused before they are decoded."""
    data = KINDS[kind](image)
    with pytest.raises(DecodeError, match=r"cannot be decoded by Pillow: .*index=0"):
        next(iter(DataLoader(Given([data[:40]]), device="cpu")))
    with pytest.raises(DecodeError, match=r"47x61 pixels .* is larger than max_pixels=99"):
        next(iter(DataLoader(Given([data]), device="cpu", max_pixels=99)))


def test_what_is_for_pillow(image: Image.Image) -> None:
    """By the first bytes alone."""
    for kind, make in KINDS.items():
        data = np.frombuffer(make(image), dtype=np.uint8)
        assert is_for_pillow(data), kind
        assert is_encoded_image(data)
        assert as_ppm(data)[:2].tobytes() == b"P6"
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        assert not is_for_pillow(np.frombuffer(encode(image, name), dtype=np.uint8))
    assert not is_for_pillow(np.empty(0, dtype=np.uint8))


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("missing", [1, 2, 10, 2000])
def test_truncated(image: Image.Image, executor: str, missing: int) -> None:
    """Refused, or accepted: what is there of it is as it was."""
    whole = encode(image.resize((300, 200)), "JPEG", quality=95)
    dataset = Given([whole, whole[:-missing], whole])
    arguments: dict[str, Any] = {"batch_size": 3, "device": "cpu", "executor": executor}
    with pytest.raises(DecodeError, match=r"truncated JPEG: .*index=1"):
        next(iter(DataLoader(dataset, **arguments)))
    with DataLoader(dataset, truncated="accept", **arguments) as loader:
        [(images, _)] = loader
    assert torch.equal(images[0], images[2])
    assert torch.equal(images[1, :, :100], images[0, :, :100])
    if missing <= 2:
        assert torch.equal(images[1], images[0])


def test_truncated_is_one_of_two(image: Image.Image) -> None:
    """Checked when the loader is made."""
    with pytest.raises(ArgumentError, match=r"truncated='yes': must be one of 'error', 'accept'"):
        DataLoader(Given([encode(image, "JPEG")]), device="cpu", truncated="yes")
