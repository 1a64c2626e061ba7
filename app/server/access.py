"""Who may speak to the server: an allow-list of hosts and origins, a token, and limits on what is sent.

A page of another site can reach a server on this machine through the person's own browser (DNS rebinding, cross-origin
requests). Such a request carries a foreign Host or Origin, and is refused before any route sees it. A request without
an Origin passes: command-line clients send none.
"""

import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pf_core.errors import InputError

MAX_FILES = 2_000  # uploaded in a session, within a day
MAX_BYTES = 2 * 2**30
OF_ADDRESS, OF_SERVER = 4, 16  # times as much from one address, which several may share, and from all together
_HOUR, _DAY = 3600, 24  # seconds, hours: uploads are forgotten as what was uploaded is deleted
_COUNTED = 10_000  # sessions and addresses whose uploads are counted; the longest unseen are forgotten first
MOST_SENT = 4 * 2**20  # bytes of a request that is no upload: the page's own have 1 kB or so
_PART = b"\r\ncontent-disposition:"
_READING = ("GET", "HEAD", "OPTIONS")
_UNUSED = "process_recording", "component_server"  # Gradio's, of components that the page lacks: they take files
_TOKEN, _SESSION = "pf-token", "pf-session"
_OPEN = ("/gradio_api/startup-events",)  # Gradio calls it once at launch, without a token; it only starts the queue


def loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(address: str) -> str | None:
    """The host, in lower case and without brackets, of a Host header or an origin; None for what is neither."""
    try:
        found = urlsplit(address if "://" in address else f"//{address}")
        found.port  # noqa: B018 (raises ValueError for what is no port)
    except ValueError:
        return None
    return found.hostname


@dataclass(frozen=True)
class Rules:
    """hosts: names and addresses, beside loopback ones and the address that a request came in on, that requests may
    name as Host or Origin; frames: sites that may show the page in a frame; token: what a request must bring once, in
    the address or a cookie, or None."""

    hosts: frozenset[str] = frozenset()
    frames: tuple[str, ...] = ()
    token: str | None = None

    @classmethod
    def of(cls, hosts: Iterable[str] = (), frames: Iterable[str] = (), token: str | None = None) -> "Rules":
        """From what a person wrote. Raises InputError for what is no host or no site."""
        named = []
        for host in hosts:
            name = host_of(host)
            if not name or set(host) & set("*, ;"):
                raise InputError(f"--allow-host wants a name or address such as pf.example.org, not {host!r:.80}.")
            named.append(name)
        for site in frames:
            if not host_of(site) or set(site) & set("*, ;'\"\r\n"):
                raise InputError(f"--allow-frame wants a site such as https://notes.example.org, not {site!r:.80}.")
        return cls(frozenset(named), tuple(frames), token)

    def refusal(self, headers: Headers, here: str | None) -> str | None:
        """Why a request is refused, as a sentence; None if it may pass. `here`: the address that it came in on."""
        asked = host_of(headers.get("host", ""))
        if not self._known(asked, here):
            return (
                f"This server does not answer to the name {asked!r:.80}: start it with --allow-host NAME if it should."
            )
        origin = headers.get("origin")
        if origin is not None and not self._known(host_of(origin), here):
            return f"Requests from pages of {origin!r:.80} are refused: start the server with --allow-host if they may."
        return None

    def _known(self, host: str | None, here: str | None) -> bool:
        return bool(host) and (loopback(host) or host in self.hosts or host == here)


class _Uploads:
    """Files and bytes, by the hour in which they came."""

    def __init__(self):
        self._hours: dict[int, tuple[int, int]] = {}

    def add(self, files: int, size: int) -> tuple[int, int]:
        """Those of the last day, with these."""
        now = int(time.monotonic() // _HOUR)
        self._hours = {hour: came for hour, came in self._hours.items() if hour > now - _DAY}
        before = self._hours.get(now, (0, 0))
        self._hours[now] = before[0] + files, before[1] + size
        return sum(came[0] for came in self._hours.values()), sum(came[1] for came in self._hours.values())


@dataclass
class UploadCounter:
    """What each session, each address and all together have uploaded within a day."""

    max_files: int = MAX_FILES
    max_bytes: int = MAX_BYTES
    _counted: OrderedDict[tuple[str, ...], _Uploads] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, session: str | None, address: str, files: int, size: int) -> bool:
        """Count; False where that is more than one may upload. A session is a cookie, which a client can make up; what
        one bound refuses the next ones do not count."""
        bounds = {("session", session): 1, ("address", address): OF_ADDRESS, ("server",): OF_SERVER}
        if session is None:
            del bounds["session", session]
        with self._lock:
            return all(self._within(key, times, files, size) for key, times in bounds.items())

    def _within(self, key: tuple[str, ...], times: int, files: int, size: int) -> bool:
        total = self._counted.setdefault(key, _Uploads())
        self._counted.move_to_end(key)
        while len(self._counted) > _COUNTED:
            self._counted.popitem(last=False)
        files, size = total.add(files, size)
        return files <= times * self.max_files and size <= times * self.max_bytes

    @property
    def sentence(self) -> str:
        most = f"{self.max_files:,} files or {self.max_bytes / 2**30:g} GB"
        return f"At most {most} are taken from one visitor in a day: for more use `python -m pf_core data`."


