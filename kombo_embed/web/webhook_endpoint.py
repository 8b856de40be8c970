"""The endpoint that receives Kombo's webhooks: it verifies the signature before anything else."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kombo_embed.errors import InvalidRequest, WebhookRejected, WebhooksNotConfigured
from kombo_embed.kombo import webhooks
from kombo_embed.telemetry import Operation
from kombo_embed.web.bodies import WEBHOOK_MAX_BYTES, read_body
from kombo_embed.web.endpoints import Services
from kombo_embed.web.responses import EmbedResponse


async def receive_webhook(services: Services, request: Request) -> Response:
    """Receive one of Kombo's signed events.

    Responds after the commit, never before.
    """
    with services.telemetry.operation("webhook") as operation:
        body = await _verified_body(services, request, operation)
        try:
            await services.flow.apply_webhook(body)
        except InvalidRequest:
            operation.count_as("malformed")
            raise
        operation.count_as("accepted")
    return EmbedResponse(status_code=204)


async def _verified_body(services: Services, request: Request, operation: Operation) -> bytes:
    [signature, *more] = request.headers.getlist(webhooks.SIGNATURE_HEADER) or [""]
    if more or not signature:
        signature = ""
    try:
        return await _read_signed_body(services, request, signature)
    except (WebhookRejected, WebhooksNotConfigured) as error:
        reason = "wrong_signature" if signature else "no_signature"
        if isinstance(error, WebhooksNotConfigured):
            reason = "not_configured"
        services.webhook_rejections.add(reason)
        operation.count_as(reason)
        raise


async def _read_signed_body(services: Services, request: Request, signature: str) -> bytes:
    secrets = [secret.get_secret_value() for secret in services.settings.webhook_secret]
    if not secrets or not signature:
        webhooks.verify_signature(b"", None, secrets)  # raises: an unsigned body is not read
    body = await read_body(request, limit=WEBHOOK_MAX_BYTES, large_bodies=services.large_bodies)
    webhooks.verify_signature(body, signature, secrets)
    return body
