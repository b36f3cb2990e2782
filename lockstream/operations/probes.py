"""Asking a role of this machine whether it is ready."""

import ssl
import urllib.error
import urllib.request

PROBE_S = 2.0


def obstacle_of(page: str) -> str | None:
    """Why the role behind this ``/readyz`` is not ready, or None if it is."""
    # It is a process of our own, asked by its address: the certificate may be in another name.
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(page, timeout=PROBE_S, context=trusting):
            return None
    except urllib.error.HTTPError as error:
        return error.read(2000).decode(errors="replace")
    except OSError as error:
        return f"its health page does not answer ({error})"
