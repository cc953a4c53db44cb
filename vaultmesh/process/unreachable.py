"""Says why Temporal can't be reached, and how to mend it.

The SDK gives its reasons as text alone, so they are known by words in it. A test brings about each of them with real
servers, so that a new version of the SDK that words them otherwise is noticed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST_REASON = 200
_INNERMOST = re.compile(r'(?:message|error): "([^"]+)"')
"""What the SDK's Rust side says at the bottom of a chain of errors."""
_OFFERED = "start it, or set TEMPORAL_ADDRESS"


@dataclass(frozen=True, slots=True)
class _Cause:
    words: re.Pattern[str]
    reason: str
    mend: str


_CAUSES: Sequence[_Cause] = (
    _Cause(
        re.compile(r"InvalidContentType|WRONG_VERSION_NUMBER"),
        "what listens there speaks no TLS",
        "unset TEMPORAL_TLS and TEMPORAL_API_KEY, which switches TLS on as well, or name a port with TLS",
    ),
    _Cause(
        re.compile(r"CertificateRequired|CERTIFICATE_REQUIRED|certificate required"),
        "it wants a certificate of ours",
        "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
    _Cause(
        re.compile(r"InvalidCertificate|UnknownIssuer|NotValidForName"),
        "its certificate is not trusted",
        "name its authority with TEMPORAL_TLS_SERVER_CA_CERT_PATH, and with TEMPORAL_TLS_SERVER_NAME the name in the "
        "certificate if it is another",
    ),
    _Cause(
        re.compile(r"grpc-status header missing|HTTP status code"),
        "a proxy answered in its place",
        "have the proxy pass gRPC on (HTTP/2), or name Temporal's frontend itself with TEMPORAL_ADDRESS",
    ),
    _Cause(
        re.compile(r"http2 error|h2 protocol error|FRAME_SIZE_ERROR"),
        "what listens there does not speak gRPC: a proxy, Temporal's Web UI, or a server that wants TLS",
        "name the port of Temporal's frontend, have a proxy pass HTTP/2, or set TEMPORAL_TLS=true",
    ),
    _Cause(
        re.compile(r"Unauthenticated|PermissionDenied|[Uu]nauthorized"),
        "it does not let us in",
        "set TEMPORAL_API_KEY, or the client certificate, of somebody who may use this Temporal namespace",
    ),
    _Cause(
        re.compile(
            r"ConnectionReset|BrokenPipe|UnexpectedEof|transport error|operation was canceled"
        ),
        # Also where the alert that wants our certificate comes after the end of what was to be sent.
        "the connection was closed at once: a server that wants TLS or our certificate does that, or a proxy",
        "set TEMPORAL_TLS=true, for a certificate set TEMPORAL_TLS_CLIENT_CERT_PATH and "
        "TEMPORAL_TLS_CLIENT_KEY_PATH, or name Temporal's frontend itself with TEMPORAL_ADDRESS",
    ),
)
"""The first one whose words are there counts."""


def in_words(error: BaseException, seconds: float) -> str:
    """Return why nothing answered, and how to mend it; `seconds` is how long was waited."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s - {_OFFERED}"
    text = str(error)
    if "Connection refused" not in text and "ConnectionRefused" not in text:
        for cause in _CAUSES:
            if cause.words.search(text):
                return f"{cause.reason} - {cause.mend}"
    reasons = _INNERMOST.findall(text)
    reason = str(reasons[-1]) if reasons else first_line(error)
    return f"{reason} - {_OFFERED}"


def first_line(error: BaseException) -> str:
    """Return what was complained about; further lines may quote a profile's file, and with it a key."""
    return str(error).split("\n", 1)[0][:_LONGEST_REASON]
