"""Downloads from the web that reach no machine which only we can reach (docs/adr/0022, docs/pointers.md).

The address is judged where a socket is made for it, so nothing is between the judgement and the connection: not another
look-up of the name, not a redirect, not a spelling of an address that only the resolver understands.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from artifactfs.errors import AccessDenied, ArtifactError, BackendError, BackendUnavailable, InvalidConfig
from artifactfs.pointers import shown

if TYPE_CHECKING:
    import aiohttp
    import yarl

MAX_REDIRECTS = 5
PIECE = 64 * 1024
OPTIONS = frozenset({"headers", "ssl"})
"""Options of a request that a caller may give. Any other could lead around the guard (a proxy, a connector)."""

# The IANA registries of special-purpose addresses (RFC 6890 and what came after), here and not Python's own table, which
# differs between its versions. The last one is public by its number, and inside of Azure the platform's own service.
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
]
# Public are these alone: global unicast, without Teredo and its like, documentation and 6to4 (judged by what it embeds).
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether *address* surely is one of the public internet, and none of this machine, its networks or their services.

    >>> is_public("8.8.8.8"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1"), is_public("2130706433")
    (True, False, False, False)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        embedded = found.ipv4_mapped or found.sixtofour
        if embedded is None and found in _NAT64:
            embedded = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if embedded is None:
            return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)
        found = embedded
    return not any(found in network for network in _NOT_PUBLIC_4)


def check_options(options: Mapping[str, Any]) -> None:
    """Raises `InvalidConfig` for an option of a request that is none of `OPTIONS`."""
    for name in options.keys() - OPTIONS:
        raise InvalidConfig(
            f"the option {name!r:.80} cannot be given for http and https: what can is {' and '.join(sorted(OPTIONS))}"
        )


def download(
    uri: str,
    take: Callable[[bytes], object],
    *,
    private: bool,
    options: Mapping[str, Any],
    seconds: float,
    place: str,
) -> None:
    """GET *uri* and give its content to *take*, piece by piece, as it is on the wire: within *seconds*, or not at all.

    No connection is made to an address that is not public (unless *private*), on any of at most 5 redirects either, which
    never lead away from https. No proxy of the environment is used and no cookie kept. *options* go with requests to the
    origin of *uri* only. *take* is called on fsspec's event loop. *place* begins messages.

    Raises:
        AccessDenied: an address or a redirect that is refused, or the server asks for credentials.
        BackendUnavailable: no answer, a broken one, or one that took too long.
        BackendError: any other answer than the content.
    """
    from fsspec.asyn import get_loop

    ended = threading.Event()

    async def work() -> None:
        try:
            await _translated(uri, take, private, options, seconds, place)
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(work(), get_loop())
    try:
        future.result()
    except BaseException:
        if not future.done():  # we were interrupted: nothing is to go on behind our back
            future.cancel()
            ended.wait(1)
        raise


async def _translated(
    uri: str,
    take: Callable[[bytes], object],
    private: bool,
    options: Mapping[str, Any],
    seconds: float,
    place: str,
) -> None:
    """The download, its errors in our words."""
    try:
        import aiohttp
    except ImportError as error:
        raise InvalidConfig(f"{place}: following it needs aiohttp: pip install 'artifactfs[http]'") from error

    refused: list[str] = []

    def connecting(where: Any) -> socket.socket:
        family, kind, protocol, _, address = where
        if not private and not is_public(str(address[0])):
            refused.append(str(address[0]))
            raise PermissionError(errno.EACCES, "no public address")
        return socket.socket(family, kind, protocol)

    try:
        async with asyncio.timeout(seconds):
            connector = aiohttp.TCPConnector(
                socket_factory=connecting, resolver=aiohttp.ThreadedResolver(), use_dns_cache=False, force_close=True
            )
            async with aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as session:
                await _download(session, uri, take, options, place)
    except ArtifactError:
        raise
    except TimeoutError as error:
        raise BackendUnavailable(
            f"{place}: it was not there whole after {seconds:.0f} seconds; try again later"
        ) from error
    except aiohttp.InvalidURL as error:
        what = "its host is no name, and no address in its usual form: write an IPv4 address as four decimal numbers"
        raise AccessDenied(f"{place}: {what}") from error
    except (aiohttp.ClientError, OSError) as error:
        if refused:
            raise AccessDenied(
                f"{place}: that leads to the address {refused[0]}, which is not of the public internet, so nothing was sent "
                "there; where it is meant, allow it by follow=Follow(private=True)"
            ) from error
        raise _connection_error(error, place) from error
    except UnicodeError as error:
        raise BackendError(f"{place}: no host can have that name; correct the URI") from error
    except (TypeError, ValueError) as error:
        raise InvalidConfig(
            f"{place}: the options for it cannot be used ({type(error).__name__}): headers is a mapping of text, ssl an "
            "ssl.SSLContext, and aiohttp has to be 3.12 or newer"
        ) from error


def _connection_error(error: Exception, place: str) -> BackendError:
    import aiohttp

    if isinstance(error, aiohttp.ClientSSLError):
        return BackendError(
            f"{place}: there is no secure connection to it, since its certificate is not trusted or its TLS is not ours; "
            "give the certificate by Follow(options={'https': {'ssl': context}})"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return BackendUnavailable(f"{place}: the name of its host is not known; check the URI and the network")
    if isinstance(error, aiohttp.ClientConnectorError):
        return BackendUnavailable(f"{place}: its host cannot be reached; check the URI and the network")
    return BackendUnavailable(f"{place}: the connection broke ({type(error).__name__}); try again")


async def _download(
    session: aiohttp.ClientSession,
    uri: str,
    take: Callable[[bytes], object],
    options: Mapping[str, Any],
    place: str,
) -> None:
    import yarl

    first = url = yarl.URL(uri, encoded=True)
    for _ in range(MAX_REDIRECTS + 1):
        own = dict(options) if url.origin() == first.origin() else {}
        # A compressed answer of a few bytes could become gigabytes, so we ask for what is as long as it seems.
        own["headers"] = {**own.get("headers", {}), "Accept-Encoding": "identity"}
        async with session.get(url, allow_redirects=False, **own) as answer:
            if answer.status in (301, 302, 303, 307, 308):
                url = _redirected(url, answer.headers.get("Location", ""), place)
                continue
            _check_answer(answer, place)
            async for piece in answer.content.iter_chunked(PIECE):
                take(piece)
            return
    raise BackendError(f"{place}: it redirects more than {MAX_REDIRECTS} times; give the URI of the content itself")


def _redirected(url: yarl.URL, location: str, place: str) -> yarl.URL:
    import yarl

    try:
        # Never decoded where it can be taken as it is: the signature of a presigned URL would no longer fit.
        target = url.join(
            yarl.URL(location, encoded=location.isascii() and location.isprintable() and " " not in location)
        )
        if target.scheme in ("http", "https"):
            target = target.with_user(None)
            target.origin()
    except ValueError as error:
        raise BackendError(f"{place}: it redirects to what is no URL; give the URI of the content itself") from error
    if not location:
        raise BackendError(f"{place}: it redirects to nowhere; give the URI of the content itself")
    if target.scheme != "https" and (target.scheme, url.scheme) != ("http", "http"):
        raise AccessDenied(
            f"{place}: it redirects to {shown(str(target))!a:.200}, and from {url.scheme} only https is followed"
            + (" or http" if url.scheme == "http" else "")
            + "; give the URI of the content itself"
        )
    return target


def _check_answer(answer: aiohttp.ClientResponse, place: str) -> None:
    status = answer.status
    if status in (401, 403, 407):
        raise AccessDenied(
            f"{place}: it answers {status}: it asks for credentials, or for others; give them by "
            "Follow(options={'https': {'headers': {'Authorization': …}}})"
        )
    if status in (404, 410):
        raise BackendError(
            f"{place}: it answers {status}: nothing is there any more; save the content as a new version"
        )
    if status in (408, 425, 429) or status >= 500:
        raise BackendUnavailable(f"{place}: it answers {status}; try again later")
    if status != 200:
        raise BackendError(f"{place}: it answers {status} in the place of the content; check the URI")
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise BackendError(
            f"{place}: it answers in the encoding {encoding!a:.40} though it was asked for none; fetch it by other means"
        )
