"""python -m app --host 127.0.0.1 --port 7860"""

import argparse
import contextlib
import ctypes
import ipaddress
import os
import secrets
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no request leaves the machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Threads that wait sleep instead of spinning: on a crowded machine two spinning threads mostly wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for _name in ("http_proxy", "https_proxy", "all_proxy"):  # the server asks nobody but itself, and that without a proxy
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)


M_ARENA_MAX = -8  # of glibc's mallopt


class Parser(argparse.ArgumentParser):
    """A wrong flag is one sentence, as on the command line; that one's parser would load torch first."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m app", description="Patch Forcing in a browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 or :: for all")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which a proxy serves this page",
    )
    parser.add_argument(
        "--allow-frame", action="append", default=[], metavar="SITE", help="a site that may show the page in a frame"
    )
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="of a proxy, or its network, that says whose requests it brings; one on this machine always may",
    )
    parser.add_argument("--auth", metavar="USER:FILE", help="ask for this user and the password in FILE's first line")
    parser.add_argument("--no-auth", action="store_true", help="allow everyone who can reach --host")
    parser.add_argument(
        "--networks-from",
        action="append",
        default=[],
        metavar="FOLDER",
        help="where files may lie that a visitor adds as networks by their path; default: the checkpoints and the runs",
    )
    parser.add_argument(
        "--autoencoder", metavar="FOLDER", help="for networks on latents whose file names none that is here"
    )
    parser.add_argument(
        "--batch-runs", action="store_true",
        help="draw waiting runs of several visitors in one forward where only seeds, classes and prompts differ",
    )  # fmt: skip
    parser.add_argument(
        "--device", default="auto", help="where networks draw: cpu, cuda, cuda:1; auto: a GPU where there is one"
    )
    asked = parser.parse_args(arguments)
    reason = unusable(asked.host, asked.port) or unwritable()
    if reason is None:
        reason = serve(asked)
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    return 0


def unwritable() -> str | None:
    """Why Gradio's temporary folder cannot be used, as a sentence; None if it can."""
    folder = os.environ.get("GRADIO_TEMP_DIR")
    try:
        folder = folder or os.path.join(tempfile.gettempdir(), "gradio")
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as e:
        where = folder or "The system's temporary folder"
        return f"{where} cannot be written ({e.strerror or e}): name another folder with GRADIO_TEMP_DIR."


def unusable(host: str, port: int) -> str | None:
    """Why this address cannot be listened on, as a sentence; None if it can."""
    if not 1 <= port <= 65535:
        return f"There is no port {port}: choose one from 1 to 65535."
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return f"There is no host {host!r} on this machine."
    except OSError as e:
        return f"Port {port} on {host} cannot be used ({e.strerror}): choose another with --port."
    return None


def address(host: str, port: int) -> str:
    """What to open in a browser; an IPv6 address stands in brackets."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def serve(asked: argparse.Namespace) -> str | None:
    """Serve until stopped; returns early, with a sentence, where something that was asked for cannot be."""
    from pf_core.errors import InputError

    try:
        options, token = access(asked)
        believe(asked.proxy)
        for folder in asked.networks_from:
            if not os.path.isdir(folder):
                raise InputError(f"--networks-from wants a folder, and {folder} is none.")
        if asked.autoencoder:
            from pf_core.models import autoencoder

            autoencoder.use(asked.autoencoder)
        from pf_core.devices import working  # loads torch: after what can be said without it

        device = working(asked.device)
    except InputError as e:
        return str(e)
    import torch

    from app.state import AppState
    from app.ui import launch
    from pf_core.data.own import paths
    from pf_core.models import autoencoder
    from pf_core.training.process import cpu_threads

    os.environ[paths.SERVED] = "1"
    autoencoder.decode_on(device)
    torch.set_num_threads(cpu_threads(most=4))
    give_memory_back()
    roots = [Path(folder) for folder in asked.networks_from] or None
    state = AppState(roots=roots, batches=asked.batch_runs, device=device)
    demo, _, _ = launch(state, server_name=bracketed(asked.host), server_port=asked.port, **options)
    where = address(asked.host, asked.port) + (f"/?token={token}" if token else "")
    print(f"Patch Forcing is at {where}  (Ctrl+C stops it)", flush=True)
    if name := state.first_network():
        threading.Thread(target=state.warm_up, args=(name,), daemon=True).start()
    demo.block_thread()
    return None


def give_memory_back() -> None:
    """Let glibc keep two pools of freed memory instead of eight a core: a server with many threads would hold on to
    hundreds of megabytes. Elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def access(asked: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    """(options of `launch`, the token that the printed address carries or None). A host that others can reach has a
    password or a token unless --no-auth says otherwise. Raises InputError."""
    from app.server.access import Rules, loopback, user_of

    user = user_of(asked.auth) if asked.auth else None
    token = None if user or asked.no_auth or loopback(asked.host) else secrets.token_urlsafe(24)
    rules = Rules.of([*asked.allow_host, bracketed(asked.host)], asked.allow_frame, token)
    return {"rules": rules} | ({"auth": [user]} if user else {}), token


def believe(proxies: list[str]) -> None:
    """Take these proxies' word (X-Forwarded-For) on whose request they bring: what one visitor may upload is counted by
    it. The server reads them from the environment. Raises InputError for what is no address."""
    from pf_core.errors import InputError

    known = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
    everybody = known == "*"
    for proxy in proxies:
        try:
            known += f",{ipaddress.ip_network(proxy) if '/' in proxy else ipaddress.ip_address(proxy.strip('[]'))}"
        except ValueError:
            raise InputError(f"--proxy wants an address or network such as 10.0.0.0/8, not {proxy!r:.80}.") from None
    os.environ["FORWARDED_ALLOW_IPS"] = "*" if everybody else known


if __name__ == "__main__":
    raise SystemExit(main())
