"""What is tested is what runs, and what is registered is what Switchyard deploys."""

import re
import sys
from importlib.metadata import version
from pathlib import Path

CODE = Path(__file__).resolve().parents[1] / "code"
PIN = re.compile(r"^\s*(?:- )?([A-Za-z0-9._-]+)==(\S+)$", re.MULTILINE)


def test_the_environment_of_the_pipeline_has_the_versions_that_the_tests_run_with():
    pins = dict(PIN.findall((CODE / "conda.yml").read_text(encoding="utf-8")))
    assert {"azureml-mlflow", "scikit-learn", "azureml-ai-monitoring"} <= pins.keys()
    assert {name: version(name) for name in pins} == pins
    assert f"python={sys.version_info.major}.{sys.version_info.minor}" in (CODE / "conda.yml").read_text(
        encoding="utf-8"
    )


def test_so_does_what_the_pipelines_of_ci_install():
    pins = dict(PIN.findall((CODE / "ops" / "requirements.txt").read_text(encoding="utf-8")))
    assert {name: version(name) for name in pins} == pins


def test_the_policy_deploys_the_environment_and_the_code_that_are_registered(monkeypatch):
    monkeypatch.syspath_prepend(str(CODE / "ops"))
    import commands

    policy = (CODE.parent / ".cloud/switchyard/rollouts/fraud-online.yaml").read_text(encoding="utf-8")
    named = dict(re.findall(r"azureml:([a-z-]+):(\S+)", policy))
    wanted = {"fraud": commands.environment_version(), "fraud-score": commands.code_version()}
    assert named == wanted, (
        "code or conda.yml changed: put these versions into .cloud/switchyard/rollouts/fraud-online.yaml"
    )
