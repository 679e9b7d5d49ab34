"""What can go wrong with the audit store."""


class AuditError(Exception):
    """The store cannot be trusted, or was asked for what it must not do."""


class SequenceConflict(AuditError):
    """Another record stands at these sequences already: nothing of the batch was stored."""

    def __init__(self, sequences: frozenset[int]) -> None:
        super().__init__(
            f"other records stand at sequence {', '.join(map(str, sorted(sequences)))}"
        )
        self.sequences = sequences


class DatabaseError(AuditError):
    """The database refused or did not answer; what was asked may be asked again."""
