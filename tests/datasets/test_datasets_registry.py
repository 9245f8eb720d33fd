"""Dataset strings say one thing only, and a slip is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dalikit import datasets
from dalikit.datasets import create_dataset, dataset_names, parse_dataset_string, register_dataset, registry
from dalikit.datasets.options import convert_option
from dalikit.errors import ArgumentError, DalikitError, DatasetNotFoundError

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
values = st.one_of(st.text(max_size=20), st.text('ab:="/', max_size=12))


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))


def quoted(value):
    return '"' + value.replace('"', '""') + '"'


def write(name, options, quote=lambda _: True):
    return name + "".join(f":{key}={quoted(value) if quote(value) else value}" for key, value in options.items())


class TestParse:
    @pytest.mark.parametrize(
        ("text", "name", "options"),
        [
            ("ImageFolder", "ImageFolder", {}),
            ("ImageFolder:root=/data", "ImageFolder", {"root": "/data"}),
            ("ImageNet:split=TRAIN:root=/a:extra=/b", "ImageNet", {"split": "TRAIN", "root": "/a", "extra": "/b"}),
            ("X:root=s3://b/k?x=1", "X", {"root": "s3://b/k?x=1"}),
            ("X:root=s3://b/k?x=1:y=2", "X", {"root": "s3://b/k?x=1", "y": "2"}),
            ("X:a=", "X", {"a": ""}),
            ("X:a=:b=", "X", {"a": "", "b": ""}),
            ("X:a=b=c:d", "X", {"a": "b=c:d"}),
            ("X:a=1:2=3", "X", {"a": "1:2=3"}),
            ("X:a=b:", "X", {"a": "b:"}),
            ("X:a= b ", "X", {"a": " b "}),
            ("X:a=1\n2:b=3", "X", {"a": "1\n2", "b": "3"}),
            ('X:root="/a:b=c"', "X", {"root": "/a:b=c"}),
            ('X:root="/a:b=c":d="e"', "X", {"root": "/a:b=c", "d": "e"}),
            ('X:a="":b=""""', "X", {"a": "", "b": '"'}),
            ('X:a=b"c"', "X", {"a": 'b"c"'}),
        ],
    )
    def test_examples(self, text, name, options):
        assert parse_dataset_string(text) == (name, options)

    @given(name=names, options=st.dictionaries(keys, values, max_size=5))
    def test_what_is_written_in_quotes_is_read_back(self, name, options):
        assert parse_dataset_string(write(name, options)) == (name, options)

    @given(name=names, options=st.dictionaries(keys, values, max_size=5))
    def test_quotes_are_needed_only_where_a_value_starts_with_one_or_would_split(self, name, options):
        def needs_quotes(value):
            return value.startswith('"') or re.search(r":[A-Za-z_][A-Za-z0-9_]*=", value)

        assert parse_dataset_string(write(name, options, needs_quotes)) == (name, options)

    @given(
        text=st.one_of(st.text(), st.text('Xa_1:=" \n', max_size=25), st.text('a:="', max_size=15).map("X:a=".__add__))
    )
    @example("X:a=b:")
    @example('X:"')
    @example("X:" + "a=:" * 2000)
    def test_only_our_own_errors_come_out(self, text):
        try:
            name, options = parse_dataset_string(text)
        except DalikitError:
            return
        assert parse_dataset_string(write(name, options)) == (name, options)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r'dataset string must be "Name:key=value:\.\.\.", got \'\''),
            (None, r'dataset string must be "Name:key=value:\.\.\.", got None'),
            (":root=/a", "must start with a dataset's name, got ''"),
            ("/data/train", "must start with a dataset's name, got '/data/train'"),
            ("root=/a", "must start with a dataset's name, got 'root=/a'"),
            (" X:root=/a", "must start with a dataset's name, got ' X'"),
            ("1X", "must start with a dataset's name, got '1X'"),
            ("X:", "'' is not of the form key=value"),
            ("X::a=1", "'' is not of the form key=value"),
            ("X:root", "'root' is not of the form key=value"),
            ("X:/data:a=1", "'/data' is not of the form key=value"),
            ("X:=1", "'=1' is not of the form key=value"),
            ("X:1a=1", "'1a=1' is not of the form key=value"),
            ('X:a="b":', "'' is not of the form key=value"),
            ('X:a="b":c', "'c' is not of the form key=value"),
            ("X:a=1:b=2:a=3", "gives 'a' twice; .*double quotes"),
            ('X:a="b', "the quoted value of 'a' must end in a double quote"),
            ('X:a="b"c', "the quoted value of 'a' must end in a double quote"),
        ],
    )
    def test_errors(self, text, message):
        with pytest.raises(ArgumentError, match=message):
            parse_dataset_string(text)


