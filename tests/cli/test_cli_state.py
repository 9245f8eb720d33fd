"""`dalikit state`: on states that real loaders saved, and on files that nobody should trust."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader
from dalikit.cli import main
from dalikit.taming import brief

TRANSFORM = T.Compose([T.RandomResizedCrop(32), T.ToTensor()])
ENDLESS = {"sample_count": 12, "shuffle": True, "seed": 0}
Print = Callable[..., tuple[int, str, str]]


class Numbered:
    """Photographs whose target is their index."""

    fingerprint = "91d2a0b3"

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Photographs."""
        return len(self.paths)

    def get_image_data(self, index: int) -> bytes:
        """The file."""
        return self.paths[index].read_bytes()

    def get_target(self, index: int) -> int:
        """The index."""
        return index


def make(photographs: list[Path], sampler_type: SamplerType, **arguments: Any) -> DataLoader:
    """A loader of photographs."""
    defaults: dict[str, Any] = {"batch_size": 2, "num_workers": 0, "device": "cpu", "num_threads": 1}
    return make_data_loader(
        dataset=Numbered(photographs),
        transform=TRANSFORM,
        sampler_type=sampler_type,
        drop_last=False,
        **{**defaults, **arguments},
    )


def saved(loader: DataLoader, batches: int) -> dict[str, Any]:
    """Its state after so many batches."""
    with loader:
        for _ in zip(range(batches), loader, strict=False):
            pass
        return loader.state_dict()


def indices_of(loader: DataLoader, state: dict[str, Any], count: int) -> list[int]:
    """What it yields first, going on from a state."""
    with loader:
        loader.load_state_dict(state)
        found: list[int] = []
        for _, targets in loader:
            found += targets.tolist()
            if len(found) >= count:
                break
        return found[:count]


@pytest.fixture(scope="module")
def state(photographs: list[Path]) -> dict[str, Any]:
    """Of KEYED_EPOCH on 2 ranks, after one batch of 2: place 4 of 12."""
    return saved(make(photographs, SamplerType.KEYED_EPOCH, rank=0, world_size=2), 1)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Print:
    """Runs the command: its status, output and errors."""

    def shown(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["state", *map(str, arguments)])
        return status, *capsys.readouterr()

    return shown


def write(path: Path, tree: Any) -> Path:
    """As JSON."""
    path.write_text(json.dumps(tree))
    return path


def test_the_whole_text(state: dict[str, Any], photographs: list[Path], tmp_path: Path) -> None:
    """In a process of its own, which does not import torch: the state, then 3 ranks that go on from 2."""
    path = write(tmp_path / "state.json", state)
    resumed = make(photographs, SamplerType.KEYED_EPOCH, rank=1, world_size=3)
    indices = ", ".join(map(str, indices_of(resumed, state, 3)))
    code = (
        "import sys; from dalikit.cli import main; status = main(sys.argv[1:]); "
        "sys.exit(status or 9 * ('torch' in sys.modules))"
    )
    arguments = ["state", str(path), "--ranks", "3", "--rank", "1", "--batch-size", "2"]
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "\n".join(
        [
            f"file       {path}",
            "sampler    KeyedEpochSampler, sample_count 12, shuffle True, seed 0, size 12, tail uneven",
            "dataset    Numbered of 12, fingerprint 91d2a0b3",
            "seed       0",
            "executor   host",
            f"transform  {state['transform']}",
            "excluded   no rows",
            "made by    2 ranks",
            "where      pass 0 (after 0 whole ones), place 4 of 12 (33.3 %)",
            "           [#############...........................]",
            "",
            "at 3 ranks: 8 samples left in pass 0: ranks 0-1 3 each, rank 2 2",
            (
                "  in batches of 2, 6 together: 2 batches a rank, but only 1 on 1 rank; "
                "the last one of all ranks together has 2 of 6 samples"
            ),
            "  with drop_last: 1 batch a rank; 2 samples come in none",
            f"  next indices of rank 1: {indices}",
            "",
        ]
    )


