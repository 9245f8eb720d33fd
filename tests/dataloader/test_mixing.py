"""MixUp and CutMix: what is drawn for a batch, and what becomes of images and targets."""

from __future__ import annotations

import pickle
import random
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

import dalikit.mixing
from dalikit.errors import ArgumentError
from dalikit.mixing import apply_mix
from dalikit.transforms.mixing import BatchTransform, CutMix, Mix, MixUp, check_mixing, draw_mix

CLASSES = 5


def make_images(count: int = 4, height: int = 6, width: int = 9, **options: Any) -> Tensor:
    """A batch of noise."""
    return torch.randn((count, 3, height, width), generator=torch.Generator().manual_seed(1)).to(**options)


def make_targets(count: int = 4) -> Tensor:
    """A class number for each."""
    return torch.arange(count) * 3 % CLASSES


def blend_as_torchvision(images: Tensor, targets: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """torchvision's v2.MixUp, written anew."""
    hot = one_hot(targets, CLASSES).float()
    return images.roll(1, 0) * (1 - lam) + images * lam, hot.roll(1, 0) * (1 - lam) + hot * lam


# What is drawn


@pytest.mark.parametrize("transform", [MixUp(), CutMix()])
def test_a_draw_follows_from_its_key(transform: BatchTransform) -> None:
    """Same seed and position: the same; another of either: another."""
    assert draw_mix(transform, 1, 2) == draw_mix(transform, 1, 2)
    assert len({draw_mix(transform, *key).lam for key in [(1, 2), (1, 3), (2, 2), (2, 1)]}) == 4


def test_global_generators_decide_nothing() -> None:
    """Nor are they touched."""
    first, state = draw_mix(CutMix(), 1, 2), random.getstate()
    np.random.seed(3)
    torch.manual_seed(3)
    assert draw_mix(CutMix(), 1, 2) == first
    assert random.getstate() == state


def test_mixup_and_cutmix_draw_under_purposes_of_their_own() -> None:
    """The share of one says nothing of the other's."""
    assert (MixUp.purpose, CutMix.purpose) == (24, 25)
    pairs = np.array([[draw_mix(part(), 0, n).lam for part in (MixUp, CutMix)] for n in range(500)])
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.15


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_is_drawn_from_beta(alpha: float) -> None:
    """Against numpy's Beta(alpha, alpha): the distributions differ by no more than chance (Kolmogorov, Smirnov)."""
    shares = np.sort([draw_mix(MixUp(alpha=alpha), 0, position).lam for position in range(2000)])
    sample = np.sort(np.random.default_rng(1).beta(alpha, alpha, 100_000))
    distance = np.abs(np.searchsorted(sample, shares) / len(sample) - np.arange(2000) / 2000).max()
    assert distance < 1.63 / np.sqrt(2000)  # the 1 % bound


def test_the_boxs_centre_is_drawn_evenly() -> None:
    """Over the image, the two coordinates unrelated to each other and to the share."""
    drawn = np.array([draw_mix(CutMix(), 0, position)[2:] for position in range(2000)])
    for column in drawn.T:
        assert np.histogram(column, bins=4, range=(0, 1))[0] == pytest.approx([500] * 4, abs=80)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.08


def test_a_choice_is_drawn_by_its_weights() -> None:
    """One of several a batch, weights of any sum; what is chosen draws as it does alone."""
    up, cut = MixUp(alpha=0.5, num_classes=9), CutMix(num_classes=9)
    drawn = [draw_mix(((up, 3.0), (cut, 1.0)), 0, position) for position in range(1000)]
    assert sum(mix.name == "MixUp" for mix in drawn) == pytest.approx(750, abs=45)
    for position, mix in enumerate(drawn[:20]):
        assert mix == draw_mix(up if mix.name == "MixUp" else cut, 0, position)


def test_a_weight_of_zero_is_never_chosen() -> None:
    """Neither first nor last."""
    choice = ((CutMix(), 0.0), (MixUp(), 1.0), (CutMix(), 0.0))
    assert {draw_mix(choice, 0, position).name for position in range(200)} == {"MixUp"}


def test_the_first_draws_stay_as_they_are() -> None:
    """Another number here would be a change of every run's batches."""
    assert draw_mix(MixUp(), 0, 0).lam == pytest.approx(0.6546490684064056)
    assert draw_mix(CutMix(), 0, 0)[2:] == pytest.approx((0.04240653035044124, 0.5586932054720819, 0.847238460322842))


# What is done


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_mixup_is_torchvisions(dtype: torch.dtype, memory_format: torch.memory_format, lam: float) -> None:
    """Within the rounding of the type; the memory order stays, and nothing is copied."""
    images, targets = make_images(dtype=dtype, memory_format=memory_format), make_targets()
    expected = blend_as_torchvision(images.double(), targets, lam)
    address = images.data_ptr()
    mixed, shares = apply_mix(Mix("MixUp", CLASSES, lam), images, targets)
    assert mixed.dtype == dtype
    assert mixed.data_ptr() == address
    assert mixed.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(mixed.double(), expected[0], rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
    torch.testing.assert_close(shares, expected[1])
    assert shares.dtype == torch.float32


@given(
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.booleans(),
    st.integers(1, 4),
)
def test_cutmix_cuts_the_box_that_counts(lam: float, x: float, y: float, last: bool, count: int) -> None:
    """Inside a box all pixels are the previous image's, outside its own; the targets follow the box's area."""
    images, targets = make_images(count), make_targets(count)
    before = images.clone()
    if last:
        images = images.to(memory_format=torch.channels_last)
    mixed, shares = apply_mix(Mix("CutMix", CLASSES, lam, x, y), images, targets)
    replaced = (mixed == before.roll(1, 0)).all(dim=1).all(dim=0)
    kept = (mixed == before).all(dim=1).all(dim=0)
    assert (replaced | kept).all()
    height, width = before.shape[-2:]
    if count > 1:
        rows, columns = replaced.any(dim=1).nonzero(), replaced.any(dim=0).nonzero()
        assert replaced.sum() == len(rows) * len(columns)
        share = 1 - int(replaced.sum()) / (height * width)
        torch.testing.assert_close(shares, blend_as_torchvision(before, targets, share)[1])
    assert shares.sum(dim=1) == pytest.approx([1.0] * count)


def test_cutmix_draws_torchvisions_box() -> None:
    """Centre (4, 3) of 9 x 6 pixels, sides of the square root of 1 - lam: columns 2 to 5, rows 2 to 3."""
    images = make_images()
    before = images.clone()
    mixed, shares = apply_mix(Mix("CutMix", CLASSES, 0.75, 4.5 / 9, 3.5 / 6), images, make_targets())
    expected = before.clone()
    expected[..., 2:4, 2:6] = before.roll(1, 0)[..., 2:4, 2:6]
    assert torch.equal(mixed, expected)
    torch.testing.assert_close(shares, blend_as_torchvision(before, make_targets(), 1 - 8 / 54)[1])


def test_a_box_is_cut_off_at_the_edge() -> None:
    """And the share adjusted to what is left of it: 2 x 1 pixels of 54."""
    shares = apply_mix(Mix("CutMix", CLASSES, 0.75, 0.0, 0.0), make_images(), torch.tensor([0, 1, 2, 3]))[1]
    assert shares[0].tolist() == pytest.approx([1 - 2 / 54, 0, 0, 2 / 54, 0])


def test_cutmix_takes_uint8_as_torchvision_does() -> None:
    """Nothing is computed, so any type will do."""
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 6, 9).clone()
    mixed, _ = apply_mix(Mix("CutMix", CLASSES, 0.0, 0.5, 0.5), images, make_targets())
    assert mixed[:, 0, 3, 4].tolist() == [3, 0, 1, 2]


def test_both_ways_of_joining_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU all images at once, on a CPU one after the other."""
    images = make_images()
    for mix in (Mix("MixUp", CLASSES, 0.3), Mix("CutMix", CLASSES, 0.3, 0.5, 0.5)):
        one = apply_mix(mix, images.clone(), make_targets())[0]
        with monkeypatch.context() as patch:
            patch.setattr(dalikit.mixing, "_ONE_BY_ONE", ())
            assert torch.equal(apply_mix(mix, images.clone(), make_targets())[0], one)


def test_a_batch_of_one_stays_as_it_is() -> None:
    """It is mixed with itself."""
    images = make_images(1)
    mixed, shares = apply_mix(Mix("MixUp", CLASSES, 0.3), images.clone(), torch.tensor([2]))
    torch.testing.assert_close(mixed, images)
    assert shares.tolist() == [pytest.approx([0, 0, 1, 0, 0])]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_class_numbers_may_be_any_integers(dtype: torch.dtype) -> None:
    """torch stacks what the dataset gives."""
    shares = apply_mix(Mix("MixUp", CLASSES, 0.25), make_images(), make_targets().to(dtype))[1]
    torch.testing.assert_close(shares, blend_as_torchvision(make_images(), make_targets(), 0.25)[1])


@pytest.mark.parametrize("num_classes", [None, CLASSES])
@pytest.mark.parametrize(("dtype", "result"), [(torch.int64, torch.float32), (torch.float64, torch.float64)])
def test_targets_may_be_probabilities(num_classes: int | None, dtype: torch.dtype, result: torch.dtype) -> None:
    """As in torchvision; the caller's are left as they are."""
    hot = one_hot(make_targets(), CLASSES).to(dtype)
    before = hot.clone()
    shares = apply_mix(Mix("MixUp", num_classes, 0.25), make_images(), hot)[1]
    assert torch.equal(hot, before)
    expected = blend_as_torchvision(make_images(), make_targets(), 0.25)[1]
    torch.testing.assert_close(shares, expected.to(result))


@pytest.mark.gpu
@pytest.mark.parametrize("on_cpu", [True, False], ids=["targets on the CPU", "targets on the GPU"])
def test_a_gpu_gives_what_the_cpu_gives(on_cpu: bool) -> None:
    """Targets come along to the images' device."""
    for mix in (Mix("MixUp", CLASSES, 0.3), Mix("CutMix", CLASSES, 0.3, 0.5, 0.5)):
        expected = apply_mix(mix, make_images(), make_targets())
        found = apply_mix(mix, make_images(device="cuda"), make_targets() if on_cpu else make_targets().cuda())
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.device.type == "cuda"
            torch.testing.assert_close(mine.cpu(), theirs)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0}, "alpha=0: must be a number above 0"),
        ({"alpha": float("inf")}, "alpha=inf: must be a number above 0"),
        ({"alpha": True}, "alpha=True: must be a number above 0"),
        ({"alpha": "1"}, "alpha='1': must be a number above 0"),
        ({"num_classes": 0}, "num_classes=0: must be a whole number of at least 1, or None"),
        ({"num_classes": 2.5}, "num_classes=2.5: must be a whole number of at least 1, or None"),
        ({"num_classes": True}, "num_classes=True: must be a whole number of at least 1, or None"),
    ],
)
@pytest.mark.parametrize("transform", [MixUp, CutMix])
def test_arguments_out_of_range(transform: type[BatchTransform], arguments: dict[str, Any], message: str) -> None:
    """Each is named."""
    with pytest.raises(ArgumentError, match=message):
        transform(**arguments)


