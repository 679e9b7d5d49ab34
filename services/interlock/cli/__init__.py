"""The command line. Every command has `--json`, fails with one clear line, and no traceback."""

import sys

from interlock.runtime.errors import RetryLater, UserError


def main() -> None:
    """Run `interlock`; exit status 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from interlock.cli.app import app

    try:
        app()
    except UserError as error:
        sys.exit(f"interlock: {error}")
    except RetryLater as error:
        # What a source's own code said is for the person who asked, on one line.
        cause = error.__cause__
        said = f" ({' '.join(str(cause).split())})" if cause else ""
        sys.exit(f"interlock: {error}{said}; try again later")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
