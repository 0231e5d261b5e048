"""A server on this machine that enhances the speech of several clients at once, with a web page and a Python client."""
