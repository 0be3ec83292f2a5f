"""What obstore's S3 store is opened with: the settings of `s3_config`, as obstore names them, and which it cannot honour.

obstore reads ``AWS_*`` variables by itself, by rules of its own: whatever decides where requests go, who asks and what a
write means is therefore said outright, as s3fs and botocore would have it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.utils import get_environ_proxies
from fsspec.config import conf
from obstore.store import S3Store

from artifactfs.backends.obstore_client import NEVER, RETRIES_OFF, goes_through_a_proxy
from artifactfs.backends.s3_config import S3Settings

_OPTIONS = frozenset(
    {
        *("key", "username", "secret", "password", "token", "anon", "profile", "requester_pays", "use_listings_cache"),
        *("default_block_size", "default_fill_cache", "default_cache_type", "listings_expiry_time", "max_paths"),
        *("batch_size", "max_concurrency", "endpoint_url", "client_kwargs", "config_kwargs"),
    }
)
_CLIENT = frozenset({"region_name", "aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
_CONFIG = frozenset({"connect_timeout", "read_timeout", "max_pool_connections", "retries"})
_CONFIG_AS = {
    "signature_version": "s3v4",
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
"""What obstore does, whatever it is told."""

_CONFIGURED = ("ca_bundle", "use_dualstack_endpoint", "use_fips_endpoint", "s3")
"""Settings of AWS's configuration, or its variables, that change requests."""

_VARIABLES = (
    *("AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED", "AWS_SSE_CUSTOMER_KEY_BASE64"),
    *("AWS_CHECKSUM_ALGORITHM", "AWS_PROXY_URL", "AWS_DEFAULT_CONTENT_TYPE"),
)
"""What obstore alone reads from the environment, and nothing that it is given takes back."""

_ODD_BUCKETS = ("--x-s3", "--op-s3", "--ol-s3", ".mrap")
"""How names end that AWS serves at addresses, or wants signed, of a kind of their own."""

_ORDINARY = re.compile(r"(?!.*-iso|us-gov|cn-)[a-z]{2}-[a-z]+-\d+$")
"""Regions whose service is at ``amazonaws.com``."""

_IN_A_HOST = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""Buckets whose name can begin that of a host."""

FRESH_FOR = timedelta(minutes=10)
"""botocore hands out temporary credentials that are good for at least so long, and gets new ones in time when asked."""


def unfit(settings: S3Settings) -> str | None:
    """What of *settings* obstore cannot honour, named as an option or a setting; None where it can honour all."""
    options = settings.options
    client, config = options["client_kwargs"], options["config_kwargs"]
    for name, value in options.items():
        if value and name not in _OPTIONS:
            return name
    for name, value in client.items():
        if value is not None and name not in _CLIENT:
            return f"client_kwargs[{name!r}]"
    for name, value in config.items():
        if value is not None and name not in _CONFIG and _CONFIG_AS.get(name) != value:
            return f"config_kwargs[{name!r}]"
    for name in {**conf.get("s3", {}), **conf.get("s3a", {})}:
        if name not in options:
            return f"fsspec's own configuration of {name}"
    key, secret, _ = _given(options)
    if bool(key) != bool(secret):
        return "key without secret" if key else "secret without key"
    for name in _VARIABLES:
        if name in os.environ:
            return f"the environment's {name}"
    if settings.at_aws and (settings.bucket.endswith(_ODD_BUCKETS) or ":" in settings.bucket):
        return "a bucket of that kind"
    unencrypted = (settings.endpoint or "").startswith("http://")
    if os.environ.get("REQUESTS_CA_BUNDLE") and not unencrypted:  # botocore takes it, too
        return "the environment's REQUESTS_CA_BUNDLE"
    service = settings.endpoint or "https://s3.amazonaws.com"
    if goes_through_a_proxy(service) != (urlsplit(service).scheme in get_environ_proxies(service)):
        return "the environment's proxy"  # ALL_PROXY, or a port in NO_PROXY, which mean different things to botocore
    session = _session(options)
    try:
        for name in _CONFIGURED:
            plain = name == "ca_bundle" and unencrypted
            if session.get_config_variable(name) and not plain:
                return f"the setting {name!r} of the AWS configuration"
        region = _region(settings, session)
    except BotoCoreError:
        return "profile"
    if settings.endpoint is None and region is None:
        return "a bucket at AWS without region="  # botocore finds out where it is, obstore does not
    if region is not None and not is_reachable(settings, region):
        return f"region={region!r} without endpoint_url="
    return None


def region_of(settings: S3Settings) -> str:
    """The region that is said to be the bucket's."""
    return _region(settings, _session(settings.options)) or "us-east-1"


