"""ImageNet22k has DINOv2's rows and reads and writes DINOv2's files."""

from __future__ import annotations

import gzip
import io
import itertools
import mmap
import os
import pickle
import shutil
import subprocess
import tarfile
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

from dalikit import DataLoader
from dalikit.datasets.dino.imagenet22k import ImageNet22k
from dalikit.errors import DatasetError, DatasetNotFoundError, EmptyDatasetError, ReadError
from dalikit.storage import Location

CLASSES = {"n00004475": ["n00004475_6590", "n00004475_15899", "n00004475_7"], "n00005787": ["n00005787_13"]}
GZIPPED = "n00004475_15899"

FIELDS = [("class_index", "<u4"), ("class_id", "U9"), ("start_offset", "<u4"), ("end_offset", "<u4")]


def picture(level: int) -> bytes:
    """A JPEG file; its length is no multiple of a block's."""
    data = encode(Image.new("RGB", (9 + level, 7), (20 * level,) * 3), "JPEG")
    return data + b"\0" * (len(data) % 512 == 0)


def add(tar: tarfile.TarFile, name: str, data: bytes, **attributes: Any) -> None:
    """A member."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def log_of(root: Path, class_id: str) -> None:
    """The log that GNU tar makes of a class's tar."""
    tar = root / f"{class_id}.tar"
    command = ["tar", "--list", "--block-number", "--file", str(tar)]
    result = subprocess.run(command, capture_output=True, check=True, timeout=20)
    (root / "blocks").mkdir(exist_ok=True)
    (root / f"blocks/{class_id}.log").write_bytes(result.stdout)


