"""The HTTP surface: endpoints, problems, the cross-origin check, the middleware, and what composes them."""
