"""python -m app --host 127.0.0.1 --port 7860"""

import argparse
import os
import socket
import sys
import threading
from typing import NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no request leaves the machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Threads that wait sleep instead of spinning: on a crowded machine two spinning threads mostly wait for each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Parser(argparse.ArgumentParser):
    """A wrong flag is one sentence, as on the command line; that one's parser would load torch first."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help.\n")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m app", description="Patch Forcing in a browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=7860)
    asked = parser.parse_args(arguments)
    reason = unusable(asked.host, asked.port)
    if reason:
        print(reason, file=sys.stderr)
        return 2
    serve(asked.host, asked.port)
    return 0


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


def serve(host: str, port: int) -> None:
    import torch

    from app.session import Session
    from app.ui import launch
    from pf_core.runs.process import cpu_threads

    torch.set_num_threads(cpu_threads(most=4))
    session = Session()
    demo, _, _ = launch(session, server_name=host, server_port=port)
    print(
        f"Patch Forcing is at http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}  (Ctrl+C stops it)", flush=True
    )
    for name in session.networks()[:1]:
        threading.Thread(target=session.warm_up, args=(name,), daemon=True).start()
    demo.block_thread()


if __name__ == "__main__":
    raise SystemExit(main())
