"""Who may speak to the server: hosts, origins, tokens, uploads, and the ways in which it is started."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from uvicorn import Config

from app.__main__ import address, believe, main, unwritable
from app.server.access import (
    MOST_SENT,
    OF_ADDRESS,
    OF_SERVER,
    Access,
    Rules,
    UploadCounter,
    host_of,
    loopback,
    user_of,
)
from pf_core.errors import InputError


async def upload(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def client(rules=None, base="http://127.0.0.1:7860", uploads=None):
    routes = [
        Route("/", lambda request: HTMLResponse("page")),
        Route("/gradio_api/{name:path}", upload, methods=["POST"]),
        Route("/gradio_api/startup-events", lambda request: PlainTextResponse("true")),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Access, rules=rules or Rules(), uploads=uploads)])
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:80", "127.0.0.9"])
def test_this_machine_by_any_of_its_names_and_an_ssh_tunnel_pass(host):
    assert client().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", "10.0.0.1", "", "[::1", "a:b:c"])
def test_a_page_that_reaches_the_server_by_dns_rebinding_is_refused(host):
    answer = client().get("/", headers={"host": host})
    assert answer.status_code == 403 and "--allow-host" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil.example", "https://[", ""])
def test_a_page_of_another_site_starts_nothing(origin):
    assert client().post("/gradio_api/upload", headers={"origin": origin}, content=b"x").status_code == 403
    assert client().get("/", headers={"origin": origin}).status_code == 403


def test_pages_of_this_machine_and_command_line_clients_pass():
    assert client().get("/", headers={"origin": "http://localhost:3000"}).status_code == 200
    assert client().get("/", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200
    assert client().post("/gradio_api/upload", content=b"x").status_code == 200


def test_a_proxy_is_let_in_by_name_and_may_frame_the_page():
    rules = Rules.of(["pf.example.org"], ["https://notes.example.org"])
    headers = {"host": "pf.example.org", "origin": "https://pf.example.org"}
    answer = client(rules).get("/", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self' https://notes.example.org"
    assert client(rules).get("/", headers={"host": "other.example.org"}).status_code == 403


def test_the_address_that_the_request_came_in_on_is_known():
    lan = client(base="http://192.168.1.5:7860")  # the test client's scope names it as the server
    assert lan.get("/").status_code == 200
    assert lan.get("/", headers={"host": "192.168.1.6:7860"}).status_code == 403


def test_every_answer_forbids_foreign_frames_and_guessed_types():
    headers = client().get("/").headers
    assert headers["content-security-policy"] == "frame-ancestors 'self'"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_token_opens_the_door_once_and_leaves_the_address():
    visitor = client(Rules(token="secret"))
    assert visitor.get("/").status_code == 401
    assert visitor.get("/?token=wrong").status_code == 401
    assert visitor.get("/gradio_api/startup-events").status_code == 200
    assert visitor.post("/gradio_api/upload", content=b"x").status_code == 401
    answer = visitor.get("/?tab=toy&token=secret")
    assert answer.status_code == 303 and answer.headers["location"] == "?tab=toy"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert visitor.get("/?tab=toy").status_code == 200  # by the cookie
    for others in ("a@b=1", 'theme={"a": 1}; opts[x]=1; name=two words', "(x)"):  # of this host's other programs
        assert client(Rules(token="secret")).get("/", headers={"cookie": others}).status_code == 401
        both = {"cookie": f"{others}; pf-token=secret"}
        assert client(Rules(token="secret")).get("/", headers=both).status_code == 200


@pytest.mark.parametrize("limits", [{"max_files": 2}, {"max_bytes": 900}])
def test_one_visitor_uploads_only_so_much_and_is_told(limits):
    uploads = UploadCounter(**limits)
    visitor = client(uploads=uploads)
    visitor.get("/")  # the page gives its visitor a cookie
    assert "pf-session" in visitor.cookies
    codes = [visitor.post("/gradio_api/upload", files={"files": b"x" * 200}).status_code for _ in range(4)]
    assert codes[:2] == [200, 200] and codes[-1] == 413
    answer = visitor.post("/gradio_api/upload", files={"files": b"x"})
    assert answer.status_code == 413 and answer.text == uploads.sentence
    other = client(uploads=uploads)
    other.get("/")
    assert other.post("/gradio_api/upload", files={"files": b"x"}).status_code == 200


def test_made_up_cookies_do_not_lift_the_limit_nor_do_refused_uploads_count_for_others():
    uploads = UploadCounter(max_files=2)
    codes = []
    for k in range(3 * OF_ADDRESS):
        headers = {"cookie": f"pf-session={k}"}
        codes.append(client(uploads=uploads).post("/gradio_api/upload", headers=headers, files={"files": b"x"}))
    assert [answer.status_code for answer in codes] == [200] * (2 * OF_ADDRESS) + [413] * OF_ADDRESS
    assert uploads.add(None, "another address", 2, 0) and not uploads.add(None, "a third", 2 * OF_SERVER, 0)


def test_uploads_are_forgotten_after_a_day(monkeypatch):
    uploads, hours = UploadCounter(max_files=2), 1000.0
    monkeypatch.setattr("time.monotonic", lambda: hours * 3600)
    assert uploads.add("a", "x", 1, 0)
    hours += 12
    assert uploads.add("a", "x", 1, 0)
    hours += 11.9
    assert not uploads.add("a", "x", 1, 0)
    hours += 0.2  # the first one is forgotten, the other two are not
    assert uploads.add("a", "x", 0, 0) and not uploads.add("a", "x", 1, 0)
    hours += 24
    assert uploads.add("a", "x", 2, 0)


def test_visitors_behind_a_proxy_that_is_named_are_told_apart(monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    believe(["10.0.0.0/8", "[fd00::1]"])
    uploads = UploadCounter(max_files=1)

    def posted(proxy: str, visitor: str) -> int:
        app = Config(client(uploads=uploads).app, log_config=None)
        app.load()
        sent = TestClient(app.loaded_app, base_url="http://127.0.0.1:7860", client=(proxy, 1))
        headers = {"x-forwarded-for": visitor}
        return sent.post("/gradio_api/upload", headers=headers, files=[("files", b"x")] * OF_ADDRESS).status_code

    assert [posted(proxy, "1.2.3.4") for proxy in ("10.9.9.9", "fd00::1")] == [200, 413]
    assert posted("127.0.0.1", "1.2.3.4") == 413 and posted("10.9.9.9", "1.2.3.5") == 200
    assert posted("8.8.8.8", "1.2.3.6") == 200 and posted("8.8.8.8", "1.2.3.7") == 413  # not named: not believed
    for wrong in ("proxy", "10.0.0.1/8", "*", ""):
        with pytest.raises(InputError, match="--proxy"):
            believe([wrong])


def test_files_are_counted_wherever_they_are_sent_and_however_their_headers_are_written():
    visitor = client(uploads=UploadCounter(max_files=2))
    body = b"".join(b'--b\r\ncontent-DISPOSITION:form-data; name="files"; filename="a"\r\n\r\nx\r\n' for _ in range(3))
    for kind in ("multipart/form-data; boundary=b", "Multipart/Mixed; boundary=b"):
        headers = {"content-type": kind, "cookie": f"pf-session={kind[:3]}"}
        answer = visitor.post("/gradio_api/upload", headers=headers, content=body + b"--b--\r\n")
        assert answer.status_code == 413, kind
    for path in ("gradio_api/queue/join", "login"):  # no files: nothing that anybody could use up, and short
        for most in (MOST_SENT, 2 * MOST_SENT):
            headers = {"content-type": "multipart/x", "cookie": "pf-session=other"}
            answer = visitor.post(f"/{path}", headers=headers, content=(body + b"x" * most)[:most])
            assert (answer.status_code == 413) == (most > MOST_SENT), (path, most)


@pytest.mark.parametrize("path", ["process_recording", "component_server", "component_server/"])
def test_routes_that_take_files_for_components_that_the_page_has_none_of_are_not_there(path):
    assert client().post(f"/gradio_api/{path}", files={"files": b"x"}).status_code == 404
    assert client().post(f"/gradio_api/{path}", json={}).status_code == 404


def test_a_request_that_is_no_upload_is_short():
    visitor = client()
    assert visitor.post("/gradio_api/queue/join", content=b"x" * MOST_SENT).text == str(MOST_SENT)
    told = visitor.post("/gradio_api/queue/join", content=b"x" * (MOST_SENT + 1))
    untold = visitor.post("/gradio_api/queue/join", content=iter([b"x" * MOST_SENT, b"x"]))
    assert told.status_code == untold.status_code == 413 and "at most 4 MB" in told.text == untold.text


def test_what_is_no_host_is_said():
    for wrong in ("*", "a b", "http://", "", "x:y"):
        with pytest.raises(InputError, match="--allow-host"):
            Rules.of([wrong])
    for wrong in ("*", "https://a; script-src *", ""):
        with pytest.raises(InputError, match="--allow-frame"):
            Rules.of([], [wrong])
    assert Rules.of(["https://PF.example.org:8000/x"]).hosts == {"pf.example.org"}
    assert host_of("[::1]:80") == "::1" and loopback("::1") and loopback("[::1]") and not loopback("::2")


def test_a_password_file_is_read_or_said(tmp_path):
    (tmp_path / "secret").write_text("p4ss\nnot this\n")
    assert user_of(f"ann:{tmp_path / 'secret'}") == ("ann", "p4ss")
    (tmp_path / "empty").write_text("\n")
    for wrong in ("ann", f"ann:{tmp_path / 'none'}", f":{tmp_path / 'secret'}", f"ann:{tmp_path / 'empty'}"):
        with pytest.raises(InputError):
            user_of(wrong)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "x"))
    assert "GRADIO_TEMP_DIR" in unwritable()
    assert main(["--port", "7999"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_addresses_are_ones_that_a_browser_takes():
    assert address("127.0.0.1", 1) == "http://127.0.0.1:1" == address("0.0.0.0", 1)
    assert address("::1", 2) == "http://[::1]:2" == address("::", 2)


def test_it_starts_behind_proxies_on_all_addresses_and_asks_for_its_token(free_port):
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "app", "--host", "::", "--port", str(free_port)]
    server = subprocess.Popen(words, env={**os.environ, **proxies}, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        where = re.search(r"http://\[::1\]:\d+/\?token=\S+", line)
        assert where, line
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
        with pytest.raises(urllib.error.HTTPError, match="401"):
            opener.open(where[0].split("?")[0], timeout=120)
        assert b"Patch Forcing" in opener.open(where[0], timeout=120).read()
    finally:
        server.terminate()  # a shell that runs tests in the background has them ignore SIGINT
        server.wait(60)


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
