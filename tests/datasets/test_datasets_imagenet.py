"""ImageNet has DINOv2's rows and reads and writes DINOv2's files."""

from __future__ import annotations

import enum
import pickle
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dataset_contract import DatasetContract
from encoded_images import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision_import import import_torchvision

from dalikit import DataLoader
from dalikit.datasets.dino.entries import hash_column, write_table
from dalikit.datasets.dino.enumerated import DatasetWithEnumeratedTargets
from dalikit.datasets.dino.imagenet import ImageNet
from dalikit.datasets.dino.imagenet22k import ImageNet22k
from dalikit.errors import ArgumentError, DatasetError, DatasetNotFoundError, EmptyDatasetError, ReadError
from dalikit.storage import Location

TorchvisionFolder: Any = import_torchvision().datasets.ImageFolder

PART = pytest.mark.filterwarnings("ignore:ImageNet .* it is a part of it")
"""Official sizes are not made for a test."""

LABELS = 'n01440764,tench\nn01443537,goldfish\nn01484850,"great white shark, man-eater"\n'
CLASSES = {"n01440764": [10026, 1003, 7], "n01443537": [2], "n01484850": [99999999, 100, 1]}
FIELDS = ["actual_index", "class_index", "class_id", "class_name"]


def write_jpeg(path: Path, level: int) -> None:
    """A small image of one gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(Image.new("RGB", (9 + level, 7), (level,) * 3), "JPEG"))


def write_root(root: Path, labels: str = LABELS) -> Path:
    """ImageNet's layout with seven images a split."""
    root.mkdir(parents=True)
    (root / "labels.txt").write_text(labels)
    level = 0
    for class_id, numbers in CLASSES.items():
        for number in numbers:
            level += 1
            write_jpeg(root / f"train/{class_id}/{class_id}_{number}.JPEG", level)
            write_jpeg(root / f"val/{class_id}/ILSVRC2012_val_{number:08d}.JPEG", 20 + level)
            write_jpeg(root / f"test/ILSVRC2012_test_{level:08d}.JPEG", 40 + level)
    return root


def dump(root: Path, split: Any = "TRAIN", **options: Any) -> ImageNet:
    """Opens it with tables that it has made itself."""
    dataset = ImageNet(split=split, root=str(root), extra=str(root.parent / "extra"), **options)
    dataset.dump_extra()
    return dataset


