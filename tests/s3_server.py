"""A real S3 server on loopback: s3rver, an npm package. Tests that need it are skipped where it is not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dalikit.storage.remote import forget_stores

__all__ = ["BUCKET", "S3Server", "s3_server", "use_server"]

BUCKET = "photographs"
START_S = 20.0


class S3Server:
    """A running server with one empty bucket, `BUCKET`."""

    def __init__(self, url: str) -> None:
        self.url = url
        """Its endpoint, without a slash at the end."""

    def put(self, key: str, data: bytes) -> str:
        """Stores an object, by a client of its own. Returns its address."""
        from obstore.store import S3Store

        keys = {"access_key_id": "S3RVER", "secret_access_key": "S3RVER", "region": "us-east-1"}
        options = {"allow_http": True, "proxy_url": self.url, "proxy_excludes": "127.0.0.1"}
        S3Store(BUCKET, endpoint=self.url, client_options=options, **keys).put(key, data)  # type: ignore[call-overload]
        return f"s3://{BUCKET}/{key}"


def use_server(monkeypatch: pytest.MonkeyPatch, url: str, *, sign: bool = True) -> None:
    """Sets the environment so that s3:// is the server at `url`, for this process and those that it starts."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    if sign:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "S3RVER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3RVER")
    else:
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "1")
    forget_stores()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server that keeps its objects in `folder` and runs until the block ends; skips the test if there is none.

    For a fixture:

        @pytest.fixture(scope="module")
        def server(tmp_path_factory):
            with s3_server(tmp_path_factory.mktemp("s3")) as server:
                yield server

        @pytest.fixture
        def s3(server, monkeypatch):
            use_server(monkeypatch, server.url)
            return server
    """
    installed = Path(sys.prefix) / "s3rver/node_modules/.bin/s3rver"  # by `make setup`
    program = os.environ.get("S3RVER") or shutil.which("s3rver") or (str(installed) if installed.exists() else None)
    if program is None:
        pytest.skip("needs s3rver: npm install s3rver@3.7.1, then put it on PATH or name it in S3RVER")
    folder.mkdir(parents=True, exist_ok=True)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "-s", "--configure-bucket", BUCKET]
    with open(folder / "s3rver.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(process, port, folder)
        yield S3Server(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)
        forget_stores()


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    """Until it answers: there is no event but a connection that is taken."""
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"s3rver does not answer: {(folder / 's3rver.log').read_text()}")
            time.sleep(0.02)
