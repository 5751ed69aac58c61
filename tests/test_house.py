"""The doors of the house: which rooms may know which libraries. (The arrows between rooms are import-linter's.)"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PURE = ("calendars", "events", "record", "wire", "errors")
ROOMS = ("functions", "shared", "local", "simulator")


def imported(path):
    """Every module that a file imports, late imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_the_pure_rooms_touch_no_clock_file_environment_or_log():
    pure = [
        *(ROOT / "shared/rules").glob("*.py"),
        *(ROOT / "shared/guards").glob("*.py"),
        *(ROOT / "shared/rehearsal").glob("*.py"),
        *(ROOT / "shared/rollout").glob("*.py"),
        *(ROOT / "shared" / f"{one}.py" for one in PURE),
    ]
    doors = ("os", "io", "sys", "time", "random", "logging", "shutil", "tempfile", "pathlib.Path", "asyncio", "socket")
    opened = {path.name: name for path in pure for name in imported(path) if name in doors}
    assert opened == {}


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("azure.functions", ("functions/", "local/", "function_app.py")),
        ("azure.ai", ("shared/cloud/",)),
        ("azure.identity", ("shared/cloud/", "shared/cli/send.py")),
        ("azure.communication", ("shared/cloud/",)),
        ("azure.data", ("shared/cloud/",)),
        ("azure.storage", ("shared/cloud/",)),
        ("azure.monitor", ("shared/cloud/",)),
        ("azure.durable_functions", ("functions/rollouts.py",)),
        ("azure.eventgrid", ("shared/cli/send.py", "shared/cloud/topic.py")),
        ("sqlite3", ("local/",)),
        ("aiohttp", ("shared/cloud/", "simulator/")),
        ("jinja2", ("shared/messages/sandbox.py", "shared/web/", "simulator/")),
        ("requests", ("shared/cli/", "local/simulated.py", "local/serve.py", "simulator/")),
    ],
)
def test_a_library_is_known_only_where_the_house_says(library, rooms):
    files = [ROOT / "function_app.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    users = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if any(name == library or name.startswith(f"{library}.") for name in imported(path))
    }
    assert users, f"nobody uses {library} any more: drop it"
    assert [user for user in sorted(users) if not user.startswith(rooms)] == []
