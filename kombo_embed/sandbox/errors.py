"""What can be wrong with a request, said in the sandbox's own words; each border translates it.

SandboxError
├── InputInvalid          a body, or a choice in it, that Kombo would refuse
├── LinkUnknown           no link with this token was ever made here
├── LinkExpired           its hour, or its year, is over
├── IntegrationUnknown    no such integration, or it was deleted
├── ActivationUnknown     the activation token is unknown, expired or used up
└── KeyRejected           no bearer key, or the wrong one
"""


class SandboxError(Exception):
    """The base of all errors of the sandbox; its text is for the developer who reads the answer."""


class InputInvalid(SandboxError):
    """A body, or a choice in it, that Kombo would refuse."""


class LinkUnknown(SandboxError):
    """No link with this token was ever made here."""


class LinkExpired(SandboxError):
    """The link's hour, or its year, is over."""


class IntegrationUnknown(SandboxError):
    """There is no such integration, or it was deleted."""


class ActivationUnknown(SandboxError):
    """The activation token is unknown, expired or used up."""


class KeyRejected(SandboxError):
    """The request has no bearer key, or the wrong one."""
