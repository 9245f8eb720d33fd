"""Remote storage and processes: Ctrl-C, forks, proxies, and what is loaded when."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from fault_server import FaultServer, fault_server
from left_over import assert_no_more
from s3_server import use_server

from dalikit.storage import Arena, Location, read
from dalikit.storage.remote import forget_stores, remote_was_used, stores

PATH = "/bucket/shard.tar"
S3 = "s3://bucket/shard.tar"

HEAD = "import os, sys, signal\nfrom dalikit.storage import *\nfrom dalikit.storage.remote import *\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """With one object of 1000 bytes."""
    with fault_server() as server:
        server.objects[PATH] = bytes(1000)
        use_server(monkeypatch, server.url, sign=False)
        yield server
    forget_stores()


def run(script: str) -> str:
    """What a fresh interpreter prints; its errors fail the test."""
    result = subprocess.run([sys.executable, "-c", HEAD + script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    "call",
    [
        f"read(Location({S3!r}, 0, 1000), Arena())",
        f"b''.join(read_stream({S3!r}))",
        f"stat_object({S3.replace('shard', 'slow')!r})",
    ],
)
def test_ctrl_c_is_answered_within_a_second(server: FaultServer, call: str) -> None:
    """Though the request would take ten more, and whoever waits for it is the main thread."""
    server.faults[PATH] = ["stall"] * 10
    script = f"try:\n    {call}\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    if "stat" in call:
        server.latency_s = 30.0
    process = subprocess.Popen([sys.executable, "-c", HEAD + script], stdout=subprocess.PIPE, text=True)
    try:
        waited = "HEAD" if "stat" in call else "GET"
        end = time.monotonic() + 20
        while not any(method == waited for method, _, _ in list(server.requests)):  # the request has arrived
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=5)
        assert time.monotonic() - began < 1.0
        assert output == "interrupted\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("server")
def test_a_fork_is_refused_with_a_clear_error() -> None:
    """obstore would hang in the child for ever; what to do instead is said at once, and the parent reads on."""
    script = (
        f"read(Location({S3!r}, 0, 5), Arena())\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        f"        read(Location({S3!r}, 0, 5), Arena())\n"
        "    except BaseException as error:\n"
        "        print(type(error).__name__, error, remote_was_used(), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        f"print(len(read(Location({S3!r}, 0, 5), Arena())))\n"
    )
    refusal, size = run(script).splitlines()
    assert refusal.startswith("ArgumentError process ")
    assert "after that had used remote storage, which does not survive a fork" in refusal
    assert "multiprocessing_context='forkserver' or 'spawn', or num_workers=0" in refusal
    assert refusal.endswith("True")
    assert size == "5"


@pytest.mark.usefixtures("server")
def test_a_fork_before_the_first_use_is_none() -> None:
    """Parent and child open stores of their own."""
    script = (
        "assert not remote_was_used()\n"
        "pid = os.fork()\n"
        f"print(len(read(Location({S3!r}, 0, 5), Arena())), remote_was_used(), flush=True)\n"
        "if pid == 0: os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    assert run(script).splitlines() == ["5 True", "5 True"]


def test_obstore_is_loaded_at_the_first_request() -> None:
    """Not with the datasets, nor with this package, nor for an address that is refused."""
    script = (
        "import dalikit, dalikit.datasets, dalikit.storage.spans\n"
        "try: stat_object('s3://u:p@bucket/key')\n"
        "except ValueError: pass\n"
        "check_remote_support()\n"
        "print('obstore' in sys.modules, remote_was_used())\n"
    )
    assert run(script) == "False False"


def test_loopback_needs_no_proxy(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says of proxies: this one does not even listen."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    forget_stores()
    for uri in (S3, server.url + PATH):
        assert len(read(Location(uri, 0, 5), Arena())) == 5


def test_credentials_stay_in_the_store(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what is read, nor an error, nor a log holds them; only the store does, and it is in no object of ours."""
    use_server(monkeypatch, server.url)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-key")
    view = read(Location(S3, 0, 5), Arena())
    server.faults[PATH] = ["403"]
    with pytest.raises(OSError, match="is refused") as caught:
        read(Location(S3, 0, 5), Arena())
    seen = [str(caught.value), repr(caught.value), caplog.text, pickle.dumps(view).decode("latin-1")]
    seen += [repr(stores._stores), repr(caught.value.__cause__), pickle.dumps(Location(S3)).decode("latin-1")]
    assert not any("hidden-key" in text for text in seen)
    assert caught.value.__suppress_context__
    assert b"hidden-key" not in b"".join(path.encode() for _, path, _ in server.requests)


def test_descriptors_do_not_grow(server: FaultServer) -> None:
    """One pool: a hundred reads hold no more connections than one."""
    read(Location(S3, 0, 5), Arena())
    before = psutil.Process().num_fds()
    for _ in range(100):
        read(Location(S3, 0, 5), Arena())
    assert len(server.requests) == 101
    assert_no_more(lambda: [psutil.Process().num_fds()], [before + 2])
    assert remote_was_used()
    assert os.getpid() == stores._pid
