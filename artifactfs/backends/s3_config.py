"""What an S3 store is opened with: its URL, s3fs's options, and the environment, brought into one form.

An explicit option wins over ``S3_*`` (``R2_*`` for Cloudflare R2), and those win over what the AWS SDK finds by itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

import botocore.configprovider
import botocore.session
from botocore.exceptions import BotoCoreError

from artifactfs.errors import InvalidConfig

CONNECTIONS = 100
"""Connections kept at most; 64 requests in flight must not wait for each other."""

CREDENTIALS = ("key", "username", "secret", "password", "anon", "profile", "session")
"""Options of s3fs that say who one is: with any of them the environment's key and secret do not count."""


@dataclass(frozen=True)
class S3Settings:
    """Where a store is, and what to give s3fs.

    Attributes:
        url: as errors show it.
        prefix: before every key: empty, or ending in a slash.
        endpoint: URL of the service; None for AWS's own.
        options: arguments of `s3fs.S3FileSystem`, credentials among them.
    """

    url: str
    bucket: str
    prefix: str
    endpoint: str | None
    options: Mapping[str, Any] = field(repr=False)

    @property
    def at_aws(self) -> bool:
        """Is it AWS's own service, whose guarantees are documented and need no probe?"""
        host = urlsplit(self.endpoint or "").hostname or "amazonaws.com"
        return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))

    @property
    def identity(self) -> str:
        return f"{self.endpoint or 'https://s3.amazonaws.com'}/{self.bucket}"


def s3_settings(url: str, options: Mapping[str, Any], *, deadline: float) -> S3Settings:
    """Read *url*, *options* and the environment.

    The aliases ``region``, ``access_key_id``, ``secret_access_key`` and, for R2, ``account_id`` are accepted beside
    s3fs's own names.

    Raises:
        InvalidConfig: the URL names no bucket, a setting is half there, or an endpoint is no URL.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if scheme not in ("s3", "r2") or not bucket:
        raise InvalidConfig(f"an S3 store is written s3://bucket/prefix or r2://bucket/prefix, not {scheme}://…")
    if "@" in bucket:
        raise InvalidConfig("credentials do not belong into a URL: give key= and secret=, or use the environment")
    prefix = path.strip("/")
    given = dict(options)
    client = dict(given.pop("client_kwargs", None) or {})
    account = given.pop("account_id", None) or (os.environ.get("R2_ACCOUNT_ID") if scheme == "r2" else None)
    r2 = scheme == "r2" or account is not None

    for alias, name in (("access_key_id", "key"), ("secret_access_key", "secret")):
        if (value := given.pop(alias, None)) is not None:
            given.setdefault(name, value)
    region = given.pop("region", None) or client.get("region_name") or ("auto" if r2 else None)
    if region is not None:
        client["region_name"] = region
    if not any(given.get(name) for name in CREDENTIALS) and "aws_access_key_id" not in client:
        given.update(_environment_credentials("R2" if r2 else "S3"))

    endpoint = given.pop("endpoint_url", None) or client.pop("endpoint_url", None)
    if endpoint is None and r2:
        if account is None:
            raise InvalidConfig("Cloudflare R2 needs the account: give account_id= or set R2_ACCOUNT_ID")
        endpoint = f"https://{account}.r2.cloudflarestorage.com"
    if endpoint is None:
        endpoint = os.environ.get("S3_ENDPOINT_URL") or _configured_endpoint(given.get("profile"))
    if endpoint is not None:
        endpoint = str(endpoint).rstrip("/")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise InvalidConfig("endpoint_url is to be written http(s)://host[:port], without credentials in it")

    config = {
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "max_pool_connections": CONNECTIONS,
        "connect_timeout": min(5.0, deadline),
        "read_timeout": min(30.0, deadline),
        **(given.pop("config_kwargs", None) or {}),
        "retries": {"total_max_attempts": 1},
    }
    _refuse_unknown(given)
    # How it is run is ours; a listing may never be remembered.
    for name in ("asynchronous", "loop", "skip_instance_cache", "use_listings_cache"):
        given.pop(name, None)
    return S3Settings(
        url=f"{scheme}://{bucket}/{prefix}".rstrip("/"),
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        options={
            **given,
            "endpoint_url": endpoint,
            "client_kwargs": client,
            "config_kwargs": config,
            "use_listings_cache": False,
        },
    )


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    """s3fs hands what it does not know on to the session, which fails at the first request and in words of its own."""
    from aiobotocore.session import AioSession
    from s3fs import S3FileSystem

    known = {name for kind in (S3FileSystem, AioSession) for name in signature(kind.__init__).parameters}
    known |= {"profile", "skip_instance_cache", "use_listings_cache", "listings_expiry_time", "max_paths", "batch_size"}
    for name in options:
        if name not in known:
            near = get_close_matches(name, known | {"region", "account_id"}, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InvalidConfig(f"an S3 store knows no option {name!r}{hint}")


def _environment_credentials(family: str) -> dict[str, str]:
    names = (f"{family}_ACCESS_KEY_ID", f"{family}_SECRET_ACCESS_KEY")
    key, secret = (os.environ.get(name) for name in names)
    if key and secret:
        return {"key": key, "secret": secret}
    if key or secret:
        raise InvalidConfig(f"of {names[0]} and {names[1]} only one is set: set both, or neither")
    return {}


def _configured_endpoint(profile: str | None) -> str | None:
    """The endpoint that the AWS SDK would use: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or the shared config file's."""
    session = botocore.session.Session(profile=profile)
    try:
        if session.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        provider = botocore.configprovider.ConfiguredEndpointProvider(
            full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
        )
        found: str | None = provider.provide()
    except BotoCoreError as error:
        raise InvalidConfig(f"the AWS configuration cannot be used: {error}") from error
    return found
