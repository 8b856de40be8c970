"""Resolves the signed-in end user of a request: from a callable of the host's, a login, or a bearer token."""
