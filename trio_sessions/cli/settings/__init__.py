"""The configuration: what settings there are, where their values come from, and what is wrong with them."""

from trio_sessions.cli.settings._configuration import Configuration
from trio_sessions.cli.settings._file import UnreadableError, read_file
from trio_sessions.cli.settings._origin import Origin, Source
from trio_sessions.cli.settings._problem import Problem, as_error, of_value
from trio_sessions.cli.settings._schema import SETTINGS, Settings
from trio_sessions.cli.settings._setting import Setting
from trio_sessions.cli.settings._sources import CONFIG_VARIABLE, PROJECT_FILE, Sources, user_file

__all__ = [
    "CONFIG_VARIABLE",
    "PROJECT_FILE",
    "SETTINGS",
    "Configuration",
    "Origin",
    "Problem",
    "Setting",
    "Settings",
    "Source",
    "Sources",
    "UnreadableError",
    "as_error",
    "of_value",
    "read_file",
    "user_file",
]
