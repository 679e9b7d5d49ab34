"""Where an installation keeps the keys that sign, and the public keys that verify.

Two pairs: `grants` (the contract-validator signs, executors verify) and `bundles` (an operator
signs, the services that need a bundle verify).
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
    path = trusted_keys_path(settings.state, name)
    try:
        return Verifier.from_text(path.read_text().split())
    except (OSError, ValueError) as error:
        raise UserError(f"no trusted keys at {path} ({type(error).__name__})") from None
