"""What worker processes do first: what is checked and copied when the loader is made."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dalikit.errors import ArgumentError
from dalikit.processes.startup import Startup, make_startup

LIMIT = 3
SHARED = [1]
LOCK = threading.Lock()


@pytest.fixture
def main_globals() -> Iterator[dict[str, Any]]:
    """Those of the main module, put back afterwards."""
    scope = vars(sys.modules["__main__"])
    before = dict(scope)
    yield scope
    for name in set(scope) - set(before):
        del scope[name]
    scope.update(before)


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module that can be imported while the test runs."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_nothing_is_asked_for() -> None:
    """The defaults do nothing."""
    assert make_startup() == Startup(None, None, ())
    Startup().prepare(0)


def test_worker_init_fn_must_be_a_function() -> None:
    """Checked when the loader is made, not in the workers."""
    assert make_startup(worker_init_fn=print).worker_init_fn is print
    with pytest.raises(ArgumentError, match=r"worker_init_fn=5: must be a function of one argument, the worker's id"):
        make_startup(worker_init_fn=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packages", "names"),
    [("json", ("json",)), (["json", "os.path"], ("json", "os.path")), (("json",), ("json",)), ([], ()), (None, ())],
)
def test_packages_come_in_several_forms(packages: Any, names: tuple[str, ...]) -> None:
    """One name, a list or a tuple."""
    assert make_startup(worker_packages=packages).worker_packages == names


@pytest.mark.parametrize("packages", [3, {"json": 1}, ["json", 3], object()])
def test_packages_must_be_names(packages: Any) -> None:
    """Anything else is refused, with what it is."""
    with pytest.raises(ArgumentError, match=r"worker_packages=.*must be a list of the names of modules"):
        make_startup(worker_packages=packages)


@pytest.mark.parametrize("name", ["", ".json", "no-name", "json.", "a b"])
def test_packages_must_be_full_names(name: str) -> None:
    """Relative ones mean nothing in a worker."""
    with pytest.raises(ArgumentError, match=r"worker_packages names .*must be the full name of a module"):
        make_startup(worker_packages=[name])


@pytest.mark.parametrize("name", ["nowhere_at_all", "nowhere_at_all.inner"])
def test_a_package_that_is_not_installed(name: str) -> None:
    """It is named, before any worker starts."""
    with pytest.raises(
        ArgumentError, match=rf"worker_packages names '{name}', but there is no module 'nowhere_at_all'"
    ):
        make_startup(worker_packages=["json", name])


def test_a_package_without_a_spec() -> None:
    """`__main__` has none when a file is run."""
    module = type(sys)("without_spec")
    sys.modules["without_spec"] = module
    try:
        assert make_startup(worker_packages="without_spec").worker_packages == ("without_spec",)
    finally:
        del sys.modules["without_spec"]


def test_checking_imports_nothing(make_module: Callable[[str, str], None]) -> None:
    """The loader's process need not pay for what its workers need."""
    make_module("expensive_module", "raise SystemExit('imported')")
    assert make_startup(worker_packages="expensive_module").worker_packages == ("expensive_module",)
    assert "expensive_module" not in sys.modules


def test_packages_are_imported_in_order(make_module: Callable[[str, str], None]) -> None:
    """The second finds the first."""
    make_module("first_module", "import os\nos.environ['DALIKIT_TEST_ORDER'] = '1'")
    make_module("second_module", "import os\nfound = os.environ['DALIKIT_TEST_ORDER']")
    try:
        make_startup(worker_packages=["first_module", "second_module"]).prepare(0)
        assert sys.modules["second_module"].found == "1"
    finally:
        os.environ.pop("DALIKIT_TEST_ORDER", None)