def dinov2_tables(root: Path, split: str) -> dict[str, npt.NDArray[Any]]:
    """What DINOv2's dump_extra saves, by the description in docs/imagenet.md and torchvision's own listing."""
    names = dict(line.split(",", 1) for line in LABELS.replace('"', "").splitlines())
    folder = TorchvisionFolder(root / split.lower())
    dtype = [("actual_index", "<u4"), ("class_index", "<u4"), ("class_id", "U9"), ("class_name", "U28")]
    rows = []
    for path, class_index in folder.samples:
        class_id = Path(path).parent.name
        rows.append((int(Path(path).stem.split("_")[-1]), class_index, class_id, names[class_id]))
    ids = np.array(list(CLASSES), dtype="U9")
    return {
        "entries": np.array(rows, dtype=dtype),
        "class-ids": ids,
        "class-names": np.array([names[class_id] for class_id in ids], dtype="U28"),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ImageNet's layout."""
    return write_root(tmp_path / "imagenet")


@PART
@pytest.mark.parametrize("split", ["TRAIN", "VAL", "TEST"], scope="class")
class TestContract(DatasetContract):
    """Each split obeys the contract of all datasets."""

    @pytest.fixture
    def dataset(self, tmp_path: Path, split: str) -> ImageNet:
        """Seven rows."""
        return dump(write_root(tmp_path / "one" / "imagenet"), split)

    @pytest.fixture
    def twin(self, tmp_path: Path, split: str) -> ImageNet:
        """The same elsewhere."""
        return dump(write_root(tmp_path / "other" / "place" / "imagenet"), split)

    def test_the_file_is_the_one_that_the_key_names(self, dataset: ImageNet) -> None:
        """Key and place are DINOv2's path, below the root."""
        for index in range(len(dataset)):
            path = Path(dataset.root, dataset.get_key(index))
            assert dataset.get_location(index) == Location(str(path))
            assert dataset.get_image_data(index) == path.read_bytes()


@PART
class TestRows:
    """Rows are DINOv2's."""

    def test_those_of_a_split_with_classes(self, root: Path) -> None:
        """Order, targets, names and types."""
        dataset = dump(root, ImageNet.Split.TRAIN)
        assert dataset.split is ImageNet.Split.TRAIN
        samples = TorchvisionFolder(root / "train").samples
        assert [dataset.get_location(row).uri for row in range(7)] == [path for path, _ in samples]
        assert [dataset.get_target(row) for row in range(7)] == [target for _, target in samples]
        assert type(dataset.get_target(0)) is int
        assert dataset.get_key(1) == "train/n01440764/n01440764_1003.JPEG"
        assert dataset.get_class_id(-1) == "n01484850"
        assert dataset.get_class_name(-1) == "great white shark, man-eater"
        assert [dataset.find_class_id(row) for row in range(3)] == list(CLASSES)
        assert dataset.find_class_name(np.int64(1)) == "goldfish"  # type: ignore[arg-type]
        targets, ids = dataset.get_targets(), dataset.get_class_ids()
        assert targets is not None
        assert ids is not None
        assert (targets.dtype, targets.tolist()) == (np.uint32, [0, 0, 0, 1, 2, 2, 2])
        assert ids.tolist() == [dataset.get_class_id(row) for row in range(7)]

    def test_validation_images_lie_in_class_folders(self, root: Path) -> None:
        """By DINOv2's names."""
        assert dump(root, "VAL").get_key(0) == "val/n01440764/ILSVRC2012_val_00000007.JPEG"

    def test_test_images_have_no_targets(self, root: Path) -> None:
        """Nor anything else of a class."""
        dataset = dump(root, "TEST")
        assert dataset.get_key(6) == "test/ILSVRC2012_test_00000007.JPEG"
        values = [dataset.get_target(0), dataset.get_targets(), dataset.get_class_id(0), dataset.get_class_name(0)]
        assert [*values, dataset.get_class_ids()] == [None] * 5
        with pytest.raises(ArgumentError, match="split TEST has no class ids: its classes are not published"):
            dataset.find_class_id(0)
        with pytest.raises(ArgumentError, match="split TEST has no class names"):
            dataset.find_class_name(0)

    @pytest.mark.parametrize("index", [3, -1, 10**10])
    def test_classes_that_are_not_there(self, root: Path, index: int) -> None:
        """No class counts from the end."""
        with pytest.raises(IndexError, match=rf"class {index} is out of range for ImageNet of 3 classes"):
            dump(root).find_class_id(index)

    def test_get_targets_cannot_be_changed(self, root: Path) -> None:
        """It is the mapped file."""
        targets = dump(root).get_targets()
        assert targets is not None
        with pytest.raises(ValueError, match="read-only"):
            targets[0] = 1

    def test_a_missing_image_says_which(self, root: Path) -> None:
        """With index, key and file."""
        dataset = dump(root)
        Path(dataset.get_location(3).uri).unlink()
        match = (
            r"No such file or directory \[dataset=ImageNet, index=3, key=train/n01443537/n01443537_2.JPEG, file=/.*2"
        )
        with pytest.raises(ReadError, match=match):
            dataset.get_image_data(-4)

    def test_an_address_as_root(self, root: Path) -> None:
        """Rows lie there; the tables here."""
        extra = str(root.parent / "extra")
        dump(root)
        remote = ImageNet(split="TRAIN", root="s3://bucket/imagenet", extra=extra)
        uri = "s3://bucket/imagenet/train/n01440764/n01440764_10026.JPEG"
        assert remote.get_location(0) == Location(uri)
        for split in ("TRAIN", "TEST"):
            with pytest.raises(ArgumentError, match=r"tables are made from folders on this machine, root is 's3://"):
                ImageNet(split=split, root="s3://bucket/imagenet", extra=extra).dump_extra()

    def test_repr(self, root: Path) -> None:
        """Also without tables."""
        extra = f"{root.parent}/extra"
        told = f"ImageNet(split=VAL, root='{root}', extra='{extra}', "
        assert repr(ImageNet(split="VAL", root=root, extra=extra)) == told + "no table of entries)"
        assert repr(dump(root, "VAL")) == told + "num_samples=7)"

    @pytest.mark.parametrize("split", ["TRAIN", "TEST"])
    def test_a_loader_reads_it(self, root: Path, split: str) -> None:
        """Every row once, with its target."""
        dataset = dump(root, split, target_transform=lambda target: -1 if target is None else target)
        with DataLoader(dataset, batch_size=7, device="cpu") as loader:
            images, targets = next(iter(loader))
        assert [image.shape[2] for image in images] == [dataset[row][0].width for row in range(7)]
        assert targets.tolist() == ([0, 0, 0, 1, 2, 2, 2] if split == "TRAIN" else [-1] * 7)

    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_a_loader_reads_the_test_split(self, root: Path, num_workers: int) -> None:
        """Without targets: a batch's are []; beside a row's number there is the number."""
        dataset = dump(root, "TEST")
        assert (dataset.get_target(0), dataset[0][1], pickle.loads(pickle.dumps(dataset))[0][1]) == (None, (), ())
        with DataLoader(dataset, batch_size=7, num_workers=num_workers, device="cpu") as loader:
            assert next(iter(loader))[1] == []
        enumerated: Any = DatasetWithEnumeratedTargets(dataset)
        assert (enumerated.get_target(3), enumerated[3][1]) == ((3, None), (3, 3))
        with DataLoader(enumerated, batch_size=7, num_workers=num_workers, device="cpu") as loader:
            assert [each.tolist() for each in next(iter(loader))[1]] == [list(range(7))] * 2


class TestSplit:
    """DINOv2's enum, or text."""

    def test_lengths_and_paths_are_dinov2s(self) -> None:
        """All methods of its enum."""
        split = ImageNet.Split
        assert [each.length for each in split] == [1_281_167, 50_000, 100_000]
        assert [each.value for each in split] == ["train", "val", "test"]
        assert split["VAL"].get_dirname("n1") == "val/n1"
        assert split.TEST.get_dirname() == "test"
        assert split.TEST.get_image_relpath(12) == "test/ILSVRC2012_test_00000012.JPEG"

    @given(
        split=st.sampled_from([ImageNet.Split.TRAIN, ImageNet.Split.VAL]),
        number=st.integers(0, 2**32 - 1),
        class_id=st.from_regex(r"n[0-9]{8}", fullmatch=True),
    )
    def test_paths_are_parsed_as_they_are_made(self, split: Any, number: int, class_id: str) -> None:
        """Both ways."""
        assert split.parse_image_relpath(split.get_image_relpath(number, class_id)) == (class_id, number)

    @pytest.mark.parametrize(
        ("name", "path"), [("TEST", "test/ILSVRC2012_test_00000001.JPEG"), ("TRAIN", "a/b_c.JPEG")]
    )
    def test_paths_that_are_none(self, name: str, path: str) -> None:
        """Test images have no class."""
        with pytest.raises(ArgumentError, match=rf"split {name}: '{path}' has no class and number"):
            ImageNet.Split[name].parse_image_relpath(path)

    @pytest.mark.parametrize("split", ["TRAIN", "train", "Train", ImageNet.Split.TRAIN, "theirs"])
    def test_what_is_taken(self, root: Path, split: Any) -> None:
        """Text in any case, dalikit's enum and DINOv2's own."""
        if split == "theirs":
            split = enum.Enum("_Split", {"TRAIN": "train"}).TRAIN  # type: ignore[attr-defined]
        assert ImageNet(split=split, root=root, extra=root).split is ImageNet.Split.TRAIN

    @pytest.mark.parametrize("split", ["", "training", None, 0, enum.Enum("Other", ["ALL"]).ALL])  # type: ignore[attr-defined]
    def test_what_is_refused(self, root: Path, split: Any) -> None:
        """Everything else."""
        with pytest.raises(ArgumentError, match="split must be TRAIN, VAL or TEST, got"):
            ImageNet(split=split, root=root, extra=root)


@PART
class TestDumpExtra:
    """`dump_extra` makes DINOv2's files."""

    @pytest.mark.parametrize("split", ["TRAIN", "VAL"])
    def test_the_files_are_dinov2s_byte_for_byte(self, root: Path, tmp_path: Path, split: str) -> None:
        """As `np.save` writes what DINOv2 makes."""
        dump(root, split)
        for name, table in dinov2_tables(root, split).items():
            np.save(tmp_path / "wanted.npy", table)
            made = tmp_path / f"extra/{name}-{split}.npy"
            assert np.load(made, mmap_mode="r").dtype == table.dtype
            assert made.read_bytes() == (tmp_path / "wanted.npy").read_bytes(), name
        assert sorted(path.name for path in (tmp_path / "extra").iterdir()) == sorted(
            f"{name}-{split}.npy" for name in ("entries", "class-ids", "class-names")
        )

    def test_the_test_table_is_dinov2s(self, root: Path, tmp_path: Path) -> None:
        """Numbers from 1 on, no classes, texts of no characters."""
        dump(root, "TEST")
        (path,) = (tmp_path / "extra").iterdir()
        assert path.name == "entries-TEST.npy"
        wanted = [(number, 2**32 - 1, "", "") for number in range(1, 8)]
        dtype = [("actual_index", "<u4"), ("class_index", "<u4"), ("class_id", "U0"), ("class_name", "U0")]
        np.save(tmp_path / "wanted.npy", np.array(wanted, dtype=dtype))
        assert path.read_bytes() == (tmp_path / "wanted.npy").read_bytes()

    def test_dinov2s_own_files_are_read(self, root: Path, tmp_path: Path) -> None:
        """With other widths of text, in other order of fields, and more of them."""
        made = dump(root)
        told = [made.get_key(row) for row in range(7)], made.fingerprint
        tables = dinov2_tables(root, "TRAIN")
        wider = [("more", "f8"), ("class_name", "U99"), ("class_id", "<U20"), ("class_index", ">u8")]
        entries = np.zeros(7, dtype=[*wider, ("actual_index", "<i4")])
        for field in FIELDS:
            entries[field] = tables["entries"][field]
        np.save(tmp_path / "extra/entries-TRAIN.npy", entries)
        theirs = ImageNet(split="TRAIN", root=root, extra=tmp_path / "extra")
        assert ([theirs.get_key(row) for row in range(7)], theirs.fingerprint) == told
        assert theirs.get_class_name(3) == "goldfish"
        assert theirs.get_target(3) == 1

    def test_entries_alone_are_enough_for_rows(self, root: Path, tmp_path: Path) -> None:
        """As in DINOv2; the other tables are asked for when they are needed."""
        dump(root)
        for name in ("class-ids", "class-names"):
            (tmp_path / f"extra/{name}-TRAIN.npy").unlink()
        dataset = ImageNet(split="TRAIN", root=root, extra=tmp_path / "extra")
        assert dataset.get_class_id(3) == "n01443537"
        with pytest.raises(DatasetNotFoundError, match=r"class-ids-TRAIN.npy' does not exist: make it once, in Python"):
            dataset.find_class_id(0)

    def test_a_part_of_the_classes(self, root: Path) -> None:
        """Classes are numbered anew, with their own names."""
        shutil.rmtree(root / "train/n01440764")
        dataset = dump(root)
        assert [dataset.find_class_id(row) for row in range(2)] == ["n01443537", "n01484850"]
        assert dataset.find_class_name(1) == "great white shark, man-eater"
        assert dataset.get_target(0) == 0

    def test_the_dataset_uses_them_at_once(self, root: Path) -> None:
        """Also where others were there before."""
        dataset = dump(root)
        before = dataset.fingerprint
        write_jpeg(root / "train/n01443537/n01443537_3.JPEG", 5)
        dataset.dump_extra()
        assert len(dataset) == 8
        assert dataset.fingerprint != before

    def test_progress_on_stderr_if_it_is_wanted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """And not else."""
        dataset = dump(root)
        assert capsys.readouterr().err == ""
        dataset.dump_extra(progress=True)
        captured = capsys.readouterr()
        assert "listing" in captured.err
        assert captured.out == ""

    @pytest.mark.parametrize(
        ("labels", "match"),
        [
            ("n01440764,tench\nn01443537\n", r"labels.txt': line 2 has 1 values; wanted are two: n01440764,tench"),
            ("a,b,c\n", "line 1 has 3 values"),
            (LABELS + LABELS, "line 4: class 'n01440764' has a line already"),
            ("n01440764,tench\n", r"folder '.*train/n01443537' \(2 in all\) is of a class that is not in labels.txt"),
            ("\udcff,b\n", "labels.txt' cannot be read: .*utf-8"),
        ],
    )
    def test_labels_with_faults(self, root: Path, labels: str, match: str) -> None:
        """Each names the file and the line."""
        (root / "labels.txt").write_text(labels, errors="surrogateescape")
        with pytest.raises(DatasetError, match=match):
            dump(root)

    def test_no_labels(self, root: Path) -> None:
        """What they are is said."""
        (root / "labels.txt").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"labels.txt' does not exist: it names the classes, one a line"):
            dump(root)

    @pytest.mark.parametrize(
        "name",
        ["n01443537_x.JPEG", "n01443537_2.jpg", "n01443537_02.JPEG", "other_2.JPEG", "n01443537_4294967296.JPEG",
         "more/n01443537_2.JPEG", "n01443537_\u0661.JPEG"],
    )  # fmt: skip
    def test_files_that_dinov2_would_not_find(self, root: Path, tmp_path: Path, name: str) -> None:
        """Their name is not the one that is made of class and number. Nothing is written."""
        write_jpeg(root / "train/n01443537" / name, 1)
        with pytest.raises(
            DatasetError, match=r"file 'train/n01443537/.*' is not named as ImageNet's files are, such as"
        ):
            dump(root)
        assert list((tmp_path / "extra").iterdir()) == []

    def test_test_files_with_other_names(self, root: Path) -> None:
        """Likewise."""
        write_jpeg(root / "test/x.JPEG", 1)
        with pytest.raises(DatasetError, match=r"file 'test/x.JPEG' is not named as ImageNet's files are"):
            dump(root, "TEST")

    def test_no_images(self, root: Path) -> None:
        """Neither classes nor test images."""
        shutil.rmtree(root / "train")
        shutil.rmtree(root / "test")
        with pytest.raises(DatasetNotFoundError, match=r"root '.*train' does not exist"):
            dump(root)
        (root / "test").mkdir()
        with pytest.raises(
            EmptyDatasetError, match=r"test' has no images: 'test/ILSVRC2012_test_00000001.JPEG' is wanted"
        ):
            dump(root, "TEST")

    def test_a_folder_that_cannot_be_written(self, root: Path, tmp_path: Path) -> None:
        """A file where `extra` should be."""
        (tmp_path / "extra").write_text("")
        with pytest.raises(DatasetError, match=r"extra/entries-TRAIN.npy' cannot be written: (File exists|Not a dir)"):
            dump(root)

    def test_files_that_change_meanwhile_leave_the_old_table(self, root: Path, tmp_path: Path) -> None:
        """It is written whole or not at all."""
        dump(root)
        path = tmp_path / "extra/entries-TRAIN.npy"
        before = path.read_bytes()
        with pytest.raises(DatasetError, match=r"TRAIN.npy': 1 rows came where 2 were expected; did files change\?"):
            write_table(str(path), np.dtype([("a", "<u4")]), 2, [np.zeros(1, dtype=[("a", "<u4")])])
        assert path.read_bytes() == before
        assert len(list(path.parent.iterdir())) == 3


