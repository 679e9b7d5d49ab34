"""NKey credentials: the broker's configuration holds public keys only, the seeds stay in files.

A seed is an Ed25519 private key in NATS's text form ("SU…"); the broker sends a nonce and the
client signs it, so no secret ever travels.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nkeys  # type: ignore[import-untyped]  # it ships no types

from interlock.runtime.errors import UserError

SUFFIX = ".nk"


@dataclass(frozen=True, slots=True)
class Credential:
    """A user of the broker and its secret seed; the seed is in no repr."""

    user: str
    seed: str = field(repr=False)

    @property
    def public_key(self) -> str:
        """The public key ("U…") that the broker's configuration names."""
        pair = nkeys.from_seed(bytearray(self.seed.encode()))
        return str(pair.public_key.decode())


def credentials_folder(state: Path) -> Path:
    """Where an installation keeps its seeds."""
    return state / "credentials"


def credential_path(state: Path, user: str) -> Path:
    """The seed file of one user."""
    return credentials_folder(state) / f"{user}{SUFFIX}"


def load_credential(path: Path) -> Credential:
    """Read a seed; the user's name is the file's.

    Raises:
        UserError: the file is missing, unreadable or not a user's NKey seed.
    """
    try:
        seed = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise UserError(f"no credential at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the credential {path}: {type(error).__name__}") from None
    credential = Credential(path.name.removesuffix(SUFFIX), seed)
    try:
        valid = seed.startswith("SU") and credential.public_key.startswith("U")
    except Exception:  # nkeys raises several unrelated types for a broken seed
        valid = False
    if not valid:
        raise UserError(f"{path} does not hold a user's NKey seed")
    return credential


def ensure_credentials(state: Path, names: Iterable[str]) -> dict[str, Credential]:
    """The credentials of these users, by name; missing ones are created, existing ones kept."""
    folder = credentials_folder(state)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return {name: _ensure(credential_path(state, name)) for name in names}


def _ensure(path: Path) -> Credential:
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER))
                file.write(b"\n")
            # A link, not a rename: of two processes that create it at once the first one wins.
            path.hardlink_to(fresh)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return load_credential(path)
