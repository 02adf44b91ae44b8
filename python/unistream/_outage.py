"""Which exceptions of a sink are an outage, and which are the batch's fault.

During an outage a batch waits and no attempt is used up, so that nobody's maintenance window turns a backlog into dead
letters. The rows below name the exceptions of the usual clients by module and class, so that none of these packages
has to be there; the first row along an exception's classes (its `__mro__`) decides. What no row names is a failure.
"""

from __future__ import annotations

import email.utils
import errno
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, timedelta
from typing import Any, Literal, TypeAlias, cast

from . import _ending
from ._errors import SinkUnavailable
from ._logging import logger
from ._native import MAX_WAIT
from ._options import Seconds

Verdict: TypeAlias = bool | Seconds | None
Unavailable: TypeAlias = type[BaseException] | Iterable[type[BaseException]] | Callable[[BaseException], Verdict]
"""What a program adds to the table: exception classes, or a function that is asked first.

The function returns `True` or the seconds until the next try: unavailable; `False`: failed; `None`: see the table.
"""

TABLE: dict[str, str] = {
    # The standard library.
    "builtins.ConnectionError": "unavailable",
    "builtins.TimeoutError": "unavailable",
    "socket.gaierror": "unavailable",
    "socket.herror": "unavailable",
    "ssl.SSLError": "unavailable",
    "urllib.error.HTTPError": "status",
    "urllib.error.URLError": "unavailable",
    "http.client.BadStatusLine": "unavailable",
    "http.client.IncompleteRead": "unavailable",
    "smtplib.SMTPServerDisconnected": "unavailable",
    "smtplib.SMTPConnectError": "unavailable",
    "smtplib.SMTPException": "failed",
    "ftplib.error_temp": "unavailable",
    "io.UnsupportedOperation": "failed",
    "shutil.Error": "failed",
    "builtins.OSError": "errno",
    # requests: all of its exceptions are OSErrors.
    "requests.exceptions.ConnectionError": "unavailable",
    "requests.exceptions.Timeout": "unavailable",
    "requests.exceptions.ChunkedEncodingError": "unavailable",
    "requests.exceptions.RetryError": "unavailable",
    "requests.exceptions.HTTPError": "status",
    "requests.exceptions.RequestException": "failed",
    # urllib3
    "urllib3.exceptions.TimeoutError": "unavailable",
    "urllib3.exceptions.ProtocolError": "unavailable",
    "urllib3.exceptions.IncompleteRead": "unavailable",
    "urllib3.exceptions.ProxyError": "unavailable",
    "urllib3.exceptions.SSLError": "unavailable",
    "urllib3.exceptions.MaxRetryError": "unavailable",
    "urllib3.exceptions.EmptyPoolError": "unavailable",
    "urllib3.exceptions.HTTPError": "failed",
    # httpx and httpcore
    "httpx.LocalProtocolError": "failed",
    "httpx.UnsupportedProtocol": "failed",
    "httpx.TransportError": "unavailable",
    "httpx.HTTPStatusError": "status",
    "httpcore.NetworkError": "unavailable",
    "httpcore.TimeoutException": "unavailable",
    "httpcore.RemoteProtocolError": "unavailable",
    "httpcore.ProxyError": "unavailable",
    # aiohttp
    "aiohttp.client_exceptions.ClientConnectionError": "unavailable",
    "aiohttp.client_exceptions.ClientPayloadError": "unavailable",
    "aiohttp.client_exceptions.ClientResponseError": "status",
    # botocore, and boto3 with it
    "botocore.exceptions.ConnectionError": "unavailable",
    "botocore.exceptions.HTTPClientError": "unavailable",
    "botocore.exceptions.NoCredentialsError": "unavailable",
    "botocore.exceptions.CredentialRetrievalError": "unavailable",
    "botocore.exceptions.TokenRetrievalError": "unavailable",
    "botocore.exceptions.UnauthorizedSSOTokenError": "unavailable",
    "botocore.exceptions.ClientError": "code",
    # gRPC, and the clients of Google Cloud that raise it
    "grpc.RpcError": "code",
    # Databases
    "redis.exceptions.ConnectionError": "unavailable",
    "redis.exceptions.TimeoutError": "unavailable",
    "redis.exceptions.ClusterDownError": "unavailable",
    "redis.exceptions.TryAgainError": "unavailable",
    "redis.exceptions.ReadOnlyError": "unavailable",
    "redis.exceptions.OutOfMemoryError": "unavailable",
    "pymongo.errors.ConnectionFailure": "unavailable",
}
"""`"status"`, `"code"` and `"errno"`: what the exception carries decides, by the three sets that follow."""

# Statuses of HTTP that speak of the server or of the sender's credentials, not of what was sent. 403 is not one of
# them: gateways answer it for a record whose contents they dislike.
_STATUSES = frozenset({401, 407, 408, 425, 429}) | frozenset(range(500, 600)) - {501, 505}

# Codes of AWS and of gRPC for the same.
_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalFailure",
        "InvalidClientTokenId",
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestExpired",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
        "UnrecognizedClientException",
    }
) | frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "ABORTED"})

# Errors of the operating system that speak of the request itself. All others are the network, the disk or the process.
_REQUEST_ERRNOS = frozenset(
    {
        errno.E2BIG,
        errno.EBADF,
        errno.EDOM,
        errno.EEXIST,
        errno.EFAULT,
        errno.EINVAL,
        errno.EISDIR,
        errno.EMSGSIZE,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EILSEQ,
    }
)


