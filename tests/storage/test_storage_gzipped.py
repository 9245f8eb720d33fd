"""What is gzipped is inflated, up to a limit; everything else is left as it is."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalikit.errors import ReadError
from dalikit.storage import inflate

CONTENT = np.random.default_rng(0).integers(0, 9, 5000, dtype=np.uint8).tobytes()


def array(data: bytes) -> npt.NDArray[np.uint8]:
    """uint8 (n,)."""
    return np.frombuffer(data, dtype=np.uint8)


@given(
    pieces=st.lists(st.binary(max_size=300), min_size=1, max_size=4), level=st.integers(0, 9), nulls=st.integers(0, 99)
)
def test_members_one_behind_the_other(pieces: list[bytes], level: int, nulls: int) -> None:
    """With null bytes behind them, as a tar has."""
    data = b"".join(gzip.compress(piece, level) for piece in pieces) + bytes(nulls)
    assert inflate(array(data)).tobytes() == b"".join(pieces)


@given(data=st.binary(max_size=300).filter(lambda data: data[:2] != b"\x1f\x8b"))
def test_other_bytes_are_left_as_they_are(data: bytes) -> None:
    """Not even copied."""
    given_array = array(data)
    assert inflate(given_array) is given_array


@given(data=st.data())
def test_damaged_bytes_are_a_read_error_or_what_they_were(data: st.DataObject) -> None:
    """The checksum finds what the format does not; a header's name, time and system do not matter."""
    damaged = bytearray(gzip.compress(CONTENT))
    damaged[data.draw(st.integers(2, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert inflate(array(bytes(damaged))).tobytes() == CONTENT
    except ReadError as error:
        message = str(error)
        assert message.startswith("gzip: ")


@given(cut=st.floats(0, 1, exclude_max=True))
def test_cut_anywhere(cut: float) -> None:
    """Never less than there was."""
    whole = gzip.compress(CONTENT)
    size = max(2, int(cut * len(whole)))
    with pytest.raises(ReadError, match=rf"gzip: {size} bytes end before the compressed data does"):
        inflate(array(whole[:size]))


def test_a_second_member_that_is_none() -> None:
    """Bytes behind the first are no part of the image."""
    with pytest.raises(ReadError, match=r"gzip: cannot be inflated: .*incorrect header check"):
        inflate(array(gzip.compress(b"1") + b"more"))


def test_a_flag_that_is_not_in_the_format() -> None:
    """RFC 1952 reserves three."""
    with pytest.raises(ReadError, match=r"gzip: cannot be inflated: .*unknown header flags"):
        inflate(array(b"\x1f\x8b\x08\xe0" + bytes(20)))


def test_the_limit_is_what_may_be_inflated() -> None:
    """To the byte, also over several members."""
    data = array(gzip.compress(CONTENT))
    assert inflate(data, max_size=len(CONTENT)).tobytes() == CONTENT
    with pytest.raises(ReadError, match="gzip: holds more than the limit of 4999 bytes"):
        inflate(data, max_size=len(CONTENT) - 1)
    both = array(gzip.compress(CONTENT) * 2)
    assert len(inflate(both, max_size=2 * len(CONTENT))) == 10_000
    with pytest.raises(ReadError, match="gzip: holds more than the limit of 9999 bytes"):
        inflate(both, max_size=2 * len(CONTENT) - 1)


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    """64 MiB in 64 kB."""
    maker = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = array(b"".join([maker.compress(bytes(1 << 24)) for _ in range(4)] + [maker.flush()]))
    tracemalloc.start()
    with pytest.raises(ReadError, match="gzip: holds more than the limit of 1048576 bytes"):
        inflate(bomb, max_size=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_file_of_very_many_members_is_refused() -> None:
    """Each takes the time of the whole rest."""
    assert inflate(array(gzip.compress(b"") * 1000)).tobytes() == b""
    with pytest.raises(ReadError, match="gzip: has more than 1000 members"):
        inflate(array(gzip.compress(b"") * 80_000))
