"""Everything the sandbox holds, in memory, gone with the process."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from kombo_embed.sandbox.fault_orders import FaultOrder
from kombo_embed.sandbox.records import Activation, Delivery, Integration, Link

ActivationMode = Literal["multi_use", "single_use"]
LinkShape = Literal["jwt", "opaque"]
UnknownTools = Literal["accept", "refuse"]
WebhookMode = Literal["normal", "duplicate", "reordered", "dropped", "bad_signature"]


@dataclass(frozen=True, slots=True)
class Switches:
    """What Kombo's documentation leaves open, or what goes wrong on the wire, as a choice."""

    activation_mode: ActivationMode = "multi_use"
    link_shape: LinkShape = "jwt"
    unknown_tools: UnknownTools = "accept"
    webhook_mode: WebhookMode = "normal"


@dataclass(slots=True)
class State:
    """Links, integrations, tokens, deliveries, calls and orders, each by what it is found by."""

    switches: Switches = field(default_factory=Switches)
    links: dict[str, Link] = field(default_factory=dict)
    integrations: dict[str, Integration] = field(default_factory=dict)
    deleted_integrations: list[str] = field(default_factory=list)
    activations: dict[str, Activation] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    faults: list[FaultOrder] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything; the switches go back to their defaults."""
        self.switches = Switches()
        self.links.clear()
        self.integrations.clear()
        self.activations.clear()
        self.deleted_integrations.clear()
        self.deliveries.clear()
        self.calls.clear()
        self.faults.clear()
