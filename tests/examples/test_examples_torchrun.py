"""examples/ddp.py and examples/fsdp.py train, save and go on, on several numbers of ranks, without a word on stderr."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from launching import Torchrun, finish, marked
from torch.utils.data import IterableDataset

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

EXAMPLES = Path(__file__).parents[2] / "examples"
COUNT = 11
"""Images: prime, so that no number of ranks divides a pass."""


@pytest.fixture(scope="module")
def data(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of COUNT photographs in two classes."""
    root = tmp_path_factory.mktemp("data")
    for number, photograph in enumerate(photographs[:COUNT]):
        (root / f"class{number % 2}").mkdir(exist_ok=True)
        (root / f"class{number % 2}" / photograph.name).symlink_to(photograph)
    return root


def ended_well(result: subprocess.CompletedProcess[str]) -> str:
    """What a script printed, if it came to its end without a warning."""
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


def ddp_passes(output: str) -> list[tuple[int, int, int]]:
    """Of each pass its number, and how many images were trained on and evaluated, as ddp.py prints them."""
    line = r"epoch (\d+): loss \d+\.\d+, (\d+) images at \d+ a second; accuracy [01]\.\d+ of (\d+) images"
    return [(int(epoch), int(trained), int(evaluated)) for epoch, trained, evaluated in re.findall(line, output)]


def killed_within_a_pass(run: Torchrun, checkpoint: Path) -> dict[str, Any]:
    """Starts a run and kills all of it, to leave a checkpoint from the middle of a pass. Returns the loader's state."""
    process, mark = run.start()
    deadline = time.monotonic() + 100
    kept, state = b"", {"place": 0}
    while not COUNT // 3 <= state["place"] <= COUNT // 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        if checkpoint.exists():
            kept = checkpoint.read_bytes()  # whole at any moment, as it is replaced at once
            state = torch.load(io.BytesIO(kept), weights_only=True)["loader"]
    for left in marked(mark):
        left.kill()
    result = finish(process, mark)
    assert result.returncode == -signal.SIGKILL, result.stderr
    checkpoint.write_bytes(kept)  # it went on for a moment
    return state


