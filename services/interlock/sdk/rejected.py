"""Why something breaks its contract, for whoever made it."""

from pydantic import ValidationError


def reasons(error: ValidationError, whole: str) -> str:
    """What is wrong, each with its place; `whole` names the thing itself. Never an input."""
    rows = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, row['loc'])) or whole}: {row['msg']}" for row in rows)
