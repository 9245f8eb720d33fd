"""DINOv2's training batch: the same as from DINOv2's own function, without a copy from dalikit's loader."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dalikit.dino import collate_data_and_cast
from dalikit.errors import ArgumentError
from dalikit.masking import MaskingGenerator
from dalikit.samples import SampleList

BATCH, PATCHES = 8, (4, 5)
TOKENS = 20
MASKS = MaskingGenerator(PATCHES, max_num_patches=10)
RATIOS, PROBABILITY = (0.1, 0.5), 0.5

collate = partial(
    collate_data_and_cast,
    mask_ratio_tuple=RATIOS,
    mask_probability=PROBABILITY,
    dtype=torch.float16,
    n_tokens=TOKENS,
    mask_generator=MASKS,
)


def collate_as_dinov2(samples: Any, generator: Any, ratios: Any = RATIOS, probability: float = PROBABILITY) -> Any:
    """What DINOv2's collate_data_and_cast does, written anew."""
    kinds = {}
    for kind in ("global_crops", "local_crops"):
        count = len(samples[0][0][kind])
        kinds[kind] = torch.stack([sample[0][kind][view] for view in range(count) for sample in samples])
    total = len(kinds["global_crops"])
    masked = int(total * probability)
    edges = torch.linspace(*ratios, masked + 1)
    masks = [
        torch.from_numpy(generator(int(TOKENS * random.uniform(float(edges[place]), float(edges[place + 1])))))
        for place in range(masked)
    ]
    masks += [torch.from_numpy(generator(0)) for _ in range(masked, total)]
    random.shuffle(masks)
    flat = torch.stack(masks).flatten(1)
    indices = flat.flatten().nonzero().flatten()
    weights = 1 / flat.sum(-1).clamp(min=1.0)
    return {
        "collated_global_crops": kinds["global_crops"].half(),
        "collated_local_crops": kinds["local_crops"].half(),
        "collated_masks": flat,
        "mask_indices_list": indices,
        "masks_weight": weights.unsqueeze(-1).expand_as(flat)[flat],
        "upperbound": sum(int(TOKENS * edge) for edge in edges[1:]),
        "n_masked_patches": torch.full((1,), len(indices), dtype=torch.long),
    }


def make_batch(num_local: int = 3, **options: Any) -> dict[str, Tensor]:
    """What a multi-crop loader gives as a batch's images: crops of noise."""
    noise = torch.Generator().manual_seed(1)
    batch = {"global_crops": torch.randn((2, BATCH, 3, 8, 8), generator=noise).to(**options)}
    if num_local:
        batch["local_crops"] = torch.randn((num_local, BATCH, 3, 4, 4), generator=noise).to(**options)
    return batch


def make_samples(batch: dict[str, Tensor], seed: int = 1, first_position: int = 64) -> SampleList:
    """The batch's samples, as the loader hands them to a collate_fn."""
    samples = [
        ({**{kind: [view[row] for view in crops] for kind, crops in batch.items()}, "offsets": ()}, row)
        for row in range(BATCH)
    ]
    return SampleList(samples, batch=batch, seed=seed, first_position=first_position)


# Against DINOv2


@pytest.mark.parametrize("plain", [True, False], ids=["torch's loader", "dalikit's loader"])
def test_the_batch_is_dinov2s(plain: bool) -> None:
    """The same keys, shapes and types, the same crops, the same upperbound; masks apart, which are drawn."""
    samples = make_samples(make_batch())
    expected, found = collate_as_dinov2(samples, MASKS), collate(list(samples) if plain else samples)
    assert list(found.keys() - expected.keys()) == list(expected.keys() - found.keys()) == []
    for name in ("collated_global_crops", "collated_local_crops"):
        assert torch.equal(found[name], expected[name])
        assert found[name].dtype == torch.float16
    for name in ("collated_masks", "mask_indices_list", "masks_weight", "n_masked_patches"):
        assert found[name].dtype == expected[name].dtype
        assert found[name].ndim == expected[name].ndim
        assert found[name].device == samples[0][0]["global_crops"][0].device
    assert found["collated_masks"].shape == (2 * BATCH, TOKENS)
    assert type(found["upperbound"]) is int
    assert found["upperbound"] == expected["upperbound"]


