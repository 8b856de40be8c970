"""The merge rules: what a report changes in an integration's row. No I/O.

The row ends the same in whatever order the reports arrive:

- Status, setup status and QA status of a webhook have Kombo's time, each its own. An older value changes
  nothing; of two values with the same time, the greater one counts.
- The setup status of a token exchange has no time. It counts until a value with a time is known, and only
  forward: INCOMPLETE, FINAL_SYNC_PENDING, COMPLETED.
- A time over a day ahead of this machine's clock is impossible. It counts less than every possible one;
  otherwise no later report would ever count. Impossible ones are compared with each other.
- Details were current while Kombo was called. Their status and setup status count if none was known, or if
  the row did not change meanwhile, with a time just after the last known one. The other details always count.
- A category that Kombo reports counts. Until it reports one, the minted link's does.
- The origin id, the organization's name and the email are set once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, ReportedState

Values = dict[str, Any]
Row = Mapping[Any, Any]

TIME_OF = {"status": "state_updated_at", "setup_status": "setup_updated_at", "qa_status": "qa_updated_at"}
SETUP_ORDER = ("INCOMPLETE", "FINAL_SYNC_PENDING", "COMPLETED")
JUST_AFTER = timedelta(microseconds=1)
MAX_AHEAD = timedelta(days=1)  # by which Kombo's clock may be ahead of ours
LAST = datetime.max.replace(tzinfo=UTC)


def is_outvoted(row: Row, state: ReportedState, *, now: datetime) -> bool:
    """Return whether a reported state has an impossible time and the row has a possible one."""
    is_known = (row[time] is not None and not _is_impossible(row[time], now) for time in TIME_OF.values())
    return _is_impossible(state.updated_at, now) and any(is_known)


def state_changes(row: Row, state: ReportedState, *, now: datetime) -> Values:
    """Return what a reported state changes in a row."""
    reported = {"status": state.status, "setup_status": state.setup_status, "qa_status": state.qa_status}
    values: Values = {}
    for name, value in reported.items():
        if value is None or not _is_newer(row, name, value, state.updated_at, now=now):
            continue
        values[name] = value
        if state.updated_at is not None:
            values[TIME_OF[name]] = state.updated_at
    return _changed(row, values)


def report_changes(row: Row, reported: ReportedIntegration, *, origin_id: str | None) -> Values:
    """Return what a token exchange, or an event about the whole integration, changes in its row."""
    once = {"origin_id": origin_id, "organization_name": reported.organization_name, "email": reported.email}
    values: Values = {name: value for name, value in once.items() if row[name] is None}
    if reported.category is not None:
        values |= {"category": reported.category, "category_guessed": False}
    if row["setup_updated_at"] is None and _is_further(reported.setup_status, row["setup_status"]):
        values["setup_status"] = reported.setup_status
    return _changed(row, values)


def details_changes(row: Row, details: IntegrationDetails, *, changed_meanwhile: bool) -> Values:
    """Return what Kombo's details of an integration change in its row."""
    values: Values = {}
    for name, value in (("status", details.status), ("setup_status", details.setup_status)):
        if value not in (None, row[name]) and (row[name] is None or not changed_meanwhile):
            known_at = row[TIME_OF[name]]
            values |= {name: value, TIME_OF[name]: _just_after(known_at) if known_at else None}
    if details.category is not None:
        values |= {"category": details.category, "category_guessed": False}
    if row["origin_id"] is None:
        values["origin_id"] = details.origin_id
    named = {"tool_label": details.tool_label, "logo_url": details.logo_url}
    values |= {name: value for name, value in named.items() if value is not None}
    return _changed(row, values)


def _is_newer(row: Row, name: str, value: str, updated_at: datetime | None, *, now: datetime) -> bool:
    known_at = row[TIME_OF[name]]
    if known_at is None or updated_at is None:
        return known_at is None
    if _is_impossible(known_at, now) != _is_impossible(updated_at, now):
        return _is_impossible(known_at, now)
    return updated_at > known_at or (updated_at == known_at and value > (row[name] or ""))


def _is_impossible(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment - now > MAX_AHEAD


def _just_after(moment: datetime) -> datetime:
    return min(moment, LAST - JUST_AFTER) + JUST_AFTER


def _is_further(reported: str | None, known: str | None) -> bool:
    if reported is None or known is None:
        return reported is not None
    return _setup_rank(reported) > _setup_rank(known)


def _setup_rank(setup_status: str) -> tuple[int, str]:
    place = SETUP_ORDER.index(setup_status) if setup_status in SETUP_ORDER else -1
    return place, setup_status


def _changed(row: Row, values: Values) -> Values:
    return {name: value for name, value in values.items() if value != row[name]}
