"""What `dalikit state` prints for people: the report that it prints as JSON, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["text_of"]

_BAR = 40  # characters
_MOST_SHOWN = 200  # characters of a text


def text_of(report: Mapping[str, Any]) -> str:
    """The text.

    Args:
        report: what the state says, and its forecasts; see `dalikit.cli.state`.
    """
    lines = [*_head(report), ""]
    forecasts = [each for each in report["forecasts"] if "next" in each]
    if len(forecasts) > 1 and report["size"] is not None:
        lines += [*_table(forecasts, report["state"]["passes"]), ""]
        lines += [f"{_next(each)} of {each['ranks']:,}: {_numbers(each)}" for each in forecasts]
    else:
        for each in forecasts:
            lines += _sentences(each, report["state"]["passes"])
    lines += _without(report)
    return "\n".join(lines).rstrip()


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    """What the state says."""
    state, dataset = report["state"], report["state"]["dataset"]
    arguments = [f"{name} {_show(value, name)}" for name, value in state["sampler"].items() if name != "sampler"]
    length = dataset.get("length")
    others = [f"{name} {_show(value)}" for name, value in dataset.items() if name not in ("class", "length")]
    ranks = "ranks" if state["world_size"] != 1 else "rank"
    rows = {
        "file": _show(report["file"]) + (f", at {_show(report['at'])}" if report["at"] else ""),
        "sampler": ", ".join([_show(state["sampler"].get("sampler") or "none"), *arguments]),
        "dataset": ", ".join(
            [f"{_show(dataset.get('class'))} of {_show('unknown length' if length is None else length)}", *others]
        ),
        "seed": _show(state["seed"], "seed"),
        "executor": _show(state["executor"]),
        "transform": _show(state["transform"]),
        "excluded": _show(state["exclude"] or "no rows"),
        "made by": f"{state['world_size']:,} {ranks}" + (" or more: each has all samples" if _alike(report) else ""),
        "where": _place(report),
    }
    yield from (f"{name:10} {text}" for name, text in rows.items())
    if report["size"]:
        done = _BAR * state["place"] // report["size"]
        yield f"{'':10} [{'#' * done}{'.' * (_BAR - done)}]"
    if state["exclude"]:
        yield f"{'':10} (in the places of excluded rows a loader puts others; below they are as the sampler has them)"


def _place(report: Mapping[str, Any]) -> str:
    """How far the state is."""
    state, size, where = report["state"], report["size"], report["where"]
    if where is not None:
        text = _where(where, "rank 0" if report["bound_to_ranks"] else "")
        return f"{text}; {_count(state['place'], 'sample')} of all epochs are done"
    passes = f"pass {state['passes']:,} (after {_count(state['passes'], 'whole one')})"
    if state["epoch"] != state["passes"]:
        passes += f" in the order of epoch {state['epoch']:,}"
    if size is None:
        batches = report["state"]["sampler"].get("sampler") is None and "batch_sampler" not in state["sampler"]
        return f"{passes}, {state['place']:,} {'batches of this rank' if batches else 'samples of all ranks'} are done"
    return f"{passes}, place {state['place']:,} of {size:,} ({1000 * state['place'] // size / 10:.1f} %)"


def _where(where: Mapping[str, Any], who: str) -> str:
    """Where in its epochs an endless sampler is."""
    whose = " of its own shard" if where["own"] else ""
    text = f"epoch {where['epoch']:,}{whose}, place {where['place']:,} of {where['size']:,}"
    return f"{who} is in {text}" if who else text


def _alike(report: Mapping[str, Any]) -> bool:
    return any(each.get("alike") for each in report["forecasts"])


def _without(report: Mapping[str, Any]) -> Iterator[str]:
    """Of which numbers of ranks nothing is told, and why."""
    made_by = _count(report["state"]["world_size"], "rank")
    refused = f"refused: {made_by} made the state; {report['bound_to_ranks']}"
    for is_refused, text in ((True, refused), (False, f"not to be told: {report['untold']}")):
        ranks = [
            f"{each['ranks']:,}"
            for each in report["forecasts"]
            if "next" not in each and (each["refused"] is not None) is is_refused
        ]
        if ranks:
            which = " and ".join([", ".join(ranks[:-1]), ranks[-1]] if len(ranks) > 1 else ranks)
            yield f"at {which} {'rank' if ranks == ['1'] else 'ranks'}: {text}"


def _sentences(found: Mapping[str, Any], passes: int) -> Iterator[str]:
    """A forecast."""
    rest = _rest(found, passes) if found["shares"] else f"endless; {_where(found['where'], _rank(found))}"
    yield f"at {_count(found['ranks'], 'rank')}: {rest}"
    if "batch_size" in found and found["left"]:
        yield from _batches(found)
    yield f"  {_next(found)}: {_numbers(found)}"


def _rest(found: Mapping[str, Any], passes: int) -> str:
    """What is left of a pass, and for whom."""
    if not found["left"]:
        return f"nothing is left of pass {passes:,}: the next iteration is empty, the one after it a whole pass"
    text = f"{_count(found['left'], 'sample')} left in pass {passes:,}"
    if found["alike"]:
        return f"{text}, the same on every rank"
    parts = []
    for each in found["shares"]:
        start, last = each["start"], each["stop"] - 1
        who = f"rank {start:,}" if start == last else f"ranks {start:,}-{last:,}"
        parts.append(f"{who} {each['samples']:,}" + ("" if start == last else " each"))
    text = f"{text}: {', '.join(parts)}"
    if found["repeated"]:
        text += f"; {_count(found['repeated'], 'sample')} repeated, so that all ranks have as many"
    if found["dropped"]:
        text += f"; {_count(found['dropped'], 'sample')} dropped, so that all ranks have as many"
    return text


def _batches(found: Mapping[str, Any]) -> Iterator[str]:
    """What is left in batches, with the short ones and without."""
    ranks, size, every, full = found["ranks"], found["batch_size"], found["batches"], found["batches_drop_last"]
    if found["alike"]:  # what one rank has, all have
        whole, last, left_out, together = size, every["last"] // ranks, full["left_out"] // ranks, ""
    else:
        whole, last, left_out, together = ranks * size, every["last"], full["left_out"], f", {ranks * size:,} together"
    of_all = " of all ranks together" if together else ""
    yield f"  in batches of {size:,}{together}: {_steps(every)}; the last one{of_all} has {last:,} of {whole:,} samples"
    yield f"  with drop_last: {_steps(full)}; {_count(left_out, 'sample')} come in none"


def _steps(batches: Mapping[str, Any]) -> str:
    text = f"{_count(batches['most'], 'batch')} a rank"
    if batches["done_earlier"]:
        text += f", but only {batches['least']:,} on {_count(batches['done_earlier'], 'rank')}"
    return text


def _table(told: Sequence[Mapping[str, Any]], passes: int) -> Iterator[str]:
    """A row for each number of ranks."""
    yield f"{_count(told[0]['left'], 'sample')} left in pass {passes:,}" + (
        ", the same on every rank" if told[0]["alike"] else ""
    )
    names = ["ranks", "samples a rank", "repeated", "dropped"]
    batched = "batch_size" in told[0]
    if batched:
        names += [f"batches of {told[0]['batch_size']:,}", "last of all", "with drop_last", "in none"]
    rows = [names]
    for each in told:
        shares = [share["samples"] for share in each["shares"]]
        row = [f"{each['ranks']:,}", _span(shares), f"{each['repeated']:,}", f"{each['dropped']:,}"]
        if batched:
            every, full = each["batches"], each["batches_drop_last"]
            whole = each["ranks"] * each["batch_size"]
            row += [_span([every["most"], every["least"]]), f"{every['last']:,} of {whole:,}"]
            row += [_span([full["most"], full["least"]]), f"{full['left_out']:,}"]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _next(found: Mapping[str, Any]) -> str:
    return f"next {'places' if found['next']['indices'] is None else 'indices'} of {_rank(found)}"


def _numbers(found: Mapping[str, Any]) -> str:
    """The samples that come next."""
    following = found["next"]
    numbers = following["places"] if following["indices"] is None else following["indices"]
    text = ", ".join(map(str, numbers)) or "none"
    return text if following["reason"] is None else f"{text}\n    (not the indices: {following['reason']})"


def _rank(found: Mapping[str, Any]) -> str:
    return f"rank {found['rank']:,}"


def _count(number: int, name: str) -> str:
    plural = "es" if name.endswith("ch") else "s"
    return f"{number:,} {name}{'' if number == 1 else plural}"


def _show(value: Any, name: str = "") -> str:
    """A value out of a file, which may come from anybody: nothing that a terminal would obey."""
    if isinstance(value, int) and not isinstance(value, bool) and name != "seed":
        return f"{value:,}"
    text = str(value)
    text = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
    return text if text.isprintable() else ascii(text)[1:-1]
