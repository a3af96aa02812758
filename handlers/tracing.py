"""Traces that begin elsewhere: what a request's `traceparent` names is the parent of the spans that it causes."""

from typing import Any

from opentelemetry.context import Context, attach
from opentelemetry.propagate import extract
from tornado.httputil import HTTPServerRequest
from tornado.web import Application


class TracedApplication(Application):
    """Each request is answered in the context that it names, and in none if it names none."""

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Called by Tornado in the connection's task, before the handler gets one of its own."""
        attach(extract(request.headers, Context()))
        return super().find_handler(request, **kwargs)