class TestOpening:
    """Tables are checked before they are used."""

    @pytest.fixture
    def path(self, root: Path, tmp_path: Path) -> Path:
        """The table of entries that DINOv2 makes."""
        path = tmp_path / "extra/entries-TRAIN.npy"
        path.parent.mkdir()
        for name, table in dinov2_tables(root, "TRAIN").items():
            np.save(path.with_name(f"{name}-TRAIN.npy"), table)
        return path

    @staticmethod
    def open(path: Path) -> ImageNet:
        """The dataset beside it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ImageNet(split="TRAIN", root=path.parents[1] / "imagenet", extra=path.parent)

    def test_a_part_is_warned_of_once(self, path: Path) -> None:
        """Where DINOv2 refuses; copies in other processes keep silent."""
        with pytest.warns(
            UserWarning, match=r"ImageNet TRAIN has 1281167 images, but '.*TRAIN.npy' has 7 rows: it is a"
        ):
            dataset = ImageNet(split="TRAIN", root=path.parents[1] / "imagenet", extra=path.parent)
        assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset) == 7

    def test_the_warning_names_the_users_line(self, path: Path) -> None:
        """So it shows once a place."""
        with pytest.warns(UserWarning, match="part") as caught:
            ImageNet(split="TRAIN", root=path.parents[1] / "imagenet", extra=path.parent)
        assert caught[0].filename == __file__

    def test_the_official_size_is_not_warned_of(self, path: Path) -> None:
        """1,281,167 rows, which are opened in a moment."""
        table = np.load(path).astype([*np.load(path).dtype.descr[:3], ("class_name", "U1")])
        np.save(path, np.resize(table, ImageNet.Split.TRAIN.length))
        dataset = ImageNet(split="TRAIN", root=path.parents[1] / "imagenet", extra=path.parent)
        assert len(dataset) == 1_281_167
        assert dataset.get_key(1_281_166) == dataset.get_key(1_281_166 % 7)

    def test_it_pickles_small(self, path: Path) -> None:
        """As paths: nothing that is mapped."""
        np.save(path, np.resize(np.load(path), 100_000))
        dataset = self.open(path)
        dataset.find_class_id(0)
        assert len(pickle.dumps(dataset)) < 2000

    def test_a_changed_table_is_checked_again(self, path: Path) -> None:
        """In a copy elsewhere."""
        data = pickle.dumps(self.open(path))
        table = np.load(path)
        table["class_index"][2] = 3
        np.save(path, table)
        with pytest.raises(
            DatasetError, match="row 2: class_index 3 is not one of the 3 classes of the file of class ids"
        ):
            len(pickle.loads(data))

    def test_no_tables(self, root: Path, tmp_path: Path) -> None:
        """The message holds the command, and it works."""
        dataset = ImageNet(split="TRAIN", root=root, extra=tmp_path / "none")
        with pytest.raises(
            DatasetNotFoundError, match=r"none/entries-TRAIN.npy' does not exist: make it once"
        ) as caught:
            len(dataset)
        command = str(caught.value).partition("in Python: ")[2]
        with pytest.warns(UserWarning, match="it is a part of it"):
            exec(command, {})
        with pytest.warns(UserWarning, match="it is a part of it"):
            assert len(dataset) == 7

    @pytest.mark.parametrize("extra", ["", None, 3, b"extra", "a\0b", "s3://bucket/extra"])
    def test_an_extra_that_is_no_path(self, root: Path, extra: Any) -> None:
        """It lies on this machine."""
        with pytest.raises(ArgumentError, match="extra must be the path of a folder on this machine, got"):
            ImageNet(split="TRAIN", root=root, extra=extra)

    def test_a_root_that_is_not_there(self, tmp_path: Path) -> None:
        """Said at once."""
        with pytest.raises(DatasetNotFoundError, match=r"root '.*gone' does not exist"):
            ImageNet(split="TRAIN", root=tmp_path / "gone", extra=tmp_path)

    @pytest.mark.parametrize(
        ("field", "row", "value", "match"),
        [
            ("class_index", 4, 3, "row 4: class_index 3 is not one of the 3 classes"),
            ("class_index", 4, 1, "row 4: class_id 'n01484850' is not that of class 1 in the file .* 'n01443537'"),
            ("class_id", 0, "../../etc", r"row 0: class_id '\.\./\.\./etc' cannot be the name of a file or folder"),
            ("class_id", 6, "", "row 6: class_id '' cannot be the name"),
            ("class_id", 6, ".", r"row 6: class_id '\.' cannot be the name"),
            ("class_id", 6, "..", r"row 6: class_id '\.\.' cannot be the name"),
            ("class_id", 6, "a\0b", r"row 6: class_id 'a\\x00b' cannot be the name"),
        ],
    )
    def test_values_that_cannot_be(self, path: Path, field: str, row: int, value: Any, match: str) -> None:
        """File, row and value are named."""
        table = np.load(path)
        table[field][row] = value
        np.save(path, table)
        with pytest.raises(DatasetError, match=rf"file '.*entries-TRAIN.npy': {match}"):
            self.open(path)

    def test_faults_behind_the_first_rows(self, path: Path) -> None:
        """Pieces are checked one after the other."""
        table = np.resize(np.load(path), 200_000)
        table["class_id"][150_001] = "a/b"
        np.save(path, table)
        with pytest.raises(DatasetError, match="row 150001: class_id 'a/b' cannot be"):
            self.open(path)

    def test_text_that_is_no_unicode(self, path: Path) -> None:
        """numpy makes a text of it all the same, which nothing else can read."""
        table = np.load(path)
        table.view(np.uint8).reshape(7, -1)[5, 8:12] = 255  # the first character of class_id
        np.save(path, table)
        with pytest.raises(DatasetError, match=r"row 5: class_id '\\Uffffffff01484850' cannot be the name"):
            self.open(path)
        table = dinov2_tables(path.parents[1] / "imagenet", "TRAIN")["entries"]
        table.view(np.uint8).reshape(7, -1)[5, 44:48] = 255  # of class_name
        np.save(path, table)
        with pytest.raises(DatasetError, match=r"row 5: text '\\Uffffffff.* holds no Unicode"):
            self.open(path).get_class_name(5)

    def test_negative_numbers(self, path: Path) -> None:
        """Foreign tables may have signs."""
        table = np.load(path).astype([("actual_index", "<i8"), ("class_index", "<i8"), *np.load(path).dtype.descr[2:]])
        table["actual_index"][3] = -2
        np.save(path, table)
        with pytest.raises(DatasetError, match="row 3: actual_index -2 is negative"):
            self.open(path)

    @pytest.mark.parametrize(
        ("table", "match"),
        [
            (np.zeros(7), r"has no field 'actual_index'; wanted are .*, and it has none"),
            (np.zeros(7, dtype=[("actual_index", "u4")]), "has no field 'class_index'; .* it has actual_index"),
            (
                np.zeros((7, 2), dtype="u4"),
                r"it holds an array of shape \(7, 2\) and dtype uint32; a table has one dim",
            ),
            (np.zeros(0, dtype="u4"), "no field"),
            (np.array([{}]), "it holds Python objects, which are never loaded"),
            (
                np.zeros(7, dtype=[(name, "f4") for name in FIELDS]),
                "field 'actual_index' has dtype float32; integer is",
            ),
            (
                np.zeros(7, dtype=[(name, "u4", (2,)) for name in FIELDS]),
                r"field 'actual_index' has dtype \('<u4', \(2,\)\)",
            ),
            (np.zeros(7, dtype=[(name, "u4") for name in FIELDS]), "field 'class_id' has dtype uint32; text is wanted"),
        ],
    )
    def test_other_arrays(self, path: Path, table: npt.NDArray[Any], match: str) -> None:
        """None is unpickled, none is used."""
        np.save(path, table, allow_pickle=True)
        with pytest.raises(DatasetError, match=match):
            self.open(path)

    def test_no_rows(self, path: Path) -> None:
        """It is found out at once."""
        np.save(path, np.load(path)[:0])
        with pytest.raises(EmptyDatasetError, match=r"entries-TRAIN.npy' has no rows"):
            self.open(path)

    def test_class_ids_of_numbers(self, path: Path) -> None:
        """A file beside it is checked too."""
        np.save(path.with_name("class-ids-TRAIN.npy"), np.zeros(3))
        with pytest.raises(DatasetError, match=r"class-ids-TRAIN.npy' has dtype float64; text is wanted"):
            self.open(path)

    def test_other_files(self, path: Path) -> None:
        """Cut, too long, foreign, of another version, a folder, or claiming 72 TiB."""
        data = path.read_bytes()
        claim = data[:128].replace(b"(7,)", b"(10**14,)", 1)
        huge = data.replace(b"'shape': (7,), }" + b" " * 14, b"'shape': (99999999999999,), }" + b" ", 1)
        cases = {
            data[:-1]: "bytes, but its header tells of",
            data + b"x": "bytes, but its header tells of",
            huge: "bytes, but its header tells of",
            claim: "no .npy file that can be used",
            b"": "no .npy file that can be used",
            b"PK\3\4" + data: "no .npy file that can be used: the magic string is not correct",
            data[:6] + b"\3" + data[7:]: r"version \(3, 0\) of the format, 1.0 or 2.0 is wanted",
        }
        for content, match in cases.items():
            path.write_bytes(content)
            with pytest.raises(DatasetError, match=match):
                self.open(path)
        path.unlink()
        path.mkdir()
        with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
            self.open(path)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_damage_is_a_dataset_error_or_does_no_harm(self, path: Path, data: st.DataObject) -> None:
        """No other error, whatever bytes change; rows stay below the root."""
        whole = path.read_bytes()
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged[: data.draw(st.sampled_from([len(whole), len(whole) // 2]))])
        try:
            dataset = self.open(path)
            keys = [dataset.get_key(row) for row in range(len(dataset))]
            assert all(key.startswith("train/") and key.count("/") == 2 for key in keys)
        except DatasetError as error:
            message = str(error)
            assert message.startswith(f"file '{path.parent}")
        finally:
            path.write_bytes(whole)


def texts() -> Iterator[list[str]]:
    """Columns that are alike at first sight."""
    yield from (["ab", "c"], ["a", "bc"], ["ab", "c", ""], ["", "ab", "c"], ["c", "ab"])


def test_a_columns_hash_is_of_its_values_alone() -> None:
    """Not of the width or byte order that they are stored in."""
    assert len({hash_column(np.array(column, dtype="U5")) for column in texts()}) == 5
    for column in texts():
        assert hash_column(np.array(column, dtype="U2")) == hash_column(np.array(column, dtype=">U9"))
    assert hash_column(np.arange(9, dtype="<u4")) == hash_column(np.arange(9, dtype=">i8"))


DOCS = Path(__file__).parents[2] / "docs/imagenet.md"


def described(table: str) -> list[tuple[str, str]]:
    """Field and type of each row of a table in docs/imagenet.md, behind the name of its file."""
    rows = DOCS.read_text().partition(f"`{table}`:\n\n")[2].partition("\n\n")[0].splitlines()[2:]
    return [(cells[1].strip(" `"), cells[2].strip(" `")) for cells in (row.split("|") for row in rows)]


@PART
def test_the_page_describes_the_fields_that_are_written(root: Path, tmp_path: Path) -> None:
    """In their order, with their types."""
    dump(root)
    made = np.load(tmp_path / "extra/entries-TRAIN.npy", mmap_mode="r").dtype
    types = [(name, "U" if made[name].kind == "U" else made[name].str) for name in made.names or ()]
    assert described("entries-<SPLIT>.npy") == types
    assert [name for name, _ in described("entries.npy")] == list(ImageNet22k.fields)
    assert [kind for _, kind in described("entries.npy")] == ["<u4", "U", "<u8", "<u8", "U"]
