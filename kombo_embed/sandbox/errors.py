"""What can be wrong with a request. The API, the pages and the controls each translate it to HTTP."""


class SandboxError(Exception):
    """The base of all errors of the sandbox; its text is for the developer who reads the response."""


class InputInvalid(SandboxError):
    """A body, or a value in it, that Kombo would reject."""


class LinkUnknown(SandboxError):
    """No link with this token was minted here."""


class LinkExpired(SandboxError):
    """The link's hour, or its year, is over."""


class IntegrationUnknown(SandboxError):
    """There is no such integration, or it was deleted."""


class ActivationUnknown(SandboxError):
    """The activation token is unknown, expired or used up."""


class KeyRejected(SandboxError):
    """The request has no bearer key, or the wrong one."""
