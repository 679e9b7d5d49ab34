"""Where an installation keeps the keys that sign, and the public keys that verify.

Two pairs: `grants` (the contract-validator signs, executors verify) and `bundles` (an operator
signs bundles and keyrings, the services verify). Which of the former are trusted is the keyring's
word from the first rotation on; see `interlock.runtime.keyring`.
"""

from pathlib import Path

from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey, Verifier

GRANTS = "grants"
BUNDLES = "bundles"


def signing_key_path(state: Path, name: str = GRANTS) -> Path:
    """The private key (PEM, mode 0600); only who signs may read it."""
    return state / "keys" / f"{name}.pem"


def trusted_keys_path(state: Path, name: str = GRANTS) -> Path:
    """The public keys that are trusted, one base64 line each; two while a key rotates."""
    return state / "keys" / f"{name}.pub"


def next_key_path(state: Path, key_id: str) -> Path:
    """The private key that grants are signed with from a rotation on, until it is `grants.pem`."""
    return state / "keys" / f"{GRANTS}-{key_id}.pem"


def further_keys(state: Path) -> list[Path]:
    """The files of such keys that are there."""
    return sorted((state / "keys").glob(f"{GRANTS}-*.pem"))


def held_keys(state: Path) -> tuple[str, dict[str, SigningKey]]:
    """The keys here that can sign grants, by key id, and the id of the one in `grants.pem`.

    Raises `UserError` if there is none, or a file is no key, or others may read it.
    """
    first = SigningKey.load(signing_key_path(state))
    keys = [first, *map(SigningKey.load, further_keys(state))]
    return first.key_id, {key.key_id: key for key in keys}


def trusted_keys(state: Path, name: str = GRANTS) -> tuple[str, ...]:
    """The public keys in the file of those that are trusted; raises `UserError`."""
    path = trusted_keys_path(state, name)
    try:
        return tuple(path.read_text().split())
    except (OSError, ValueError) as error:
        raise UserError(f"no trusted keys at {path} ({type(error).__name__})") from None


def make_keys(state: Path) -> None:
    """Make the signing keys that are not there yet, and see that they are trusted."""
    for name in (GRANTS, BUNDLES):
        key = SigningKey.load_or_create(signing_key_path(state, name))
        trusted = trusted_keys_path(state, name)
        known = trusted.read_text().split() if trusted.exists() else []
        if key.public_text not in known:
            trusted.write_text("\n".join([*known, key.public_text]) + "\n")


def signing_key(settings: Settings, name: str = GRANTS) -> SigningKey:
    """The installation's signing key; raises `UserError` where there is none."""
    return SigningKey.load(signing_key_path(settings.state, name))


def verifier(settings: Settings, name: str = GRANTS) -> Verifier:
    """A verifier of the keys this installation trusts; raises `UserError` where there are none."""
    try:
        return Verifier.from_text(trusted_keys(settings.state, name))
    except ValueError:
        path = trusted_keys_path(settings.state, name)
        raise UserError(f"{path} holds what is no Ed25519 key") from None
