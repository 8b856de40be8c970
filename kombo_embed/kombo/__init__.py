"""Kombo's API: its requests, responses, error codes and webhook signatures, and the client that calls it."""
