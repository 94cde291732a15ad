"""Start a server: check its options, listen, and print its address.

aiohttp is imported only when a server starts, so that the command line can list the options.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from latentloom.engine.errors import LatentloomError
from latentloom.engine.node.image_service import PreviewMethod

if TYPE_CHECKING:
    import ssl

    from latentloom.engine.node.registry import Registry

    from .site import Options

MIN_TOKEN_LENGTH = 16


class ServeError(LatentloomError):
    """A server cannot start with these options."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server to a parser."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; others need a token")
    add("--port", type=int, default=8188, help="default: 8188")
    add(
        "--data",
        default=".",
        metavar="DIR",
        help="folder for input, output, temp, user and the queue",
    )
    add(
        "--token",
        default="",
        help="required from every client; other users of this machine can see it",
    )
    add("--token-file", default="", metavar="FILE", help="file with the token")
    add("--allow-host", action="append", default=[], metavar="NAME", help="accept this host name")
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow pages of this origin (CORS)",
    )
    add("--tls-cert", default="", metavar="FILE", help="certificate chain (PEM): serve HTTPS")
    add(
        "--tls-key",
        default="",
        metavar="FILE",
        help="its key (PEM), if it is not in the file of the certificate",
    )
    add(
        "--preview-method",
        choices=["none", *get_args(PreviewMethod)],
        default="auto",
        help="previews while sampling; auto: TAESD if it is installed and there is a GPU, "
        "else latent2rgb",
    )
    add("--no-metadata", action="store_true", help="save images without their graphs")


def read_options(given: argparse.Namespace) -> Options:
    """Return the parsed options.

    Raises:
        ServeError: an option is wrong, or the server would be open to others without a token.
    """
    from .guard import is_loopback
    from .site import Options

    token = _token(given)
    if not is_loopback(given.host) and not token:
        raise ServeError(
            f"--host {given.host} is reachable from other machines; set a token with "
            "--token-file FILE (or --token), or listen on 127.0.0.1"
        )
    if token and "*" in given.allow_origin:
        raise ServeError("--allow-origin * cannot be combined with a token; name the origins")
    if not 0 <= given.port <= 65_535:
        raise ServeError(f"--port: expected 0 to 65535, got {given.port}")
    return Options(
        data=Path(given.data).expanduser().absolute(),
        host=given.host,
        port=given.port,
        token=token,
        hosts=tuple(name.lower() for name in given.allow_host),
        origins=tuple(given.allow_origin),
        previews=None if given.preview_method == "none" else given.preview_method,
        tls=_tls(given),
        embeds_graph=not given.no_metadata,
    )


def serve(given: argparse.Namespace, make_registry: Callable[[], Registry]) -> int:
    """Run a server until it is stopped and return the exit code.

    Raises:
        ServeError: the options are wrong, or the port is in use.
        QueueError: another server uses the data folder.
    """
    import asyncio

    options = read_options(given)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(options, make_registry()))
    except KeyboardInterrupt:
        return 130
    return 0


async def _run(options: Options, registry: Registry) -> None:
    from aiohttp import web

    from .app import GUARD, make_app
    from .listening import listen
    from .site import Site
    from .worker import GRACE_S

    site = Site(options, registry)
    app = make_app(site)
    # aiohttp waits twice: for handlers to end, then for their connections.
    runner = web.AppRunner(app, shutdown_timeout=GRACE_S / 2, handler_cancellation=False)
    await runner.setup()
    listener = None
    try:
        assert runner.server is not None
        try:
            listener = await listen(runner.server, options.host, options.port, options.tls)
        except OSError as error:
            address = f"{options.host}:{options.port}"
            reason = os.strerror(error.errno) if error.errno else str(error)
            hint = "; choose another --port, or 0 for any free one" if options.port else ""
            raise ServeError(f"cannot listen on {address}: {reason}{hint}") from error
        port = listener.sockets[0].getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        scheme = "https" if options.tls else "http"
        guard = app[GUARD]

        def greet(path: str) -> None:
            sys.stdout.write(f"{scheme}://{host}:{port}{path}\n")
            sys.stdout.flush()

        guard.on_new_invitation = greet
        greet(guard.invitation_path)
        await _until_stopped()
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()
        # The job is in the queue again; waiting for threads could take hours.
        if site.stuck or site.pools.is_busy:
            what = "a running node does not react to cancel" if site.stuck else "a request runs"
            logging.warning("%s; exiting without it", what)
            sys.stdout.flush()
            os._exit(0)


async def _until_stopped() -> None:
    """Wait for the first signal to stop; the second one exits at once."""
    import asyncio
    import contextlib
    import signal

    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()
        logging.info("stopping; send the signal again to stop at once")

    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGINT"):
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), on_signal)
    await stop.wait()


def _token(given: argparse.Namespace) -> str:
    token = str(given.token).strip()
    if given.token_file:
        try:
            token = Path(given.token_file).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ServeError(f"--token-file {given.token_file} cannot be read: {reason}") from error
        if not token:
            raise ServeError(f"--token-file {given.token_file} is empty")
    if (token or given.token) and len(token) < MIN_TOKEN_LENGTH:
        raise ServeError(
            f"--token: expected at least {MIN_TOKEN_LENGTH} characters, got {len(token)}"
        )
    if not token.isprintable():
        raise ServeError("--token: expected printable characters, which fit into a header")
    return token


def _tls(given: argparse.Namespace) -> ssl.SSLContext | None:
    from .listening import tls_context

    if not given.tls_cert:
        if given.tls_key:
            raise ServeError("--tls-key needs --tls-cert, the certificate of the key")
        return None
    certificate = Path(given.tls_cert).expanduser()
    key = Path(given.tls_key).expanduser() if given.tls_key else None
    try:
        return tls_context(certificate, key)
    except (OSError, ValueError) as error:
        files = f"{given.tls_cert} {given.tls_key}".strip()
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ServeError(
            f"--tls-cert, --tls-key: {files}: expected a certificate and its key without a "
            f"password, in PEM form: {reason}"
        ) from error


def main(arguments: list[str], make_registry: Callable[[], Registry]) -> int:
    """Run the server as a program and return the exit code."""
    parser = argparse.ArgumentParser(description="Serve graphs over HTTP, as ComfyUI does.")
    add_options(parser)
    try:
        return serve(parser.parse_args(arguments), make_registry)
    except (LatentloomError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
