"""How a source's documents are cut into passages."""

from typing import Literal, Self

from pydantic import Field, model_validator

from interlock_contracts.base import Model


class ByHeadings(Model):
    """Passages begin at headings; lengths in characters."""

    by: Literal["headings"] = "headings"
    max_chars: int = Field(default=1_200, ge=100, le=8_000)
    min_chars: int = Field(default=200, ge=0, le=8_000)

    @property
    def usual_terms(self) -> int:
        """How many terms a passage usually has: keyword weights compare its length with it."""
        return max(1, self.max_chars // 24)


class BySentences(Model):
    """Windows of sentences, each sharing `overlap` of them with the one before."""

    by: Literal["sentences"] = "sentences"
    sentences: int = Field(default=6, ge=1, le=50)
    overlap: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        if self.overlap >= self.sentences:
            raise ValueError("overlap must be less than sentences")
        return self

    @property
    def usual_terms(self) -> int:
        """As of `ByHeadings`."""
        return 10 * self.sentences


class ByTokens(Model):
    """Windows of words and punctuation marks, each sharing `overlap` with the one before."""

    by: Literal["tokens"] = "tokens"
    tokens: int = Field(default=200, ge=10, le=2_000)
    overlap: int = Field(default=40, ge=0)

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        if self.overlap >= self.tokens:
            raise ValueError("overlap must be less than tokens")
        return self

    @property
    def usual_terms(self) -> int:
        """As of `ByHeadings`."""
        return self.tokens // 2


ChunkerSpec = ByHeadings | BySentences | ByTokens
