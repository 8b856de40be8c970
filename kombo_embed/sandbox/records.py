"""What the sandbox remembers: frozen records, replaced and never changed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Category = Literal["HRIS", "ATS", "ASSESSMENT", "LMS"]
Status = Literal["ACTIVE", "INVALID", "INACTIVE"]
SetupStatus = Literal["INCOMPLETE", "FINAL_SYNC_PENDING", "COMPLETED"]
LinkKind = Literal["connect", "relink", "setup"]
LinkType = Literal["EMBEDDED", "MAGIC_LINK"]
Language = Literal["en", "de", "fr", "it", "es"]
DeliveryStatus = Literal["held", "sending", "delivered", "failed", "dropped", "not_configured"]


@dataclass(frozen=True, slots=True)
class EndUserRecord:
    """The end user as Kombo was told about them."""

    email: str = field(repr=False)
    organization_name: str
    origin_id: str | None


@dataclass(frozen=True, slots=True)
class IntegrationOptions:
    """What a link bakes into the integration that it makes."""

    scope_config_id: str | None = None
    remote_environment: str | None = None
    filtering: bool = False
    field_mapping: bool = False
    static_ips: bool = False


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """All that is baked into a link when it is made."""

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
        """The absolute address of the Connect page, as the API answers it."""
        return f"{self.base_url}/connect?token={self.token}"


@dataclass(frozen=True, slots=True)
class Integration:
    """The lasting link between an organisation and a tool."""

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
        """Whether a setup flow exists for it: field mapping, or filtering (which is for HRIS only)."""
        return self.options.field_mapping or (self.options.filtering and self.category == "HRIS")


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation token and the integration that it proves."""

    token: str = field(repr=False)
    integration_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Completion:
    """What is left of a finished flow: one half goes to the browser, the other stays at Kombo."""

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
    """One sending of an event, with what came of it so far."""

    id: str
    event: Event
    status: DeliveryStatus
    created_at: datetime
    attempts: int = 0
    answer: int | None = None
    bad_signature: bool = False
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that customers can connect."""

    id: str
    label: str
    categories: tuple[Category, ...]
