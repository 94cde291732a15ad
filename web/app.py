"""The aiohttp application of a site: its routes, its guard, and how errors are answered."""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from latentloom.engine.errors import FormatError, InputError, LatentloomError
from latentloom.engine.files.workspace import UnsafePathError

from . import (
    blueprints,
    converting,
    editor,
    files,
    info,
    jobs,
    models,
    openapi,
    planning,
    queueing,
    templates,
    userdata,
)
from .guard import Guard
from .listening import hide_software
from .pools import ClosedPoolError, Pool
from .prompts import RejectedPromptError
from .redact import without_folders
from .routes import POOLS, ROUTES, RequestError, Route, answer, storage_error
from .sending import Sender
from .site import Site

log = logging.getLogger(__name__)
# Seconds for results that wait to be written to the disk cache when the server stops.
CLOSE_S = 1.0
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
# The editor comes last: its files match every path that is left.
ROUTE_MODULES = (
    queueing,
    jobs,
    files,
    userdata,
    info,
    models,
    templates,
    blueprints,
    planning,
    converting,
    openapi,
    editor,
)


def all_routes() -> list[Route]:
    """Return every route of the server."""
    return [route for module in ROUTE_MODULES for route in module.routes]


def paths_of(route: Route) -> Iterator[str]:
    """Yield the paths of a route: bare, and under /api."""
    yield route.path
    if route.alias:
        yield f"/api{route.path}"


def make_app(site: Site) -> web.Application:
    """Return the application of a site; its clean-up closes the site."""
    guard, sender = Guard(site.options), Sender()
    app = web.Application(
        middlewares=[sender.middleware, guard.middleware, _errors],
        client_max_size=site.options.max_upload_bytes,
    )
    app[SITE], app[GUARD], app[SENDER] = site, guard, sender
    app[POOLS] = site.pools
    app[ROUTES] = tuple(all_routes())
    for route in app[ROUTES]:
        handler = _bind(route, site)
        for path in paths_of(route):
            app.router.add_route(route.method, path, handler)
            if route.method == "GET":
                app.router.add_route("HEAD", path, handler)
    app.cleanup_ctx.append(_lifetime)
    app.on_shutdown.append(_begin_stop)
    app.on_response_prepare.append(hide_software)
    return app


SITE = web.AppKey("SITE", Site)
GUARD = web.AppKey("GUARD", Guard)
SENDER = web.AppKey("SENDER", Sender)


def _bind(route: Route, site: Site) -> Any:
    """Return the route's handler as aiohttp calls it, with the kind of body it reads."""

    @functools.wraps(route.handler)
    async def handler(request: web.Request) -> web.StreamResponse:
        return await route.handler(site, request)

    handler.body = route.body  # type: ignore[attr-defined]
    return handler


@web.middleware
async def _errors(request: web.Request, handler: Next) -> web.StreamResponse:
    """Answer errors of a handler. Unexpected ones are logged and answered without details."""
    try:
        return await handler(request)
    except RequestError as error:
        return answer(error.body, error.status)
    except RejectedPromptError as error:
        return answer(error.body, 400)
    except (FormatError, InputError, UnsafePathError) as error:
        return answer({"error": without_folders(str(error))}, 400)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return answer({"error": error.reason}, error.status)
    except LatentloomError as error:
        return answer({"error": without_folders(str(error))}, 409)
    except ClosedPoolError as error:
        return answer({"error": str(error)}, 503)
    except sqlite3.Error as error:
        log.error("the queue cannot be used: %s", error)
        return answer({"error": f"the queue cannot be used: {error}"}, 503)
    except ConnectionError:
        raise
    except OSError as error:
        log.error("%s %s: %s", request.method, request.path, error)
        failure = storage_error(error, "a file cannot be used")
        return answer(failure.body, failure.status)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return answer({"error": "internal error; see the server's log"}, 500)


async def _begin_stop(app: web.Application) -> None:
    """Begin to stop everything at once, before open connections are waited for."""
    site = app[SITE]
    site.worker.begin_stop()
    site.pools.close()
    await site.hub.close()


async def _lifetime(app: web.Application) -> AsyncIterator[None]:
    """Start the worker with the event loop, and shut it down in order."""
    site = app[SITE]
    loop = asyncio.get_running_loop()
    loop.set_default_executor(site.pools.files)
    site.hub.attach(loop)
    logger = logging.getLogger()
    logger.addHandler(site.logs)
    site.logs.on_line = lambda client, data: site.hub.send(client, "logs", data)
    site.worker.start()
    yield
    # A thread of its own: those of the pools may be busy for a while.
    closing = Pool("closing", 1)
    try:
        async with asyncio.timeout(site.worker.grace_s() + CLOSE_S):
            await closing.run(site.close)
    except TimeoutError:
        site.stuck = True
    closing.shutdown(wait=False)
    logger.removeHandler(site.logs)
