"""Access control on every route and the WebSocket: Host allow-list, Origin rule, token.

A page of another site can make a browser request any address. It cannot choose the Host header, so
a DNS name that points here is rejected. It cannot hide its origin (Origin, Sec-Fetch-Site), and it
has neither the cookie nor the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from .routes import answer
from .site import Options

COOKIE = "latentloom_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
BROWSER_HEADERS = ("Origin", "Sec-Fetch-Site")
OTHER_ORIGIN = (
    "a page of another origin may not use this server; allow it with --allow-origin, "
    "or let the proxy in front pass the Host header with its port"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'self'",
}
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Return True if an address to listen on is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """The access rules of one server, and the browser sessions opened with its token."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.sessions: set[str] = set()
        self.invitation = secrets.token_urlsafe(32) if options.token else ""
        self.on_new_invitation: Callable[[str], None] = lambda _url: None

    @property
    def invitation_path(self) -> str:
        """The path that opens one browser session."""
        return f"/?invitation={self.invitation}" if self.invitation else "/"

    def reject(self, request: web.Request) -> tuple[int, str] | None:
        """Return the status and reason a request is rejected with, None if it is allowed."""
        if not self._host_is_ours(request):
            return 403, "this host name is not allowed; see --allow-host"
        if not self._origin_is_ours(request):
            return 403, OTHER_ORIGIN
        # A browser's preflight request comes before the token and changes nothing.
        if not self.options.token or request.method == "OPTIONS":
            return None
        if self._has_token(request):
            return None
        if not self._has_session(request):
            return 401, "expected the token: Authorization: Bearer <token>"
        browser = request.headers.get("Sec-Fetch-Site") or request.headers.get("Origin")
        upgrades = "upgrade" in request.headers.get("Connection", "").lower()
        if (request.method not in SAFE or upgrades) and not browser:
            return 403, "a session cookie needs an Origin header to change anything"
        return None

    def accept_invitation(self, given: str) -> str | None:
        """Return a new session for the current invitation, None for any other."""
        if not self.invitation or not _same(given, self.invitation):
            return None
        session = secrets.token_urlsafe(32)
        self.sessions.add(session)
        self.invitation = secrets.token_urlsafe(32)
        self.on_new_invitation(self.invitation_path)
        return session

    def _host_is_ours(self, request: web.Request) -> bool:
        given = request.headers.getall("Host", [])
        if len(given) != 1 or not request.raw_path.startswith("/"):
            return False
        name = _host_name(given[0])
        if name is None:
            return False
        if name in LOCAL_NAMES or name in self.options.hosts:
            return True
        if is_loopback(self.options.host):
            return is_loopback(name) and name[:1] in "1["
        # A hostile DNS name can point here; an address cannot.
        return name == self.options.host or _is_address(name)

    def _origin_is_ours(self, request: web.Request) -> bool:
        origins = request.headers.getall("Origin", [])
        if len(origins) > 1:
            return False
        if origins:
            return origins[0] in self.options.origins or _same_origin(origins[0], request)
        site = request.headers.get("Sec-Fetch-Site")
        if site in (None, "same-origin", "none"):
            return True
        opened = request.headers.get("Sec-Fetch-Mode") == "navigate"
        return opened and request.method == "GET" and request.path == "/"

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and _same(given.strip(), self.options.token)

    def _has_session(self, request: web.Request) -> bool:
        given = request.cookies.get(COOKIE, "")
        return any(_same(given, session) for session in self.sessions)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Reject a request, or answer it with headers that restrict browsers."""
        rejection = self.reject(request)
        invited = request.query.get("invitation", "") if request.path == "/" else ""
        response: web.StreamResponse
        if rejection is not None and rejection[0] == 401 and invited:
            response = self._open_session(invited)
        elif rejection is not None:
            response = answer({"error": rejection[1]}, rejection[0])
            if rejection[0] == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
        elif request.method == "OPTIONS":
            response = web.Response()
        elif _avoids_preflight(request):
            response = answer({"error": "a page must send JSON as application/json"}, 415)
        else:
            response = await handler(request)
        if not response.prepared:
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            self._allow_origin(request, response)
        return response

    def _open_session(self, invited: str) -> web.Response:
        session = self.accept_invitation(invited)
        if session is None:
            return answer({"error": "this invitation is unknown or was already used"}, 401)
        # Relative, so that it stays inside the sub-path that a proxy may serve this under.
        response = web.Response(status=303, headers={"Location": "./"})
        response.set_cookie(
            COOKIE,
            session,
            httponly=True,
            samesite="Strict",
            path="/",
            secure=self.options.tls is not None,
        )
        return response

    def _allow_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("Origin", "")
        if origin not in self.options.origins:
            return
        allowed = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, OPTIONS, PATCH",
            "Access-Control-Allow-Headers": "Content-Type, Authorization",
            "Vary": "Origin",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        response.headers.update(allowed)


def from_browser(request: web.Request) -> bool:
    """Return True if a page in a browser sent the request: programs send none of these headers.

    A browser names the origin of every POST. Node's fetch sends only `Sec-Fetch-Mode: cors`.
    """
    return any(name in request.headers for name in BROWSER_HEADERS)


def _avoids_preflight(request: web.Request) -> bool:
    """Return True if a page sends JSON under a content type that needs no preflight."""
    if getattr(request.match_info.handler, "body", "") != "json" or not from_browser(request):
        return False
    return request.can_read_body and request.content_type != "application/json"


def _host_name(value: str) -> str | None:
    """Return the name in a Host header without its port, None if the header is malformed."""
    name, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        name, port = value, ""
    if colon and port and not (port.isascii() and port.isdigit()):
        return None
    return name.lower() if name and "@" not in name and "/" not in name else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _same_origin(origin: str, request: web.Request) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    plain = parts.scheme in ("http", "https") and not parts.path and not parts.query
    return plain and parts.netloc.lower() == request.headers.get("Host", "").lower()


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(
        given.encode("utf-8", "replace"), expected.encode()
    )