class TestCreate:
    @pytest.fixture
    def made(self):
        @register_dataset("Mine")
        def mine(*, root: str, size: int = 224, fast: bool | None = None, transform=None, target_transform=None):
            return {
                "root": root, "size": size, "fast": fast, "transform": transform, "target_transform": target_transform,
            }  # fmt: skip

        return mine

    def test_options_are_converted_and_transforms_handed_on(self, made):
        assert create_dataset("Mine:root=7:size=9:fast=Yes", "t", len) == made(
            root="7", size=9, fast=True, transform="t", target_transform=len
        )
        assert create_dataset("Mine:root=7:fast=None") == made(root="7")

    def test_image_folder(self, tmp_path):
        (tmp_path / "c").mkdir()
        (tmp_path / "c/1.jpg").touch()
        cache = tmp_path / "c.npz"
        text = f"ImageFolder:root={tmp_path}:cache={cache}:follow_links=false:progress=none"
        dataset = create_dataset(text, "transform", len)
        assert isinstance(dataset, datasets.ImageFolder)
        assert (dataset.transform, dataset.target_transform, len(dataset)) == ("transform", len, 1)
        assert cache.exists()
        with pytest.raises(DatasetNotFoundError, match="root"):
            create_dataset("ImageFolder:root=/no/such/folder")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("imagefolder:root=/a", "dataset 'imagefolder' is not known; there are .*; did you mean 'ImageFolder'?"),
            ("ImageFoldr", "did you mean 'ImageFolder'?"),
            ("Zzz", "dataset 'Zzz' is not known; there are ADE20K, .*ImageFolder, .*Mine, .*WebDataset$"),
            ("Mine", r'dataset \'Mine\' needs root: "Mine:root=\.\.\."'),
            ("Mine:rot=/a", "takes no 'rot' as text; it takes root, size, fast; did you mean 'root'?"),
            ("Mine:root=/a:b=c", "takes no 'b' as text; .*put that into double quotes"),
            ("Mine:root=/a:transform=x", "takes no 'transform' as text"),
            ("Mine:root=/a:size=big", "Mine: size must be a whole number, got 'big'"),
            ("Mine:root=/a:fast=maybe", r"Mine: fast must be true or false \(.*\) or none, got 'maybe'"),
        ],
    )
    @pytest.mark.usefixtures("made")
    def test_errors(self, text, message):
        with pytest.raises(ArgumentError, match=message):
            create_dataset(text)

    @given(
        text=st.one_of(
            st.text('Mineroot:=" ', max_size=25), st.text(max_size=8).map("ImageFolder:root=/nowhere/".__add__)
        )
    )
    def test_only_our_own_errors_come_out(self, text):
        with pytest.raises(DalikitError):
            create_dataset(text)

    def test_a_factory_that_takes_anything(self):
        register_dataset("Any", lambda **options: options)
        assert create_dataset("Any:x=1", 3) == {"x": "1", "transform": 3, "target_transform": None}
        with pytest.raises(ArgumentError, match="takes no 'transform' as text"):
            create_dataset("Any:transform=1")

    def test_a_factory_without_transforms(self):
        register_dataset("Bare", lambda root: root)
        assert create_dataset("Bare:root=x") == "x"
        with pytest.raises(ArgumentError, match="dataset 'Bare' takes no target_transform"):
            create_dataset("Bare:root=x", None, len)
        with pytest.raises(ArgumentError, match="dataset 'Bare' takes no 'b' as text; it takes root;"):
            create_dataset("Bare:root=x:b=1")

    def test_a_factory_whose_parameters_cannot_be_found(self):
        register_dataset("Builtin", type)
        with pytest.raises(ArgumentError, match="dataset 'Builtin': the parameters of its factory cannot be found"):
            create_dataset("Builtin:a=1")

    @pytest.mark.parametrize("factory", ["no.such.module:X", "dalikit.errors:NoSuchName"])
    def test_a_factory_that_cannot_be_imported(self, factory):
        register_dataset("Gone", factory)
        with pytest.raises(ArgumentError, match=f"dataset 'Gone' cannot be imported from '{factory}'"):
            create_dataset("Gone")


