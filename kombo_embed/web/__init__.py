"""The HTTP surface: routes, endpoints, request and response bodies, problems, cross-origin rules, OpenAPI."""
