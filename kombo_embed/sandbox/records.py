"""The sandbox's state, in memory: frozen records, which are replaced and never changed, and their ids."""

import base64
import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar

from kombo_embed.clock import ManualClock
from kombo_embed.sandbox.schemas import Category, Fault, Language, LinkType, SetupStatus, Status, Switches

LinkKind = Literal["connect", "relink", "setup"]
DeliveryStatus = Literal["held", "sending", "delivered", "failed", "dropped", "not_configured"]

# A sandbox may serve for days: of each kind of record, the newest are kept.
KEPT_RECORDS = 20_000
KEPT_REQUESTS = 100

RecordT = TypeVar("RecordT")

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class EndUserRecord:
    """The end user for whom a link was minted."""

    email: str = field(repr=False)
    organization_name: str
    origin_id: str | None


@dataclass(frozen=True, slots=True)
class IntegrationOptions:
    """The options of a link that its integration inherits."""

    scope_config_id: str | None = None
    remote_environment: str | None = None
    filtering: bool = False
    field_mapping: bool = False
    static_ips: bool = False


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """Everything that is fixed when a link is minted."""

    kind: LinkKind
    link_type: LinkType
    language: Language
    end_user: EndUserRecord
    category: Category
    tool: str | None
    options: IntegrationOptions
    integration_id: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A connection link, reconnection link or setup link."""

    token: str = field(repr=False)
    base_url: str
    terms: LinkTerms
    created_at: datetime
    expires_at: datetime

    @property
    def url(self) -> str:
        """Return the absolute address of the Connect page, as the API responds with it."""
        return f"{self.base_url}/connect?token={self.token}"


@dataclass(frozen=True, slots=True)
class Integration:
    """The lasting link between an organization and a tool."""

    id: str
    tool: str
    category: Category
    end_user: EndUserRecord
    options: IntegrationOptions
    created_at: datetime
    updated_at: datetime
    status: Status = "ACTIVE"
    setup_status: SetupStatus = "COMPLETED"

    @property
    def has_setup_steps(self) -> bool:
        """Return whether a setup flow exists: for field mapping, or for filtering (which is HRIS only)."""
        return self.options.field_mapping or (self.options.filtering and self.category == "HRIS")


@dataclass(frozen=True, slots=True)
class Activation:
    """The integration that an activation token proves."""

    integration_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of a finished flow: the token for the browser, and the id that the browser does not get."""

    activation_token: str = field(repr=False)
    integration_id: str


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook event and its exact bytes, which are what is signed."""

    id: str
    type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of an event, and its outcome so far; `answer` is the receiver's last HTTP status."""

    id: str
    event: Event
    status: DeliveryStatus
    created_at: datetime
    attempts: int = 0
    answer: int | None = None
    bad_signature: bool = False
    replay: bool = False


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call of the API and its response, without secrets; `status` is None if the connection was dropped.

    `fault` is the mode of the fault that it met.
    """

    number: int
    created_at: datetime
    method: str
    path: str
    status: int | None
    milliseconds: float
    fault: str | None
    request_body: str
    response_body: str


@dataclass(slots=True)
class State:
    """Everything that the sandbox holds, and its time."""

    clock: ManualClock
    switches: Switches = field(default_factory=Switches)
    links: dict[str, Link] = field(default_factory=dict)
    integrations: dict[str, Integration] = field(default_factory=dict)
    deleted_integrations: list[str] = field(default_factory=list)
    activations: dict[str, Activation] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    requests: deque[ApiRequest] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))
    faults: list[Fault] = field(default_factory=list)
    webhooks_to_lose: int = 0
    webhooks_to_fail: int = 0

    def now(self) -> datetime:
        """Return the sandbox's time."""
        return datetime.fromtimestamp(self.clock.time(), UTC)

    def clear(self) -> None:
        """Go back to the start: remove everything, and reset the switches and the clock."""
        self.switches = Switches()
        self.clock.reset()
        self.webhooks_to_lose = self.webhooks_to_fail = 0
        for records in (self.links, self.integrations, self.activations, self.deliveries, self.calls):
            records.clear()
        for entries in (self.deleted_integrations, self.requests, self.faults):
            entries.clear()


def forget_oldest(records: dict[str, RecordT], *, is_over: Callable[[RecordT], bool]) -> None:
    """Remove the oldest of too many records, up to the first that is not over."""
    while len(records) > KEPT_RECORDS:
        oldest = next(iter(records))
        if not is_over(records[oldest]):
            return
        del records[oldest]


def new_id() -> str:
    """Return an id such as Kombo gives to events: 24 base58 characters."""
    return "".join(secrets.choice(_BASE58) for _ in range(24))


def new_jwt_lookalike(payload: bytes) -> str:
    """Return a token in the shape of Kombo's documented ones: three JWT segments, the last one random."""
    segments = (b'{"alg":"HS256","typ":"JWT"}', payload, secrets.token_bytes(32))
    return ".".join(base64.urlsafe_b64encode(segment).rstrip(b"=").decode() for segment in segments)
