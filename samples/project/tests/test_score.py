"""The scoring script as the server of a deployment uses it: init once, run for each request; with Azure's own collector."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread

import mlflow
import pytest
import yaml
from columns import FEATURES
from prepare import prepare
from train import fit

DEPLOYMENT = Path(__file__).resolve().parents[1] / "pipelines" / "deployment.yml"
SAMPLES = Path(__file__).resolve().parents[1] / ".cloud" / "switchyard" / "samples" / "fraud"
REQUESTS = sorted(SAMPLES.glob("*.json"))


@pytest.fixture(scope="module")
def sidecar():
    """Where the collector of a deployment sends its lines. Gives its port, and what came."""
    came = Queue()

    class Sidecar(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.put((dict(self.headers), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sidecar) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], came
        server.shutdown()


@pytest.fixture(scope="module")
def script(tmp_path_factory, made, sidecar):
    """With the collections that the deployment asks for."""
    import score
    from azureml.ai.monitoring.init import init, teardown

    folder = tmp_path_factory.mktemp("model")
    model = fit(prepare(made, 0.25).train, learning_rate=0.1, epochs=20, seed=7)
    mlflow.sklearn.save_model(
        model, str(folder / "model"), conda_env={"dependencies": []}, serialization_format="cloudpickle"
    )
    asked = yaml.safe_load(DEPLOYMENT.read_text(encoding="utf-8"))["data_collector"]["collections"]
    on = {name: {"enabled": one["enabled"] == "True"} for name, one in asked.items()}
    (folder / "collector.json").write_text(json.dumps({"collections": on}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZUREML_MODEL_DIR", str(folder))
        patch.setenv("AZUREML_MDC_CONFIG_PATH", str(folder / "collector.json"))
        patch.setenv("AZUREML_MDC_PORT", str(sidecar[0]))
        teardown()
        init(model_version="12")
        score.init()
        yield score
        teardown()


@pytest.mark.parametrize("file", REQUESTS, ids=lambda file: file.stem)
def test_each_row_of_a_known_request_gets_a_probability(script, file):
    raw = file.read_text(encoding="utf-8")
    answer = script.run(raw)
    assert len(answer) == len(json.loads(raw)["input_data"]["data"])
    assert all(0 <= one <= 1 for one in answer)


def test_what_is_collected_can_be_joined_with_the_truth_later(script, sidecar):
    _, came = sidecar
    raw = (SAMPLES / "two-at-once.json").read_text(encoding="utf-8").replace("known", "late")
    answer = script.run(raw)
    rows: list[list[dict[str, object]]] = []
    while len(rows) < 2:
        _, said = came.get(timeout=60)  # those of earlier requests may come first
        rows += [said] if said[0]["transaction_id"].startswith("late") else []
    inputs, outputs = sorted(rows, key=lambda one: "probability" in one[0])
    assert [(row["transaction_id"], row["segment"]) for row in outputs] == [
        ("late-2", "online"),
        ("late-3", "new-merchants"),
    ]
    assert [round(row["probability"], 6) for row in outputs] == answer
    assert [row["amount"] for row in inputs] == [950.5, 40.5]


def test_a_caller_without_an_id_is_answered_all_the_same(script):
    assert len(script.run(json.dumps({"input_data": {"columns": FEATURES, "data": [[1.0, 2, 3.0, 0.1]]}}))) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("not json", "expected"),
        ("[]", "expected"),
        (json.dumps({"input_data": {"columns": ["amount"], "data": [[1, 2]]}}), "expected"),
        (json.dumps({"input_data": {"columns": FEATURES[:3], "data": [[1, 2, 3]]}}), "no column foreign_share"),
        (json.dumps({"input_data": {"columns": FEATURES, "data": [[1, "x", 3, 0]]}}), "not a number in column hour"),
    ],
)
def test_a_bad_request_is_the_callers_error_and_says_what_is_wrong(script, body, said):
    answer = script.run(body)
    assert answer.status_code == 400
    assert said in answer.get_data(as_text=True)
