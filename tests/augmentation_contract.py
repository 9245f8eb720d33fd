"""What every executor makes of colours, blurs, warps, policies and several views, beside torchvision on Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from executor_bench import run
from PIL import Image
from pillow_reference import finish, open_rgb, pillow_pixels, pillow_views
from torch import Tensor

import dalikit.transforms as T
from dalikit.transforms.compiler import compile_recipe

__all__ = ["CASES", "DINO", "AugmentationContract", "Bound"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Bound(NamedTuple):
    """How far pixels may lie from the reference, in levels of 8 bits, over all photographs of a case."""

    largest: float
    mean: float
    beyond_4: float
    """Largest share of values that are more than 4 levels away."""


CASES: dict[str, dict[str, T.Transform]] = {
    # kind -> name -> transform; a bound is stated for each kind
    "colour": {
        "brightness": T.ColorJitter(brightness=0.8),
        "contrast": T.ColorJitter(contrast=(0.2, 2.5)),
        "saturation": T.ColorJitter(saturation=0.8),
        "in any order": T.ColorJitter(0.8, 0.8, 0.8),
        "Grayscale": T.Grayscale(3),
        "RandomGrayscale": T.RandomGrayscale(0.5),
        "RandomAdjustSharpness to less": T.RandomAdjustSharpness(0.0, p=0.8),
        "RandomAdjustSharpness to more": T.RandomAdjustSharpness(2.0, p=0.8),
        "RandomAutocontrast": T.RandomAutocontrast(0.8),
    },
    "hue": {
        "hue": T.ColorJitter(hue=0.5),
        "DINO's jitter": T.ColorJitter(0.4, 0.4, 0.2, 0.1),
        "SimCLR's jitter": T.ColorJitter(0.8, 0.8, 0.8, 0.2),
    },
    "levels": {
        "RandomSolarize": T.RandomSolarize(128, p=0.7),
        "RandomSolarize at a fraction": T.RandomSolarize(99.5, p=1.0),
        "RandomPosterize": T.RandomPosterize(3, p=0.7),
        "RandomInvert": T.RandomInvert(0.5),
    },
    "equalize": {"RandomEqualize": T.RandomEqualize(0.8)},
    "blur": {
        "GaussianBlur(9)": T.GaussianBlur(9, (0.1, 2.0)),
        "GaussianBlur((3, 7))": T.GaussianBlur((3, 7), 1.2),
        "RandomApply(GaussianBlur)": T.RandomApply([T.GaussianBlur(23, (0.1, 2.0))], p=0.5),
    },
    "warp": {
        "RandomAffine": T.RandomAffine(30, (0.1, 0.2), (0.7, 1.4), (-10, 10, -5, 5), fill=(9, 120, 200)),
        "RandomAffine, bilinear": T.RandomAffine(30, (0.1, 0.2), (0.7, 1.4), 20, T.InterpolationMode.BILINEAR),
        "RandomRotation": T.RandomRotation(45, fill=7),
        "RandomRotation, expanding": T.RandomRotation(45, T.InterpolationMode.BILINEAR, expand=True),
        "RandomPerspective": T.RandomPerspective(0.6, p=0.8),
        "RandomPerspective, nearest": T.RandomPerspective(0.6, p=0.8, interpolation="nearest"),
    },
    "moved": {
        "Pad": T.Pad((3, 5, 7, 11), fill=(1, 2, 3)),
        "RandomChoice": T.RandomChoice([T.RandomCrop(60), T.RandomHorizontalFlip(1.0), T.Pad(4)], p=[1, 2, 1]),
        "RandomApply of moves": T.RandomApply([T.CenterCrop(70), T.RandomVerticalFlip(0.5)], p=0.5),
        "RandomOrder": T.RandomOrder([T.RandomHorizontalFlip(0.5), T.Pad((2, 9, 0, 1)), T.CenterCrop((99, 60))]),
    },
    "policy": {
        "RandAugment": T.RandAugment(),
        "RandAugment(4, 30)": T.RandAugment(4, 30),
        "TrivialAugmentWide": T.TrivialAugmentWide(),
        "AutoAugment": T.AutoAugment(),
        "AutoAugment of SVHN": T.AutoAugment(T.AutoAugmentPolicy.SVHN),
        "AugMix": T.AugMix(),
    },
    "recipe": {
        "order of colours": T.RandomOrder([T.ColorJitter(0.4, 0.4), T.RandomGrayscale(0.5), T.RandomInvert(0.3)]),
        "MoCo v2": T.Compose(
            [
                T.RandomResizedCrop(112, scale=(0.2, 1.0)),
                T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                T.RandomGrayscale(p=0.2),
                T.RandomApply([T.GaussianBlur(9, (0.1, 2.0))], p=0.5),
                T.RandomHorizontalFlip(),
            ]
        ),
        "colours, then a crop": T.Compose(
            [T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.RandomResizedCrop(64), T.RandomVerticalFlip(), T.RandomGrayscale(0.3)]
        ),
    },
}

DINO = T.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 3, global_crops_size=96, local_crops_size=48)


def _gap(images: Sequence[Tensor], expected: Sequence[Tensor]) -> Bound:
    for image, wanted in zip(images, expected, strict=True):
        assert image.shape == wanted.shape
    gaps = torch.cat(
        [(image.cpu().int() - wanted.int()).abs().flatten() for image, wanted in zip(images, expected, strict=True)]
    )
    return Bound(int(gaps.max()), float(gaps.double().mean()), float((gaps > 4).double().mean()))


def _write(folder: Path, name: str, array: Any) -> Path:
    path = folder / f"{name}.png"
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)
    return path


class AugmentationContract:
    """Inherited by each executor's test class, which says how one is made and how near it comes."""

    bounds: ClassVar[dict[str, Bound]]
    device: ClassVar[str] = "cpu"

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> Any:
        """An executor."""
        raise NotImplementedError

    def check(self, transform: T.Transform, paths: Sequence[Path], allowed: Bound) -> None:
        """The transform's pixels lie within the bound."""
        images, parameters = run(self.make, transform, paths)
        expected = [pillow_pixels(open_rgb(path), transform, parameters.matrix[row]) for row, path in enumerate(paths)]
        found = _gap(list(images), expected)
        assert all(value <= limit for value, limit in zip(found, allowed, strict=True)), (found, allowed)

    @pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in CASES.items() for name in cases])
    def test_pixels_are_torchvisions_within_the_bound(self, kind: str, name: str, photographs: list[Path]) -> None:
        self.check(CASES[kind][name], photographs, self.bounds[kind])

    @pytest.mark.parametrize(
        ("kind", "name"), [(kind, name) for kind in ("colour", "hue", "levels", "equalize") for name in CASES[kind]]
    )
    def test_odd_images_too(self, kind: str, name: str, tmp_path: Path) -> None:
        """One pixel, one row, one colour, gray, every hue, very wide."""
        random = np.random.default_rng(0)
        hues = np.stack(np.meshgrid([0, 1, 127, 254, 255], [0, 1, 128, 255], [0, 2, 255], indexing="ij"), axis=-1)
        paths = [
            _write(tmp_path, "one", np.full((1, 1, 3), (200, 10, 90))),
            _write(tmp_path, "row", random.integers(0, 256, (1, 37, 3))),
            _write(tmp_path, "black", np.zeros((9, 8, 3))),
            _write(tmp_path, "white", np.full((9, 8, 3), 255)),
            _write(tmp_path, "gray", np.repeat(random.integers(0, 256, (11, 13, 1)), 3, axis=2)),
            _write(tmp_path, "hues", hues.reshape(6, 10, 3)),
            _write(tmp_path, "wide", random.integers(90, 160, (3, 700, 3))),
        ]
        allowed = self.bounds[kind]
        # Noise and corners of the colour cube are no photographs: the largest gap is the bound that counts here.
        self.check(CASES[kind][name], paths, Bound(allowed.largest, allowed.largest, 1.0))

    def test_several_views_are_each_the_reference(self, photographs: list[Path]) -> None:
        """Names, shapes, layout and values of DINO's views."""
        images, parameters = run(self.make, DINO, photographs)
        assert {name: tuple(part.shape) for name, part in images.items() if isinstance(part, Tensor)} == {
            "global_crops": (2, 12, 3, 96, 96),
            "global_crops_teacher": (2, 12, 3, 96, 96),
            "local_crops": (3, 12, 3, 48, 48),
        }
        assert images["offsets"] == ()
        assert images["global_crops_teacher"] is images["global_crops"]
        groups = [images["global_crops"], images["local_crops"]]
        assert all(group.is_contiguous() and group.device.type == self.device for group in groups)
        recipe = compile_recipe(DINO)
        scale, shift = (torch.tensor(x)[:, None, None] for x in _arithmetic(recipe))
        levels, expected = [], []
        for row, path in enumerate(photographs):
            views = pillow_views(open_rgb(path), DINO, parameters.matrix[row])
            for group, wanted in zip(groups, views, strict=True):
                expected += wanted
                levels += [((view[row].cpu() - shift) / scale).round().int() for view in group]
        found, allowed = _gap(levels, expected), self.bounds["recipe"]
        assert all(value <= limit for value, limit in zip(found, allowed, strict=True)), (found, allowed)

    @pytest.mark.parametrize("options", [{"channels_last": True}, {"dtype": torch.float16}, {"dtype": torch.bfloat16}])
    def test_layouts_and_types_of_several_views(self, options: dict[str, Any], photographs: list[Path]) -> None:
        plain, _ = run(self.make, DINO, photographs)
        images, _ = run(self.make, DINO, photographs, **options)
        for name in ("global_crops", "local_crops"):
            expected = plain[name].to(options.get("dtype", torch.float32))
            torch.testing.assert_close(images[name], expected, rtol=1e-2 if "dtype" in options else 0, atol=1e-6)
            if "channels_last" in options:
                assert images[name].movedim(-3, -1).is_contiguous()
            else:
                assert images[name].is_contiguous()

    def test_steps_before_the_views_are_shared_and_steps_after_them_are_each_views(
        self, photographs: list[Path]
    ) -> None:
        shared = [T.RandomHorizontalFlip(0.5), T.ColorJitter(0.4, 0.4), T.Resize(70)]
        groups = [T.Views("small", T.RandomCrop(20), count=2), T.Views("large", [T.CenterCrop(50)])]
        transform = T.Compose([*shared, T.MultiCrop(groups), T.RandomGrayscale(0.5)])
        images, parameters = run(self.make, transform, photographs)
        assert (tuple(images["small"].shape), tuple(images["large"].shape)) == ((2, 12, 3, 20, 20), (1, 12, 3, 50, 50))
        found: list[Tensor] = []
        expected: list[Tensor] = []
        for row, path in enumerate(photographs):
            views = pillow_views(open_rgb(path), transform, parameters.matrix[row])
            for group, wanted in zip(images.values(), views, strict=True):
                found += [view[row] for view in group]
                expected += wanted
        gap, allowed = _gap(found, expected), self.bounds["recipe"]
        assert all(value <= limit for value, limit in zip(gap, allowed, strict=True)), (gap, allowed)

    def test_views_of_several_sizes_come_as_lists(self, photographs: list[Path]) -> None:
        transform = T.MultiCrop([T.Views("half", T.Resize(40), count=2), T.Views("crop", T.CenterCrop(9))])
        images, parameters = run(self.make, transform, photographs)
        sizes = parameters.sizes[0][0]
        shapes = [(3, *pair) for pair in zip(sizes.heights.tolist(), sizes.widths.tolist(), strict=True)]
        assert [[tuple(image.shape) for image in view] for view in images["half"]] == [shapes, shapes]
        assert tuple(images["crop"].shape) == (1, 12, 3, 9, 9)

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_erased_boxes_are_set_and_the_rest_is_left(self, channels_last: bool, photographs: list[Path]) -> None:
        steps = [T.RandomResizedCrop(64), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
        erasing = [T.RandomErasing(0.8, value=(0.5, -1.0, 2.0)), T.RandomErasing(0.5, value=7)]
        plain, _ = run(self.make, T.Compose(steps), photographs, channels_last=channels_last)
        images, parameters = run(self.make, T.Compose([*steps, *erasing]), photographs, channels_last=channels_last)
        output = compile_recipe(T.Compose([*steps, *erasing])).groups[0].views[0].output
        assert len(output.erase) == 2
        for row in range(len(photographs)):
            expected = plain[row].cpu().clone()
            for erase in output.erase:
                top, left, height, width = parameters.matrix[row, erase.column : erase.column + 4].astype(int).tolist()
                for channel in range(3):
                    expected[channel, top : top + height, left : left + width] = erase.value[channel]
            torch.testing.assert_close(images[row].cpu(), expected, rtol=0, atol=1e-6)

    def test_levels_can_be_erased_too(self, photographs: list[Path]) -> None:
        transform = T.Compose([T.CenterCrop(50), T.RandomErasing(1.0, value=(1, 2, 3))])
        images, parameters = run(self.make, transform, photographs[:3])
        output = compile_recipe(transform).groups[0].views[0].output
        for row, path in enumerate(photographs[:3]):
            levels = pillow_pixels(open_rgb(path), T.CenterCrop(50), parameters.matrix[row])
            assert torch.equal(images[row].cpu(), finish(levels, output, parameters.matrix[row]))

    def test_what_is_drawn_for_nothing_does_no_harm(self, photographs: list[Path]) -> None:
        images, parameters = run(
            self.make, T.Compose([T.RandomApply([]), T.RandomChoice([T.CenterCrop(9)])]), photographs
        )
        assert parameters.matrix.shape[1] == 6
        assert images.shape == (12, 3, 9, 9)
        whole, _ = run(self.make, T.RandomApply([]), photographs)
        plain, _ = run(self.make, None, photographs)
        assert all(torch.equal(one, other) for one, other in zip(whole, plain, strict=True))

    # Invariance

    @pytest.mark.parametrize("num_threads", [1, 3])
    def test_the_number_of_threads_changes_no_view(self, num_threads: int, photographs: list[Path]) -> None:
        expected, _ = run(self.make, DINO, photographs)
        images, _ = run(self.make, DINO, photographs, num_threads=num_threads)
        assert all(torch.equal(images[name], expected[name]) for name in ("global_crops", "local_crops"))

    @pytest.mark.parametrize("name", list(CASES["policy"]))
    def test_neighbours_and_order_change_no_policy(self, name: str, photographs: list[Path]) -> None:
        transform = T.Compose([T.CenterCrop(80), CASES["policy"][name]])
        expected, _ = run(self.make, transform, photographs)
        for rows in ([7], [11, 3, 3, 0]):
            images, _ = run(self.make, transform, [photographs[row] for row in rows], positions=rows)
            assert torch.equal(images, expected[rows])

    @pytest.mark.parametrize("rows", [[4], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [2, 9, 0, 7, 7]])
    def test_neighbours_and_order_change_no_view(self, rows: list[int], photographs: list[Path]) -> None:
        expected, _ = run(self.make, DINO, photographs)
        images, _ = run(self.make, DINO, [photographs[row] for row in rows], positions=rows)
        assert all(torch.equal(images[name], expected[name][:, rows]) for name in ("global_crops", "local_crops"))


def _arithmetic(recipe: Any) -> tuple[Any, Any]:
    output = recipe.groups[0].views[0].output
    return output.scale, output.shift
