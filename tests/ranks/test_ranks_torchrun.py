"""torchrun's ranks are found, and docs/distributed.md says what they get."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dalikit
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.errors import StateError
from samplers import KeyedEpochSampler

PAGE = (Path(dalikit.__file__).parent.parent / "docs" / "distributed.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

Seen = list[dict[str, Any]]


@pytest.fixture(scope="module")
def seen(photograph_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What each of two ranks of torchrun saw."""
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "images").symlink_to(photograph_root)
    for number, example in enumerate(EXAMPLES, start=1):
        (folder / f"{number}.py").write_text(example)
    script = str(Path(__file__).with_name("torchrun_ranks.py"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    result = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_torchrun_tells_who_is_who(seen: Seen) -> None:
    """Before the process group is set up, and after; each has half of the cores."""
    for number, rank in enumerate(seen):
        assert rank["found"] == rank["in_group"] == [number, 2]
        assert rank["local"] == number
        assert rank["threads"] == max(1, min(rank["threads"], rank["cores"] // 2))


def test_the_ranks_of_the_first_example_share_the_images(seen: Seen) -> None:
    """Each image once, as many batches on each rank; a DataLoader without a sampler has them all."""
    assert sorted(seen[0]["indices"] + seen[1]["indices"]) == list(range(12))
    assert [rank["batches"] for rank in seen] == [3, 3]
    assert [rank["alone"] for rank in seen] == [6, 6]


def test_an_evaluation_counts_each_image_once(seen: Seen) -> None:
    """The page's second example, which also asserts it."""
    assert seen[0]["evaluated"] == seen[1]["evaluated"]
    assert seen[0]["evaluated"][1] == 12


def test_loaders_compare_their_ranks(seen: Seen) -> None:
    """With another seed on each rank, all stop."""
    assert "seed: 0 on rank 0, 1 on rank 1" in seen[0]["mismatch"]
    assert seen[0]["mismatch"] == seen[1]["mismatch"]


def kind(sampler_type: SamplerType | None) -> Callable[..., DataLoader]:
    """Loaders of a sampler type."""

    def make(count: int, rank: int, *, drop_last: bool) -> DataLoader:
        return make_data_loader(
            dataset=range(count),
            batch_size=3,
            num_workers=0,
            shuffle=sampler_type is not None,
            sampler_type=sampler_type,
            drop_last=drop_last,
            rank=rank,
            world_size=2,
            device="cpu",
        )

    return make


def tail(name: Any) -> Callable[..., DataLoader]:
    """Loaders of a KeyedEpochSampler."""

    def make(count: int, rank: int, *, drop_last: bool) -> DataLoader:
        sampler = KeyedEpochSampler(sample_count=count, start=rank, step=2, tail=name)
        return DataLoader(range(count), batch_size=3, sampler=sampler, drop_last=drop_last, device="cpu")

    return make


ROWS = {
    "`DISTRIBUTED`: repeats samples": kind(SamplerType.DISTRIBUTED),
    "`EPOCH`: as DINOv2's": kind(SamplerType.EPOCH),
    '`KEYED_EPOCH`, which is `tail="uneven"`': kind(SamplerType.KEYED_EPOCH),
    '`KeyedEpochSampler(tail="pad")`: repeats samples': tail("pad"),
    '`KeyedEpochSampler(tail="drop")`: leaves samples out': tail("drop"),
    "`None`: everything, on every rank": kind(None),
}


@pytest.mark.parametrize("row", ROWS)
def test_numbers_of_batches_are_those_of_the_page(row: str) -> None:
    """Without drop_last and with it; the lengths, and what really comes."""
    make = ROWS[row]
    for count, drop_last in ((13, False), (11, True)):
        with make(count, 0, drop_last=drop_last) as first, make(count, 1, drop_last=drop_last) as second:
            assert [len(first), len(second)] == [len(list(first)), len(list(second))]
            row += f" | {len(first)}, {len(second)}"
    assert f"| {row} |" in PAGE


def test_the_endless_samplers_are_those_of_the_page() -> None:
    """They have no length."""
    named = re.search(r"^\| (`.*`) \| endless \| endless \|$", PAGE, re.MULTILINE)
    assert named is not None
    names = re.findall(r"`(\w+)`", named[1])
    assert {*names} == {each.name for each in SamplerType if "INFINITE" in each.name}
    for name in names:
        with (
            kind(SamplerType[name])(13, 0, drop_last=True) as loader,
            pytest.raises(TypeError, match="is endless"),
        ):
            len(loader)


@pytest.mark.parametrize("sampler_type", SamplerType)
def test_samplers_that_go_on_on_other_ranks_are_those_of_the_page(sampler_type: SamplerType) -> None:
    """The others refuse."""
    elastic, refusing = re.findall(r"^[23]\. (.*)$", PAGE, re.MULTILINE)
    with kind(sampler_type)(13, 1, drop_last=False) as loader:
        state = loader.state_dict()
    with make_data_loader(
        dataset=range(13), batch_size=3, num_workers=0, sampler_type=sampler_type, drop_last=False, device="cpu"
    ) as alone:
        if f"`{sampler_type.name}`" in elastic:
            alone.load_state_dict(state)
        else:
            assert f"`{sampler_type.name}`" in refusing
            with pytest.raises(StateError, match="KEYED_INFINITE"):
                alone.load_state_dict(state)