class Access:
    """ASGI middleware that applies Rules and the upload limits, and sets the safety headers of every answer."""

    def __init__(self, app: ASGIApp, rules: Rules, uploads: UploadCounter | None = None):
        self.app, self.rules, self.uploads = app, rules, uploads or UploadCounter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers, here = Headers(scope=scope), (scope.get("server") or (None,))[0]
        if (reason := self.rules.refusal(headers, here)) is not None:
            await _refuse(scope, receive, send, JSONResponse({"error": reason}, 403))
            return
        cookies = cookie_parser(headers.get("cookie", ""))  # lenient: other programs of this host leave theirs here too
        if (answer := self._without_token(scope, cookies)) is not None:
            await _refuse(scope, receive, send, answer)
            return
        session = cookies.get(_SESSION, "")[:64] or None
        send = self._with_headers(send, None if session else secrets.token_urlsafe(16))
        if scope["type"] != "http" or scope["method"] in _READING:
            await self.app(scope, receive, send)
        elif (route := scope["path"].rstrip("/").rpartition("/")[2]) in _UNUSED:
            await PlainTextResponse("Nothing is taken here.", 404)(scope, receive, send)
        elif route == "upload":
            await self._upload(scope, receive, send, session)
        else:
            await self._request(scope, receive, send)

    def _without_token(self, scope: Scope, cookies: dict[str, str]) -> Response | None:
        """None for a request that brings the token, or needs none; an address that holds it is answered by a cookie."""
        token = self.rules.token
        if token is None or any(scope["path"].endswith(path) for path in _OPEN):
            return None
        if hmac.compare_digest(cookies.get(_TOKEN, "").encode(), token.encode()):
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if not hmac.compare_digest(query.pop("token", [""])[0].encode(), token.encode()):
            return PlainTextResponse("Open the address, with its token, that the server printed when it started.", 401)
        # the rest of the address is kept, the token leaves it; relative, so that a proxy's sub-path stays
        answer = RedirectResponse("?" + urlencode(query, doseq=True), 303)
        answer.set_cookie(_TOKEN, token, httponly=True, samesite="lax", path=scope.get("root_path") or "/")
        return answer

    def _with_headers(self, send: Send, new_session: str | None) -> Send:
        frames = " ".join(("'self'", *self.rules.frames))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = f"frame-ancestors {frames}"
                headers["x-content-type-options"] = "nosniff"
                if new_session and headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", f"{_SESSION}={new_session}; Path=/; HttpOnly; SameSite=Lax")
            await send(message)

        return sending

    async def _upload(self, scope: Scope, receive: Receive, send: Send, session: str | None) -> None:
        tail, client = b"\r\n", (scope.get("client") or ("",))[0]

        def within(body: bytes) -> bool:
            nonlocal tail
            window = tail + body.lower()  # as a header's name is read
            tail = window[-(len(_PART) - 1) :]
            return self.uploads.add(session, client, window.count(_PART), len(body))

        await self._bounded(scope, receive, send, within, self.uploads.max_bytes, self.uploads.sentence)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        def within(body: bytes) -> bool:
            nonlocal read
            read += len(body)
            return read <= MOST_SENT

        sentence = f"A request that uploads no files has at most {MOST_SENT / 2**20:g} MB."
        await self._bounded(scope, receive, send, within, MOST_SENT, sentence)

    async def _bounded(
        self, scope: Scope, receive: Receive, send: Send, within: Callable[[bytes], bool], most: int, sentence: str
    ) -> None:
        """Pass a body on while `within` takes its pieces; what is beyond, or says that it is longer than `most` bytes,
        ends it with a sentence."""
        refused, started = False, False
        told = Headers(scope=scope).get("content-length", "")
        if told.isdigit() and int(told) > most:  # not worth reading
            await PlainTextResponse(sentence, 413)(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal refused
            message = await receive()
            if message["type"] == "http.request" and not within(message.get("body", b"")):
                refused = True
                return {"type": "http.disconnect"}  # the route stops reading and drops what it has
            return message

        async def held(message: Message) -> None:
            nonlocal started
            if not refused:
                started = True
                await send(message)

        try:
            await self.app(scope, counted, held)
        except Exception:
            if not refused:
                raise
        if refused and not started:
            await PlainTextResponse(sentence, 413)(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await answer(scope, receive, send)


def user_of(text: str) -> tuple[str, str]:
    """(user, password) of USER:FILE; the password is the file's first line. Raises InputError."""
    user, _, file = text.partition(":")
    if not user or not file:
        raise InputError("--auth wants USER:FILE, where FILE's first line is the password.")
    try:
        with open(file, encoding="utf-8") as f:
            password = f.readline(1024).rstrip("\r\n")
    except (OSError, ValueError) as e:
        raise InputError(f"The password file {file} cannot be read ({getattr(e, 'strerror', None) or e}).") from None
    if not password:
        raise InputError(f"The first line of {file} is empty: it must be the password.")
    return user, password
