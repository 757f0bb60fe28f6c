"""``/resource/<repository>/<type>/<tag>``: guests get, administrators set and delete."""

from __future__ import annotations

from flask import Blueprint

from kbs.protocol.messages import API_PREFIX, MAX_RESOURCE_BYTES
from kbs.protocol.resource_uri import RESOURCE_PLUGIN, ResourcePath
from kbs.services.broker import Broker
from kbs.services.release import Wanted
from kbs.web.access import Access
from kbs.web.exchange import Answer, call, json_answer, whose

PATH = "/<repository>/<type>/<tag>"


def blueprint(broker: Broker) -> Blueprint:
    """The routes of stored secrets."""
    routes = Blueprint(RESOURCE_PLUGIN, __name__, url_prefix=f"{API_PREFIX}/{RESOURCE_PLUGIN}")

    @routes.get(PATH, access=Access.GUEST)
    def get(repository: str, type: str, tag: str) -> Answer:
        asked = call()
        query = asked.query_string.decode("latin-1")
        wanted = Wanted(RESOURCE_PLUGIN, (repository, type, tag), query, asked.args.to_dict() if query else {})
        return Answer(broker.gate.release(wanted, cookie=asked.session_cookie, bearer=asked.bearer_token, at=asked.at,
                                          peer=asked.peer))

    @routes.post(PATH, access=Access.ADMIN)
    def set(repository: str, type: str, tag: str) -> Answer:
        path = ResourcePath(repository, type, tag)
        data = call().body(MAX_RESOURCE_BYTES)
        return json_answer(broker.administration.set_resource(path, data, *whose()))

    @routes.delete(PATH, access=Access.ADMIN)
    def delete(repository: str, type: str, tag: str) -> Answer:
        path = ResourcePath(repository, type, tag)
        broker.administration.delete_resource(path, *whose())
        return json_answer({})

    return routes