@pytest.mark.parametrize(
    ("num_classes", "targets", "message"),
    [
        (CLASSES, [0, 1], "The labels must be a tensor, but got <class 'list'> instead"),
        (
            CLASSES,
            torch.zeros(4, 2, 2),
            r"labels should be index based with shape \(batch_size,\) or probability based",
        ),
        (CLASSES, torch.zeros(3, dtype=torch.int64), "does not match the batch size of the labels: 4 != 3"),
        (None, torch.zeros(4, dtype=torch.int64), r"num_classes must be passed if the labels are index-based \(1D\)"),
        (CLASSES, torch.zeros(4), "only applicable to index tensor of type LongTensor, but got torch.float32 labels"),
        (CLASSES, torch.tensor([0, 1, -2, 5]), "Class values must be non-negative, but a label is -2"),
        (CLASSES, torch.tensor([0, 1, 2, 5]), "smaller than num_classes, but a label is 5 and num_classes=5"),
        (3, torch.zeros(4, 2), "number of elements in last dimension must match num_classes: 2 != 3"),
    ],
)
@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_targets_that_cannot_be_mixed(name: str, num_classes: int | None, targets: Any, message: str) -> None:
    """In torchvision's words; the images are left alone."""
    images = make_images()
    with pytest.raises(ArgumentError, match=message):
        apply_mix(Mix(name, num_classes, 0.3), images, targets)
    assert torch.equal(images, make_images())


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        (
            "MixUp",
            torch.zeros(4, 3, 2, 2, dtype=torch.uint8),
            "does not support torch.uint8 images; put ToTensor before",
        ),
        ("MixUp", torch.zeros(2, 4, 3, 2, 2), "Expected a batched input with 4 dims, but got 5 dimensions instead"),
        ("CutMix", [torch.zeros(3, 2, 2)], "CutMix: the images must be of one size; put a Resize or a crop before it"),
    ],
)
def test_images_that_cannot_be_mixed(name: str, images: Any, message: str) -> None:
    """uint8, several views, different sizes."""
    with pytest.raises(ArgumentError, match=message):
        apply_mix(Mix(name, CLASSES, 0.3), images, make_targets())


