"""``/resource/<repository>/<type>/<tag>``: guests get, administrators set and delete."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from kbs.protocol.messages import API_PREFIX, MAX_RESOURCE_BYTES, SESSION_COOKIE
from kbs.protocol.resource_uri import RESOURCE_PLUGIN, ResourcePath
from kbs.services.broker import Broker
from kbs.services.release import Wanted
from kbs.web.access import Access, bearer_token, peer
from kbs.web.reading import body, json_answer

PATH = "/<repository>/<type>/<tag>"


def blueprint(broker: Broker) -> Blueprint:
    """The routes of stored secrets."""
    routes = Blueprint(RESOURCE_PLUGIN, __name__, url_prefix=f"{API_PREFIX}/{RESOURCE_PLUGIN}")

    @routes.get(PATH, access=Access.GUEST)
    def get(repository: str, type: str, tag: str) -> Response:
        wanted = Wanted(RESOURCE_PLUGIN, (repository, type, tag), request.query_string.decode("latin-1"),
                        request.args.to_dict())
        sealed = broker.gate.release(wanted, cookie=request.cookies.get(SESSION_COOKIE), bearer=bearer_token(),
                                     at=g.at, peer=peer())
        return Response(sealed, content_type="application/json")

    @routes.post(PATH, access=Access.ADMIN)
    def set(repository: str, type: str, tag: str) -> Response:
        path = ResourcePath(repository, type, tag)
        stored = broker.administration.set_resource(path, body(MAX_RESOURCE_BYTES), g.administrator, g.at)
        return json_answer(stored)

    @routes.delete(PATH, access=Access.ADMIN)
    def delete(repository: str, type: str, tag: str) -> Response:
        broker.administration.delete_resource(ResourcePath(repository, type, tag), g.administrator, g.at)
        return json_answer({})

    return routes
