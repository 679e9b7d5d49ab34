"""Settings: environment variables `INTERLOCK_*`, checked once, one clear error each."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from interlock.runtime.errors import UserError
from interlock_contracts.base import Token

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class Settings(BaseSettings):
    """What every service is told. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", extra="ignore")

    nats_url: str | None = Field(
        default=None, description="the broker; default: the one that runs on <state>"
    )
    credential: Path | None = Field(
        default=None,
        description="the service's own NKey seed; default: <state>/credentials/<name>.nk",
    )
    cell: Token = "ev"
    tenants: Annotated[tuple[Token, ...], NoDecode] = ("acme", "globex")
    state: Path = Path(".state")
    bundle: Path = Path("examples/support")
    tools: str | None = Field(
        default=None,
        description="package.module:name of the executor; default: that of executor.py in the "
        "bundle's folder, if there is one",
    )
    qdrant_url: str | None = Field(
        default=None, description="a Qdrant server for the index; default: embedded"
    )
    qdrant_api_key: SecretStr | None = None
    audit_database: SecretStr | None = Field(
        default=None, description="postgresql:// of the audit store; default: SQLite below <state>"
    )
    audit_keys: SecretStr | None = Field(
        default=None,
        description="postgresql:// of the audit store's keys; a database with other backups",
    )
    audit_lag_limit: int = Field(
        default=50_000, ge=1, description="events behind the log: above it the sink is not ready"
    )
    capacity: int = Field(default=128, ge=1, le=10_000, description="messages worked on at once")
    ack_wait: float = Field(default=10.0, ge=0.5)
    max_deliver: int = Field(default=8, ge=1)
    retry_delay: float = Field(default=0.5, gt=0, description="first delay; doubles, jittered")
    dead_letters_per_minute: int = Field(
        default=30, ge=1, description="above it the consumer stops instead of emptying the queue"
    )
    drain_timeout: float = Field(default=20.0, gt=0)
    http_port: int | None = Field(
        default=None, ge=0, le=65_535, description="/live /ready /metrics on this port; 0: any"
    )
    http_host: str = "127.0.0.1"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str | None = Field(default=None, description="OpenTelemetry collector (HTTP)")
    trace_ratio: float = Field(default=1.0, ge=0, le=1)

    @property
    def url(self) -> str:
        """The broker's address; raises `UserError` where none is known."""
        if self.nats_url is not None:
            return self.nats_url
        remembered = self.state / "broker" / "port"
        try:
            return f"nats://127.0.0.1:{int(remembered.read_text())}"
        except (OSError, ValueError):
            raise UserError(
                f"no broker has run on {self.state}: start one with `interlock up`, "
                "or set INTERLOCK_NATS_URL"
            ) from None

    @field_validator("tenants", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    def credential_of(self, user: str) -> Path:
        """Where the seed of `user` is."""
        return self.credential or self.state / "credentials" / f"{user}.nk"


def load_settings(kind: type[SettingsT], **given: Any) -> SettingsT:
    """Read settings; raises `UserError` with one line per bad variable and its mend."""
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)
        ]
        raise UserError("bad settings: " + "; ".join(lines)) from None