def test_indices_and_weights_follow_from_the_masks() -> None:
    """As DINOv2 works them out of them."""
    found = collate(make_samples(make_batch()))
    masks = found["collated_masks"]
    assert torch.equal(found["mask_indices_list"], masks.flatten().nonzero().flatten())
    weights = (1 / masks.sum(-1).clamp(min=1.0)).unsqueeze(-1).expand_as(masks)[masks]
    assert torch.equal(found["masks_weight"], weights)
    assert found["n_masked_patches"].tolist() == [int(masks.sum())]


@pytest.mark.parametrize("ratios", [(0.1, 0.5), (0.0, 1.0), (0.3, 0.3)])
@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_as_many_crops_are_masked_as_in_dinov2(ratios: tuple[float, float], probability: float) -> None:
    """One from each part of the range of ratios; never more patches than `upperbound`, which is DINOv2's."""
    samples = make_samples(make_batch())
    found = collate(samples, mask_ratio_tuple=ratios, mask_probability=probability)
    expected = collate_as_dinov2(samples, MASKS, ratios, probability)
    masked = int(2 * BATCH * probability)
    counts = found["collated_masks"].sum(-1).sort(descending=True).values
    assert (counts[masked:] == 0).all()
    assert found["upperbound"] == expected["upperbound"] >= int(counts.sum())


def test_masks_have_dinov2s_statistics() -> None:
    """Over 300 batches: patches a batch, how often each patch and each crop is masked, agree within chance."""
    batch = make_batch(num_local=1)
    samples = make_samples(batch)
    random.seed(1)
    theirs = np.array([collate_as_dinov2(samples, MASKS)["collated_masks"].numpy() for _ in range(300)])
    mine = np.array([collate(make_samples(batch, 0, n))["collated_masks"].numpy() for n in range(300)])
    totals = [masks.sum(axis=(1, 2)) for masks in (theirs, mine)]
    assert totals[0].mean() == pytest.approx(totals[1].mean(), rel=0.03)
    assert totals[0].std() == pytest.approx(totals[1].std(), rel=0.25)
    assert np.abs(theirs.mean(axis=(0, 1)) - mine.mean(axis=(0, 1))).max() < 0.03
    assert np.abs(theirs.mean(axis=(0, 2)) - mine.mean(axis=(0, 2))).max() < 0.05


# The key


def test_masks_follow_from_seed_and_first_position() -> None:
    """Equal after a resume; global generators neither decide nor are they touched."""
    batch = make_batch()
    first = collate(make_samples(batch))["collated_masks"]
    random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), torch.get_rng_state()
    assert torch.equal(collate(make_samples(batch))["collated_masks"], first)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    for key in [(1, 65), (2, 64), (64, 1)]:
        assert not torch.equal(collate(make_samples(batch, *key))["collated_masks"], first)


