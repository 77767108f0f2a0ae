"""Serve an app by a Flask view, so that plain handlers and their steps have Flask's application context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.sdk.http import METHODS

if TYPE_CHECKING:
    import flask

    from stepwell.sdk.app import Stepwell


def serve(app: flask.Flask | flask.Blueprint, sw: Stepwell, path: str = "/api/stepwell") -> None:
    """Add a route for ``sw`` to a Flask app, or to a blueprint."""
    import flask

    wsgi = sw.wsgi()

    def stepwell() -> flask.Response:
        response = wsgi.respond(flask.request.environ, framework="flask")
        return flask.Response(response.body, response.status, response.headers)

    app.add_url_rule(path, endpoint=f"stepwell_{sw.id}".replace(".", "_"), view_func=stepwell, methods=METHODS)
