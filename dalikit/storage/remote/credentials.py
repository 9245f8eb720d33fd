"""AWS's shared credentials file, which obstore does not read itself."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

__all__ = ["shared_credentials"]

_ELSEWHERE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def shared_credentials() -> dict[str, str]:
    """What AWS_PROFILE (else "default") says in ~/.aws/credentials and ~/.aws/config: keys and region, as S3Store's
    arguments. The rest of the standard chain (environment, web identity, container, machine's role) is obstore's.

    Keys are left out where the environment says where they come from, the region where it names one. Where the two
    files lie may be said by AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE (docs.aws.amazon.com/sdkref, "Shared
    config and credentials files").
    """
    name = os.environ.get("AWS_PROFILE") or "default"
    found: dict[str, str] = {}
    config = _section("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}")
    if not any(os.environ.get(variable) for variable in _ELSEWHERE):
        profile = config | _section("AWS_SHARED_CREDENTIALS_FILE", "credentials", name)
        if "aws_access_key_id" in profile and "aws_secret_access_key" in profile:
            found["access_key_id"] = profile["aws_access_key_id"]
            found["secret_access_key"] = profile["aws_secret_access_key"]
            if "aws_session_token" in profile:
                found["session_token"] = profile["aws_session_token"]
    if "region" in config and not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        found["region"] = config["region"]
    return found


def _section(variable: str, name: str, section: str) -> dict[str, str]:
    """One section of one of the files; nothing if it is not there or cannot be read."""
    path = os.environ.get(variable) or Path("~/.aws").expanduser() / name
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return dict(parser[section]) if parser.has_section(section) else {}
