"""The `data` of Kombo's answers, with every key that its published schema requires."""

from collections.abc import Iterable, Mapping

from kombo_embed.sandbox.events import end_user, timestamp
from kombo_embed.sandbox.records import Category, Integration, Link, Tool
from kombo_embed.sandbox.tools import find_tool

# Addresses from the range that is reserved for documentation (RFC 5737).
STATIC_IPS = ("192.0.2.10", "192.0.2.11")
_DEFAULT_SCOPE_CONFIG = "9vRtKpQ2mXeYw7dZbN3sHc5J"

_READ_MODELS: dict[Category, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "HRIS": (
        ("hris_employees", "Employees", ("first_name", "last_name", "work_email")),
        ("hris_groups", "Groups", ("name", "type")),
        ("hris_absences", "Absences", ("start_date", "end_date")),
    ),
    "ATS": (
        ("ats_jobs", "Jobs", ("name", "status")),
        ("ats_candidates", "Candidates", ("first_name", "last_name")),
        ("ats_applications", "Applications", ("outcome",)),
    ),
    "ASSESSMENT": (("ats_jobs", "Jobs", ("name", "status")),),
    "LMS": (
        ("lms_users", "Users", ("first_name", "last_name", "work_email")),
        ("lms_course_progressions", "Course progressions", ("status",)),
    ),
}
_WRITE_ACTIONS: dict[Category, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "HRIS": (("hris_create_absence", "Create absence", ("start_date", "end_date")),),
    "ATS": (("ats_create_candidate", "Create candidate", ("candidate.first_name", "candidate.last_name")),),
    "ASSESSMENT": (("assessment_update_order_result", "Update order result", ("status",)),),
    "LMS": (("lms_create_course", "Create course", ("title",)),),
}
_ENABLED = {
    "is_available": True,
    "coverage_status": "SUPPORTED",
    "scope_config_setting": "ENABLED",
    "opted_out_by_customer": False,
}
_COVERED = {"coverage_status": "SUPPORTED"}


def link_data(link: Link) -> dict[str, object]:
    """Answer create-link, relink and setup-link: no expiry in it, which is Kombo's way."""
    data: dict[str, object] = {"link": link.url}
    if link.terms.options.static_ips:
        data["static_ips"] = STATIC_IPS
    return data


def activation_data(integration: Integration) -> dict[str, object]:
    """Answer integration-by-token: flat names, no category."""
    return {
        "id": integration.id,
        "tool": integration.tool,
        "end_user_origin_id": integration.end_user.origin_id,
        "end_user_organization_name": integration.end_user.organization_name,
        "end_user_email": integration.end_user.email,
        "setup_status": integration.setup_status,
    }


def integration_data(integration: Integration, base_url: str) -> dict[str, object]:
    """Answer the integration's details: nested names."""
    tool = find_tool(integration.tool)
    icon = icon_url(tool, base_url)
    scope_config_id = integration.options.scope_config_id
    return {
        "id": integration.id,
        "tool": {
            "id": tool.id,
            "label": tool.label,
            "internal_label": None,
            "logo_url": icon,
            "icon_url": icon,
        },
        "category": integration.category,
        "status": integration.status,
        "setup_status": integration.setup_status,
        "end_user": end_user(integration.end_user),
        "scope_config": {
            "id": scope_config_id or _DEFAULT_SCOPE_CONFIG,
            "name": None if scope_config_id else "Default",
        },
        "data_expired_at": None,
        "created_at": timestamp(integration.created_at),
        "beta": False,
        "read_models": _coverage(_READ_MODELS[integration.category], _ENABLED),
        "write_actions": _coverage(_WRITE_ACTIONS[integration.category], _ENABLED),
    }


def tool_data(tool: Tool, category: Category, base_url: str) -> dict[str, object]:
    """Answer one entry of the list of tools."""
    icon = icon_url(tool, base_url)
    return {
        "id": tool.id,
        "label": tool.label,
        "internal_label": None,
        "assets": {"logo_url": icon, "icon_url": icon, "icon_black_url": f"{icon}?black"},
        "paid_api_details_markdown": None,
        "fast_track_details_markdown": None,
        "partner_only_details_markdown": None,
        "connection_guide_url": None,
        "coverage": {
            "read_models": _coverage(_READ_MODELS[category], _COVERED),
            "write_actions": _coverage(_WRITE_ACTIONS[category], _COVERED),
            "features": [],
        },
    }


def icon_url(tool: Tool, base_url: str) -> str:
    """Tell where the sandbox serves a tool's tile."""
    return f"{base_url}/assets/tools/{tool.id}.svg"


def _coverage(
    models: Iterable[tuple[str, str, tuple[str, ...]]], marks: Mapping[str, object]
) -> list[dict[str, object]]:
    return [
        {"id": model, "label": label, **marks, "fields": [{"id": field, **marks} for field in fields]}
        for model, label, fields in models
    ]
