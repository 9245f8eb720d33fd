"""ADE20K, NYU and CocoCaptions have the rows of DINOv3's datasets."""

from __future__ import annotations

import json
import random
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

from dalikit import DataLoader, make_dataset
from dalikit.datasets.dino.ade20k import ADE20K
from dalikit.datasets.dino.coco_captions import CocoCaptions
from dalikit.datasets.dino.listed import decode_dense
from dalikit.datasets.dino.nyu import NYU
from dalikit.errors import (
    ArgumentError,
    DatasetError,
    DatasetNotFoundError,
    DecodeError,
    EmptyDatasetError,
    ReadError,
)
from dalikit.storage import Location


def write(path: Path, image: Image.Image, kind: str = "JPEG") -> None:
    """An image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image, kind))


def picture(level: int) -> Image.Image:
    """Of one gray."""
    return Image.new("RGB", (10, 8), (20 * level,) * 3)


def dense(level: int, dtype: Any) -> npt.NDArray[Any]:
    """A mask, or depth: no two pixels alike."""
    return (np.arange(80, dtype=dtype) + level).reshape(8, 10)


def write_ade20k(root: Path) -> Path:
    """Three images for training, listed out of order, and one for validation."""
    for part, number in (("training", 2), ("training", 1), ("training", 10), ("validation", 7)):
        name = f"{part}/ADE_{number:08d}"
        write(root / f"images/{name}.jpg", picture(number))
        write(root / f"annotations/{name}.png", Image.fromarray(dense(number, np.uint8)), "PNG")
    train = "".join(f"training/ADE_{number:08d}.jpg\n" for number in (2, 1, 10))
    (root / "ADE20K_object150_train.txt").write_text(train)
    (root / "ADE20K_object150_val.txt").write_text("validation/ADE_00000007.jpg")
    return root


def write_nyu(root: Path) -> Path:
    """Three images for training, one for the rest."""
    lines = []
    for number in (3, 1, 2):
        write(root / f"room/rgb_{number}.jpg", picture(number))
        write(root / f"room/depth_{number}.png", Image.fromarray(dense(number, np.uint16)), "PNG")
        lines.append(f"/room/rgb_{number}.jpg /room/depth_{number}.png 518.8579\n")
    (root / "nyu_train.txt").write_text("".join(lines))
    (root / "nyu_test.txt").write_text(lines[0])
    return root


def coco() -> dict[str, Any]:
    """Three images with one, two and three captions, which come out of order."""
    captions = [(40, "c1"), (7, "a1"), (9, "b1"), (40, "c2 \u00e9\u732b"), (9, "b2"), (40, "c3")]
    return {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (7, 9, 40)],
        "annotations": [
            {"id": row, "image_id": number, "caption": text} for row, (number, text) in enumerate(captions)
        ],
    }


def write_coco(root: Path, content: Any = None, part: str = "TRAIN") -> Path:
    """COCO's layout of a split."""
    split = CocoCaptions.Split[part]
    for number in (7, 9, 40):
        write(root / f"{split.dirname}/{number}.jpg", picture(number % 9))
    path = root / split.annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco() if content is None else content))
    return root


class TestADE20K(DatasetContract):
    """It obeys the contract of all datasets, and has DINOv3's rows."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> ADE20K:
        """Three rows."""
        return ADE20K("TRAIN", write_ade20k(tmp_path / "one"))

    @pytest.fixture
    def twin(self, tmp_path: Path) -> ADE20K:
        """The same elsewhere."""
        return ADE20K("TRAIN", write_ade20k(tmp_path / "other"))

    def test_rows_are_dinov3s(self, dataset: ADE20K) -> None:
        """Lines sorted, masks beside."""
        root = dataset.root
        names = [f"training/ADE_{number:08d}" for number in (1, 2, 10)]
        assert [dataset.get_location(row).uri for row in range(3)] == [f"{root}/images/{name}.jpg" for name in names]
        masks = [f"{root}/annotations/{name}.png" for name in names]
        assert [dataset.get_target_location(row).uri for row in range(3)] == masks
        assert [dataset.get_target(row) for row in range(3)] == [Path(path).read_bytes() for path in masks]
        assert dataset.get_image_relpath(0) == f"images/{names[0]}.jpg"
        assert ADE20K.Split.VAL.dirname == "validation"
        assert ADE20K.Split.TRAIN.dirname == "training"
        assert repr(dataset) == f"ADE20K(root='{root}', num_samples=3)"

    def test_masks_come_as_tensors(self, dataset: ADE20K) -> None:
        """As numbers, for images of one size."""
        with DataLoader(dataset, batch_size=3, device="cpu") as loader:
            _, masks = next(iter(loader))
        assert masks.tolist() == [dense(number, np.uint8).tolist() for number in (1, 2, 10)]
        assert (dataset[0][1] == dense(1, np.uint8)).all()

    def test_a_missing_mask_says_which(self, dataset: ADE20K) -> None:
        """With row, key and the mask's file."""
        Path(dataset.get_target_location(1).uri).unlink()
        match = (
            r"No such file or directory \[dataset=ADE20K, index=1, key=images/training/ADE_00000002.jpg, file=.*002.png"
        )
        with pytest.raises(ReadError, match=match):
            dataset.get_target(1)


