"""RandAugment, TrivialAugmentWide, AutoAugment, AugMix: operations, magnitudes and tables are torchvision's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from drawn_parameters import drawn_columns, told
from PIL import Image
from pillow_reference import pillow_pixels, to_tensor
from torchvision_import import import_torchvision

import dalikit.transforms as T
from dalikit.errors import ArgumentError
from dalikit.transforms import operations as op
from dalikit.transforms import policies
from dalikit.transforms.base import Sizes, Transform
from dalikit.transforms.policies import AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide
from dalikit.transforms.policy_space import PLACE_COLUMNS, Space
from dalikit.transforms.policy_tables import SUBPOLICIES

torchvision = import_torchvision()
from torchvision.transforms import autoaugment as theirs  # noqa: E402  (only after the line above)

HEIGHT, WIDTH = 45, 61
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def their_space(number_of_bins: int, height: int, width: int, policy: Any) -> dict[str, Any]:
    if isinstance(policy, theirs.TrivialAugmentWide):
        return dict(policy._augmentation_space(number_of_bins))
    return dict(policy._augmentation_space(number_of_bins, (height, width)))


SPACES = [
    (policies._RAND, theirs.RandAugment()),
    (policies._WIDE, theirs.TrivialAugmentWide()),
    (policies._AUTO, theirs.AutoAugment()),
    (policies._MIX, theirs.AugMix()),
    (policies._MIX_NO_BLENDS, theirs.AugMix(all_ops=False)),
]


class TestSpace:
    @pytest.mark.parametrize(("space", "policy"), SPACES, ids=lambda value: type(value).__name__)
    @pytest.mark.parametrize(("bins", "height", "width"), [(31, 224, 224), (10, 331, 500), (7, 33, 1)])
    def test_operations_and_magnitudes_are_torchvisions(
        self, space: Space, policy: Any, bins: int, height: int, width: int
    ) -> None:
        expected = their_space(bins, height, width, policy)
        assert list(space.names) == list(expected)
        numbers = np.repeat(np.arange(len(expected))[None], bins, axis=0)
        found = space.magnitudes(
            numbers, np.repeat(np.arange(bins)[:, None], len(expected), axis=1), bins, Sizes.full(bins, height, width)
        )
        for number, (name, (magnitudes, signed)) in enumerate(expected.items()):
            wanted = np.broadcast_to(magnitudes.double().numpy(), (bins,))
            if name.startswith("Translate"):
                # cut to whole pixels; torchvision's float32 may lie just below one
                assert (np.abs(found[:, number] - np.floor(wanted + 1e-4)) == 0).all()
            else:
                np.testing.assert_allclose(found[:, number], wanted, rtol=2e-6, atol=1e-6, err_msg=name)
            assert space.signed(np.array([[number]])).item() == signed

    def test_thresholds_that_are_levels_are_exact(self) -> None:
        """A threshold just above 170 would leave that level as it is."""
        number = policies._AUTO.names.index("Solarize")
        found = policies._AUTO.magnitudes(np.full((10, 1), number), np.arange(10)[:, None], 10, Sizes.full(10, 1, 1))
        assert {255.0, 170.0, 85.0, 0.0} < set(found[:, 0].tolist())

    @pytest.mark.parametrize("name", policies._AUTO.names)
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_an_operation_does_what_torchvisions_does(self, name: str, sign: int) -> None:
        """For PIL images; at magnitudes that occur."""
        space, number = policies._AUTO, policies._AUTO.names.index(name)
        bins = np.arange(10)[:, None]
        numbers = np.full_like(bins, number)
        sizes = Sizes.full(10, HEIGHT, WIDTH)
        magnitudes = space.magnitudes(numbers, bins, 10, sizes)
        magnitudes *= np.where(space.signed(numbers), sign, 1)
        columns = np.stack(space.columns(numbers, magnitudes, sizes), axis=1).astype(np.float32)
        for row in columns:
            expected = theirs._apply_op(
                IMAGE, name, float(row[2]), torchvision.transforms.InterpolationMode.BILINEAR, [9, 8, 7]
            )
            different = (pillow_pixels(IMAGE, _Row(space), row).int() - to_tensor(expected).int()).abs()
            assert (different > 1).float().mean() < 0.002  # coefficients are float32 here


class _Row(T.Transform):
    """One place of a policy."""

    _num_columns = PLACE_COLUMNS

    def __init__(self, space: Space) -> None:
        self.space = space

    def operations(self, column: int) -> tuple[op.Operation, ...]:
        return (self.space.operation(column, T.InterpolationMode.BILINEAR, (9, 8, 7)),)


def kinds(select: op.Operation) -> list[type]:
    assert isinstance(select, op.Select)
    return [type(case[0]) for case in select.cases[1:]]


class TestRandAugment:
    def test_all_warps_are_one_case(self) -> None:
        first, second = RandAugment(fill=(1, 2, 3), interpolation="bilinear").operations(7)
        assert isinstance(first, op.Select)
        assert isinstance(second, op.Select)
        assert (first.column, second.column) == (7, 7 + PLACE_COLUMNS)
        assert first.cases[:2] == ((), (op.Warp(11, False, T.InterpolationMode.BILINEAR, (1, 2, 3)),))
        assert kinds(first) == [
            op.Warp,
            op.Brightness,
            op.Saturation,
            op.Contrast,
            op.Sharpness,
            op.Posterize,
            op.Solarize,
            op.Autocontrast,
            op.Equalize,
        ]

    def test_all_operations_have_one_magnitude(self) -> None:
        numbers = told(RandAugment(2, 9), 3000, height=331, width=331)
        operations, magnitudes = numbers["policy_operations"].ravel(), numbers["policy_magnitudes"].ravel()
        assert set(operations.tolist()) == set(range(14))
        by_name = {
            name: {abs(round(value, 4)) for value in magnitudes[operations == number].tolist()}
            for number, name in enumerate(policies._RAND.names)
        }
        assert by_name == {
            "Identity": {0.0},
            "ShearX": {0.09},
            "ShearY": {0.09},
            "TranslateX": {45.0},
            "TranslateY": {45.0},
            "Rotate": {9.0},
            **{name: {0.27} for name in ("Brightness", "Color", "Contrast", "Sharpness")},
            "Posterize": {7.0},
            "Solarize": {178.5},
            "AutoContrast": {0.0},
            "Equalize": {0.0},
        }

    def test_half_of_the_signed_magnitudes_are_negative_and_none_of_the_others(self) -> None:
        numbers = told(RandAugment(), 4000)
        operations, magnitudes = numbers["policy_operations"].ravel().astype(int), numbers["policy_magnitudes"].ravel()
        signed = policies._RAND.signed(operations)
        assert 0.47 < (magnitudes[signed] < 0).mean() < 0.53
        assert (magnitudes[~signed] >= 0).all()

    def test_more_operations_than_words_are_ready_draw_the_same_first(self) -> None:
        two, five = drawn_columns(RandAugment(2), 30), drawn_columns(RandAugment(5), 30)
        assert five.shape[1] == 5 * PLACE_COLUMNS
        np.testing.assert_array_equal(five[:, : 2 * PLACE_COLUMNS], two)

    @pytest.mark.parametrize("transform", [RandAugment(), TrivialAugmentWide(), AutoAugment("svhn"), AugMix()])
    def test_pixels_are_made_without_a_fault(self, transform: Transform) -> None:
        for row in drawn_columns(transform, 20, height=HEIGHT, width=WIDTH):
            assert pillow_pixels(IMAGE, transform, row).shape == (3, HEIGHT, WIDTH)


class TestTrivialAugmentWide:
    def test_every_magnitude_occurs(self) -> None:
        numbers = told(TrivialAugmentWide(), 20000)
        operations, magnitudes = numbers["policy_operations"].ravel(), numbers["policy_magnitudes"].ravel()
        turned = magnitudes[operations == policies._WIDE.names.index("Rotate")]
        np.testing.assert_allclose(sorted(set(turned.tolist())), np.arange(-30, 31) * 4.5, atol=1e-4)
        moved = magnitudes[operations == policies._WIDE.names.index("TranslateX")]
        assert set(np.abs(moved).tolist()) == {float(number * 32 // 30) for number in range(31)}


class TestAutoAugment:
    @pytest.mark.parametrize("policy", AutoAugmentPolicy)
    def test_the_subpolicies_are_torchvisions(self, policy: AutoAugmentPolicy) -> None:
        expected = theirs.AutoAugment(theirs.AutoAugmentPolicy(policy.value)).policies
        found = [[(step.name, step.probability, step.bin) for step in pair] for pair in SUBPOLICIES[policy]]
        assert found == [[(name, p, magnitude or 0) for name, p, magnitude in pair] for pair in expected]

    @pytest.mark.parametrize("policy", AutoAugmentPolicy)
    def test_what_is_drawn_is_a_subpolicy_in_its_share(self, policy: AutoAugmentPolicy) -> None:
        count = 20000
        numbers = told(AutoAugment(policy), count, height=331, width=331)["policy_operations"].astype(int)
        pairs, seen = np.unique(numbers, axis=0, return_counts=True)
        expected: dict[tuple[int, int], float] = {}
        for pair in SUBPOLICIES[policy]:
            for first in (False, True):
                for second in (False, True):
                    done = tuple(
                        policies._AUTO.names.index(step.name) if yes else -1
                        for step, yes in zip(pair, (first, second), strict=True)
                    )
                    share = 1 / 25
                    for step, yes in zip(pair, (first, second), strict=True):
                        share *= step.probability if yes else 1 - step.probability
                    expected[done] = expected.get(done, 0.0) + share  # type: ignore[index,arg-type]
        for pair, number in zip(pairs.tolist(), seen.tolist(), strict=True):
            share = expected[tuple(pair)]
            assert abs(number - count * share) < 4 * (count * share) ** 0.5 + 1

    def test_what_is_not_done_has_no_magnitude_and_no_case(self) -> None:
        columns = drawn_columns(AutoAugment(), 500)
        numbers = told(AutoAugment(), 500)
        nothing = numbers["policy_operations"] == -1
        assert nothing.any()
        assert not numbers["policy_magnitudes"][nothing].any()
        assert not columns[:, [0, PLACE_COLUMNS]][nothing].any()

    def test_the_policy_may_be_torchvisions_or_a_word(self) -> None:
        assert AutoAugment(theirs.AutoAugmentPolicy.SVHN) == AutoAugment("svhn") == AutoAugment(AutoAugmentPolicy.SVHN)


class TestAugMix:
    def test_is_a_mixture_of_chains(self) -> None:
        (mixture,) = AugMix(mixture_width=2, chain_depth=4, all_ops=False).operations(5)
        assert isinstance(mixture, op.Mixture)
        assert mixture.column == 5
        assert [len(branch) for branch in mixture.branches] == [4, 4]
        starts = [select.column for branch in mixture.branches for select in branch if isinstance(select, op.Select)]
        assert starts == [8 + PLACE_COLUMNS * place for place in range(8)]
        assert op.Brightness not in kinds(mixture.branches[0][0])
        assert op.Brightness in kinds(AugMix().operations(0)[0].branches[0][0])  # type: ignore[union-attr]

    @pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 50.0])
    def test_weights_sum_to_one(self, alpha: float) -> None:
        weights = told(AugMix(alpha=alpha), 500)["mixture_weights"]
        assert weights.shape == (500, 4)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)

    def test_chains_have_one_two_or_three_operations(self) -> None:
        done = told(AugMix(), 3000)["policy_operations"].reshape(-1, 3) >= 0
        assert set(map(tuple, done.tolist())) == {(True, False, False), (True, True, False), (True, True, True)}
        counts = np.bincount(done.sum(axis=1))[1:]
        assert (abs(counts - 3000) < 200).all()

    def test_a_depth_is_kept(self) -> None:
        assert (told(AugMix(chain_depth=2), 200)["policy_operations"] >= 0).all()

    def test_severity_bounds_the_magnitude(self) -> None:
        numbers = told(AugMix(severity=2), 3000)
        turns = np.abs(
            numbers["policy_magnitudes"][numbers["policy_operations"] == policies._MIX.names.index("Rotate")]
        )
        np.testing.assert_allclose(sorted(set(turns.tolist())), [0.0, 30 / 9], rtol=1e-6)


BAD: list[tuple[type[Transform], dict[str, Any], str]] = [
    *[(RandAugment, {"num_ops": value}, "must be a whole number from 1 to 64") for value in (0, 65, 1.5, None)],
    *[(RandAugment, {"magnitude": value}, "must be a whole number from 0 to 30") for value in (-1, 31, 2.5, True)],
    (RandAugment, {"magnitude": 9, "num_magnitude_bins": 9}, "must be a whole number from 0 to 8"),
    *[
        (kind, {"num_magnitude_bins": value}, "must be a whole number from 2 to 65536")
        for kind in (RandAugment, TrivialAugmentWide)
        for value in (1, 0, "31")
    ],
    *[(AutoAugment, {"policy": value}, "must be one of imagenet, cifar10, svhn") for value in ("x", None, 1)],
    *[(AugMix, {"severity": value}, "must be a whole number from 1 to 10") for value in (0, 11, 1.5)],
    *[(AugMix, {"mixture_width": value}, "must be a whole number from 1 to 16") for value in (0, 17)],
    (AugMix, {"chain_depth": 17}, "must be a whole number from -65536 to 16"),
    *[(AugMix, {"alpha": value}, "must be above 0") for value in (0, -1.0)],
    (AugMix, {"alpha": "1"}, "must be a finite number"),
    (AugMix, {"all_ops": 1}, "must be True or False"),
    *[
        (kind, {"interpolation": "bicubic"}, "must be nearest or bilinear here")
        for kind in (RandAugment, TrivialAugmentWide, AutoAugment, AugMix)
    ],
    *[
        (kind, {"fill": (1, 2)}, "must be a whole number from 0 to 255, or three of them")
        for kind in (RandAugment, TrivialAugmentWide, AutoAugment, AugMix)
    ],
]


@pytest.mark.parametrize(("kind", "arguments", "message"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_argument_is_named_with_what_is_allowed(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)) as caught:
        kind(**arguments)
    name, value = next(iter(arguments.items()))
    assert f"{name}={value!r}" in str(caught.value) or name == "alpha"
