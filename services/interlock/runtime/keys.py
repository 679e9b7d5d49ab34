"""Where an installation keeps the key that signs grants, and the public keys that verify them."""

from pathlib import Path

from interlock.runtime.errors import UserError
from interlock.runtime.settings import Settings
from interlock.runtime.signing import SigningKey, Verifier


def signing_key_path(state: Path) -> Path:
    """The private key (PEM, mode 0600); only the contract-validator may read it."""
    return state / "keys" / "grants.pem"


def trusted_keys_path(state: Path) -> Path:
    """The public keys that executors trust, one base64 line each; two while a key rotates."""
    return state / "keys" / "grants.pub"


def make_keys(state: Path) -> None:
    """Make the signing key if there is none, and see that executors trust it."""
    key = SigningKey.load_or_create(signing_key_path(state))
    trusted = trusted_keys_path(state)
    known = trusted.read_text().split() if trusted.exists() else []
    if key.public_text not in known:
        trusted.write_text("\n".join([*known, key.public_text]) + "\n")


def signing_key(settings: Settings) -> SigningKey:
    """The installation's signing key; raises `UserError` where there is none."""
    return SigningKey.load(signing_key_path(settings.state))


def verifier(settings: Settings) -> Verifier:
    """A verifier of the keys this installation trusts; raises `UserError` where there are none."""
    path = trusted_keys_path(settings.state)
    try:
        return Verifier.from_text(path.read_text().split())
    except (OSError, ValueError) as error:
        raise UserError(f"no trusted keys at {path} ({type(error).__name__})") from None