@pytest.mark.parametrize(
    ("mixing", "arguments", "message"),
    [
        (MixUp(), {"floating": False}, r"MixUp: does not support uint8 images; put ToTensor \(and Normalize\) before"),
        (((CutMix(), 1.0), (MixUp(), 1.0)), {"floating": False}, "MixUp: does not support uint8 images"),
        (CutMix(), {"single": False}, r"CutMix: must not stand in a transform with several views \(MultiCrop\)"),
        (CutMix(), {"collate_fn": list}, "CutMix: must not stand beside a collate_fn"),
        (((MixUp(num_classes=3), 1.0), (CutMix(), 1.0)), {}, "num_classes=3, None: must be the same for all"),
    ],
)
def test_what_a_loader_refuses(mixing: Any, arguments: dict[str, Any], message: str) -> None:
    """When it is made, not at the first batch."""
    with pytest.raises(ArgumentError, match=message):
        check_mixing(mixing, **{"floating": True, "single": True, **arguments})


@pytest.mark.parametrize(
    ("mixing", "floating"), [(MixUp(), True), (CutMix(), False), (((MixUp(), 1.0), (CutMix(), 1.0)), True)]
)
def test_what_a_loader_takes(mixing: Any, floating: bool) -> None:
    """CutMix even with uint8 images, as in torchvision."""
    check_mixing(mixing, floating=floating, single=True)


def test_descriptions_are_frozen_and_travel() -> None:
    """They compare, print and pickle like every transform; positional arguments are refused, as in torchvision."""
    up = MixUp(alpha=0.8, num_classes=10)
    assert repr(up) == "MixUp(alpha=0.8, num_classes=10)"
    assert pickle.loads(pickle.dumps(up)) == up != CutMix(alpha=0.8, num_classes=10)
    with pytest.raises(FrozenInstanceError, match="alpha"):
        up.alpha = 1.0
    with pytest.raises(TypeError, match="positional"):
        MixUp(0.8)  # type: ignore[misc]
