"""The pipelines that deploy the service: YAML that loads, scripts that a shell can read, steps in the order that matters, no person."""

import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from infra import hooks

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / "samples/ci/github-deploy.yml"
AZURE = ROOT / "samples/ci/azure-pipelines-deploy.yml"
both = pytest.mark.parametrize("path", [GITHUB, AZURE], ids=lambda path: path.stem)


def load(path):
    return YAML(typ="safe").load(path.read_text("utf-8"))


def scripts(found):
    """Every script of a pipeline, wherever it stands."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key in {"run", "bash", "script", "inlineScript"} and isinstance(value, str):
                yield value
            else:
                yield from scripts(value)
    elif isinstance(found, list):
        for one in found:
            yield from scripts(one)


@both
def test_every_script_is_one_that_a_shell_can_read(path):
    found = [*scripts(load(path))]
    assert len(found) > 5
    for script in found:
        # What the pipeline puts in before the shell reads it.
        plain = re.sub(r"\$\{\{[^}]*\}\}|\$\([A-Za-z.]+\)", "X", script)
        done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{script}"


@both
def test_a_deployment_goes_step_by_step_and_ends_with_the_pulse(path):
    text = "\n".join(scripts(load(path)))
    steps = re.findall(r"hooks\.py (\w+)|(az deployment sub create)", text)
    assert [hook or command for hook, command in steps] == [
        "check", "az deployment sub create", "provisioned", "configuration", "code", "deployed",
    ]  # fmt: skip
    assert "az bicep lint --file infra/main.bicep" in text
    assert "az deployment sub what-if" in text
    assert "switchyard filters --config config --deliver queue" in text


@both
def test_no_secret_of_azure_is_in_it_and_nothing_is_deployed_but_from_main(path):
    text = path.read_text("utf-8")
    assert not re.search(r"client[-_]?secret|AZURE_CREDENTIALS|publish[-_]?profile", text, re.IGNORECASE)
    assert "refs/heads/main" in text


def test_github_pins_what_it_uses_and_signs_in_by_oidc():
    found = load(GITHUB)
    used = re.findall(r"uses: (\S+)", GITHUB.read_text("utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one in used)
    deploy = found["jobs"]["deploy"]
    assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
    assert deploy["strategy"] == {"fail-fast": True, "max-parallel": 1, "matrix": {"stage": ["test", "prod"]}}
    assert deploy["environment"] == "switchyard-${{ matrix.stage }}"
    assert deploy["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert found["jobs"]["plan"]["environment"].endswith("-plan")


def test_prod_waits_for_test_in_azure_pipelines():
    (stages,) = load(AZURE)["parameters"]
    assert {one["name"]: one["after"] for one in stages["default"]} == {
        "test": ["compile"],
        "prod": ["compile", "deploy_test"],
    }


@both
def test_every_variable_that_the_parameters_read_is_given(path):
    text = path.read_text("utf-8")
    for stage in ("test", "prod"):
        wanted = re.findall(
            r"readEnvironmentVariable\('(\w+)'", (ROOT / f"infra/{stage}.bicepparam").read_text("utf-8")
        )
        assert wanted
        assert [name for name in wanted if name not in text] == []


def test_azd_calls_hooks_that_are_there():
    found = load(ROOT / "azure.yaml")
    steps = {
        (name, system): re.findall(r"hooks\.py (\w+)", shell["run"])
        for name, systems in found["hooks"].items()
        for system, shell in systems.items()
    }
    assert steps == {
        ("preprovision", "posix"): ["check"],
        ("preprovision", "windows"): ["check"],
        ("postprovision", "posix"): ["provisioned"],
        ("postprovision", "windows"): ["provisioned"],
        ("postdeploy", "posix"): ["deployed"],
        ("postdeploy", "windows"): ["deployed"],
    }
    assert all(word in (hooks.__doc__ or "") for words in steps.values() for word in words)
    assert found["services"]["switchyard"] == {"project": ".", "language": "python", "host": "function"}
    tag = "'azd-service-name': 'switchyard'"
    assert tag in (ROOT / "infra/modules/app.bicep").read_text("utf-8"), "azd finds the app by it"