class TestNYU(DatasetContract):
    """It obeys the contract of all datasets, and has DINOv3's rows."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> NYU:
        """Three rows."""
        return NYU(split="train", root=write_nyu(tmp_path / "one"))

    @pytest.fixture
    def twin(self, tmp_path: Path) -> NYU:
        """The same elsewhere."""
        return NYU(split="train", root=write_nyu(tmp_path / "other"))

    def test_rows_are_dinov3s(self, dataset: NYU) -> None:
        """Lines sorted; depth of 16 bits."""
        assert [dataset.get_key(row) for row in range(3)] == [f"room/rgb_{number}.jpg" for number in (1, 2, 3)]
        assert dataset.get_target_location(2) == Location(f"{dataset.root}/room/depth_3.png")
        depth = dataset[2][1]
        assert (depth.dtype, depth.tolist()) == (np.uint16, dense(3, np.uint16).tolist())

    @pytest.mark.parametrize("split", ["VAL", NYU.Split.TEST])
    def test_the_rest_is_one_list(self, dataset: NYU, split: Any) -> None:
        """For validation and for tests."""
        assert len(NYU(split=split, root=dataset.root)) == 1

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            (
                "a.jpg b.png\n",
                r"nyu_train.txt': line 'a.jpg b.png' has 2 values; image, depth and focal length are wanted",
            ),
            ("../a.jpg b.png 1\n", r"names '\.\./a.jpg'; a path below the root is wanted"),
            ("a.jpg b/../../c.png 1\n", r"names 'b/\.\./\.\./c.png'; a path below"),
            ("/ b.png 1\n", "names ''; a path below"),
        ],
    )
    def test_lists_with_faults(self, dataset: NYU, text: str, match: str) -> None:
        """The line or path is named."""
        Path(dataset.root, "nyu_train.txt").write_text(text)
        with pytest.raises(DatasetError, match=match):
            NYU(split="TRAIN", root=dataset.root)


class TestCocoCaptions(DatasetContract):
    """It obeys the contract of all datasets, and has DINOv3's images and captions."""

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> CocoCaptions:
        """Three rows."""
        return CocoCaptions(split="TRAIN", root=write_coco(tmp_path / "one"))

    @pytest.fixture
    def twin(self, tmp_path: Path) -> CocoCaptions:
        """The same elsewhere."""
        return CocoCaptions(split="TRAIN", root=write_coco(tmp_path / "other"))

    def test_rows_are_dinov3s(self, dataset: CocoCaptions) -> None:
        """Images in the file's order, each with its captions."""
        assert [dataset.get_key(row) for row in range(3)] == [
            f"train2014/train2014/{number}.jpg" for number in (7, 9, 40)
        ]
        captions = [["a1"], ["b1", "b2"], ["c1", "c2 \u00e9\u732b", "c3"]]
        assert [dataset.get_captions(row) for row in range(3)] == captions
        assert [dataset.get_target(row) for row in range(3)] == ["a1", "b1", "c1"]
        every = CocoCaptions(split="TRAIN", root=dataset.root, captions="all")
        assert [every.get_target(row) for row in range(3)] == captions
        assert every.fingerprint != dataset.fingerprint

    def test_one_by_chance(self, dataset: CocoCaptions) -> None:
        """As in DINOv3, by a transform of the target."""
        every = CocoCaptions(split="TRAIN", root=dataset.root, captions="all", target_transform=random.choice)
        assert {every[1][1] for _ in range(50)} == {"b1", "b2"}

    def test_validation_images_are_those_of_2017(self, tmp_path: Path) -> None:
        """With their own captions; DINOv3 reads others."""
        dataset = CocoCaptions(split=CocoCaptions.Split.VAL, root=write_coco(tmp_path, part="VAL"))
        assert dataset.get_key(0) == "val2017/val2017/7.jpg"
        assert (tmp_path / "annotations_trainval2017/annotations/captions_val2017.json").exists()

    def test_a_loader_gives_captions(self, dataset: CocoCaptions) -> None:
        """Text, as torch collates it."""
        with DataLoader(dataset, batch_size=3, device="cpu") as loader:
            assert list(next(iter(loader))[1]) == ["a1", "b1", "c1"]

    def test_halves_of_characters(self, tmp_path: Path) -> None:
        """Are question marks in captions, and no names."""
        content = coco()
        content["annotations"][1]["caption"] = "a\ud83d\0b"
        assert CocoCaptions(split="TRAIN", root=write_coco(tmp_path, content)).get_target(0) == "a? b"
        content["images"][1]["file_name"] = "\ud83d.jpg"
        with pytest.raises(DatasetError, match="a path below the root is wanted"):
            CocoCaptions(split="TRAIN", root=write_coco(tmp_path, content))

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            ([], "is not of COCO's form: TypeError: list indices"),
            ({}, "is not of COCO's form: KeyError: 'images'"),
            ({**coco(), "annotations": [{"image_id": 5, "caption": ""}] * 2}, r"image 7, '7.jpg', has no caption"),
            ({**coco(), "annotations": [{"image_id": 5, "caption": "x"}]}, "is not of COCO's form: KeyError: 5"),
            ({**coco(), "annotations": [{"image_id": 7, "caption": 1}]}, "is not of COCO's form: AttributeError"),
            ({"images": [], "annotations": []}, "names no image"),
            ({**coco(), "images": [{"id": 1, "file_name": 2}], "annotations": []}, "image 1 has the file name 2"),
            ({**coco(), "annotations": coco()["annotations"][2:]}, "image 7, '7.jpg', has no caption"),
        ],
    )
    def test_files_of_another_form(self, tmp_path: Path, content: Any, match: str) -> None:
        """What is wrong is named."""
        with pytest.raises(DatasetError, match=rf"captions_train2014.json'.* {match}"):
            CocoCaptions(split="TRAIN", root=write_coco(tmp_path, content))

    def test_arguments(self, dataset: CocoCaptions) -> None:
        """Two ways."""
        with pytest.raises(ArgumentError, match='captions must be "first" or "all", got \'random\''):
            CocoCaptions(split="TRAIN", root=dataset.root, captions="random")
        Path(dataset.root, CocoCaptions.Split.TRAIN.annotations).write_text("[" * 100_000)
        with pytest.raises(DatasetError, match="is not of COCO's form: RecursionError"):
            CocoCaptions(split="TRAIN", root=dataset.root)


