"""Arguments of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dalikit
from dalikit.errors import ArgumentError, DalikitError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Exit status: 0 done, 1 it failed, 2 the arguments are off, 130 Ctrl-C."""
    arguments = _parser().parse_args(argv)
    run: Callable[[Any], int] = arguments.run
    try:
        return run(arguments)
    except DalikitError as error:
        print(f"dalikit {arguments.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ArgumentError) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dalikit", description=(dalikit.__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--version", action="version", version=f"dalikit {dalikit.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_bench(commands)
    _add_check(commands)
    _add_index(commands)
    _add_state(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="see it work: throughput beside torch, an exact resume, a contact sheet",
        description="Streams photographs through a dalikit loader. Needs no data and no network.",
    )
    demo.add_argument("--data", type=Path, metavar="DIR", help="your own folder: DIR/class/image.jpg")
    demo.add_argument("--out", type=Path, default=Path("dalikit-demo"), metavar="DIR", help="default: %(default)s")
    demo.add_argument(
        "--seconds", type=_positive, default=4.0, help="each of 3 turns of a loader; default: %(default)s"
    )
    _add_shared(demo)
    demo.set_defaults(run=_run_demo)


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="images/s of dalikit and of what one would use otherwise, in interleaved rounds",
        description="All loaders do the same work on an ImageFolder, in turn.",
    )
    bench.add_argument(
        "--workload",
        choices=("train", "dino", "shards", "bytes", "items"),
        default="train",
        help="train: RandomResizedCrop 224, flip, normalize; dino: DINOv2's 2 x 224 + 8 x 96 with all its colours; "
        "shards: train, at random over tar shards, beside DALI's reader of them, which goes in order; bytes: train, "
        "over a plain dataset whose items are files' bytes; items: over decoded images, tensors and tiny items; "
        "default: %(default)s",
    )
    bench.add_argument("--data", type=Path, required=True, metavar="DIR", help="DIR/class/image.jpg")
    bench.add_argument("--seconds", type=_positive, default=3.0, help="of each turn; default: %(default)s")
    bench.add_argument("--rounds", type=_count, default=5, help="turns of each loader; default: %(default)s")
    _add_shared(bench)
    bench.set_defaults(run=_run_bench)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="read and decode everything; list what is broken or odd, for a loader's exclude=",
        description="Reads and decodes every image of a dataset, and reports corrupt, unreadable, huge, damaged, tiny, "
        "mislabelled and duplicate ones as JSON Lines.",
        epilog="Exit status: 0 nothing is bad, 1 something is, 2 the check cannot be made, 130 Ctrl-C.",
    )
    check.add_argument("dataset", help='a folder of class folders, or a dataset string: "ImageFolder:root=/data/train"')
    check.add_argument("--report", type=Path, metavar="FILE", help="JSON Lines; usable as exclude=FILE")
    check.add_argument(
        "--exclude",
        type=_kinds,
        default=frozenset(),
        metavar="KINDS",
        help="what counts as bad, beside corrupt, unreadable, huge and target: of damaged, tiny, mislabelled and "
        "duplicate (all but the first), with commas between",
    )
    check.add_argument(
        "--min-side", type=_whole, default=32, help="shorter sides are tiny, pixels; default: %(default)s"
    )
    check.add_argument(
        "--max-pixels", type=_count, default=178_956_970, help="more are huge; default: %(default)s, Pillow's limit"
    )
    check.add_argument("--max-bytes", type=_count, default=256 << 20, help="more are huge; default: %(default)s")
    check.add_argument(
        "--no-duplicates", action="store_true", help="do not look for them: it takes 8 bytes of memory an image"
    )
    check.add_argument("--threads", type=_count, help="that read and decode; default: all cores")
    check.add_argument("--json", action="store_true", help="print the summary as JSON")
    check.set_defaults(run=_run_check)


def _add_index(commands: Any) -> None:
    index = commands.add_parser(
        "index",
        help="find the members of tar shards once, for random access: build, verify, convert",
        description="Makes and checks indexes of tar shards (webdataset's). Shards are named as in a dataset string: "
        "'/data/{000..146}.tar', 's3://bucket/*.tar'.",
        epilog="Exit status: 0 done, 1 the index or a shard is wrong, 2 the arguments are off, 130 Ctrl-C.",
    )
    actions = index.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="walk over all shards; prints what is in them")
    build.add_argument("--out", type=Path, metavar="FILE", help="default: where datasets look for it")
    build.add_argument("--processes", type=_count, help="shards to walk over at once; default: all cores")
    build.add_argument("--restart", action="store_true", help="do not go on where an earlier build was interrupted")
    verify = actions.add_parser("verify", help="compare an index with its shards; lists what is wrong")
    verify.add_argument("--full", action="store_true", help="walk over the shards again, to the last member")
    convert = actions.add_parser("convert", help="write the index in another form")
    convert.add_argument("--to", choices=("dali",), required=True, help="dali: a .idx file for each shard")
    convert.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new files")
    for action in (verify, convert):
        action.add_argument("--index", type=Path, metavar="FILE", help="default: where datasets look for it")
    for action in (build, verify, convert):
        action.add_argument("shards", nargs="+", help="tar files; quote patterns")
        action.add_argument("--json", action="store_true", help="print the result as JSON")
    index.set_defaults(run=_run_index)


def _add_state(commands: Any) -> None:
    state = commands.add_parser(
        "state",
        help="what a saved loader state says, and how it goes on, on any number of ranks",
        description="Reads a loader's state_dict() from JSON, or from a checkpoint that holds one somewhere inside: "
        "JSON, or what torch.save wrote (Lightning's too), which is never unpickled.",
        epilog="Exit status: 0 done, also where a number of ranks is refused; 1 there is no state in it or it is "
        "damaged; 2 the arguments are off.",
        usage="dalikit state FILE [--at PATH] [--ranks N ...] [--rank R] [--batch-size B] [--count K] [--json]",
    )
    state.add_argument("file", metavar="FILE", help="JSON, .pt, .pth, .ckpt, .pkl; -: JSON from standard input")
    state.add_argument("--at", metavar="PATH", help="which of several states: loops.fit_loop.state_dict...")
    state.add_argument(
        "--ranks", type=_count, nargs="+", metavar="N", help="numbers of ranks to go on on; default: the state's own"
    )
    state.add_argument("--rank", type=_whole, default=0, metavar="R", help="whose samples; default: %(default)s")
    state.add_argument("--batch-size", type=_count, metavar="B", help="of each rank: tells batches too")
    state.add_argument(
        "--count", type=_whole, default=8, metavar="K", help="samples that come next; default: %(default)s"
    )
    state.add_argument("--json", action="store_true", help="print one JSON object")
    state.set_defaults(run=_run_state)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=_count, default=64, help="default: %(default)s")
    parser.add_argument(
        "--threads", type=_count, help="CPU threads, and worker processes of loaders that have some; default: all cores"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: the GPU if there is one")


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return seconds


def _count(text: str) -> int:
    return _at_least(1, text)


def _whole(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least {least}, got {text!r}")
    return number


def _kinds(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def _run_demo(arguments: Any) -> int:
    from dalikit.cli.demo import run

    return run(arguments)


def _run_bench(arguments: Any) -> int:
    from dalikit.cli.bench import run

    return run(arguments)


def _run_check(arguments: Any) -> int:
    from dalikit.cli.check import run

    return run(arguments)


def _run_index(arguments: Any) -> int:
    from dalikit.cli.index import run

    return run(arguments)


def _run_state(arguments: Any) -> int:
    from dalikit.cli.state import run

    return run(arguments)
