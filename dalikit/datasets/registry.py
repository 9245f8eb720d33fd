"""Datasets by name: "ImageFolder:root=/data/train:cache=/tmp/train.npz"."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar, overload

from dalikit.datasets.options import convert_option
from dalikit.errors import ArgumentError
from dalikit.storage.remote.address import redact_text

__all__ = ["create_dataset", "dataset_names", "parse_dataset_string", "register_dataset"]

Factory = Callable[..., Any]
_FactoryT = TypeVar("_FactoryT", bound=Factory)
_NamedT = TypeVar("_NamedT", bound=Factory | str)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=:|\Z)', re.DOTALL)
_BARE = re.compile(r"(.*?)(?=:[A-Za-z_][A-Za-z0-9_]*=|\Z)", re.DOTALL)

_TRANSFORMS = ("transform", "target_transform")

_factories: dict[str, Factory | str] = {
    "ADE20K": "dalikit.datasets.dino.ade20k:ADE20K",
    "CocoCaptions": "dalikit.datasets.dino.coco_captions:CocoCaptions",
    "Concat": "dalikit.datasets.joined:concat_by_name",
    "HuggingFace": "dalikit.datasets.huggingface:open_huggingface",
    "ImageFolder": "dalikit.datasets.folder:ImageFolder",
    "ImageNet": "dalikit.datasets.dino.imagenet:ImageNet",
    "ImageNet22k": "dalikit.datasets.dino.imagenet22k:ImageNet22k",
    "Manifest": "dalikit.datasets.manifest:Manifest",
    "Mix": "dalikit.datasets.joined:mix_by_name",
    "NYU": "dalikit.datasets.dino.nyu:NYU",
    "WebDataset": "dalikit.datasets.webdataset:WebDataset",
}
"""Name to factory; as text, "module:attribute", imported when it is first asked for."""


@overload
def register_dataset(name: str, factory: None = None, *, replace: bool = False) -> Callable[[_FactoryT], _FactoryT]: ...
@overload
def register_dataset(name: str, factory: _NamedT, *, replace: bool = False) -> _NamedT: ...
def register_dataset(name: str, factory: Any = None, *, replace: bool = False) -> Any:
    """Makes a dataset known by a name, for `create_dataset`.

        @register_dataset("Mine")
        class Mine:
            def __init__(self, *, root: str, size: int = 224, transform=None, target_transform=None): ...

        create_dataset("Mine:root=/data:size=256", transform)

    The factory's keyword parameters are the keys that the text may give. Values are text; a parameter annotated as
    bool, int, float or Path gets one of these, every other gets the text.

    Args:
        name: letters, digits and underscores, a letter first.
        factory: what makes the dataset, or "module:attribute", imported when it is first asked for. None: to be used as
            a decorator.
        replace: take the name from the dataset that has it. False, so that two packages do not do so unnoticed.

    Returns:
        The factory, or the decorator.

    Raises:
        ArgumentError: the name is no name or is taken, or the factory cannot be called.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(f"name must be letters, digits and underscores, a letter first; got {name!r}")
    if not replace and name in _factories:
        raise ArgumentError(f"name {name!r} is taken by another dataset; replace=True takes it over")
    if factory is None:
        return lambda made: register_dataset(name, made, replace=replace)
    named = isinstance(factory, str) and re.fullmatch(r"[\w.]+:\w+", factory)
    if not named and not callable(factory):
        raise ArgumentError(f'factory must be callable or "module:attribute", got {factory!r}')
    _factories[name] = factory
    return factory


def dataset_names() -> list[str]:
    """The names of all datasets, sorted."""
    return sorted(_factories)


def parse_dataset_string(text: str) -> tuple[str, dict[str, str]]:
    """Takes `Name:key=value:key=value` apart.

    A value ends where `:key=` follows, so it may hold ':' and '=' (`root=s3://bucket/train?x=1`). One that holds that
    very thing is put into double quotes (`root="/a:b=c"`), in which a double quote is written twice.

    Args:
        text: what to take apart. Whitespace counts.

    Returns:
        The name, and the values by key in the order given. Whether there is such a dataset is not looked at.

    Raises:
        ArgumentError: it is not of this form, or gives a key twice.
    """
    if not isinstance(text, str) or not text:
        raise ArgumentError(f'dataset string must be "Name:key=value:...", got {text!r}')
    name, colon, rest = text.partition(":")
    if not _NAME.fullmatch(name):
        raise ArgumentError(f"dataset string {redact_text(text)!r} must start with a dataset's name, got {name!r}")
    options: dict[str, str] = {}
    for key, value in _pieces(text, rest) if colon else ():
        if key in options:
            raise ArgumentError(f"dataset string {redact_text(text)!r} gives {key!r} twice; {_QUOTE_HINT}")
        options[key] = value
    return name, options


