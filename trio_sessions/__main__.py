"""``python -m trio_sessions``: the command line."""

from trio_sessions.cli import main

if __name__ == "__main__":
    main()
