"""The ASGI app of shared.web, mounted. The embedded host serves the same app without this adapter."""

from functools import cache
from typing import Final

import azure.functions as func

from functions import host

bp = func.Blueprint()


@cache
def mounted() -> func.AsgiMiddleware:
    """One app a process."""
    from shared import web

    return func.AsgiMiddleware(web.app(host.service))


async def answer(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """By the configuration as it is now; where it can't be read, the pages say so."""
    await host.service().refresh()
    answered: func.HttpResponse = await mounted().handle_async(req, context)
    return answered


@bp.function_name("approve")
@bp.route(route="approve/{*rest}", methods=["GET", "HEAD", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def approve(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The signed link is the key: whoever is asked reads it on a phone and has no other. (Where people sign in, they do here too.)"""
    return await answer(req, context)


@bp.function_name("acknowledge")
@bp.route(route="acknowledge/{*rest}", methods=["GET", "HEAD", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def acknowledge(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The same: whoever was told may say that they see to it, and mute the rest."""
    return await answer(req, context)


@bp.function_name("static")
@bp.route(route="static/{name}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def static(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """What these pages look like."""
    return await answer(req, context)


@bp.function_name("health")
@bp.route(route="api/health", methods=["GET", "HEAD"], auth_level=func.AuthLevel.FUNCTION)
async def health(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """For whoever watches over the service and can't sign in: by a function key in either way of signing in."""
    return await answer(req, context)


_LEVEL: Final = func.AuthLevel.FUNCTION if host.sign_in() == "key" else func.AuthLevel.ANONYMOUS
"""Where people sign in, App Service authentication is in front, and the app itself lets nobody in who has not."""


@bp.function_name("web")
@bp.route(route="{*route}", methods=["GET", "HEAD", "POST", "DELETE"], auth_level=_LEVEL)
async def web_app(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return await answer(req, context)