def test_with_torchs_loader_torchs_generator_decides() -> None:
    """`torch.manual_seed` repeats the masks; every batch has others."""
    samples = list(make_samples(make_batch()))
    torch.manual_seed(5)
    first, second = (collate(samples)["collated_masks"] for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(collate(samples)["collated_masks"], first)


def generate_elsewhere(number: int) -> Any:
    """A mask_generator that is not dalikit's, and draws from Python's generator and numpy's."""
    mask = np.zeros(PATCHES, dtype=bool)
    mask.reshape(-1)[random.sample(range(TOKENS), number)] = True
    return mask if np.random.rand() < 2 else None


def test_another_mask_generator_is_seeded_by_dalikits_loader() -> None:
    """So DINOv2's own resumes exactly too, and what the caller draws goes on undisturbed."""
    samples = make_samples(make_batch())
    state = random.getstate()
    first = collate(samples, mask_generator=generate_elsewhere)["collated_masks"]
    assert random.getstate() == state
    random.seed(5)
    np.random.seed(5)
    assert torch.equal(collate(samples, mask_generator=generate_elsewhere)["collated_masks"], first)
    other = collate(make_samples(make_batch(), first_position=65), mask_generator=generate_elsewhere)["collated_masks"]
    assert not torch.equal(other, first)


def test_another_mask_generator_is_left_alone_with_torchs_loader() -> None:
    """As with DINOv2's function, `random.seed` decides."""
    samples = list(make_samples(make_batch()))
    random.seed(5)
    first = collate(samples, mask_generator=generate_elsewhere)["collated_masks"]
    random.seed(5)
    assert torch.equal(collate(samples, mask_generator=generate_elsewhere)["collated_masks"], first)
    assert not torch.equal(collate(samples, mask_generator=generate_elsewhere)["collated_masks"], first)


# Crops


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_crops_of_dalikits_loader_are_not_copied(memory_format: torch.memory_format) -> None:
    """In whatever memory order; of their own type already, they are the loader's memory."""
    batch = make_batch()
    batch = {
        kind: torch.stack([part.to(memory_format=memory_format) for part in crops]) for kind, crops in batch.items()
    }
    found = collate(make_samples(batch), dtype=torch.float32)
    assert found["collated_global_crops"].data_ptr() == batch["global_crops"].data_ptr()
    assert found["collated_local_crops"].data_ptr() == batch["local_crops"].data_ptr()
    assert torch.equal(found["collated_global_crops"], batch["global_crops"].flatten(0, 1))


def test_what_the_caller_did_to_the_samples_counts() -> None:
    """Turned round, or a crop replaced: then the batch is stacked anew, as DINOv2's function would."""
    turned = make_samples(make_batch())
    turned.reverse()
    replaced = make_samples(make_batch())
    replaced[3][0]["global_crops"][1] = torch.zeros(3, 8, 8)
    shorter = make_samples(make_batch())
    del shorter[5:]
    for samples in (turned, replaced, shorter):
        expected = collate_as_dinov2(samples, MASKS)
        found = collate(samples)
        assert torch.equal(found["collated_global_crops"], expected["collated_global_crops"])
        assert torch.equal(found["collated_local_crops"], expected["collated_local_crops"])


def test_slices_of_the_samples_are_plain_lists() -> None:
    """They are no longer the batch."""
    samples = make_samples(make_batch())
    assert type(samples[:4]) is list
    assert len(collate(samples[:4])["collated_global_crops"]) == 8


def test_there_may_be_no_local_crops() -> None:
    """DINOv2's function fails then."""
    found = collate(make_samples(make_batch(num_local=0)))
    assert found["collated_local_crops"].shape == (0, 3, 8, 8)
    assert found["collated_local_crops"].dtype == torch.float16


def test_the_number_of_tokens_is_the_mask_generators() -> None:
    """Where it is not given."""
    samples = make_samples(make_batch())
    assert torch.equal(collate(samples, n_tokens=None)["collated_masks"], collate(samples)["collated_masks"])


@pytest.mark.gpu
def test_on_a_gpu_all_tensors_are_there() -> None:
    """With the values of the CPU."""
    expected, found = collate(make_samples(make_batch())), collate(make_samples(make_batch(device="cuda")))
    for name, value in expected.items():
        if isinstance(value, Tensor):
            assert found[name].device.type == "cuda"
            assert torch.equal(found[name].cpu(), value)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"mask_ratio_tuple": (0.5, 0.1)},
            r"mask_ratio_tuple=\(0.5, 0.1\): must be \(minimum, maximum\), 0 <= minimum",
        ),
        ({"mask_ratio_tuple": 0.5}, r"mask_ratio_tuple=0.5: must be \(minimum, maximum\)"),
        ({"mask_ratio_tuple": (0.1, 1.5)}, r"mask_ratio_tuple=\(0.1, 1.5\): must be"),
        ({"mask_probability": 1.5}, "mask_probability=1.5: must be a number from 0 to 1"),
        ({"mask_generator": None}, "mask_generator=None: must be a MaskingGenerator, or what is called as one"),
        ({"mask_generator": generate_elsewhere, "n_tokens": None}, "n_tokens=None: must be given"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    """Each is named."""
    with pytest.raises(ArgumentError, match=message):
        collate(make_samples(make_batch()), **arguments)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], r"samples_list: must be samples \(views, ...\) with views\['global_crops'\]"),
        ([(torch.zeros(3, 8, 8), 0)], "DataAugmentationDINO makes such views"),
        ([({"local_crops": []}, 0)], r"samples_list: must be samples \(views, ...\)"),
        ([({"global_crops": []}, 0)], "samples_list: the samples' list 'global_crops' is empty"),
    ],
)
def test_samples_without_global_crops(samples: Any, message: str) -> None:
    """Masks are for those."""
    with pytest.raises(ArgumentError, match=message):
        collate(samples)
