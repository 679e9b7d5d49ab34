#!/usr/bin/env -S python3 -IS
"""The image's health check: `ready [PORT/PATH]` exits 0 if that answers 200 on this host.

Without an argument it asks the service of this container. It is not a command of `interlock`
because it runs every few seconds beside every service, and importing that costs more.
"""

import http.client
import os
import sys

DEFAULT = f"{os.environ.get('INTERLOCK_HTTP_PORT', '8080')}/ready"


def main() -> int:
    """Ask once, with a little less patience than the health check has."""
    port, _, path = (sys.argv[1] if len(sys.argv) > 1 else DEFAULT).partition("/")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=4)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        sys.stdout.write(answer.read(500).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