def create_dataset(text: str, transform: Any = None, target_transform: Callable[[Any], Any] | None = None) -> Any:
    """Opens the dataset that `text` describes (see `parse_dataset_string`).

    Args:
        text: name and options of the dataset.
        transform: handed to it as it is.
        target_transform: likewise.

    Raises:
        ArgumentError: the text has a fault, the dataset is not known, or it takes no such option or transform.
        DatasetError: the dataset cannot be opened.
    """
    name, texts = parse_dataset_string(text)
    if name not in _factories:
        known = ", ".join(dataset_names())
        raise ArgumentError(f"dataset {name!r} is not known; there are {known}{_suggestion(name, _factories)}")
    factory = _load(name)
    parameters, takes_any = _parameters(name, factory)
    _check_keys(name, texts, parameters, takes_any)
    options = {
        key: convert_option(f"{name}: {key}", value, parameters[key].annotation) if key in parameters else value
        for key, value in texts.items()
    }
    for key, value in zip(_TRANSFORMS, (transform, target_transform), strict=True):
        if key in parameters or takes_any:
            options[key] = value
        elif value is not None:
            raise ArgumentError(f"dataset {name!r} takes no {key}")
    return factory(**options)


_QUOTE_HINT = 'if it belongs to the value before it, put that into double quotes: key="a:b=c"'


def _pieces(text: str, rest: str) -> Iterator[tuple[str, str]]:
    """Key and value of each piece of `rest`, which is what follows the name in `text`."""
    start = 0
    while start <= len(rest):
        key = _KEY.match(rest, start)
        if key is None:
            piece = rest[start:].partition(":")[0]
            shown = redact_text(text)
            what = repr(piece) if piece in shown else "a piece"  # it may be a password
            raise ArgumentError(f"dataset string {shown!r}: {what} is not of the form key=value")
        value = (_QUOTED if rest.startswith('"', key.end()) else _BARE).match(rest, key.end())
        if value is None:
            raise ArgumentError(
                f"dataset string {redact_text(text)!r}: the quoted value of {key[1]!r} must end in a double quote, "
                "followed by ':' or nothing; a double quote within it is written twice"
            )
        quoted = value.re is _QUOTED
        yield key[1], value[1].replace('""', '"') if quoted else value[1]
        start = value.end() + 1


def _load(name: str) -> Factory:
    """The factory of a registered name."""
    factory = _factories[name]
    if not isinstance(factory, str):
        return factory
    module, _, attribute = factory.partition(":")
    try:
        loaded: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"dataset {name!r} cannot be imported from {factory!r}: {error}") from error
    return loaded


def _parameters(name: str, factory: Factory) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters that can be given by keyword, and whether any other keyword is taken as well."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"dataset {name!r}: the parameters of its factory cannot be found: {error}") from error
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found)
    return {parameter.name: parameter for parameter in found if parameter.kind in by_keyword}, takes_any


def _check_keys(
    name: str, texts: Mapping[str, str], parameters: Mapping[str, inspect.Parameter], takes_any: bool
) -> None:
    """Refuses keys that the dataset does not have, and missing ones that it needs."""
    known = [key for key in parameters if key not in _TRANSFORMS]
    for key in texts:
        if key in _TRANSFORMS or (key not in known and not takes_any):
            raise ArgumentError(
                f"dataset {name!r} takes no {key!r} as text; it takes {', '.join(known) or 'nothing'}"
                f"{_suggestion(key, known)}; {_QUOTE_HINT}"
            )
    missing = [key for key in known if key not in texts and parameters[key].default is inspect.Parameter.empty]
    if missing:
        raise ArgumentError(f'dataset {name!r} needs {", ".join(missing)}: "{name}:{missing[0]}=..."')


def _suggestion(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, as a clause; "" if there is none."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""
