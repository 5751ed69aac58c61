"""The ASGI app of shared.web, mounted. The embedded host serves the same app without this adapter."""

from functools import cache

import azure.functions as func

from functions import host

bp = func.Blueprint()


@cache
def mounted() -> func.AsgiMiddleware:
    """One app a process."""
    from shared import web

    return func.AsgiMiddleware(web.app(host.service))


@bp.function_name("approve")
@bp.route(route="approve/{*rest}", methods=["GET", "HEAD", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def approve(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The signed link is the key: whoever is asked reads it on a phone and has no other."""
    answer: func.HttpResponse = await mounted().handle_async(req, context)
    return answer


@bp.function_name("acknowledge")
@bp.route(route="acknowledge/{*rest}", methods=["GET", "HEAD", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def acknowledge(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The same: whoever was told may say that they see to it, and mute the rest."""
    answer: func.HttpResponse = await mounted().handle_async(req, context)
    return answer


@bp.function_name("static")
@bp.route(route="static/{name}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def static(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """What these pages look like."""
    answer: func.HttpResponse = await mounted().handle_async(req, context)
    return answer


@bp.function_name("web")
@bp.route(route="{*route}", methods=["GET", "HEAD", "POST", "DELETE"])
async def web_app(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    answer: func.HttpResponse = await mounted().handle_async(req, context)
    return answer