def test_a_package_that_fails_is_named(make_module: Callable[[str, str], None]) -> None:
    """With what went wrong in it."""
    make_module("broken_module", "raise ValueError('no licence')")
    startup = make_startup(worker_packages=["json", "broken_module"])
    message = "worker_packages: 'broken_module' could not be imported in worker process 3: ValueError: no licence"
    with pytest.raises(ImportError, match=message) as caught:
        startup.prepare(3)
    assert caught.value.name == "broken_module"
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("given", [["LIMIT", "SHARED"], ("LIMIT", "SHARED"), {"LIMIT": 3, "SHARED": [1]}])
def test_globals_come_in_several_forms(given: Any, main_globals: dict[str, Any]) -> None:
    """Names are looked up where the loader is made."""
    make_startup(worker_globals=given).prepare(0)
    assert (main_globals["LIMIT"], main_globals["SHARED"]) == (3, [1])


def test_one_name_is_enough(main_globals: dict[str, Any]) -> None:
    """It need not be in a list."""
    make_startup(worker_globals="LIMIT").prepare(0)
    assert main_globals["LIMIT"] == 3


def test_globals_are_copied_when_the_loader_is_made(main_globals: dict[str, Any]) -> None:
    """What is done to them later on no worker sees."""
    mine = [1]
    startup = make_startup(worker_globals={"mine": mine})
    mine.append(2)
    startup.prepare(0)
    assert main_globals["mine"] == [1]
    assert main_globals["mine"] is not mine


def test_globals_share_what_they_share(main_globals: dict[str, Any]) -> None:
    """They are copied together."""
    inner = [1]
    make_startup(worker_globals={"left": {"inner": inner}, "right": [inner]}).prepare(0)
    assert main_globals["left"]["inner"] is main_globals["right"][0]


def test_names_are_looked_up_outside_dalikit(main_globals: dict[str, Any]) -> None:
    """In the nearest module on the way, however deep the loader is made inside dalikit; then in the main module."""
    scope: dict[str, Any] = {"__name__": "dalikit.made_up", "LIMIT": "dalikit's own"}
    exec("def inside(make, names): return make(worker_globals=names)", scope)
    main_globals["ONLY_IN_MAIN"] = "main"
    scope["inside"](make_startup, ["LIMIT", "ONLY_IN_MAIN"]).prepare(0)
    assert (main_globals["LIMIT"], main_globals["ONLY_IN_MAIN"]) == (3, "main")


def test_a_name_that_is_not_found() -> None:
    """The message says where it was looked for: not among the local names."""
    missing = 1
    message = r"worker_globals names 'missing', which is neither a global of module 'test_startup'.*nor of '__main__'"
    with pytest.raises(ArgumentError, match=message):
        make_startup(worker_globals=["LIMIT", "missing"])
    assert missing == 1


@pytest.mark.parametrize("given", [3, [3], ["LIMIT", None]])
def test_globals_must_be_names_or_a_dict(given: Any) -> None:
    """Anything else is refused, with what it is."""
    with pytest.raises(ArgumentError, match=r"worker_globals=.*must be a dict of names and objects"):
        make_startup(worker_globals=given)


@pytest.mark.parametrize("name", ["no name", "", 3])
def test_globals_must_have_names_that_code_can_use(name: Any) -> None:
    """Others could never be read."""
    with pytest.raises(ArgumentError, match=r"worker_globals names .*must be a name that code can use"):
        make_startup(worker_globals={name: 1})


@pytest.mark.parametrize("given", [["LIMIT", "LOCK"], {"LIMIT": 3, "LOCK": LOCK}])
def test_globals_must_pickle(given: Any) -> None:
    """Checked when the loader is made, whatever starts the workers; the one that does not is named."""
    with pytest.raises(
        ArgumentError, match=r"worker_globals: 'LOCK', of type lock, cannot be sent to worker processes"
    ):
        make_startup(worker_globals=given)


class OnlyAlone:
    """Pickles, but not beside another."""

    pickled = 0

    def __reduce__(self) -> Any:
        OnlyAlone.pickled += 1
        if OnlyAlone.pickled == 2:
            raise RuntimeError("not beside another")
        return (OnlyAlone, ())


def test_globals_that_only_fail_together() -> None:
    """There is no culprit to name, but the reason."""
    OnlyAlone.pickled = 0
    with pytest.raises(
        ArgumentError, match=r"worker_globals cannot be sent to worker processes: RuntimeError: not beside"
    ):
        make_startup(worker_globals={"one": OnlyAlone(), "two": OnlyAlone()})
