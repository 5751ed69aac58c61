"""Hangs the blueprints on the app, nothing else."""

import azure.functions as func

from functions import events, intents, rollouts, timers, web

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
for blueprint in (events.bp, intents.bp, rollouts.bp, timers.bp, web.bp):
    app.register_functions(blueprint)