class TestRegister:
    def test_names_are_sorted_and_image_folder_is_among_them(self):
        register_dataset("AAA", len)
        assert dataset_names()[0] == "AAA"
        assert "ImageFolder" in dataset_names()

    def test_it_gives_the_factory_back(self):
        assert register_dataset("One", len) is len
        assert register_dataset("Two")(dict) is dict
        assert register_dataset("Three", "module:name") == "module:name"

    def test_a_name_is_taken_over_only_on_purpose(self):
        register_dataset("One", len)
        with pytest.raises(ArgumentError, match="name 'One' is taken by another dataset; replace=True"):
            register_dataset("One", dict)
        register_dataset("One", lambda: "new", replace=True)
        assert create_dataset("One") == "new"
        register_dataset("One", replace=True)(lambda: "newer")
        assert create_dataset("One") == "newer"

    @pytest.mark.parametrize("name", ["", "1a", "a-b", "a:b", "é", "_a", None])
    def test_what_is_no_name(self, name):
        with pytest.raises(ArgumentError, match="name must be letters, digits and underscores, a letter first; got"):
            register_dataset(name, len)

    @pytest.mark.parametrize("factory", [3, "no colon", "a:b:c", ":b"])
    def test_what_is_no_factory(self, factory):
        with pytest.raises(ArgumentError, match='factory must be callable or "module:attribute", got'):
            register_dataset("Fine", factory)


class TestConvert:
    @pytest.mark.parametrize(
        ("annotation", "text", "value"),
        [
            (bool, "TRUE", True), (bool, "0", False), ("bool", "off", False), (bool | None, "none", None),
            (int, "-3", -3), ("int", "7", 7), (Optional[int], "None", None), ("Optional[int]", "none", None),  # noqa: UP045
            ("typing.Optional[int]", "4", 4), (float, "1e-3", 0.001), ("float | None", "2", 2.0),
            (int | float, "2.5", 2.5), (Path, "/a", Path("/a")), ("pathlib.Path", "a b", Path("a b")),
            (str, "none", "none"), ("str | None", "none", "none"), (str | int, "3", "3"), (list, "x", "x"),
            ("str | os.PathLike[str]", "/a", "/a"), ("Unknown", "x", "x"),
        ],
    )  # fmt: skip
    def test_text_becomes_what_the_annotation_says(self, annotation, text, value):
        converted = convert_option("Name: key", text, annotation)
        assert (converted, type(converted)) == (value, type(value))

    @pytest.mark.parametrize(
        ("annotation", "text", "message"),
        [
            (int, "1.5", "Name: key must be a whole number, got '1.5'"),
            (int, "", "Name: key must be a whole number, got ''"),
            (float, "x", "Name: key must be a number, got 'x'"),
            (bool, "2", r"Name: key must be true or false \(yes, no, on, off, 1, 0\), got '2'"),
            ("int | float | None", "x", "Name: key must be a whole number or a number or none, got 'x'"),
        ],
    )
    def test_errors(self, annotation, text, message):
        with pytest.raises(ArgumentError, match=message):
            convert_option("Name: key", text, annotation)

    def test_without_an_annotation_it_stays_text(self):
        register_dataset("Plain", lambda size=3: size)
        assert create_dataset("Plain:size=4") == "4"
