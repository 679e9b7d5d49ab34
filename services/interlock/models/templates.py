"""The bundle's Jinja templates, rendered in a sandbox. Nothing may be undefined."""

from jinja2 import DictLoader, StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from interlock.bundles.model import Bundle, Prepared
from interlock.models.fences import fence
from interlock.runtime.errors import NeverRetry
from interlock_contracts.failures import FailureCode


def _compile(bundle: Bundle) -> dict[str, Template]:
    # One prompt may include another of the same bundle, and nothing else.
    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader(dict(bundle.prompts)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["fence"] = fence
    return {name: environment.get_template(name) for name in bundle.prompts}


templates = Prepared(_compile)
"""The compiled templates of a bundle; raises `TemplateError` for one that does not compile."""


def filled(bundle: Bundle, name: str, **values: object) -> str:
    """The prompt `name` with these values. The filter `fence` marks content of others.

    Raises:
        NeverRetry: the bundle has no such prompt, or it cannot be rendered.
    """
    try:
        template = templates(bundle).get(name)
        if template is None:
            raise NeverRetry(FailureCode.STAGE_FAILED, f"the bundle has no prompt {name!r}")
        return template.render(**values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        # The message may quote values; its type is enough to find the place.
        raise NeverRetry(
            FailureCode.STAGE_FAILED, f"prompt {name!r}: {type(error).__name__}"
        ) from error