def write_root(root: Path, zipped: str = "") -> Path:
    """Two classes with four images."""
    root.mkdir(parents=True)
    level = 0
    for class_id, names in CLASSES.items():
        with tarfile.open(root / f"{class_id}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for name in names:
                level += 1
                data = picture(level)
                add(tar, f"{name}.JPEG", gzip.compress(data) if name == zipped else data)
        log_of(root, class_id)
    return root


def dump(root: Path, **options: Any) -> ImageNet22k:
    """Opens it with tables that it has made itself."""
    dataset = ImageNet22k(root=str(root), extra=str(root.parent / "extra"), **options)
    dataset.dump_extra()
    return dataset


def dinov2_table(root: Path, offsets: str = "<u4") -> npt.NDArray[Any]:
    """What DINOv2's dump_extra saves as entries.npy, by the description in docs/imagenet.md."""
    rows = []
    for class_index, class_id in enumerate(CLASSES):
        lines = (root / f"blocks/{class_id}.log").read_text().splitlines()
        blocks = [(int(line.split(":")[0].removeprefix("block ")), line.split(": ")[1]) for line in lines]
        for (start, name), (end, _) in itertools.pairwise(blocks):
            rows.append((class_index, class_id, 512 * start, 512 * end, name))
    dtype = [*FIELDS[:2], ("start_offset", offsets), ("end_offset", offsets), ("filename", "U20")]
    return np.array(rows, dtype=dtype)


def read_as_dinov2(root: Path, extra: Path, index: int) -> bytes:
    """A row as DINOv2 reads it: the mapped tar, from behind the header to the end of the row, inflated if gzipped."""
    entry = np.load(extra / "entries.npy", mmap_mode="r")[index]
    with open(root / f"{entry['class_id']}.tar") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with mapped:
        data = mapped[entry["start_offset"] : entry["end_offset"]][512:]
    return gzip.GzipFile(fileobj=io.BytesIO(data)).read() if data[:2] == b"\x1f\x8b" else data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ImageNet-22k's layout; one image is gzipped."""
    return write_root(tmp_path / "imagenet22k", GZIPPED)


class TestContract(DatasetContract):
    """It obeys the contract of all datasets. (Where a row is gzipped, its place holds the compressed bytes.)"""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> ImageNet22k:
        """Four rows."""
        return dump(write_root(tmp_path / "one" / "imagenet22k"))

    @pytest.fixture
    def twin(self, tmp_path: Path) -> ImageNet22k:
        """The same elsewhere."""
        return dump(write_root(tmp_path / "other" / "place" / "imagenet22k"))


class TestRows:
    """Rows are DINOv2's."""

    def test_everything_of_a_row(self, root: Path) -> None:
        """Place, key, target, class."""
        dataset = dump(root)
        names = [f"{class_id}/{name}.JPEG" for class_id in CLASSES for name in CLASSES[class_id]]
        assert [dataset.get_key(row) for row in range(4)] == names
        assert [dataset.get_target(row) for row in range(4)] == [0, 0, 0, 1]
        assert type(dataset.get_target(0)) is int
        assert [dataset.get_class_id(row) for row in range(4)] == dataset.get_class_ids().tolist()
        assert dataset.get_class_id(-1) == dataset.find_class_id(1) == "n00005787"
        assert (dataset.get_targets().dtype, dataset.get_targets().tolist()) == (np.uint32, [0, 0, 0, 1])
        location = dataset.get_location(3)
        assert location.uri == f"{root}/n00005787.tar"
        assert location.offset == 512
        with pytest.raises(IndexError, match="class 2 is out of range for ImageNet22k of 2 classes"):
            dataset.find_class_id(2)

    def test_gzipped_images_are_inflated_wherever_they_are(self, root: Path) -> None:
        """Image and nothing else; of the others the null bytes behind them are there, as in DINOv2."""
        dataset = dump(root)
        for row in range(4):
            data, wanted = dataset.get_image_data(row), picture(row + 1)
            assert data == wanted if row == 1 else data.rstrip(b"\0") == wanted.rstrip(b"\0")
            assert data == read_as_dinov2(root, root.parent / "extra", row)
        assert ImageNet22k.may_be_gzipped
        assert dataset[1][0].size == (11, 7)

    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_a_loader_inflates_them(self, root: Path, num_workers: int) -> None:
        """Every row once, with its target."""
        with DataLoader(dump(root), batch_size=4, num_workers=num_workers, device="cpu") as loader:
            images, targets = next(iter(loader))
        assert [image.shape[2] for image in images] == [10, 11, 12, 13]
        assert targets.tolist() == [0, 0, 0, 1]

    def test_a_broken_gzip_says_which(self, root: Path) -> None:
        """With row, key, tar and offset."""
        dataset = dump(root)
        location = dataset.get_location(1)
        with open(location.uri, "r+b") as file:
            file.seek(location.offset + 60)
            file.write(b"\xff" * 99)
        match = r"gzip: .* \[dataset=ImageNet22k, index=1, key=n00004475/n00004475_15899.JPEG, file=.*tar, offset=\d+"
        with pytest.raises(ReadError, match=match):
            dataset.get_image_data(1)

    def test_a_tar_that_was_cut(self, root: Path) -> None:
        """It is a short read, not less of an image."""
        dataset = dump(root)
        os.truncate(root / "n00005787.tar", 700)
        with pytest.raises(ReadError, match=r"short read: expected \d+ bytes, got 188; .*key=n00005787/n00005787_13"):
            dataset.get_image_data(3)

    def test_offsets_beyond_4_gib(self, root: Path, tmp_path: Path) -> None:
        """A sparse tar of 5 GiB, with a table of 64 bit: made, read, and read as DINOv2 reads it."""
        head = tarfile.TarInfo("n00005787_1.JPEG")
        head.size = 5 << 30
        tail = (root / "n00005787.tar").read_bytes()[:2048]
        with open(root / "n00005787.tar", "wb") as file:
            file.write(head.tobuf(tarfile.GNU_FORMAT))
            file.seek(512 + head.size)
            file.write(tail + bytes(1024))
        end = (512 + head.size + 1024 + len(picture(4)) // 512 * 512) // 512
        lines = [(0, "n00005787_1.JPEG"), (1 + head.size // 512, "n00005787_13.JPEG"), (end, "** Block of NULs **")]
        log = "".join(f"block {block}: {name}\n" for block, name in lines)
        (root / "blocks/n00005787.log").write_text(log)
        dataset = dump(root)
        assert len(dataset) == 5
        assert dataset.get_location(4).offset == head.size + 1024
        assert dataset.get_image_data(4).rstrip(b"\0") == picture(4).rstrip(b"\0")
        assert dataset.get_image_data(4) == read_as_dinov2(root, tmp_path / "extra", 4)

    def test_an_address_as_root(self, root: Path) -> None:
        """Rows lie there; the tables here."""
        dump(root)
        remote = ImageNet22k(root="s3://bucket/22k/", extra=root.parent / "extra")
        assert remote.remote
        assert not dump(root).remote
        assert remote.get_location(3) == Location("s3://bucket/22k/n00005787.tar", 512, 1024)

    def test_dinov2s_arguments(self, root: Path) -> None:
        """The size of its cache is taken and has no effect."""
        dump(root)
        dataset = ImageNet22k(root=str(root), extra=str(root.parent / "extra"), mmap_cache_size=16)
        assert repr(dataset) == f"ImageNet22k(root='{root}', extra='{root.parent}/extra', num_samples=4)"


class TestDumpExtra:
    """`dump_extra` makes DINOv2's files, with wider offsets."""

    def test_the_files_are_dinov2s_but_for_64_bits(self, root: Path, tmp_path: Path) -> None:
        """Byte for byte as `np.save` writes them."""
        dump(root)
        for name, table in (("entries", dinov2_table(root, "<u8")), ("class-ids", np.array(list(CLASSES)))):
            np.save(tmp_path / "wanted.npy", table)
            assert (tmp_path / f"extra/{name}.npy").read_bytes() == (tmp_path / "wanted.npy").read_bytes()
        assert len(list((tmp_path / "extra").iterdir())) == 2

    def test_dinov2s_own_files_are_read(self, root: Path, tmp_path: Path) -> None:
        """Offsets of 32 bits."""
        made = dump(root)
        told = [(made.get_location(row), made.get_key(row), made.get_target(row)) for row in range(4)]
        fingerprint = made.fingerprint
        np.save(tmp_path / "extra/entries.npy", dinov2_table(root))
        theirs = ImageNet22k(root=root, extra=tmp_path / "extra")
        assert [(theirs.get_location(row), theirs.get_key(row), theirs.get_target(row)) for row in range(4)] == told
        assert theirs.fingerprint == fingerprint

    def test_the_image_that_dinov2_leaves_out(self, root: Path) -> None:
        """It is no image; rows keep their numbers."""
        with tarfile.open(root / "n06470073.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in (1, 47249, 2):
                add(tar, f"n06470073_{number}.JPEG", picture(number % 9))
        log_of(root, "n06470073")
        dataset = dump(root)
        assert [dataset.get_key(row) for row in (-2, -1)] == [
            "n06470073/n06470073_1.JPEG",
            "n06470073/n06470073_2.JPEG",
        ]

    @pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    def test_headers_before_headers(self, root: Path, tmp_path: Path, kind: int) -> None:
        """Long names, times with fractions: rows begin behind them, and DINOv2 reads the right bytes too."""
        names = ["a.JPEG", "b" * 80 + "/" + "c" * 90 + ".JPEG", "folder/", "\u00e9.JPEG", "d e.JPEG", "z.JPEG"]
        with tarfile.open(root / "n1.tar", "w", format=kind) as tar:
            for level, name in enumerate(names):
                if name == "folder/":
                    add(tar, name, b"", type=tarfile.DIRTYPE)
                else:
                    add(tar, name, picture(level), mtime=1.5 if kind == tarfile.PAX_FORMAT and level > 4 else 1)
        log_of(root, "n1")
        dataset = dump(root)
        assert len(dataset) == 4 + 5
        for row, level in zip(range(4, 9), (0, 1, 3, 4, 5), strict=True):
            data = dataset.get_image_data(row)
            assert data.rstrip(b"\0") == picture(level).rstrip(b"\0")
            assert len(data) - len(picture(level)) < 512
            assert read_as_dinov2(root, tmp_path / "extra", row) == dataset.get_image_data(row)

    def test_what_is_no_file_in_the_middle(self, root: Path) -> None:
        """Links are no rows."""
        with tarfile.open(root / "n1.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            add(tar, "link.JPEG", b"", type=tarfile.SYMTYPE, linkname="a.JPEG")
            add(tar, "a.JPEG", picture(1))
        log_of(root, "n1")
        assert dump(root).get_key(4) == "n1/a.JPEG"

    def test_a_class_without_images_keeps_its_number(self, root: Path) -> None:
        """As in DINOv2."""
        with tarfile.open(root / "n00005000.tar", "w"):
            pass
        log_of(root, "n00005000")
        dataset = dump(root)
        assert [dataset.find_class_id(row) for row in range(3)] == ["n00004475", "n00005000", "n00005787"]
        assert dataset.get_targets().tolist() == [0, 0, 0, 2]

    def test_another_root(self, root: Path, tmp_path: Path) -> None:
        """DINOv2's argument: where tars and logs lie."""
        other = tmp_path / "copy"
        shutil.copytree(root, other)
        shutil.rmtree(root / "blocks")
        dataset = ImageNet22k(root=root, extra=tmp_path / "extra")
        dataset.dump_extra(str(other))
        assert len(dataset) == 4

    def test_progress_on_stderr_if_it_is_wanted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """And not else."""
        dataset = dump(root)
        assert capsys.readouterr().err == ""
        dataset.dump_extra(progress=True)
        assert "reading logs: 100%" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("log", "match"),
        [
            ("", r"does not end with '\*\* Block of NULs \*\*': it or the tar was cut; make it with: tar --list"),
            ("block 0: a.JPEG\n", "does not end with"),
            ("block 0: a\nblock 0: b\n", "line 2: block 0 is not behind the one before"),
            ("block 3: a\nblock 2: b\n", "line 2: block 2 is not behind the one before"),
            ("a.JPEG\n", r"line 1 is 'a.JPEG\\n'; \"block 0: n00004475_6590.JPEG\" is wanted"),
            ("block -1: a\n", "line 1 is 'block -1"),
            ("block 99999999999999999: a\n", "line 1 is 'block 99999"),
            ("block 0: ** Block of NULs **\nblock 2: a\n", "line 2 is .*; nothing after the end is wanted"),
            (
                "block 0: a\nblock 999: ** Block of NULs **\n",
                r"tells of 511488 bytes, but '.*tar' has 10240: it belongs",
            ),
            (
                "block 1: a\nblock 3: ** Block of NULs **\n",
                r"n00005787.tar' has no tar header where '.*log' tells of one",
            ),
            ("block 0: a\nblock 1: ** Block of NULs **\n", "at byte 0, a member of .* bytes"),
        ],
    )
    def test_logs_with_faults(self, root: Path, tmp_path: Path, log: str, match: str) -> None:
        """Each names file and line. Nothing is written."""
        (root / "blocks/n00005787.log").write_text(log)
        with pytest.raises(DatasetError, match=match):
            dump(root)
        assert not (tmp_path / "extra").exists()

    def test_a_bomb_of_headers(self, root: Path) -> None:
        """Headers before headers, without end and of any size."""
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, 2 << 20
        (root / "n00005787.tar").write_bytes(header.tobuf() + bytes(3 << 20))
        (root / "blocks/n00005787.log").write_text("block 0: x\nblock 5000: ** Block of NULs **\n")
        with pytest.raises(DatasetError, match="at byte 0, no member of its own follows"):
            dump(root)
        header.size = 0
        (root / "n00005787.tar").write_bytes(header.tobuf() * 9 + bytes(1024))
        (root / "blocks/n00005787.log").write_text("block 0: x\nblock 9: ** Block of NULs **\n")
        with pytest.raises(DatasetError, match="at byte 4608, no member of its own follows"):
            dump(root)

    def test_what_is_not_there(self, root: Path, tmp_path: Path) -> None:
        """A log, a tar, any tar, any image."""
        (root / "blocks/n00005787.log").rename(tmp_path / "log")
        match = r"blocks/n00005787.log' does not exist: make it with GNU tar: tar --list --block-number --file /"
        with pytest.raises(DatasetNotFoundError, match=match):
            dump(root)
        (root / "n00005787.tar").unlink()
        (root / "n00005787.tar").mkdir()
        (tmp_path / "log").rename(root / "blocks/n00005787.log")
        with pytest.raises(DatasetError, match=r"n00005787.tar' cannot be read: Is a directory"):
            dump(root)
        empty = tmp_path / "empty"
        (empty / "blocks").mkdir(parents=True)
        with pytest.raises(EmptyDatasetError, match="has no tars: ImageNet22k wants one a class"):
            dump(empty)
        with tarfile.open(empty / "n1.tar", "w"):
            pass
        log_of(empty, "n1")
        with pytest.raises(EmptyDatasetError, match="the logs of 1 tars name no image"):
            dump(empty)

    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_damage_to_a_log_is_a_dataset_error_or_does_no_harm(self, root: Path, data: st.DataObject) -> None:
        """No other error."""
        path = root / "blocks/n00004475.log"
        whole = path.read_bytes()
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged)
        try:
            assert len(dump(root)) <= 4
        except DatasetError as error:
            message = str(error)
            assert message.startswith((f"file '{root}", f"root '{root}"))
        finally:
            path.write_bytes(whole)


class TestOpening:
    """Tables are checked before they are used."""

    @pytest.fixture
    def path(self, root: Path, tmp_path: Path) -> Path:
        """The table of entries that DINOv2 makes."""
        (tmp_path / "extra").mkdir()
        np.save(tmp_path / "extra/class-ids.npy", np.array(list(CLASSES)))
        np.save(tmp_path / "extra/entries.npy", dinov2_table(root))
        return tmp_path / "extra/entries.npy"

    @staticmethod
    def open(path: Path) -> ImageNet22k:
        """The dataset beside it."""
        return ImageNet22k(root=path.parents[1] / "imagenet22k", extra=path.parent)

    @pytest.mark.parametrize(
        ("offsets", "field", "value", "match"),
        [
            (
                "<u4",
                "start_offset",
                2**32 - 512,
                r"row 1: start_offset 4294966784, end_offset \d+ and class_index 0 are not",
            ),
            (
                "<u4",
                "end_offset",
                511,
                "row 1: .* are not those of a tar's member; was the table made with offsets of 32",
            ),
            ("<u8", "end_offset", 2**63, "row 1: .*end_offset 9223372036854775808 and"),
            ("<u8", "start_offset", 2**64 - 1, "row 1: start_offset 18446744073709551615"),
            ("<i8", "start_offset", -512, "row 1: start_offset -512"),
            ("<i8", "end_offset", -(2**63), "row 1: .*end_offset -9223372036854775808"),
            ("<u4", "class_index", 2, "row 1: class_index 2 is not one of the 2 classes of the file of class ids"),
            (
                "<u4",
                "class_id",
                "../x",
                "row 1: class_id '../x' is not that of class 0 .*; the files belong to different",
            ),
        ],
    )
    def test_values_that_cannot_be(self, path: Path, offsets: str, field: str, value: Any, match: str) -> None:
        """File, row and value are named."""
        table = dinov2_table(path.parents[1] / "imagenet22k", offsets)
        table[field][1] = value
        np.save(path, table)
        with pytest.raises(DatasetError, match=rf"file '.*entries.npy': {match}"):
            self.open(path)

    def test_a_row_without_room_for_its_header_is_refused(self, path: Path) -> None:
        """It ends behind its beginning, and before its image would begin."""
        table = dinov2_table(path.parents[1] / "imagenet22k", "<u8")
        table["end_offset"][1] = table["start_offset"][1] + 511
        np.save(path, table)
        with pytest.raises(DatasetError, match=r"row 1: start_offset \d+, end_offset \d+ .* are not those of a tar's"):
            self.open(path)

    @pytest.mark.parametrize("class_id", ["..", "a/b", ""])
    def test_class_ids_that_lead_elsewhere(self, path: Path, class_id: str) -> None:
        """They are names of files."""
        ids = np.array(["n00004475", class_id])
        np.save(path.with_name("class-ids.npy"), ids)
        with pytest.raises(
            DatasetError, match=rf"class-ids.npy': row 1: class id '{class_id}' cannot be the name of a f"
        ):
            self.open(path)

    def test_no_tables(self, root: Path, tmp_path: Path) -> None:
        """The message holds the command, and it works; DINOv2's class cannot be made without them."""
        dataset = ImageNet22k(root=root, extra=tmp_path / "none")
        with pytest.raises(DatasetNotFoundError, match=r"none/entries.npy' does not exist: make it once, in") as caught:
            len(dataset)
        exec(str(caught.value).partition("in Python: ")[2], {})
        assert len(dataset) == 4

    def test_no_class_ids(self, path: Path) -> None:
        """DINOv2 needs them too."""
        path.with_name("class-ids.npy").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"class-ids.npy' does not exist: make it once, in Python"):
            self.open(path)

    def test_many_rows_are_opened_at_once(self, path: Path) -> None:
        """Nothing is made for each row, and it pickles as paths."""
        np.save(path, np.resize(dinov2_table(path.parents[1] / "imagenet22k", "<u8"), 300_001))
        dataset = self.open(path)
        assert dataset.get_key(300_000) == dataset.get_key(0)
        assert len(dataset.get_targets()) == 300_001
        copy = pickle.loads(pickle.dumps(dataset))
        assert len(pickle.dumps(dataset)) < 2000
        assert copy.get_location(299_999) == dataset.get_location(3)
