"""What every executor makes of images that come decoded: the pixels of the same images encoded without loss."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augmentation_contract import CASES, DINO
from encoded_images import photograph
from executor_bench import Pixels, decoded_batch, draw, run
from PIL import Image

import dalikit.transforms as T
from dalikit.collate import bundle_images
from dalikit.transforms.compiler import compile_recipe

__all__ = ["DecodedContract", "flat"]

NORMAL = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]

RECIPES: dict[str, T.Transform | None] = {
    "none": None,
    "train": T.Compose([T.RandomResizedCrop(64), T.RandomHorizontalFlip(), *NORMAL]),
    "evaluate": T.Compose([T.Resize(70, "bicubic"), T.CenterCrop(64), *NORMAL]),
    "region": T.RandomCrop((40, 50)),
    "region at its own size": T.Compose([T.RandomCrop(50), T.Resize(50), T.RandomVerticalFlip()]),
    "region, nearest": T.Compose([T.CenterCrop((60, 50)), T.Resize((31, 70), "nearest")]),
    "crop partly outside": T.RandomCrop(90, padding=(10, 60, 20, 30), fill=(10, 200, 30)),
    "crop larger than some images": T.CenterCrop((110, 70)),
    "turned if it were encoded": T.Compose([T.Decode(adjust_orientation=True), T.RandomCrop(60), T.ToTensor()]),
    "region, then colours": T.Compose([T.RandomCrop(60), T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.RandomGrayscale(0.3)]),
    "colours of the whole": T.Compose([T.ColorJitter(0.4, 0.4, 0.2, 0.1), T.RandomResizedCrop(48)]),
    "erased": T.Compose([T.RandomResizedCrop(48), *NORMAL, T.RandomErasing(0.8)]),
    "policy": T.Compose([T.RandomResizedCrop(48), T.RandAugment(3)]),
    "DINO": DINO,
    "views of shared steps": T.Compose(
        [
            T.RandomCrop(70),
            T.RandomHorizontalFlip(),
            T.MultiCrop(
                [T.Views("small", T.RandomCrop(20), count=2), T.Views("large", T.Compose([T.CenterCrop(50), *NORMAL]))]
            ),
        ]
    ),
    "views of several sizes": T.MultiCrop(
        [
            T.Views("half", T.Resize(40), count=2),
            T.Views("whole", T.RandomHorizontalFlip()),
            T.Views("as it is", T.Compose([])),  # draws nothing
        ]
    ),
}

CHANGING: list[tuple[str, T.Transform | None]] = [
    *RECIPES.items(),
    *((name, step) for cases in CASES.values() for name, step in cases.items()),
]
"""Everything that an executor may do to an image first."""


def sources(photographs: Sequence[Path]) -> list[Pixels]:
    """Images of several sizes, two of them gray, one with a single row."""
    images = [np.array(photograph(path, 90 + 7 * row, 117 - 5 * row)) for row, path in enumerate(photographs[:6])]
    images[2] = images[2][:, :, :1].repeat(3, axis=2)
    images[4] = np.full_like(images[4], 128)
    return images


def flat(images: Any) -> list[torch.Tensor]:
    """All tensors of what a loader gives: one, a list, or several groups of either."""
    if isinstance(images, torch.Tensor):
        return [images]
    parts = images.values() if isinstance(images, dict) else images
    return [tensor for part in parts for tensor in flat(part)]


class DecodedContract:
    """Inherited by each executor's test class, which says how one is made, for encoded images and for decoded ones."""

    device = "cpu"

    def make(self, recipe: Any, *, decoded: bool = True, **options: Any) -> Any:
        """An executor."""
        raise NotImplementedError

    def make_for_files(self, recipe: Any, **options: Any) -> Any:
        """One that decodes."""
        return self.make(recipe, decoded=False, **options)

    def check(self, transform: T.Transform | None, images: list[Pixels], folder: Path, **options: Any) -> None:
        """Decoded or from a file, an image has the same pixels."""
        paths = [folder / f"{row}.{('png', 'ppm')[row % 2]}" for row in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(path)
        expected, encoded_draws = run(self.make_for_files, transform, paths, **options)
        found, draws = run(self.make, transform, decoded_batch(images), **options)
        assert np.array_equal(draws.matrix, encoded_draws.matrix)
        assert type(found) is type(expected)
        assert len(flat(found)) == len(flat(expected)) > 0
        for one, other in zip(flat(found), flat(expected), strict=True):
            assert (one.dtype, one.stride(), one.device) == (other.dtype, other.stride(), other.device)
            assert torch.equal(one, other)

    @pytest.mark.parametrize("name", RECIPES)
    def test_pixels_are_those_of_the_encoded_image(self, name: str, photographs: list[Path], tmp_path: Path) -> None:
        self.check(RECIPES[name], sources(photographs), tmp_path)

    @pytest.mark.parametrize("name", ["none", "train", "region", "DINO", "views of shared steps"])
    @pytest.mark.parametrize("options", [{"channels_last": True}, {"dtype": torch.float16}, {"dtype": torch.bfloat16}])
    def test_layouts_and_types_too(
        self, options: dict[str, Any], name: str, photographs: list[Path], tmp_path: Path
    ) -> None:
        self.check(RECIPES[name], sources(photographs), tmp_path, **options)

    def test_images_of_one_size_come_as_a_tensor(self, photographs: list[Path], tmp_path: Path) -> None:
        images = [np.array(photograph(path)) for path in photographs[:3]]
        found, _ = run(self.make, None, decoded_batch(images))
        assert isinstance(found, torch.Tensor)
        self.check(None, images, tmp_path)

    def test_small_images_too(self, tmp_path: Path) -> None:
        """One pixel, one row, one column."""
        random = np.random.default_rng(0)
        images = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((1, 1), (1, 9), (7, 1), (2, 2))]
        for transform in (None, T.RandomResizedCrop(8), T.Compose([T.ColorJitter(0.4, 0.4, 0.4), T.CenterCrop(3)])):
            self.check(transform, images, tmp_path)

    # What is fed belongs to somebody else

    @pytest.mark.parametrize(("name", "transform"), CHANGING, ids=[name for name, _ in CHANGING])
    def test_images_are_never_written_to(
        self, name: str, transform: T.Transform | None, photographs: list[Path]
    ) -> None:
        """Neither those that could be, nor those marked read-only, which make no difference and no warning."""
        del name
        images = sources(photographs)
        before = [image.tobytes() for image in images]
        found, _ = run(self.make, transform, decoded_batch(images))
        assert [image.tobytes() for image in images] == before
        frozen = [
            np.frombuffer(data, np.uint8).reshape(image.shape) for data, image in zip(before, images, strict=True)
        ]
        assert not any(image.flags.writeable for image in frozen)
        again, _ = run(self.make, transform, decoded_batch(frozen))
        assert [image.tobytes() for image in frozen] == before
        assert all(torch.equal(one, other) for one, other in zip(flat(found), flat(again), strict=True))

    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("name", ["none", "region at its own size", "views of several sizes"])
    def test_outputs_are_memory_of_their_own(
        self, name: str, count: int, channels_last: bool, photographs: list[Path]
    ) -> None:
        """A user may write into a batch and leave the dataset as it is."""
        images = sources(photographs)[:count]
        before = [image.tobytes() for image in images]
        found, _ = run(self.make, RECIPES[name], decoded_batch(images), channels_last=channels_last)
        for tensor in flat(found):
            tensor.fill_(77)
        assert [image.tobytes() for image in images] == before

    @pytest.mark.parametrize("name", ["none", "train", "DINO"])
    def test_images_live_until_their_batch_is_done_and_no_longer(self, name: str, photographs: list[Path]) -> None:
        """Several batches under way at once, whose images nobody else holds."""
        recipe = compile_recipe(RECIPES[name])
        executor = self.make(recipe)
        expected, kept = [], []
        for start in range(3):
            images = sources(photographs[start:])
            expected.append(run(self.make, RECIPES[name], decoded_batch(images))[0])
            batch = decoded_batch(images)
            batch.dataset = None
            kept += [weakref.ref(image) for image in images]
            executor.submit(batch, draw(recipe, batch))
            del batch, images
        for wanted in expected:
            found = bundle_images(recipe, executor.result())
            assert all(torch.equal(one, other) for one, other in zip(flat(found), flat(wanted), strict=True))
        executor.close()
        gc.collect()
        assert [image for image in kept if image() is not None] == []

    def test_drain_drops_what_is_under_way_and_the_executor_works_on(self, photographs: list[Path]) -> None:
        recipe = compile_recipe(DINO)
        batch = decoded_batch(sources(photographs))
        expected, _ = run(self.make, DINO, batch)
        executor = self.make(recipe)
        for _ in range(3):
            executor.submit(batch, draw(recipe, batch))
        executor.drain()
        executor.submit(batch, draw(recipe, batch))
        global_crops, local_crops = executor.result()
        executor.close()
        assert torch.equal(global_crops, expected["global_crops"])
        assert torch.equal(local_crops, expected["local_crops"])
