"""Ed25519 private keys in PEM files (PKCS #8, unencrypted, mode 0600)."""

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.runtime.errors import UserError


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key in the file at `path`.

    Raises:
        UserError: there is none, it is no Ed25519 private key, or others may read it. The
            content is never repeated.
    """
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"no key at {path} ({type(error).__name__})") from None
    if mode & 0o077:
        raise UserError(f"{path} may be read by others: chmod 600 it")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise UserError(f"{path} is not an unencrypted private key in PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path} is not an Ed25519 key")
    return key


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The key at `path`, made (fsynced) where there is none; raises as `load_key`.

    Several processes may do so at once: all get the same key, and none reads half a file.
    """
    if not path.exists():
        save_key(path, Ed25519PrivateKey.generate())
    return load_key(path)


def save_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write the key to `path` whole and fsynced, unless something stands there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _create(path, pem)


def _create(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole, unless something stands there already."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # link, unlike rename, does not replace: the first process wins.
        os.link(name, path)
    except FileExistsError:
        return
    finally:
        Path(name).unlink()
