"""The compiled requirements say what pyproject.toml asks for, pin it with hashes, and name no package host."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def group(name):
    return {
        canonicalize_name(Requirement(line).name): Requirement(line) for line in PYPROJECT["dependency-groups"][name]
    }


PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def asked(*extras):
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def blocks(name):
    """Package -> its block of lines: pin, hashes, who asked for it."""
    text = (ROOT / name).read_text()
    starts = [*PIN.finditer(text)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return {canonicalize_name(s[1]): (s[2], text[s.start() : end]) for s, end in zip(starts, ends, strict=True)}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.txt", asked()),
        ("requirements-dev.txt", asked("local", "dev")),
        ("requirements-durable.txt", group("durable")),
        ("requirements-bench.txt", group("bench")),
        ("requirements-audit.txt", group("audit")),
        ("requirements-infra.txt", group("infra")),
        ("requirements-project.txt", group("project")),
    ],
)
def test_what_is_asked_for_is_what_is_pinned(name, wanted):
    pinned = blocks(name)
    direct = {package for package, (_, block) in pinned.items() if "via switchyard (pyproject.toml" in one_line(block)}
    assert direct == set(wanted)
    for package, requirement in wanted.items():
        assert requirement.specifier.contains(pinned[package][0], prereleases=True), package


def one_line(block):
    """`# via` is followed by names on lines of their own where there are several."""
    text = re.sub(r"\s*\n\s*#\s*", " ", block)
    return re.sub(r"via .*?switchyard", "via switchyard", text)


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-durable.txt",
        "requirements-bench.txt",
        "requirements-audit.txt",
        "requirements-infra.txt",
        "requirements-project.txt",
    ],
)
def test_every_pin_has_a_hash_and_no_line_names_a_host(name):
    assert [package for package, (_, block) in blocks(name).items() if "--hash=sha256:" not in block] == []
    assert re.findall(r"(?:https?|file)://\S+|--(?:extra-)?index-url.*|--find-links.*", (ROOT / name).read_text()) == []


def test_development_runs_the_versions_that_azure_installs():
    production, development = blocks("requirements.txt"), blocks("requirements-dev.txt")
    assert {name: pin for name, (pin, _) in production.items()}.items() <= {
        name: pin for name, (pin, _) in development.items()
    }.items()


def test_the_second_environment_differs_in_durable_functions_alone():
    development, durable = blocks("requirements-dev.txt"), blocks("requirements-durable.txt")
    both = development.keys() & durable.keys()
    assert {name for name in both if development[name][0] != durable[name][0]} == {"azure-functions-durable"}


def test_every_direct_dependency_has_its_reason():
    reasons = (ROOT / "docs/decisions/0002-dependencies.md").read_text()
    groups = group("durable") | group("bench") | group("audit") | group("infra") | group("project")
    assert [name for name in asked("local", "dev") | groups if f"`{name}`" not in reasons] == []


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The list of parts, made as `make test` and the samples of CI make it. Of this very environment make must not make a new one."""
    file = tmp_path_factory.mktemp("parts") / "parts.cdx.json"
    command = ["make", "-s", "-o", ".venv/.ready", "parts", f"PARTS={file}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())


def test_the_list_of_parts_has_every_part_that_azure_installs_with_its_hashes(parts):
    assert (parts["bomFormat"], parts["metadata"]["component"]["name"]) == ("CycloneDX", "switchyard")
    listed = {canonicalize_name(one["name"]): one for one in parts["components"]}
    pinned = blocks("requirements.txt")
    assert {name: one["version"] for name, one in listed.items()} == {name: pin for name, (pin, _) in pinned.items()}
    for name, one in listed.items():
        hashes = {each["content"] for there in one["externalReferences"] for each in there.get("hashes", [])}
        assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", pinned[name][1])), name
        assert one["purl"].startswith(f"pkg:pypi/{name}@")


def test_the_lock_of_the_storage_emulator_names_no_host():
    assert '"resolved"' not in (ROOT / "tests/azurite/package-lock.json").read_text()