@pytest.mark.parametrize("cls", [ADE20K, NYU, CocoCaptions])
def test_splits(cls: Any, tmp_path: Path) -> None:
    """Only those there are; a list that is not there; a root that is not there."""
    names = "TRAIN, VAL or TEST" if cls is NYU else "TRAIN or VAL"
    with pytest.raises(ArgumentError, match=f"split must be {names}, got 'all'"):
        cls(split="all", root=tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"(txt|json)' does not exist"):
        cls(split="val", root=tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"root '.*gone' does not exist"):
        cls(split="val", root=tmp_path / "gone")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("a./ \n\r\t\0\ud83d\u00e9\udcff"), max_size=30))
def test_any_list_is_a_dataset_error_or_stays_below_the_root(tmp_path: Path, text: str) -> None:
    """No other error, no path upwards."""
    (tmp_path / "ADE20K_object150_train.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        dataset = ADE20K("TRAIN", tmp_path)
    except DatasetError:
        return
    for row in range(len(dataset)):
        for location in (dataset.get_location(row), dataset.get_target_location(row)):
            assert Path(location.uri).resolve().is_relative_to(tmp_path.resolve())


def test_an_empty_list(tmp_path: Path) -> None:
    """Said at once."""
    (tmp_path / "ADE20K_object150_val.txt").write_text("\n \n")
    with pytest.raises(EmptyDatasetError, match=r"object150_val.txt' names no image"):
        ADE20K("VAL", tmp_path)


def test_targets_that_are_none() -> None:
    """No image, or one of several channels; palettes are numbers."""
    with pytest.raises(DecodeError, match="Pillow cannot decode the target: cannot identify"):
        decode_dense(b"no image")
    with pytest.raises(DecodeError, match=r"the target has shape \(8, 10, 3\); one channel is wanted"):
        decode_dense(encode(picture(1), "PNG"))
    palette = Image.new("P", (3, 2))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putdata([0, 1, 1, 0, 1, 0])
    assert decode_dense(encode(palette, "PNG")).tolist() == [[0, 1, 1], [0, 1, 0]]


@pytest.mark.filterwarnings("ignore:ImageNet .* it is a part of it")
def test_dataset_strings(tmp_path: Path) -> None:
    """Every option that is text, as DINOv2 and DINOv3 write them."""
    write_nyu(write_ade20k(write_coco(tmp_path)))
    for text in ("ADE20K:split=TRAIN", "NYU:split=train", "CocoCaptions:split=TRAIN:captions=all"):
        dataset = make_dataset(dataset_str=f"{text}:root={tmp_path}", transform="a transform", target_transform=len)
        assert (len(dataset), dataset.transform, dataset.target_transform) == (3, "a transform", len)
    for text in ("ImageNet:split=VAL", "ImageNet22k:mmap_cache_size=8"):
        with pytest.raises(DatasetNotFoundError, match="make it once, in Python"):
            make_dataset(dataset_str=f"{text}:root={tmp_path}:extra={tmp_path}/extra")
    with pytest.raises(ArgumentError, match="takes no 'transforms' as text"):
        make_dataset(dataset_str=f"NYU:split=TRAIN:root={tmp_path}:transforms=1")
