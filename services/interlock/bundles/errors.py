"""What is wrong with a bundle, in words its author can act on."""

from collections.abc import Sequence
from pathlib import Path


class BundleError(Exception):
    """A bundle that does not compile: every problem found, each as `file:line: message`.

    The line is left out where it is not known. Messages never show a whole input.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)

    def of(self, path: Path) -> str:
        """The problems of the bundle at `path`, which is named once."""
        text = str(self)
        named = text.startswith((f"{path}:", f"{path}/"))
        return text if named else f"bundle {path}: {text}"


class BundleUnknown(Exception):
    """No bundle with this digest is at hand here (yet)."""

    def __init__(self, digest: str, mend: str = "`interlock bundle push` stores one") -> None:
        super().__init__(f"no bundle {digest} here: {mend}")
        self.digest = digest


class BundleRefused(Exception):
    """A stored bundle that must not be used: altered, or not signed by a trusted key."""
