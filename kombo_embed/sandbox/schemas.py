"""Request bodies of Kombo's API, of the Connect page and of the controls, and the values that they may have.

Sources: Kombo's OpenAPI document and docs.kombo.dev.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from kombo_embed.sandbox.errors import InputInvalid

Category = Literal["HRIS", "ATS", "ASSESSMENT", "LMS"]
Language = Literal["en", "de", "fr", "it", "es"]
LinkType = Literal["EMBEDDED", "MAGIC_LINK"]
Status = Literal["ACTIVE", "INVALID", "INACTIVE"]
SetupStatus = Literal["INCOMPLETE", "FINAL_SYNC_PENDING", "COMPLETED"]
Order = Literal["browser_first", "webhook_first"]
KomboErrorMode = Literal["rate_limited", "unauthorized", "input_invalid", "unknown_code", "null_code"]
GatewayErrorMode = Literal["html_503", "text_502", "empty_500"]
FaultMode = Literal[KomboErrorMode, GatewayErrorMode, "foreign_json", "slow", "redirect", "drop"]

_CENTURY_SECONDS = 100 * 365 * 86_400

Text = Annotated[str, Field(min_length=1)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Times = Annotated[int, Field(ge=1, le=1_000_000)]


class Body(BaseModel):
    """A JSON object without unknown fields, whose values have exactly the types of their fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse JSON, or raise `InputInvalid`, which names every missing, invalid or unknown field."""
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise InputInvalid(_explain(error)) from error

    @classmethod
    async def read(cls, request: Request) -> Self:
        """Parse a request's body, which must be declared as JSON."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise InputInvalid("The Content-Type must be application/json.")
        return cls.parse(await request.body())


class EmptyBody(Body):
    """An empty object."""


class CreateLinkBody(Body):
    """``POST /v1/connect/create-link``."""

    end_user_email: Email
    end_user_organization_name: Text
    end_user_origin_id: Text | None = None
    remote_environment: str | None = None
    integration_category: Category = "HRIS"
    integration_tool: Text | None = None
    language: Language | None = None
    scope_config_id: str | None = None
    enable_filtering: bool = False
    enable_field_mapping: bool = False
    # Only Kombo's newest SDKs have this one; they send it always.
    enable_static_ips: bool = False
    link_type: LinkType = "EMBEDDED"


class RelinkBody(Body):
    """``POST /v1/integrations/{integration_id}/relink``."""

    language: Language | None = None
    scope_config_id: str | None = None
    link_type: LinkType = "EMBEDDED"


class SetupLinkBody(Body):
    """``POST /v1/integrations/{integration_id}/setup-link``: the link type has no default."""

    language: Language | None = None
    link_type: LinkType


class ActivateBody(Body):
    """``POST /v1/connect/activate-integration``."""

    token: Text


class EnabledBody(Body):
    """``PUT /v1/integrations/{integration_id}/enabled``."""

    value: bool


class FlowBody(Body):
    """``POST /connect/finish`` and ``POST /connect/fail``, the calls of the Connect page."""

    token: Text
    tool: Text | None = None


class ClockBody(Body):
    """``POST /_sandbox/clock``."""

    advance: Annotated[Seconds, Field(le=_CENTURY_SECONDS)]


class Fault(Body):
    """``POST /_sandbox/faults``: which calls fail, in what way, and how many more of them.

    `path` is the end of a call's path: ``/connect/create-link`` and ``create-link`` match the same calls. A
    path with an id matches in its concrete form, as a template (``/integrations/{integration_id}/relink``),
    and as a template without its last placeholder (``integration-by-token``). ``*`` matches every call.
    """

    path: Text
    mode: FaultMode
    times: Times = 1
    method: Literal["GET", "POST", "PUT", "DELETE"] | None = None
    retry_after: Annotated[str | int | float, AfterValidator(str)] | None = None
    seconds: Annotated[Seconds, Field(le=3600)] = 15.0
    location: Text = "https://other-host.invalid/v1/connect/create-link"
    status: Annotated[int, Field(ge=200, le=599)] = 200


class ReplayBody(Body):
    """``POST /_sandbox/webhooks/replay``: without a choice, every event."""

    event_id: Text | None = None
    type: Text | None = None
    backwards: bool = False


class SendBody(Body):
    """``POST /_sandbox/webhooks/send``: an event of any type."""

    type: Text = "not-invented-yet"
    data: dict[str, object] = {}


class TimesBody(Body):
    """``POST /_sandbox/webhooks/lose`` and ``POST /_sandbox/webhooks/fail``."""

    times: Times = 1


class IntegrationBody(Body):
    """The controls that act on one integration: ``delete``, ``leave-incomplete`` and ``change-data``."""

    integration_id: Text


class FailBody(Body):
    """``POST /_sandbox/fail``."""

    link: Text
    tool: Text | None = None


class CompleteBody(FailBody):
    """``POST /_sandbox/complete``."""

    order: Order | None = None
    duplicate: bool = False


class StateChangeBody(Body):
    """``POST /_sandbox/state-change``."""

    integration_id: Text
    state: Status | None = None
    setup_status: SetupStatus | None = None


class Switches(Body):
    """``POST /_sandbox/settings``: what Kombo's documentation leaves open, and faults of the webhooks."""

    activation_mode: Literal["multi_use", "single_use"] = "multi_use"
    link_shape: Literal["jwt", "opaque"] = "jwt"
    unknown_tools: Literal["accept", "refuse"] = "accept"
    webhook_mode: Literal["normal", "duplicate", "reordered", "dropped", "bad_signature"] = "normal"


def parse_count(text: str | None) -> int | None:
    """Return the number in a query parameter, None without one, or raise `InputInvalid`."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise InputInvalid("newest must be a number from 1 to 999999.")
    return int(text)


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults)