def test_several_numbers_of_ranks_are_a_table(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """A row each, and the indices of each below."""
    path = write(tmp_path / "state.json", state)
    status, out, _ = shown(path, "--ranks", 2, 3, 5, "--batch-size", 2, "--count", 1)
    assert status == 0
    assert out.splitlines()[11:] == [
        "8 samples left in pass 0",
        "ranks  samples a rank  repeated  dropped  batches of 2  last of all  with drop_last  in none",
        "    2               4         0        0             2       4 of 4               2        0",
        "    3          2 to 3         0        0        1 to 2       2 of 6               1        2",
        "    5          1 to 2         0        0             1      8 of 10               0        8",
        "",
        *(f"next indices of rank 0 of {ranks}: {out.rsplit(maxsplit=1)[1]}" for ranks in (2, 3, 5)),
    ]
    assert "batches" not in shown(path, "--ranks", 2, 3)[1]


@pytest.mark.parametrize("sampler_type", [SamplerType.EPOCH, SamplerType.INFINITE, SamplerType.KEYED_INFINITE])
def test_indices_are_those_of_a_resumed_loader(
    sampler_type: SamplerType, photographs: list[Path], tmp_path: Path, shown: Print
) -> None:
    """Over real photographs, in JSON; where loading on other ranks is refused, so it is here, in the same words."""
    state = saved(make(photographs, sampler_type, rank=0, world_size=2), 2)
    path = write(tmp_path / "state.json", state)
    found = json.loads(shown(path, "--ranks", 2, 3, "--rank", 1, "--count", 3, "--json")[1])
    for ranks, forecast in zip((2, 3), found["forecasts"], strict=True):
        loader = make(photographs, sampler_type, rank=1, world_size=ranks)
        if forecast["refused"] is None:
            assert forecast["next"]["indices"] == indices_of(loader, state, 3)
            assert (forecast["where"] is None) == (sampler_type is SamplerType.EPOCH)
            continue
        assert (ranks, sampler_type) == (3, SamplerType.INFINITE)
        with pytest.raises(ValueError, match="the state does not fit this loader") as caught:
            loader.load_state_dict(state)
        assert forecast["refused"] in str(caught.value)
        text = shown(path, "--ranks", 2, 3, 4)[1]
        assert f"at 3 and 4 ranks: refused: 2 ranks made the state; {forecast['refused']}" in text
        assert "where      rank 0 is in epoch 0, place 8 of 12; 8 samples of all epochs are done" in text
        assert "at 2 ranks: endless; rank 0 is in epoch 0, place 8 of 12" in text


def test_padding_and_drops_are_counted(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """What the new layout needs, from the present place on."""
    tails = {}
    for tail in ("pad", "drop"):
        path = write(tmp_path / "state.json", {**state, "sampler": {**state["sampler"], "tail": tail}})
        tails[tail] = shown(path, "--ranks", 3)[1].splitlines()[11]
    assert tails == {
        "pad": "at 3 ranks: 8 samples left in pass 0: ranks 0-2 3 each; "
        "1 sample repeated, so that all ranks have as many",
        "drop": "at 3 ranks: 8 samples left in pass 0: ranks 0-2 2 each; "
        "2 samples dropped, so that all ranks have as many",
    }


def test_what_a_state_says_besides(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """Excluded rows; an order that repeats; a pass that is over; samples that all ranks share."""
    path = tmp_path / "state.json"
    write(path, {**state, "exclude": "3 rows, 91d2", "passes": 4, "place": 12})
    out = shown(path)[1]
    assert "excluded   3 rows, 91d2\n" in out
    assert "in the places of excluded rows a loader puts others" in out
    assert "where      pass 4 (after 4 whole ones) in the order of epoch 0, place 12 of 12 (100.0 %)" in out
    assert "at 2 ranks: nothing is left of pass 4: the next iteration is empty, the one after it a whole pass" in out
    assert "next indices of rank 0: none" in out
    sequential = {"sampler": "SequentialSampler", "sample_count": 12, "shuffle": False, "seed": 0, "size": 12}
    write(path, {**state, "sampler": sequential, "world_size": 1})
    out = shown(path, "--ranks", 2, "--rank", 1, "--batch-size", 3)[1]
    assert "made by    1 rank or more: each has all samples\n" in out
    assert "at 2 ranks: 8 samples left in pass 0, the same on every rank\n" in out
    assert "  in batches of 3: 3 batches a rank; the last one has 2 of 3 samples\n" in out
    assert "next indices of rank 1: 4, 5, 6, 7, 8, 9, 10, 11\n" in out
    write(path, {**state, "sampler": {**state["sampler"], "weights": "91d2"}})
    assert "next places of rank 0: 4, 6, 8, 10\n    (not the indices: which rows come" in shown(path)[1]


def test_other_peoples_orders_are_told_as_far_as_they_are_known(
    photographs: list[Path], tmp_path: Path, shown: Print
) -> None:
    """A torch-style sampler; a sampler that this dalikit does not have."""
    loader = DataLoader(Numbered(photographs), sampler=[5, 3, 1, 0], batch_size=2, device="cpu", num_threads=1)
    state = saved(loader, 1)
    path = write(tmp_path / "state.json", state)
    status, out, _ = shown(path, "--ranks", 1, 8)
    assert status == 0
    assert "sampler    list, batch_sampler BatchSampler, batch_size 2, drop_last False, length 4" in out
    assert "where      pass 0 (after 0 whole ones), 2 samples of all ranks are done" in out
    assert "at 8 ranks: refused: 1 rank made the state; how a torch-style sampler shares the samples out" in out
    assert "at 1 rank: not to be told: a torch-style sampler says itself what comes next" in out
    write(path, {**state, "sampler": {"sampler": "BetterSampler"}, "extra": None})
    assert "at 1 rank: not to be told: this dalikit has no sampler 'BetterSampler'; use the" in shown(path)[1]
    write(path, {**state, "sampler": {"sampler": None, "num_workers": 0}})
    assert "where      pass 0 (after 0 whole ones), 2 batches of this rank are done" in shown(path)[1]


LIGHTNING = "loops.fit_loop.state_dict.combined_loader[0]"


def in_lightning(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of Lightning's, as far as it matters here."""
    loop = {"state_dict": {"combined_loader": [state]}, "epoch_loop.state_dict": {"_batches_that_stepped": 5}}
    return {"epoch": 0, "state_dict": {"weight": torch.zeros(3, 4)}, "loops": {"fit_loop": loop, "test_loop": {}}}


def test_a_state_is_found_inside_of_a_checkpoint(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """Torch's files of both kinds, JSON, and JSON as text or bytes inside; at the path that is shown."""
    other, text = tmp_path / "other.json", json.dumps(state)
    path = tmp_path / "checkpoint.pt"
    trees: list[tuple[Any, str]] = [
        (in_lightning(state), LIGHTNING),
        ({"model": {"w": torch.ones(2)}, "dataloader": text.encode()}, "dataloader"),
        ({"dataloader": {"dp 0": json.dumps({"a": [1, state]})}}, "dataloader['dp 0'].a[1]"),
        ([state], "[0]"),
    ]
    for tree, at in trees:
        for zipped in (True, False):
            torch.save(tree, path, _use_new_zipfile_serialization=zipped)
            found = json.loads(shown(path, "--json")[1])
            assert (found["at"], found["state"]["place"], found["forecasts"][0]["left"]) == (at, 4, 8)
    write(other, {"a": [[{"b": state}]], "note": "place"})
    assert json.loads(shown(other, "--json")[1])["at"] == "a[0][0].b"
    assert f"checkpoint.pt, at {'[0]'}\n" in shown(path)[1]


def test_one_of_several_states_is_chosen(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """They are listed; what all ranks of a run saved alike is one."""
    path = write(tmp_path / "several.json", {"rank0": state, "rank1": [{**state, "place": 8}], "rank2": state})
    status, _, error = shown(path)
    assert status == 2
    assert "several.json: has 3 states; choose one by --at: rank0, rank1[0], rank2\n" in error
    for at in ("rank1[0]", "rank1"):
        assert json.loads(shown(path, "--at", at, "--json")[1])["state"]["place"] == 8
    status, _, error = shown(path, "--at", "rank")
    assert (status, "--at rank: there is no state; there are these: rank0, rank1[0], rank2" in error) == (2, True)
    write(path, {f"rank{rank}": state for rank in range(3)})
    assert json.loads(shown(path, "--json")[1])["at"] == "rank0"
    write(path, {f"rank{rank}": {**state, "extra": {"sampler": f"{rank}"}} for rank in range(3)})
    assert shown(path)[0] == 2


def test_standard_input(state: dict[str, Any], monkeypatch: pytest.MonkeyPatch, shown: Print) -> None:
    """JSON alone."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(state).encode())))
    assert "at 2 ranks: 8 samples left" in shown("-")[1]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(pickle.dumps(state))))
    status, _, error = shown("-")
    assert (status, error) == (
        1,
        "dalikit state: standard input: is no JSON; what torch.save wrote is read from a file\n",
    )


class Malicious:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """What unpickling calls."""
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """Neither a torch file with more than data, nor a pickle, nor pickled bytes inside of a checkpoint."""
    trap, path = tmp_path / "trap", tmp_path / "bad.pt"
    for zipped in (True, False):
        torch.save({"loader": state, "more": Malicious(trap)}, path, _use_new_zipfile_serialization=zipped)
        status, out, error = shown(path)
        assert (status, out) == (1, "")
        assert "bad.pt: holds what only unpickling could read (GLOBAL posix.mkdir); that may run any code" in error
        assert "save the loader's state by itself, as JSON: json.dump(loader.state_dict(), file)" in error
    path.write_bytes(pickle.dumps({"loader": state, "more": Malicious(trap)}))
    status, _, error = shown(path)
    assert (status, "holds what only unpickling could read" in error) == (1, True)
    torch.save({"loader": pickle.dumps({**state, "more": Malicious(trap)})}, path)
    status, _, error = shown(path)
    assert status == 1
    assert "no state of a dalikit loader is in it; at loader there are pickled bytes, which are never" in error
    assert not trap.exists()


def files_that_are_off(state: dict[str, Any]) -> dict[str, tuple[bytes, str]]:
    """Contents, and a part of what is said."""
    stream = io.BytesIO()
    torch.save({"loader": state}, stream)
    damaged = {
        "without": ({key: value for key, value in state.items() if key != "place"}, "lacks 'place'"),
        "version": ({**state, "version": 9}, "state['version']=9: this dalikit reads version 1"),
        "no ranks": ({**state, "world_size": 0}, "state['world_size']=0: must be a whole number, at least 1"),
        "sampler": ({**state, "sampler": 3}, "state['sampler']: must be what state_dict() gave, came 3"),
        "text": ({**state, "transform": []}, "state['transform']: must be what state_dict() gave, came []"),
        "beyond": ({**state, "place": 13}, "state['place']=13: is beyond the end"),
        "digits": ({**state, "seed": 2**90}, "state: has a number of 91 bits; is it a loader's state?"),
        "parts": ({**state, "dataset": dict.fromkeys(map(str, range(2000)))}, "has more than 1,000 parts"),
        "none": ({"epoch": 3}, "no state of a dalikit loader is in it; put loader.state_dict() into your checkpoint"),
    }
    return {
        **{name: (json.dumps(tree).encode(), text) for name, (tree, text) in damaged.items()},
        "empty": (b"", "is neither JSON (Expecting value: line 1 column 1 (char 0)) nor what torch.save writes"),
        "deep": (b"[" * 100_000, "is neither JSON (nested too deeply)"),
        "binary": (b"\xff\xfe\x00", "is neither JSON ("),
        "number": (b"1" * 5000, "is neither JSON ("),
        "cut": (stream.getvalue()[:500], "cannot be read as what torch.save writes (RuntimeError: PytorchStreamReader"),
        "cut pickle": (pickle.dumps(state)[:40], "holds what only unpickling could read (Unsupported operand 149)"),
        "zip": (b"PK\x03\x04", "cannot be read as what torch.save writes"),
    }


def test_files_that_are_off_are_one_line_and_status_1(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """With the file's name, and what is wrong."""
    for name, (content, text) in files_that_are_off(state).items():
        path = tmp_path / name
        path.write_bytes(content)
        status, out, error = shown(path)
        assert (name, status, out, error.count("\n")) == (name, 1, "", 1)
        assert error.startswith(f"dalikit state: {path}")
        assert text in error


def touch(folder: Path, *names: str) -> Path:
    """A folder with empty files."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_folder_names_the_files_that_may_hold_a_state(tmp_path: Path, shown: Print) -> None:
    """Accelerate's and others'; those that mostly do come first, and not all of many."""
    folder = touch(tmp_path / "step_5", "model.safetensors", "optimizer.bin", "random_states_0.pkl")
    assert (
        shown(folder)[2] == f"dalikit state: {folder}: is a folder; give the file in it that holds the loader's state\n"
    )
    touch(folder, "custom_checkpoint_0.pkl")
    status, _, error = shown(folder)
    assert (status, error.endswith(f"loader's state, perhaps {folder}/custom_checkpoint_0.pkl\n")) == (2, True)
    touch(folder, "a.json", "loader.json", "last.ckpt")
    expected = ["loader.json", "custom_checkpoint_0.pkl", "last.ckpt", "a.json"]
    *others, last = [f"{folder}/{name}" for name in expected]
    assert f"perhaps {', '.join(others)} or {last}\n" in shown(folder)[2]
    touch(folder, *(f"{number}.pt" for number in range(9)))
    assert f"{folder}/0.pt, {folder}/1.pt and 8 more\n" in shown(folder)[2]


@pytest.mark.parametrize("part", ["", ".metadata", "__0_0.distcp"])
def test_a_distributed_checkpoint_says_what_to_do(part: str, tmp_path: Path, shown: Print) -> None:
    """Its folder, and what lies in it: torch makes one file of them, which is read."""
    folder = touch(tmp_path / "dcp", ".metadata", "__0_0.distcp", "__1_0.distcp")
    path = folder / part
    start = f"dalikit state: {path}: is {'a part of ' if part else ''}a distributed checkpoint of torch's, whose parts"
    make_one = "make one file of it: torch.distributed.checkpoint.format_utils.dcp_to_torch_save(FOLDER, FILE); or "
    status, out, error = shown(path)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"{start} are not read here; {make_one}write the state beside it as JSON: json.dump(")
    touch(folder, "loader.json")
    assert f"; give {folder}/loader.json, or {make_one}" in shown(path)[2]


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_what_torch_makes_of_a_distributed_checkpoint_is_read(
    state: dict[str, Any], tmp_path: Path, shown: Print
) -> None:
    """As the message says."""
    dcp.save({"model": torch.zeros(3), "loader": state}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    dcp_to_torch_save(tmp_path / "dcp", tmp_path / "whole.pt")
    found = json.loads(shown(tmp_path / "whole.pt", "--json")[1])
    assert (found["at"], found["state"]["place"]) == ("loader", 4)


def test_what_is_cut_says_so(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """Messages between two words, long values with dots."""
    path = write(tmp_path / "state.json", {**state, "transform": "x" * 300})
    assert f"transform  {'x' * 200}...\n" in shown(path)[1]
    write(path, {**state, "executor": ["word"] * 50})
    assert "must be what state_dict() gave, came ['word', 'word', " in shown(path)[2]
    assert shown(path)[2].endswith(", 'word', ...\n")
    assert brief("one two three", 7) == "one two ..."
    assert brief("one two three", 6) == "one ..."
    assert brief("one\n two", 7) == "one two"
    assert brief("a\x1bb" + "c" * 9, 5) == "a?bcc..."


def test_a_reader_that_stops_reading_is_no_error(state: dict[str, Any], tmp_path: Path) -> None:
    """As `head` does: nothing on stderr."""
    path = write(tmp_path / "state.json", {**state, "sampler": {"sampler": "KeyedInfiniteSampler", **ENDLESS}})
    command = [sys.executable, "-m", "dalikit", "state", str(path), "--count", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_file_that_is_too_large_for_json_is_not_read_whole(tmp_path: Path, shown: Print) -> None:
    """A gigabyte, of which the disk holds nothing."""
    path = tmp_path / "large.json"
    path.touch()
    os.truncate(path, 1 << 30)
    status, _, error = shown(path)
    assert (status, "large.json: has more than 268,435,456 bytes, too many for JSON with a state" in error) == (1, True)


def test_texts_of_strangers_reach_no_terminal(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """Control characters and halves of characters are shown as Python writes them."""
    dataset = {"class": "\x1b[31mRed", "length": "\ud800", "fingerprint": [1]}
    path = write(tmp_path / "state.json", {**state, "dataset": dataset})
    assert "dataset    \\x1b[31mRed of \\ud800, fingerprint [1]" in shown(path)[1]
    write(path, {**state, "dataset": {"class": float("nan"), "length": float("-inf")}})
    found = json.loads(shown(path, "--json")[1], parse_constant=pytest.fail)
    assert found["state"]["dataset"] == {"class": "nan", "length": "-inf"}


def test_objects_that_hold_themselves_are_no_trap(state: dict[str, Any], tmp_path: Path, shown: Print) -> None:
    """A list within itself, and dicts that would fill a disk if they were written out."""
    path = tmp_path / "state.pt"
    own: list[Any] = [state]
    own.insert(0, own)
    torch.save(own, path)
    assert json.loads(shown(path, "--json")[1])["at"] == "[1]"
    laugh: dict[str, Any] = {}
    for _ in range(60):
        laugh = {"a": laugh, "b": laugh}
    torch.save({"x": laugh, "loader": {**state, "dataset": laugh}}, path)
    status, _, error = shown(path)
    assert (status, "state.pt, at loader: state: has more than 1,000 parts, or too deep ones" in error) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["FILE", "--rank", "2"], "--rank 2: must be below the number of ranks, 2"),
        (["FILE", "--rank", "3", "--ranks", "9", "3"], "--rank 3: must be below the number of ranks, 3"),
        (["FILE", "--ranks", str(2**31)], "--ranks 2147483648: at most 2,147,483,647"),
        (["FILE", "--count", "1000001"], "--count 1000001: at most 1,000,000 samples are told"),
        (["nowhere.pt"], "nowhere.pt: cannot be read (No such file or directory); give a file with a state"),
    ],
)
def test_arguments_that_are_off_are_status_2(
    arguments: list[str], text: str, state: dict[str, Any], tmp_path: Path, shown: Print
) -> None:
    """One line."""
    path = write(tmp_path / "state.json", state)
    status, out, error = shown(*[path if argument == "FILE" else argument for argument in arguments])
    assert (status, out, error) == (2, "", f"dalikit state: {text}\n")


@pytest.mark.parametrize("arguments", [[], ["x", "--ranks", "0"], ["x", "--rank", "-1"], ["x", "--batch-size", "0"]])
def test_arguments_that_cannot_be_read_show_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2."""
    with pytest.raises(SystemExit) as caught:
        main(["state", *arguments])
    assert caught.value.code == 2
    assert "usage: dalikit state FILE " in capsys.readouterr().err


NUMBERS = st.integers(-3, 40) | st.sampled_from([2**31, 2**40 - 1, 2**40, 2**61, 2**62, 2**63, 2**64, 10**30])
ANYTHING = st.recursive(
    NUMBERS | st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=8), parts, max_size=3),
    max_leaves=6,
)
COUNTS = st.sampled_from([1, 2, 23, 2**31, 2**40 - 1])
SAMPLERS: list[dict[str, Any]] = [
    {"sampler": "EpochSampler", "size": 0},
    {"sampler": "DistributedSampler", "size": 0, "drop_last": False},
    {"sampler": "RandomSampler", "size": 0},
    {"sampler": "InfiniteSampler"},
    {"sampler": "ShardedInfiniteSampler", "use_new_shuffle_tensor_slice": False},
    {"sampler": "KeyedEpochSampler", "size": 0, "tail": "pad"},
    {"sampler": "KeyedInfiniteSampler"},
]


@st.composite
def damaged_states(draw: st.DrawFn, state: dict[str, Any]) -> dict[str, Any]:
    """A state of any sampler and length, at any place, with up to three parts that are something else."""
    sampler, count = dict(draw(st.sampled_from(SAMPLERS))), draw(COUNTS)
    sampler |= {"sample_count": count, "shuffle": True, "seed": 0} | ({"size": count} if "size" in sampler else {})
    passes = 0 if "Infinite" in sampler["sampler"] else 3
    tree = {**state, "sampler": sampler, "passes": passes, "epoch": passes, "place": draw(COUNTS)}
    for _ in range(draw(st.integers(0, 3))):
        part = draw(st.sampled_from([tree, sampler]))
        part[draw(st.sampled_from(sorted(part)) | st.text(max_size=5))] = draw(NUMBERS | ANYTHING)
    return tree


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_states_are_told_or_refused(
    data: st.DataObject, state: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stands in a state: an answer, or one line. Never a traceback, never a wait, never a full memory."""
    path = write(tmp_path / "state.json", data.draw(damaged_states(state)))
    ranks = data.draw(st.lists(st.sampled_from(["1", "2", "3", "2147483647"]), min_size=1, max_size=3))
    extra = data.draw(st.sampled_from([[], ["--json"], ["--batch-size", "7"]]))
    status = main(["state", str(path), "--ranks", *ranks, *extra])
    out, error = capsys.readouterr()
    assert status in (0, 1)
    assert (out != "", error.count("\n")) == ((True, 0) if status == 0 else (False, 1))
