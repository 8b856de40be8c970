"""The merge rules as properties: whatever the order and the repetitions, the row ends the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kombo_embed.store import merge
from kombo_embed.upstream import IntegrationDetails, ReportedIntegration, ReportedState

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(hours=1)
LAST = datetime.max.replace(tzinfo=UTC)
FOREVER = LAST - NOW
EMPTY_ROW: dict[str, Any] = {
    **dict.fromkeys(("status", "state_updated_at", "setup_status", "setup_updated_at")),
    **dict.fromkeys(("qa_status", "qa_updated_at", "category", "origin_id", "organization_name", "email")),
    **dict.fromkeys(("tool_label", "logo_url")),
    "category_guessed": False,
}
AnyReport = ReportedState | ReportedIntegration

times = st.integers(0, 3).map(lambda minutes: START + timedelta(minutes=minutes))
statuses = st.sampled_from(["ACTIVE", "INVALID", "INACTIVE", "A_NEW_STATUS"])
setup_statuses = st.sampled_from([*merge.SETUP_ORDER, "A_NEW_STATUS"])
maybe = st.none()
states = st.builds(
    ReportedState,
    integration_id=st.just("personio:x"),
    status=maybe | statuses,
    setup_status=maybe | setup_statuses,
    updated_at=times,
    qa_status=maybe | statuses,
)
integrations = st.builds(
    ReportedIntegration,
    integration_id=st.just("personio:x"),
    tool=st.just("personio"),
    origin_id=maybe | st.just("acme"),
    organization_name=maybe | st.just("Acme"),
    email=maybe | st.just("ada@acme.example"),
    category=maybe | st.just("HRIS"),
    setup_status=maybe | setup_statuses,
)
details = st.builds(
    IntegrationDetails,
    integration_id=st.just("personio:x"),
    tool=st.just("personio"),
    category=maybe | st.just("HRIS"),
    status=maybe | statuses,
    setup_status=maybe | setup_statuses,
    origin_id=maybe | st.just("acme"),
    tool_label=maybe | st.just("Personio"),
    logo_url=maybe | st.just("https://kombo.example/personio.svg"),
)
reports = st.lists(states | integrations, max_size=8)


def changes(row: dict[str, Any], report: AnyReport, *, now: datetime = NOW) -> merge.Values:
    if isinstance(report, ReportedState):
        return merge.state_changes(row, report, now=now)
    return merge.report_changes(row, report, origin_id=report.origin_id)


def merged(reported: list[AnyReport], *, into: dict[str, Any] | None = None) -> dict[str, Any]:
    row = dict(EMPTY_ROW if into is None else into)
    for report in reported:
        row |= changes(row, report)
    return row


def newest(reported: list[AnyReport], name: str) -> str | None:
    values = [
        (state.updated_at, value)
        for state in reported
        if isinstance(state, ReportedState) and (value := getattr(state, name)) is not None
    ]
    return max(values)[1] if values else None


def furthest_setup_status(reported: list[AnyReport]) -> str | None:
    order = ["A_NEW_STATUS", *merge.SETUP_ORDER]
    values = [report.setup_status for report in reported if isinstance(report, ReportedIntegration)]
    return max((value for value in values if value is not None), key=order.index, default=None)


@given(reported=reports, data=st.data())
def test_every_order_with_every_repetition_gives_the_same_row(
    reported: list[AnyReport], data: st.DataObject
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(reported), max_size=4)) if reported else []
    shuffled = data.draw(st.permutations([*reported, *repeated]))
    assert merged(shuffled) == merged(reported)


@given(reported=reports)
def test_a_repeated_report_changes_nothing(reported: list[AnyReport]) -> None:
    row = merged(reported)
    assert [changes(row, report) for report in reported] == [{}] * len(reported)


@given(reported=reports)
def test_the_newest_state_counts_and_a_setup_status_without_a_time_only_until_one_has_a_time(
    reported: list[AnyReport],
) -> None:
    row = merged(reported)
    assert row["status"] == newest(reported, "status")
    assert row["qa_status"] == newest(reported, "qa_status")
    assert row["setup_status"] == (newest(reported, "setup_status") or furthest_setup_status(reported))


@given(reported=reports)
def test_what_any_report_names_is_known_afterwards(reported: list[AnyReport]) -> None:
    row = merged(reported)
    for name in ("origin_id", "organization_name", "email", "category"):
        values = {getattr(report, name) for report in reported if isinstance(report, ReportedIntegration)}
        assert row[name] == next(iter(values - {None}), None)


@given(reported=reports, state=states)
def test_a_state_without_a_time_counts_only_until_one_has_a_time(
    reported: list[AnyReport], state: ReportedState
) -> None:
    row = merged([*reported, state])
    untimed = ReportedState("personio:x", "UNTIMED", "UNTIMED", None, "UNTIMED")
    changed = merge.state_changes(row, untimed, now=NOW)
    assert changed == {name: "UNTIMED" for name, time in merge.TIME_OF.items() if row[time] is None}


@given(reported=reports, other=integrations)
def test_an_origin_id_a_name_and_an_email_are_set_once(
    reported: list[AnyReport], other: ReportedIntegration
) -> None:
    row = merged(
        reported, into=EMPTY_ROW | {"origin_id": "first", "organization_name": "First", "email": "f"}
    )
    row |= merge.report_changes(row, other, origin_id="other")
    assert (row["origin_id"], row["organization_name"], row["email"]) == ("first", "First", "f")


@given(reported=reports)
def test_a_category_of_kombos_replaces_a_guessed_one(reported: list[AnyReport]) -> None:
    row = merged(reported, into=EMPTY_ROW | {"category": "ATS", "category_guessed": True})
    is_reported = any(isinstance(one, ReportedIntegration) and one.category for one in reported)
    assert (row["category"], row["category_guessed"]) == (("HRIS", False) if is_reported else ("ATS", True))


@given(reported=reports, current=details, changed_meanwhile=st.booleans())
def test_details_update_known_states_only_if_the_row_did_not_change_meanwhile(
    reported: list[AnyReport], current: IntegrationDetails, changed_meanwhile: bool
) -> None:
    before = merged(reported)
    row = before | merge.details_changes(before, current, changed_meanwhile=changed_meanwhile)
    for name in ("status", "setup_status"):
        update = None if changed_meanwhile and before[name] else getattr(current, name)
        assert row[name] == (update or before[name])
    assert row["category"] == (current.category or before["category"])
    assert row["origin_id"] == (before["origin_id"] or current.origin_id)
    assert (row["tool_label"], row["logo_url"]) == (current.tool_label, current.logo_url)
    assert merge.details_changes(row, current, changed_meanwhile=changed_meanwhile) == {}


@given(reported=reports, current=details, later=states)
def test_after_details_an_older_state_changes_nothing_and_a_newer_one_counts(
    reported: list[AnyReport], current: IntegrationDetails, later: ReportedState
) -> None:
    row = merged(reported)
    row |= merge.details_changes(row, current, changed_meanwhile=False)
    assert later.updated_at is not None
    changed = merge.state_changes(row, later, now=NOW)
    for name, time in merge.TIME_OF.items():
        value = getattr(later, name)
        if value in (None, row[name]):
            assert name not in changed
        elif row[time] is None or later.updated_at > row[time]:
            assert (changed[name], changed[time]) == (value, later.updated_at)
        elif later.updated_at < row[time]:
            assert name not in changed


FAR = st.timedeltas(min_value=timedelta(days=1, microseconds=1), max_value=FOREVER).map(lambda by: NOW + by)
MIXED = st.builds(replace, states, updated_at=times | FAR)


@given(reported=st.lists(MIXED, max_size=6), data=st.data())
def test_an_impossible_time_counts_only_if_no_possible_one_is_known_in_whatever_order(
    reported: list[ReportedState], data: st.DataObject
) -> None:
    row = merged([*reported])
    assert merged([*data.draw(st.permutations(reported))]) == row
    possible = [state for state in reported if state.updated_at and state.updated_at < NOW]
    for name in merge.TIME_OF:
        impossible = [state for state in reported if state not in possible]
        assert row[name] == (newest(list(possible), name) or newest(list(impossible), name))


@given(possible=states, impossible=st.builds(replace, states, updated_at=FAR))
def test_an_impossible_time_is_outvoted_by_a_possible_one_alone(
    possible: ReportedState, impossible: ReportedState
) -> None:
    assert not merge.is_outvoted(EMPTY_ROW, impossible, now=NOW)
    row = merged([possible])
    is_known = any(row[time] for time in merge.TIME_OF.values())
    assert merge.is_outvoted(row, impossible, now=NOW) == is_known
    assert not merge.is_outvoted(row, possible, now=NOW)
    assert not merge.is_outvoted(merged([impossible]), replace(impossible, updated_at=LAST), now=NOW)


@given(current=details)
def test_details_count_after_the_last_possible_time_of_all(current: IntegrationDetails) -> None:
    row = merged([ReportedState("personio:x", "OTHER", "OTHER", LAST)])
    row |= merge.details_changes(row, current, changed_meanwhile=False)
    assert row["status"] == (current.status or "OTHER")
    assert row["state_updated_at"] == LAST
