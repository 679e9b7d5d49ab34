"""A request that asks for several things, as the requests it is made of."""

from collections.abc import Iterator
from dataclasses import replace

from interlock.models.port import ModelRequest


def parts_of(request: ModelRequest) -> Iterator[ModelRequest]:
    """One request for each part that is not done: with its own words and its own tools.

    A part is done when one of its tools has a result.
    """
    case = request.case
    assert case.route is not None
    done = {result.tool for step in case.steps for result in step.results}
    for part in case.route.parts:
        if done.intersection(part.tools):
            continue
        said = case.request.text[part.start : part.end]
        route = case.route.model_copy(update={"parts": (), "tools": part.tools})
        own = case.model_copy(
            update={"request": case.request.model_copy(update={"text": said}), "route": route}
        )
        yield replace(
            request,
            case=own,
            tools=tuple(tool for tool in request.tools if tool.name in part.tools),
            known=tuple(tool for tool in request.known if tool.name in part.tools),
        )
