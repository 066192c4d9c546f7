# SPDX-License-Identifier: Apache-2.0
"""The ordered rules of the policy."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from pydantic import AfterValidator

from api.answers import DELETION, RuleAnswer, RulePage, beside, gone, marks, page_of
from api.bodies import PATCH_LIMIT, read_json
from api.deps import Service, etag_of
from api.params import A_NAME, DEFAULT_LIMIT, Cursor, Limit, Options
from api.routing import routes
from api.rule_schema import PATCH_BODY, RULE_BODY, RULES_BODY
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.rule_form import parse_rule, parse_rules, rule_id
from xdpfw.model.views import RulesWritten, RuleView
from xdpfw.policy.order import Place

router = routes("rules")

RuleId = Annotated[
    str, Path(description="Id of the rule", examples=["web"], json_schema_extra=A_NAME), AfterValidator(rule_id)
]


@router.get("/rules", summary="List rules", dependencies=[Depends(etag_of("rules"))])
async def list_rules(firewall: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> RulePage:
    """In order: the first enabled one that matches wins."""
    return RulePage(*page_of(await firewall.rules(), limit, cursor))


@router.put("/rules", summary="Replace all rules", openapi_extra=RULES_BODY)
async def replace_rules(request: Request, response: Response, firewall: Service, options: Options) -> RulesWritten:
    """Atomically: a packet meets the old list or the new one. Rules that keep their id keep their counters. Leaving out
    `allow` or `block` is 409 unless forced."""
    rules = parse_rules(await read_json(request, PATCH_LIMIT))
    written = await firewall.put_rules(rules, options)
    marks(response, written, created=False)
    return written


@router.get("/rules/{id}", summary="One rule", dependencies=[Depends(etag_of("rules/{id}"))])
async def get_rule(firewall: Service, id: RuleId) -> RuleView:
    return await firewall.rule(id)


@router.put("/rules/{id}", summary="Set one rule", openapi_extra=RULE_BODY)
async def put_rule(request: Request, response: Response, firewall: Service, id: RuleId, options: Options) -> RuleAnswer:
    """A new rule comes last, and one that is there stays in its place, unless the body says where."""
    document, place = _placed(await read_json(request, PATCH_LIMIT), id)
    view, written = await firewall.put_rule(parse_rule(document | {"id": id}), place, options)
    marks(response, written)
    return beside(RuleAnswer, view, written)


@router.patch("/rules/{id}", summary="Change one rule", openapi_extra=PATCH_BODY)
async def patch_rule(
    request: Request, response: Response, firewall: Service, id: RuleId, options: Options
) -> RuleAnswer:
    """Fields that are given, also within the match, where null takes one out (RFC 7396); or its place alone."""
    document, place = _placed(await read_json(request, PATCH_LIMIT), id)
    view, written = await firewall.patch_rule(id, document, place, options)
    marks(response, written)
    return beside(RuleAnswer, view, written)


@router.delete("/rules/{id}", summary="Delete one rule", **DELETION)
async def delete_rule(firewall: Service, id: RuleId, options: Options) -> Response:
    """Deleting `allow` or `block` is 409 unless forced."""
    return gone(await firewall.delete_rule(id, options))


def _placed(document: Any, id: str) -> tuple[dict[str, Any], Place]:
    """A rule's own fields, and its place."""
    if not isinstance(document, dict):
        raise InvalidInput("a rule is an object", [Fault("", "an object is wanted")])
    if document.get("id", id) != id:
        raise InvalidInput(f"the path names rule {id}", [Fault("/id", f"the path says {id!r}; a rule keeps its id")])
    position = document.get("position")
    if position is not None and (isinstance(position, bool) or not isinstance(position, int) or position < 1):
        raise _fault("position", "a place from 1 on is wanted")
    for name in ("before", "after"):
        if document.get(name) is not None and not isinstance(document[name], str):
            raise _fault(name, "the id of a rule is wanted")
    rest = {name: value for name, value in document.items() if name not in ("position", "before", "after")}
    return rest, Place(position, document.get("before"), document.get("after"))


def _fault(name: str, detail: str) -> InvalidInput:
    return InvalidInput(f"/{name}: {detail}", [Fault(f"/{name}", detail)])
