"""What is deployed: all that the app needs, and nothing that only we need. As `make package` and the pipelines make it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shared.settings import configuration

ROOT = Path(__file__).resolve().parents[1]
MOST = 3_000_000
"""Bytes of the package, without libraries, which Azure installs: it is read at each cold start."""

PROBE = """
import json, pathlib, sys
sys.path.insert(0, ".")
import function_app, shared
from shared.settings import read_folder
from shared.rules.load import load_texts
import shared.cloud.world, shared.web
here = pathlib.Path.cwd()
loaded = load_texts(read_folder(pathlib.Path("config")))
print(json.dumps({
    "ours": pathlib.Path(shared.__file__).is_relative_to(here) and pathlib.Path(function_app.__file__).is_relative_to(here),
    "functions": [one.get_function_name() for one in function_app.app.get_functions()],
    "problems": [str(one) for one in loaded.problems],
    "strangers": sorted(name for name in sys.modules if name.partition(".")[0] in ("simulator", "local", "tests")),
}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    where = tmp_path_factory.mktemp("package")
    made = where / "package.zip"
    subprocess.run(["make", "-s", "package", f"PACKAGE={made}"], cwd=ROOT, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(made) as archive:
        archive.extractall(where / "app")
    return made, where / "app"


def test_the_package_is_small_and_holds_what_the_app_is_made_of(package):
    made, app = package
    assert made.stat().st_size < MOST
    top = {path.name for path in app.iterdir()}
    assert top == {"LICENSE", "config", "function_app.py", "functions", "host.json", "requirements.txt", "shared"}


def test_the_configuration_goes_along_whole(package):
    """The requests of a smoke test lie in config/samples, whose name is also that of a folder which does not go along."""
    _, app = package
    shipped = [name for name, _ in configuration(app / "config")]
    assert shipped == [name for name, _ in configuration(ROOT / "config")]
    assert any(name.startswith("samples/") for name in shipped)


def test_the_app_runs_from_its_package_alone(package):
    _, app = package
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=app, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["ours"]
    assert said["problems"] == []
    assert said["strangers"] == []
    assert {"on_event", "on_queued_event", "on_message", "on_configuration", "rollout", "web"} <= set(said["functions"])
    pages = [path.name for path in (app / "shared/web/pages").iterdir()]
    assert pages
    assert [*(app / "shared/messages").glob("*.yaml")]
