"""Faults that were ordered and wait for the calls that they shall spoil."""

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

FaultMode = Literal[
    "rate_limited",
    "unauthorized",
    "input_invalid",
    "unknown_code",
    "null_code",
    "html_503",
    "text_502",
    "empty_500",
    "foreign_json",
    "slow",
    "redirect",
    "drop",
]
FAULT_MODES: tuple[FaultMode, ...] = get_args(FaultMode)
SLOW_SECONDS = 15.0
REDIRECT_LOCATION = "https://elsewhere.invalid/v1/connect/create-link"
FOREIGN_STATUS = 200
_TRAILING_PLACEHOLDER = re.compile(r"/\{[^/]+\}$")


@dataclass(frozen=True, slots=True)
class FaultOrder:
    """One order: which calls go wrong, how, and how many more of them.

    `path` is compared with the end of a call's path. `/connect/create-link` and `create-link` hit the
    same endpoint; a path with an id is hit by its concrete form, by its template
    (`/integrations/{integration_id}/relink`), and by its template without a last placeholder
    (`integration-by-token`). `*` hits every call.
    """

    path: str
    mode: FaultMode
    times: int = 1
    method: str | None = None
    retry_after: str | None = None
    seconds: float = SLOW_SECONDS
    location: str = REDIRECT_LOCATION
    status: int = FOREIGN_STATUS

    def concerns(self, method: str, path: str, template: str) -> bool:
        """Tell whether a call to this path, of a route with this template, is to go wrong."""
        if self.method not in (None, method):
            return False
        forms = (path, template, _TRAILING_PLACEHOLDER.sub("", template))
        return self.path == "*" or any(form.endswith(self.path.rstrip("/")) for form in forms)


def take_order(orders: list[FaultOrder], method: str, path: str, template: str) -> FaultOrder | None:
    """Find the oldest order for a call and use it up by one."""
    for place, order in enumerate(orders):
        if order.concerns(method, path, template):
            orders[place : place + 1] = [replace(order, times=order.times - 1)] if order.times > 1 else []
            return order
    return None