def check(unavailable: Unavailable) -> Callable[[BaseException], Verdict] | None:
    """Return what a program adds to the table as a function; `None` if it adds nothing.

    Raises:
        TypeError: it is neither exception classes nor a callable.
    """
    if isinstance(unavailable, type) and issubclass(unavailable, BaseException):
        classes: tuple[Any, ...] = (unavailable,)
    elif callable(unavailable) and not isinstance(unavailable, type):
        return unavailable
    else:
        classes = tuple(unavailable) if isinstance(unavailable, Iterable) else (unavailable,)
    for entry in classes:
        if not (isinstance(entry, type) and issubclass(entry, BaseException)):
            raise TypeError(f"unavailable takes exception classes or a function of an exception, not {entry!r}")
    return (lambda error: True if isinstance(error, classes) else None) if classes else None


def verdict(
    error: BaseException, added: Callable[[BaseException], Verdict] | None
) -> tuple[Literal["failed", "unavailable", "interrupted"], float | None]:
    """Return what an exception from a sink means, and the seconds that the target asks to be left alone."""
    if isinstance(error, SinkUnavailable):
        return "unavailable", seconds(error.retry_after)
    if _ending.interrupted(error):
        return "interrupted", None
    answer = None if added is None else _ask(added, error)
    if answer is None:
        outage, wait = _by_table(error)
    else:
        outage = answer is not False
        wait = retry_after(error) if answer is True else seconds(answer)
    return ("unavailable", wait) if outage else ("failed", None)


def _ask(added: Callable[[BaseException], Verdict], error: BaseException) -> Verdict:
    try:
        return added(error)
    except Exception as failure:  # noqa: BLE001 the program's own code
        logger.error("the function given as unavailable= raised %s: %s", type(failure).__name__, failure)
        return None


def _by_table(error: BaseException) -> tuple[bool, float | None]:
    if isinstance(error, BaseExceptionGroup):
        # What a task group raises: an outage if all of it is one.
        verdicts = [_by_table(inner) for inner in error.exceptions]
        waits = [wait for _, wait in verdicts if wait is not None]
        return all(outage for outage, _ in verdicts), max(waits, default=None)
    rules = (TABLE.get(f"{each.__module__}.{each.__qualname__}") for each in type(error).__mro__)
    match next((rule for rule in rules if rule is not None), "failed"):
        case "unavailable":
            return True, retry_after(error)
        case "status":
            return (True, retry_after(error)) if _status(error) in _STATUSES else (False, None)
        case "code":
            outage = _code(error) in _CODES or _status(error) in _STATUSES
            return outage, retry_after(error) if outage else None
        case "errno":
            number = getattr(error, "errno", None)
            return isinstance(number, int) and number not in _REQUEST_ERRNOS, None
        case _:
            return False, None


def _get(holder: object, name: str) -> Any:
    """Return an attribute, or `None` for one that is not there or whose code raises."""
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 the exception's own code
        return None


def _metadata(error: BaseException) -> Mapping[str, Any]:
    """Return what botocore knows of the answer besides its body."""
    response = _get(error, "response")
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _status(error: BaseException) -> int | None:
    # requests and httpx, botocore, aiohttp, urllib.
    for holder, name in ((_get(error, "response"), "status_code"), (error, "status"), (error, "code")):
        status = _get(holder, name)
        if isinstance(status, int):
            return status
    status = _metadata(error).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _code(error: BaseException) -> str | None:
    response = _get(error, "response")
    if isinstance(response, dict):
        named = response.get("Error")
        return named.get("Code") if isinstance(named, dict) else None
    # gRPC's is a method that returns a member of an enumeration.
    code = _get(error, "code")
    try:
        name = _get(code() if callable(code) else code, "name")
    except Exception:  # noqa: BLE001 the exception's own code
        return None
    return name if isinstance(name, str) else None


def retry_after(error: BaseException) -> float | None:
    """Return what the answer's header `Retry-After` asks for, in seconds."""
    for headers in (
        _get(_get(error, "response"), "headers"),
        _get(error, "headers"),
        _metadata(error).get("HTTPHeaders"),
    ):
        get = _get(headers, "get")
        for name in ("Retry-After", "retry-after") if callable(get) else ():
            wait = seconds(get(name))
            if wait is not None:
                return wait
    return None


def seconds(wait: object) -> float | None:
    """Return a wait that somebody asked for in seconds, within a day; `None` for what is no wait.

    Takes seconds, a `timedelta`, and the text that HTTP has: seconds or a date. It never raises: an outage must not
    become a failure because the target's wish cannot be read.
    """
    try:
        if isinstance(wait, timedelta):
            span = wait.total_seconds()
        elif isinstance(wait, str | bytes):
            span = _seconds_of_text(wait.decode("latin-1") if isinstance(wait, bytes) else wait)
        elif isinstance(wait, bool) or wait is None:
            return None
        else:
            span = float(cast("float", wait))
    except OverflowError:
        # An integer that no float holds.
        span = math.inf if cast("int", wait) > 0 else math.nan
    except (TypeError, ValueError):
        return None
    return min(span, MAX_WAIT) if span >= 0 else None


def _seconds_of_text(text: str) -> float:
    if re.fullmatch(r"\s*[0-9]{1,20}(\.[0-9]*)?\s*", text):
        return float(text)
    date = email.utils.parsedate_to_datetime(text)
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - time.time())
