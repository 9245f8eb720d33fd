"""What every executor does: a recipe's pixels, held against Pillow and torch as torchvision uses them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from encoded_images import KINDS, PALETTE_TIFF, broken_png, photograph, truncated_webp, write_kind
from executor_bench import draw, read_batch, run
from PIL import Image, ImageOps
from pillow_reference import open_rgb, pillow_pixels, to_tensor
from torch import Tensor

import dalikit.transforms as T
from dalikit.errors import DecodeError
from dalikit.transforms.compiler import compile_recipe

__all__ = ["ExecutorContract", "Tolerance"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODES = ("nearest", "bilinear", "bicubic")
SAYS_SIZE = r"^the image cannot be decoded: its header says \d+x\d+ pixels \(height x width\) \["


class Tolerance(NamedTuple):
    """How far pixels may lie from Pillow's, in levels of 8 bits, over all photographs of a case."""

    largest: float
    mean: float


EXACT = Tolerance(0, 0.0)
NEAREST = Tolerance(255, 0.25)  # where two pixels are equally near, rounding decides: see test_nearest_...

TOLERANCES: dict[str, dict[str, Tolerance]] = {
    # "moved": crops and flips, no resize. "... plain": antialias=False.
    "host": {
        "moved": EXACT,
        "nearest": EXACT,
        "bilinear": Tolerance(2, 0.1),
        "bicubic": Tolerance(24, 0.1),
        "bilinear plain": Tolerance(1, 0.2),
        "bicubic plain": Tolerance(24, 0.25),
    },
    "dali on cpu": {
        "moved": EXACT,
        "nearest": NEAREST,
        "bilinear": Tolerance(16, 0.2),
        "bicubic": Tolerance(20, 0.2),
        "bilinear plain": Tolerance(1, 0.01),
        "bicubic plain": Tolerance(40, 0.6),  # DALI's cubic is sharper than torch's: a = -0.5, not -0.75
    },
    "dali on cuda": {
        "moved": Tolerance(64, 1.0),  # another JPEG decoder
        "nearest": Tolerance(255, 1.25),
        "bilinear": Tolerance(64, 1.0),
        "bicubic": Tolerance(64, 1.0),
        "bilinear plain": Tolerance(64, 1.0),
        "bicubic plain": Tolerance(64, 1.5),
    },
}


def resizing(mode: str) -> dict[str, T.Transform]:
    """What resizes, shrinking and growing, a region or the whole."""
    return {
        "RandomResizedCrop(96)": T.RandomResizedCrop(96, interpolation=mode),
        "RandomResizedCrop of small boxes": T.RandomResizedCrop((64, 100), scale=(0.01, 0.1), interpolation=mode),
        "Resize(int), CenterCrop": T.Compose([T.Resize(128, interpolation=mode), T.CenterCrop(112)]),
        "Resize(pair)": T.Resize((90, 151), interpolation=mode),
        "Resize to more": T.Resize((700, 640), interpolation=mode),
        "RandomCrop, Resize, flips": T.Compose(
            [T.RandomCrop(200), T.Resize(80, mode), T.RandomVerticalFlip(), T.RandomHorizontalFlip()]
        ),
    }


MOVING: dict[str, T.Transform] = {
    "whole": T.Compose([]),
    "CenterCrop": T.CenterCrop((200, 301)),
    "CenterCrop larger than the image": T.CenterCrop((700, 701)),
    "CenterCrop larger on one side": T.CenterCrop((150, 700)),
    "RandomCrop": T.RandomCrop((123, 200)),
    "RandomCrop with padding": T.RandomCrop(300, padding=(10, 60, 70, 90), fill=(10, 200, 30)),
    "RandomCrop with padding if needed": T.RandomCrop((700, 200), pad_if_needed=True, fill=7),
    "RandomCrop beside the image": T.RandomCrop(10, padding=2000, fill=(9, 8, 7)),
    "RandomHorizontalFlip": T.RandomHorizontalFlip(),
    "RandomVerticalFlip": T.RandomVerticalFlip(),
    "both flips, crop": T.Compose([T.RandomVerticalFlip(), T.RandomHorizontalFlip(), T.CenterCrop(99)]),
    "flip between crops": T.Compose([T.RandomCrop(200), T.RandomHorizontalFlip(), T.RandomCrop((150, 180))]),
}


def difference(image: Tensor, expected: Tensor) -> Tolerance:
    """Largest and mean difference of two images, in levels."""
    assert image.shape == expected.shape
    gap = (image.cpu().int() - expected.int()).abs()
    return Tolerance(int(gap.max()), float(gap.double().mean()))


