"""Where an installation keeps its audit store, the keys to it, and what verifies it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.audit_sink.checkpoint import ORIGIN, read_verifier_key, verifier_key
from interlock.audit_sink.database import Database, SqliteDatabase
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.query import AuditReader
from interlock.audit_sink.store import AuditStore
from interlock.runtime.errors import UserError
from interlock.runtime.keyfile import load_or_create_key
from interlock.runtime.settings import Settings


def store_file(state: Path) -> Path:
    """The embedded audit store."""
    return state / "audit" / "audit.sqlite"


def keys_file(state: Path) -> Path:
    """The embedded key store: in a folder of its own, so that copies of it can be short-lived."""
    return state / "audit-keys" / "keys.sqlite"


def signing_key_file(state: Path) -> Path:
    """The private key that signs checkpoints; only the sink needs it."""
    return state / "audit" / "key.pem"


def verifier_key_file(state: Path) -> Path:
    """The public key that checks them (C2SP signed note's verifier key), to be given away."""
    return state / "audit" / "key.pub"


def public_key(state: Path, given: Path | None = None) -> Ed25519PublicKey:
    """The key that checkpoints are checked with: the one in the file given, or the installation's.

    Raises:
        UserError: there is none, or the file holds no public key.
    """
    path = given or verifier_key_file(state)
    if given is None and not path.is_file() and signing_key_file(state).is_file():
        return load_or_create_key(signing_key_file(state)).public_key()  # of before key.pub
    try:
        return read_verifier_key(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"no audit key at {path} ({type(error).__name__}); has the audit-sink run here?"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is no public key: {error}") from None


def open_store(settings: Settings) -> AuditStore:
    """The store, to append to; made where it is not there, and its keys with it."""
    state = settings.state
    key = load_or_create_key(signing_key_file(state))
    public = verifier_key_file(state)
    if not public.is_file():
        public.write_text(verifier_key(key.public_key(), ORIGIN) + "\n", encoding="utf-8")
    keys = KeyStore(_keys(settings, writable=True))
    return AuditStore(_audit(settings, writable=True), keys, key)


@contextmanager
def open_reader(settings: Settings, *, sealed: bool = False) -> Iterator[AuditReader]:
    """The store, to read from; with `sealed` without the keys to what is in it.

    Raises:
        UserError: there is none.
    """
    database = _audit(settings, writable=False)
    try:
        keys = None if sealed else open_keys(settings)
        try:
            yield AuditReader(database, keys)
        finally:
            if keys is not None:
                keys.close()
    finally:
        database.close()


@contextmanager
def open_for_custody(settings: Settings) -> Iterator[tuple[Database, KeyStore]]:
    """The store and its keys, to take contents and keys out of; raises `UserError`."""
    _audit(settings, writable=False).close()  # it is there
    with closing(_audit(settings, writable=True)) as database:
        keys = open_keys(settings, writable=True)
        assert keys is not None
        with closing(keys):
            yield database, keys


def open_keys(settings: Settings, *, writable: bool = False) -> KeyStore | None:
    """The key store; None where an embedded one is not there and is only to be read."""
    if settings.audit_keys is None and not writable and not keys_file(settings.state).is_file():
        return None
    return KeyStore(_keys(settings, writable=writable), writable=writable)


def _audit(settings: Settings, *, writable: bool) -> Database:
    if settings.audit_database is not None:
        return _postgres(settings.audit_database.get_secret_value())
    path = store_file(settings.state)
    if not writable and not path.is_file():
        raise UserError(f"there is no audit store at {path}; has the audit-sink run here?")
    return SqliteDatabase(path, writable=writable)


def _keys(settings: Settings, *, writable: bool) -> Database:
    if settings.audit_keys is not None:
        return _postgres(settings.audit_keys.get_secret_value())
    return SqliteDatabase(keys_file(settings.state), writable=writable, secret=True)


def _postgres(url: str) -> Database:
    from interlock.audit_sink.postgres import PostgresDatabase

    return PostgresDatabase(url)
