"""What a failed request means: is it worth another try, and what is said about it."""

from __future__ import annotations

import re

from dalikit.storage.remote.address import redact_text

__all__ = ["RemoteError", "explain"]

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_REQUEST = re.compile(  # how obstore begins: the place says the address, and the rest is its own affair
    r"(Generic \w+ error: )?Error performing \w+ \S+ in [^\s,]+"
    r"(?:, after (?P<retries>\d+) retries, max_retries: \d+, retry_timeout: \S+)?\s+- "
)
_ROLE = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal")  # who gives a machine its role
_SYSTEM = re.compile(r'Os \{\s*code: \d+,\s*kind: \w+,\s*message: "([^"]{1,80})"')  # in what obstore adds for debugging
_MAX_TEXT = 200

_CHAINS = {
    "s3": "environment variables such as AWS_ACCESS_KEY_ID, AWS's shared credentials file, the machine's role); for a "
    "public bucket set AWS_SKIP_SIGNATURE=1",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS names a key file; gcloud's default login, the machine's role); for a public "
    "bucket set GOOGLE_SKIP_SIGNATURE=1",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, the machine's role); "
    "for a public container set AZURE_SKIP_SIGNATURE=1",
}


class RemoteError(Exception):
    """A request failed. Never leaves this package: whoever asked makes it an error with a place."""

    def __init__(
        self,
        reason: str,
        *,
        missing: bool = False,
        again: bool = False,
        refused: bool = False,
        changed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.missing = missing
        """The object is not there."""
        self.again = again
        """Another try may help."""
        self.refused = refused
        """It is for want of credentials."""
        self.changed = changed
        """The object is not of the version that was asked for."""

    def explained(self, kind: str) -> str:
        """The reason; if credentials were wanted, with where they are looked for.

        Args:
            kind: of the address that was asked for: "s3", "gs", "az" or "http".
        """
        if not self.refused:
            return self.reason
        if kind == "http":
            return f"{self.reason}: no credentials are sent by http; a signature may be part of the address"
        return f"{self.reason}: credentials come from the store's standard chain only ({_CHAINS[kind]}"


def explain(error: Exception) -> RemoteError:
    """What an error of obstore's means.

    Of an answer's body only the code is taken over ("SlowDown"): the rest may repeat keys and signatures.
    """
    text, _, debug = str(error).partition("\n\nDebug source")
    found, code = _STATUS.search(text), _CODE.search(text)
    status = int(found[1]) if found else None
    kind = type(error).__name__
    if _ROLE.search(text):
        return RemoteError("no credentials were found", refused=True)
    answer = kind if status is None else f"answer {status}" + (f" {code[1]}" if code else "")
    final = _final(error, kind, status, text, answer)
    if final is not None:
        return final
    request = _REQUEST.search(text)
    cause = answer if status is not None else _short(text) + _beneath(debug)
    if request is not None and request["retries"] is not None:  # obstore has asked again already
        return RemoteError(f"cannot be read after {int(request['retries']) + 1} attempts: {cause}")
    return RemoteError(cause, again=True)


def _final(error: Exception, kind: str, status: int | None, text: str, answer: str) -> RemoteError | None:
    """What no further try changes."""
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        bucket = ": there is no such bucket" if "NoSuchBucket" in answer or "ContainerNotFound" in answer else ""
        return RemoteError(f"is not there ({answer}){bucket}", missing=True)
    if status in (401, 403) or kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return RemoteError(f"is refused ({answer})", refused=True)
    if status in (301, 302, 307, 308) or "incorrectly configured region" in text:
        return RemoteError(f"is elsewhere ({answer}): set AWS_REGION to the bucket's region, or name its host")
    if status == 416:
        return RemoteError(f"ends before the first byte that was asked for ({answer}): it was cut or replaced")
    if status == 412 or kind == "PreconditionError":
        return RemoteError(f"has changed while it was read ({answer}): read it again from the start", changed=True)
    if kind == "NotSupportedError" or "non-partial response" in text:
        return RemoteError("cannot be read in parts: the server ignores Range; it must answer 206")
    if re.search(r"Requested \d+\.\.\d+, got ", text):
        return RemoteError(f"the server answered with another range: {_short(text)}")
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return RemoteError(f"cannot be read ({answer}): {_short(text)}")
    return None


def _beneath(debug: str) -> str:
    """What the operating system or a timeout said, which obstore's own words leave out."""
    system = _SYSTEM.search(debug)
    if system is not None:
        return f" ({system[1]})"
    if "TimedOut" in debug or "Timeout" in debug:
        return " (timed out)"
    return " (the host's name is not known)" if "dns error" in debug else ""


def _short(text: str) -> str:
    """One line without addresses' queries and without an answer's body."""
    text = re.split(r":\s*[<{]", _REQUEST.sub("", text), maxsplit=1)[0]
    text = redact_text(" ".join(text.split()))
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