def assert_close(
    images: Sequence[Tensor], expected: Sequence[Tensor], paths: Sequence[Path], allowed: Tolerance
) -> None:
    """The images lie within the tolerance: the largest difference of each, and the mean of all."""
    found = {path.name: difference(*pair) for path, *pair in zip(paths, images, expected, strict=True)}
    assert {name: gap for name, gap in found.items() if gap.largest > allowed.largest} == {}
    assert sum(gap.mean for gap in found.values()) / len(found) <= allowed.mean


class ExecutorContract:
    """Inherited by each executor's test class, which says how one is made."""

    tolerances: ClassVar[dict[str, Tolerance]]
    device: ClassVar[str] = "cpu"

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> Any:
        """An executor."""
        raise NotImplementedError

    def check(self, transform: T.Transform, paths: Sequence[Path], allowed: Tolerance) -> None:
        """The transform's pixels lie within the tolerance of Pillow's."""
        images, parameters = run(self.make, transform, paths)
        assert all(image.device.type == self.device for image in images)
        expected = [pillow_pixels(open_rgb(path), transform, parameters.matrix[row]) for row, path in enumerate(paths)]
        assert_close(images, expected, paths, allowed)

    # Pixels

    @pytest.mark.parametrize("case", MOVING)
    def test_crops_and_flips_are_pillows(self, case: str, photographs: list[Path]) -> None:
        self.check(MOVING[case], photographs, self.tolerances["moved"])

    @pytest.mark.parametrize("case", resizing("nearest"))
    @pytest.mark.parametrize("mode", MODES)
    def test_resizes_are_pillows_within_the_tolerance(self, mode: str, case: str, photographs: list[Path]) -> None:
        self.check(resizing(mode)[case], photographs, self.tolerances[mode])

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    def test_without_antialias_pixels_are_torchs(self, mode: str, photographs: list[Path]) -> None:
        transform = T.RandomResizedCrop(96, interpolation=mode, antialias=False)
        self.check(transform, photographs, self.tolerances[f"{mode} plain"])

    @pytest.mark.parametrize("size", [(60, 90), (75, 100), (200, 301), (151, 199), (7, 13), (1, 1)])
    def test_nearest_takes_the_pixel_under_the_centre(self, size: tuple[int, int], tmp_path: Path) -> None:
        """Where the centre lies between two pixels either is taken; Pillow and DALI choose by their rounding."""
        rows, columns = np.mgrid[:150, :200].astype(np.uint8)
        path = tmp_path / "coordinates.png"
        Image.fromarray(np.stack([rows, columns, rows], axis=2)).save(path)
        (image,), _ = run(self.make, T.Resize(size, "nearest"), [path])
        for channel, (old, new) in enumerate(zip((150, 200), size, strict=True)):
            centres = (np.arange(new) + 0.5) * old / new
            taken = image[channel].cpu().numpy().astype(np.float64)
            taken = taken[:, 0] if channel == 0 else taken[0]
            assert (np.abs(taken + 0.5 - centres) <= 0.5 + 1e-4).all()

    # What comes out

    def test_floats_are_to_tensors_and_normalizes(self, photographs: list[Path]) -> None:
        steps = [T.RandomResizedCrop(64), T.RandomHorizontalFlip()]
        levels, _ = run(self.make, T.Compose(steps), photographs)
        values, _ = run(self.make, T.Compose([*steps, T.ToTensor()]), photographs)
        normal, _ = run(self.make, T.Compose([*steps, T.ToTensor(), T.Normalize(MEAN, STD)]), photographs)
        assert (levels.dtype, values.dtype, normal.dtype) == (torch.uint8, torch.float32, torch.float32)
        expected = levels.float().div(255)
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)
        mean, std = (torch.tensor(numbers, device=self.device).view(3, 1, 1) for numbers in (MEAN, STD))
        torch.testing.assert_close(normal, expected.sub(mean).div(std), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_float32_rounded_once(
        self, dtype: torch.dtype, channels_last: bool, photographs: list[Path]
    ) -> None:
        transform = T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])
        whole, _ = run(self.make, transform, photographs, channels_last=channels_last)
        half, _ = run(self.make, transform, photographs, dtype=dtype, channels_last=channels_last)
        assert half.dtype is dtype
        assert torch.equal(half, whole.to(dtype))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_levels_stay_uint8_whatever_the_dtype(self, dtype: torch.dtype, photographs: list[Path]) -> None:
        images, _ = run(self.make, T.CenterCrop(50), photographs[:3], dtype=dtype)
        assert images.dtype is torch.uint8

    @pytest.mark.parametrize("tail", [[], [T.ToTensor(), T.Normalize(MEAN, STD)]], ids=["levels", "floats"])
    def test_channels_last_is_the_same_values_in_another_order(
        self, tail: list[T.Transform], photographs: list[Path]
    ) -> None:
        transform = T.Compose([T.RandomResizedCrop((40, 56)), T.RandomVerticalFlip(), *tail])
        planar, _ = run(self.make, transform, photographs)
        last, _ = run(self.make, transform, photographs, channels_last=True)
        assert planar.is_contiguous()
        assert last.shape == planar.shape == (12, 3, 40, 56)
        assert last.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(last, planar)

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_images_of_several_sizes_come_as_a_list(self, channels_last: bool, photographs: list[Path]) -> None:
        images, parameters = run(self.make, None, photographs, channels_last=channels_last)
        ((after,),) = parameters.sizes
        sizes = list(zip(after.heights.tolist(), after.widths.tolist(), strict=True))
        assert isinstance(images, list)
        assert len(set(sizes)) > 1
        assert [tuple(image.shape) for image in images] == [(3, *size) for size in sizes]
        if self.device == "cpu":
            assert all(
                torch.equal(image, to_tensor(open_rgb(path))) for image, path in zip(images, photographs, strict=True)
            )

    def test_images_of_one_size_come_as_a_tensor(self, photographs: list[Path]) -> None:
        images, _ = run(self.make, T.ToTensor(), photographs[:1])
        assert isinstance(images, Tensor)
        assert images.shape == (1, 3, *open_rgb(photographs[0]).size[::-1])

    # Formats

    @pytest.mark.parametrize("transform", [T.Decode(), T.RandomCrop((60, 70))], ids=["whole", "region"])
    def test_every_kind_of_file_gives_pillows_pixels(
        self, transform: T.Transform, photographs: list[Path], tmp_path: Path
    ) -> None:
        image = photograph(photographs[0])
        paths = [write_kind(tmp_path / name.replace(":", ""), image, kind) for name, kind in KINDS.items()]
        self.check(transform, paths, self.tolerances["moved"])
        self.check(transform, [write_kind(tmp_path / "palette", image, PALETTE_TIFF)], Tolerance(1, 1.0))

    @pytest.mark.parametrize(
        ("steps", "tolerance"),
        [
            ([], "moved"),
            ([T.RandomCrop((60, 70))], "moved"),
            ([T.CenterCrop((110, 30))], "moved"),
            ([T.Resize(64), T.RandomVerticalFlip()], "bilinear"),
        ],
        ids=["whole", "RandomCrop", "CenterCrop", "Resize"],
    )
    def test_the_exif_orientation_is_applied_only_if_asked_for(
        self, steps: list[T.Transform], tolerance: str, photographs: list[Path], tmp_path: Path
    ) -> None:
        image = photograph(photographs[0])
        paths = [
            write_kind(tmp_path / f"{name.replace(':', '')} {number}", image, KINDS[name], number)
            for name in ("jpeg 4:2:0", "jpeg progressive", "jpeg gray", "png rgb", "webp lossy")
            for number in range(1, 9)
        ]
        self.check(T.Compose(steps), paths, self.tolerances[tolerance])
        images, parameters = run(self.make, T.Compose([T.Decode(adjust_orientation=True), *steps]), paths)
        expected = []
        for row, path in enumerate(paths):
            with Image.open(path) as file:
                turned = ImageOps.exif_transpose(file).convert("RGB")
            expected.append(pillow_pixels(turned, T.Compose(steps), parameters.matrix[row]))
        assert_close(images, expected, paths, self.tolerances[tolerance])

    # Invariance

    AUGMENTATION = T.Compose(
        [
            T.RandomResizedCrop(48, interpolation="bicubic"),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )

    @pytest.mark.parametrize("num_threads", [1, 3])
    def test_the_number_of_threads_changes_no_pixel(self, num_threads: int, photographs: list[Path]) -> None:
        expected, _ = run(self.make, self.AUGMENTATION, photographs)
        images, _ = run(self.make, self.AUGMENTATION, photographs, num_threads=num_threads)
        assert torch.equal(images, expected)

    @pytest.mark.parametrize("rows", [[0], [5], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [3, 3, 3], [2, 9, 0, 7, 7]])
    def test_neighbours_and_order_change_no_pixel(self, rows: list[int], photographs: list[Path]) -> None:
        expected, _ = run(self.make, self.AUGMENTATION, photographs)
        images, _ = run(self.make, self.AUGMENTATION, [photographs[row] for row in rows], positions=rows)
        assert torch.equal(images, expected[rows])

    def test_batches_one_after_the_other_change_no_pixel(self, photographs: list[Path]) -> None:
        """Several under way at once, of several sizes, on one executor."""
        expected, _ = run(self.make, self.AUGMENTATION, photographs)
        recipe = compile_recipe(self.AUGMENTATION)
        executor = self.make(recipe)
        parts = [(0, 5), (5, 12), (3, 4), (0, 12)]
        for start, stop in parts:
            batch = read_batch(photographs[start:stop], range(start, stop))
            executor.submit(batch, draw(recipe, batch))
        results = [executor.result()[0][0] for _ in parts]
        executor.close()
        for (start, stop), images in zip(parts, results, strict=True):
            assert torch.equal(images, expected[start:stop])

    # Bad images

    @pytest.mark.parametrize("broken", [broken_png, truncated_webp])
    @pytest.mark.parametrize("transform", [T.RandomResizedCrop(32), T.CenterCrop(32)], ids=["region", "whole"])
    def test_an_image_that_cannot_be_decoded_is_named(
        self,
        transform: T.Transform,
        broken: Callable[[Image.Image], bytes],
        photographs: list[Path],
        tmp_path: Path,
    ) -> None:
        """The first one of the batch, if there are two; the next executor knows nothing of it."""
        bad = [tmp_path / "first", tmp_path / "second"]
        for path in bad:
            path.write_bytes(broken(photograph(photographs[0])))
        paths = [*photographs[:2], bad[0], *photographs[2:5], bad[1], photographs[5]]
        with pytest.raises(DecodeError, match=SAYS_SIZE) as caught:
            run(self.make, transform, paths, positions=range(2**40, 2**40 + 8))
        place = caught.value.place
        assert (place.file, place.index, place.position, place.stage) == (str(bad[0]), 2, 2**40 + 2, "decode")
        assert all(word in str(caught.value) for word in (str(bad[0]), "index=2", f"position={2**40 + 2}"))
        images, _ = run(self.make, transform, photographs[:3])
        assert len(images) == 3

    def test_drain_drops_what_is_under_way_and_the_executor_works_on(
        self, photographs: list[Path], tmp_path: Path
    ) -> None:
        """A bad image among it is nobody's error: its batch is dropped too."""
        bad = tmp_path / "bad"
        bad.write_bytes(broken_png(photograph(photographs[0])))
        expected, _ = run(self.make, self.AUGMENTATION, photographs)
        recipe = compile_recipe(self.AUGMENTATION)
        executor = self.make(recipe)
        for paths in (photographs, [photographs[0], bad], photographs[3:]):
            batch = read_batch(paths)
            executor.submit(batch, draw(recipe, batch))
        executor.drain()
        executor.drain()
        batch = read_batch(photographs)
        executor.submit(batch, draw(recipe, batch))
        ((images,),) = executor.result()
        executor.close()
        assert torch.equal(images, expected)

    # Life

    def test_close_leaves_no_thread(self, photographs: list[Path]) -> None:
        """With batches under way or not, and as often as it is called."""
        recipe = compile_recipe(self.AUGMENTATION)
        batch = read_batch(photographs)
        for under_way in range(3):
            executor = self.make(recipe)
            for _ in range(under_way):
                executor.submit(batch, draw(recipe, batch))
            executor.close()
            executor.close()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("dalikit-")] == []

    def test_what_was_handed_over_is_never_written_again(self, photographs: list[Path]) -> None:
        recipe = compile_recipe(self.AUGMENTATION)
        executor = self.make(recipe)
        batch = read_batch(photographs)
        kept: list[tuple[Tensor, Tensor]] = []
        for position in range(0, 120, 12):
            batch.positions = np.arange(position, position + 12)
            executor.submit(batch, draw(recipe, batch))
            ((images,),) = executor.result()
            part = images[3] if position % 24 else images[2:5, :, ::2]  # a view keeps the memory as well
            kept.append((part, part.clone()))
            del images
        executor.close()
        assert all(torch.equal(part, copy) for part, copy in kept)
        assert len({part.data_ptr() for part, _ in kept}) == len(kept)

    def test_results_outlive_the_executor(self, photographs: list[Path]) -> None:
        images, _ = run(self.make, self.AUGMENTATION, photographs)
        copy = images.clone()
        again = [run(self.make, self.AUGMENTATION, photographs)[0] for _ in range(3)]
        assert torch.equal(images, copy)
        assert all(torch.equal(images, other) for other in again)
