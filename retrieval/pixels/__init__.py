"""Image files to display-ready grey and what their headers say, or a named error."""
