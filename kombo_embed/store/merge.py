"""Who may overwrite whom: what a report changes in a record, whatever came before it. No I/O.

The records end the same in whatever order the reports come, by these rules:

- What a webhook tells with Kombo's own time (status, setup status, QA status) counts from that time on, each
  for itself: an older word changes nothing, of two words of the same time the greater one counts.
- Kombo's answer to an activation token has no time. Its setup status counts while no word with a time is
  known, and only forward: INCOMPLETE, FINAL_SYNC_PENDING, COMPLETED.
- Kombo's answer about an integration's details was true while it was asked. Its status and setup status count
  if the record did not change meanwhile, from just after the last known time on; the rest counts always.
- The category that Kombo names counts. Until it names one, that of the minted link does.
- The origin id, the organisation's name and the email are taken over once and stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, ReportedState

Values = dict[str, Any]
Row = Mapping[Any, Any]

TIME_OF = {"status": "state_updated_at", "setup_status": "setup_updated_at", "qa_status": "qa_updated_at"}
SETUP_ORDER = ("INCOMPLETE", "FINAL_SYNC_PENDING", "COMPLETED")
JUST_AFTER = timedelta(microseconds=1)


def by_state(row: Row, state: ReportedState) -> Values:
    """What a state changes in a record."""
    told = {"status": state.status, "setup_status": state.setup_status, "qa_status": state.qa_status}
    values: Values = {}
    for name, value in told.items():
        if value is None or not _counts(row, name, value, state.updated_at):
            continue
        values[name] = value
        if state.updated_at is not None:
            values[TIME_OF[name]] = state.updated_at
    return _changing(row, values)


def by_report(row: Row, reported: ReportedIntegration, *, origin_id: str | None) -> Values:
    """What Kombo's answer to a token, or the event that tells of an integration, changes in its record."""
    once = {
        "origin_id": origin_id,
        "organization_name": reported.organization_name,
        "email": reported.email,
    }
    values: Values = {name: value for name, value in once.items() if row[name] is None}
    if reported.category is not None:
        values |= {"category": reported.category, "category_guessed": False}
    if row["setup_updated_at"] is None and _is_further(reported.setup_status, row["setup_status"]):
        values["setup_status"] = reported.setup_status
    return _changing(row, values)


def by_details(row: Row, details: IntegrationDetails, *, changed_meanwhile: bool) -> Values:
    """What Kombo's answer about an integration changes in its record."""
    values: Values = {}
    for name, value in (("status", details.status), ("setup_status", details.setup_status)):
        if value not in (None, row[name]) and not changed_meanwhile:
            known_at = row[TIME_OF[name]]
            values |= {name: value, TIME_OF[name]: known_at + JUST_AFTER if known_at else None}
    if details.category is not None:
        values |= {"category": details.category, "category_guessed": False}
    if row["origin_id"] is None:
        values["origin_id"] = details.origin_id
    return _changing(row, values)


def _counts(row: Row, name: str, value: str, updated_at: datetime | None) -> bool:
    known_at = row[TIME_OF[name]]
    if known_at is None:
        return True
    if updated_at is None or updated_at < known_at:
        return False
    return updated_at > known_at or value > (row[name] or "")


def _is_further(told: str | None, known: str | None) -> bool:
    if told is None or known is None:
        return told is not None
    return _rank(told) > _rank(known)


def _rank(setup_status: str) -> tuple[int, str]:
    place = SETUP_ORDER.index(setup_status) if setup_status in SETUP_ORDER else -1
    return place, setup_status


def _changing(row: Row, values: Values) -> Values:
    return {name: value for name, value in values.items() if value != row[name]}