def is_reachable(settings: S3Settings, region: str) -> bool:
    """Is it known where the service of that region is?"""
    return settings.endpoint is not None or _ORDINARY.match(region) is not None


def s3_store(settings: S3Settings, credentials: Credentials, region: str, read_timeout: float) -> S3Store:
    """obstore's store for the bucket itself, without the prefix: what a prefix may hold is for keys to say."""
    options = settings.options
    virtual = settings.endpoint is None and _IN_A_HOST.fullmatch(settings.bucket) is not None
    host = f"s3.{region}.amazonaws.com"
    endpoint = settings.endpoint or (f"https://{settings.bucket}.{host}" if virtual else f"https://{host}")
    config: dict[str, Any] = {
        "region": region,
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": virtual,
        "conditional_put": "etag",
        "skip_signature": bool(options.get("anon")),
        "request_payer": bool(options.get("requester_pays")),
        "s3_express": False,
        "unsigned_payload": False,
    }
    return S3Store(
        settings.bucket,
        config=config,  # type: ignore[arg-type]
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=options["config_kwargs"]["connect_timeout"]),
            "read_timeout": timedelta(seconds=read_timeout),
            "timeout": NEVER,
        },
        retry_config=RETRIES_OFF,  # type: ignore[arg-type]
        credential_provider=None if options.get("anon") else credentials,  # type: ignore[arg-type]
    )


class Credentials:
    """Who asks: the key and secret that were given, else whoever botocore finds, as it does for s3fs.

    Profiles, logins and roles are botocore's, refreshed by it. obstore asks while it sends; what went wrong then is kept
    in `problem`, since obstore's exception tells it as text.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._options = settings.options
        self._found: Any = None
        self.problem: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        try:
            key, secret, token, passing = self._now()
            if not f"{key}{secret}{token}".isprintable():
                raise ValueError("the credentials hold a line break, or something else that no header can")
        except Exception as error:
            self.problem = error
            raise
        self.problem = None
        expires = datetime.now(UTC) + FRESH_FOR if passing else None
        return {"access_key_id": key, "secret_access_key": secret, "token": token or None, "expires_at": expires}

    def _now(self) -> tuple[str, str, str | None, bool]:
        """Key, secret and token, and whether they pass."""
        key, secret, token = _given(self._options)
        if key and secret:
            return key, secret, token, False
        if self._found is None:
            self._found = _session(self._options).get_credentials()
        if self._found is None:
            raise NoCredentialsError
        now = self._found.get_frozen_credentials()
        return now.access_key, now.secret_key, now.token, isinstance(self._found, RefreshableCredentials)


def _given(options: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Key, secret and token among the options, as s3fs takes them."""
    client = options["client_kwargs"]
    key = options.get("key") or options.get("username") or client.get("aws_access_key_id")
    secret = options.get("secret") or options.get("password") or client.get("aws_secret_access_key")
    return key, secret, options.get("token") or client.get("aws_session_token")


def _session(options: Mapping[str, Any]) -> Any:
    return botocore.session.Session(profile=options.get("profile"))


def _region(settings: S3Settings, session: Any) -> str | None:
    region: str | None = settings.options["client_kwargs"].get("region_name") or session.get_config_variable("region")
    return region