@pytest.mark.timeout(300)
@pytest.mark.parametrize("three", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ddp_is_killed_and_goes_on_with_three_processes_and_then_with_one(
    data: Path, tmp_path: Path, *, three: bool
) -> None:
    """What is left of the pass is trained on, every image is evaluated once, and the end is clean."""
    checkpoint = tmp_path / "checkpoint.pt"
    script, shared = EXAMPLES / "ddp.py", ["--data", str(data), "--checkpoint", str(checkpoint), "--batch-size", "1"]
    state = killed_within_a_pass(Torchrun(script, [*shared, "--epochs", "100000", "--save-every", "1"], 2), checkpoint)
    epoch, left = state["passes"], COUNT - state["place"]
    expected = [(epoch, left, COUNT), (epoch + 1, COUNT, COUNT)]
    if three:
        output = ended_well(Torchrun(script, [*shared, "--epochs", str(epoch + 1)], 3).run())
        assert ddp_passes(output) == [(epoch, left // 3 * 3, COUNT)]
        assert f"done: {left // 3 * 3} images on 3 ranks" in output
        expected = expected[1:]
    alone = [sys.executable, "-W", "error", str(script), *shared, "--epochs", str(epoch + 2)]
    output = ended_well(subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False))
    assert ddp_passes(output) == expected


@pytest.mark.timeout(300)
def test_fsdp_goes_on_with_one_process_in_the_middle_of_a_pass(data: Path, tmp_path: Path) -> None:
    """The loader is a part of the distributed checkpoint: the images that two ranks had are left out."""
    folder = tmp_path / "checkpoints"
    shared = ["--data", str(data), "--checkpoints", str(folder), "--batch-size", "2", "--save-every", "1"]
    output = ended_well(Torchrun(EXAMPLES / "fsdp.py", [*shared, "--epochs", "1"], 2).run())
    assert re.fullmatch(r"epoch 0: from place 0 on, loss \d\.\d+ over 8 images\ndone on 2 ranks\n", output)
    places = [f"000000-{4:012d}", f"000000-{8:012d}", f"000001-{0:012d}"]
    assert sorted(path.name for path in folder.iterdir()) == places
    kept = [json.loads((folder / place / "loader.json").read_text()) for place in places]
    assert [(state["passes"], state["place"]) for state in kept] == [(0, 4), (0, 8), (1, 0)]  # for `dalikit state`
    shutil.rmtree(folder / places[2])  # as if it had been cut while it wrote the second checkpoint
    (folder / places[1] / ".metadata").unlink()
    output = ended_well(Torchrun(EXAMPLES / "fsdp.py", [*shared, "--epochs", "1"], 1).run())
    assert re.fullmatch(r"epoch 0: from place 4 on, loss \d\.\d+ over 6 images\ndone on 1 ranks\n", output)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fsdp_goes_on_with_three_processes(data: Path, tmp_path: Path) -> None:
    """More ranks than before, where the network's shards are not even either."""
    folder = tmp_path / "checkpoints"
    shared = ["--data", str(data), "--checkpoints", str(folder), "--batch-size", "2", "--save-every", "2"]
    ended_well(Torchrun(EXAMPLES / "fsdp.py", [*shared, "--epochs", "1"], 1).run())
    for checkpoint in ("000000-000000000008", "000001-000000000000"):
        shutil.rmtree(folder / checkpoint)
    output = ended_well(Torchrun(EXAMPLES / "fsdp.py", [*shared, "--epochs", "2"], 3).run())
    passes = re.findall(r"epoch (\d): from place (\d) on, loss \d\.\d+ over (\d) images", output)
    assert passes == [("0", "4", "6"), ("1", "0", "6")]


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """torch.distributed, with this process alone in it."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("options", [{}, {"exclude": [3]}, {"sampler_type": SamplerType.INFINITE}])
def test_a_distributed_checkpoint_takes_the_loader_as_it_is(
    data: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """DCP takes a state apart, down to its numbers, and puts them into that of the new loader: none is lost."""

    def make() -> DataLoader:
        dataset = make_dataset(dataset_str=f"ImageFolder:root={data}", transform=T.CenterCrop(8))
        keyed = {"sampler_type": SamplerType.KEYED_EPOCH}
        return make_data_loader(dataset=dataset, batch_size=3, num_workers=0, device="cpu", **{**keyed, **options})

    with make() as loader, make() as resumed:
        batches = iter(loader)
        next(batches)
        dcp.save({"loader": loader}, checkpoint_id=tmp_path / "checkpoint")
        dcp.load({"loader": resumed}, checkpoint_id=tmp_path / "checkpoint")
        assert resumed.state_dict() == loader.state_dict()
        for mine, expected in zip(next(iter(resumed)), next(batches), strict=True):
            assert torch.equal(mine, expected)


class Counting(IterableDataset[Any]):
    """Numbers, with a state."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Iterator[int]:
        while self.next < 20:
            self.next += 1
            yield self.next - 1

    def state_dict(self) -> dict[str, int]:
        """Where it is."""
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes there."""
        self.next = state["next"]


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize(
    "make", [lambda: DataLoader(range(20), sampler=list(range(20)), batch_size=3), lambda: DataLoader(Counting(), 3)]
)
def test_so_it_does_with_samplers_and_datasets_of_others(make: Callable[[], DataLoader], tmp_path: Path) -> None:
    """Whose states a fresh loader does not have."""
    with make() as loader, make() as resumed:
        batches = iter(loader)
        next(batches)
        dcp.save({"loader": loader}, checkpoint_id=tmp_path / "checkpoint")
        dcp.load({"loader": resumed}, checkpoint_id=tmp_path / "checkpoint")
        assert torch.equal(next(iter(resumed)), next(batches))


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("lists", [([2], None), (None, [2])])
def test_so_it_does_with_a_list_of_bad_rows_at_one_end_alone(
    data: Path, tmp_path: Path, lists: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """And the loader says so, as of any state."""
    dataset = make_dataset(dataset_str=f"ImageFolder:root={data}")
    keyed: dict[str, Any] = {"sampler_type": SamplerType.KEYED_EPOCH, "batch_size": 3, "num_workers": 0}
    loader, resumed = (make_data_loader(dataset=dataset, device="cpu", exclude=bad, **keyed) for bad in lists)
    dcp.save({"loader": loader}, checkpoint_id=tmp_path / "checkpoint")
    dcp.load({"loader": resumed}, checkpoint_id=tmp_path / "checkpoint")
    assert "made with another exclude" in caplog.text


def test_every_example_is_in_the_table() -> None:
    """With how to run it."""
    table = (EXAMPLES / "README.md").read_text()
    for example in EXAMPLES.glob("*.py"):
        assert re.search(rf"^\| `{example.name}` \| .* \| `.*examples/{example.name} --data DIR", table, re.MULTILINE)
