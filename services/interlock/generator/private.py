"""Personal data in documents and results: not in a prompt that leaves the cell.

The router has replaced what the requester wrote. Documents and results stand on the log as they
are, for the gate and for quotes; a hosted model gets placeholders for what is personal in them too,
and what it says with these is put back before anybody judges it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from interlock.bundles.model import Bundle
from interlock.bundles.privacy import PrivacySpec
from interlock.bundles.routes import ModelRoute
from interlock.runtime.privacy import redact
from interlock_contracts.case import Case, Step
from interlock_contracts.privacy import PLACEHOLDER, Values, restore_json, restore_model
from interlock_contracts.proposal import Proposal
from interlock_contracts.retrieval import Chunk


def shown_case(bundle: Bundle, case: Case, models: ModelRoute) -> tuple[Case, Values]:
    """The case as a prompt may show it, and what its new placeholders stand for.

    As it is where the bundle has no privacy section, or no model outside of the generator is asked.
    Pure: a replay makes the same placeholders.
    """
    spec = bundle.privacy
    if spec is None or all(one.embedded for one in models.candidates):
        return case, {}
    hiding = _Hiding(spec, case)
    chunks = case.context.chunks if case.context else ()
    shown = tuple(hiding.chunk(chunk) for chunk in chunks)
    steps = tuple(hiding.step(step) for step in case.steps)
    if not hiding.values:
        return case, {}
    context = case.context and case.context.model_copy(update={"chunks": shown})
    return case.model_copy(update={"context": context, "steps": steps}), hiding.values


def told(proposal: Proposal, values: Values) -> Proposal:
    """The proposal with the values for the placeholders that only the prompt had.

    The model's own output stays in its record as it was.
    """
    if not values:
        return proposal
    calls = {"arguments": lambda given: restore_json(given, values)}
    return proposal.model_copy(
        update={
            "statements": tuple(restore_model(one, values) for one in proposal.statements),
            "calls": _each(proposal.calls, **calls),
            "plan": _each(proposal.plan, **calls),
            "data": restore_json(proposal.data, values),
        }
    )


class _Hiding:
    """One prompt's placeholders. Those that stand anywhere already are given to nothing else."""

    def __init__(self, spec: PrivacySpec, case: Case) -> None:
        self._spec = spec
        taken = {match[0] for match in PLACEHOLDER.finditer(case.model_dump_json())}
        self._known: Mapping[str, str] = {name: name for name in taken}
        self._taken = taken

    @property
    def values(self) -> dict[str, str]:
        """What the new placeholders stand for."""
        return {name: value for name, value in self._known.items() if name not in self._taken}

    def text(self, text: str) -> str:
        done = redact(text, self._spec, known=self._known)
        self._known = done.values
        return done.text

    def chunk(self, chunk: Chunk) -> Chunk:
        url = chunk.url and self.text(chunk.url)
        changed = {"text": self.text(chunk.text), "title": self.text(chunk.title), "url": url}
        return chunk.model_copy(update=changed)

    def step(self, step: Step) -> Step:
        """What was said, found and done; ids, digests and codes are nobody's."""
        proposal, verdict = step.proposal, step.verdict
        return step.model_copy(
            update={
                "proposal": proposal.model_copy(
                    update={
                        "statements": _each(proposal.statements, text=self.text),
                        "calls": _each(proposal.calls, arguments=self._json),
                        "plan": _each(proposal.plan, arguments=self._json),
                    }
                ),
                "verdict": verdict.model_copy(
                    update={
                        "violations": _each(verdict.violations, message=self.text),
                        "actions": _each(verdict.actions, arguments=self._json),
                        "facts": _each(verdict.facts, arguments=self._json, value=self._json),
                    }
                ),
                "results": _each(step.results, output=self._json),
            }
        )

    def _json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._json(item) for item in value]
        if isinstance(value, dict):
            return {name: self._json(item) for name, item in value.items()}
        return value


def _each(models: Any, **changes: Callable[[Any], Any]) -> Any:
    """Each of the models with its fields changed."""
    return tuple(
        one.model_copy(
            update={name: change(getattr(one, name)) for name, change in changes.items()}
        )
        for one in models
    )
