"""The first page: static files that a browser runs as they are, and the routes that serve them."""
