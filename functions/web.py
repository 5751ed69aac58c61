"""The ASGI app of shared.web, mounted. The embedded host serves the same app without this adapter."""

import azure.functions as func

from functions import host

bp = func.Blueprint()


@bp.function_name("web")
@bp.route(route="{*route}", methods=["GET", "HEAD", "POST", "DELETE"])
async def web_app(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    from shared import web

    service = host.service()
    answer: func.HttpResponse = await func.AsgiMiddleware(web.app(lambda: service)).handle_async(req, context)
    return answer
