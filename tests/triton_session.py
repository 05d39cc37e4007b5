"""What a user of Triton's client does, unmodified: run by the Python of an environment that has `tritonclient`.

    python tests/triton_session.py HTTP_ADDRESS GRPC_ADDRESS TOKEN

The model is `tests.models.classifier`: logits (m, -m) of the sum m of its three channels' means.
"""

import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

MODEL = "toy"

# Each call gets headers of its own: the client writes into them, and would say of the next body what was true of this.


def inputs(client, values, **how):
    tensor = client.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values, **how)
    return [tensor]


def check_health(client, headers):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL, headers=dict(headers))
    assert client.is_model_ready(MODEL, "1", headers=dict(headers))


def check_logits(answer, values):
    mean = values.mean(axis=2).sum(axis=1)
    np.testing.assert_allclose(answer.as_numpy("logits"), np.stack([mean, -mean], axis=1), rtol=1e-5)


def session_over_http(address, headers, values):
    with over_http.InferenceServerClient(address, concurrency=4) as client:
        check_health(client, headers)
        assert client.get_server_metadata(headers=dict(headers))["name"] == "hinterland"
        said = client.get_model_metadata(MODEL, headers=dict(headers))
        assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 10]}], said
        assert client.get_model_repository_index(headers=dict(headers))[0]["name"] == MODEL
        check_logits(client.infer(MODEL, inputs(over_http, values), headers=dict(headers)), values)  # binary both ways
        check_logits(client.infer(MODEL, inputs(over_http, values, binary_data=False), headers=dict(headers)), values)
        plain = [over_http.InferRequestedOutput("logits", binary_data=False)]
        answer = client.infer(MODEL, inputs(over_http, values), outputs=plain, headers=dict(headers), request_id="q1")
        check_logits(answer, values)
        assert answer.get_response()["id"] == "q1"
        for packed in ("gzip", "deflate"):
            answer = client.infer(
                MODEL, inputs(over_http, values), headers=dict(headers), request_compression_algorithm=packed
            )
            check_logits(answer, values)
        best = [over_http.InferRequestedOutput("logits", class_count=1)]
        answer = client.infer(MODEL, inputs(over_http, values), outputs=best, headers=dict(headers))
        assert answer.as_numpy("logits")[0][0].decode().endswith(":0:low"), answer.as_numpy("logits")
        waiting = [client.async_infer(MODEL, inputs(over_http, values), headers=dict(headers)) for _ in range(4)]
        for each in waiting:
            check_logits(each.get_result(), values)
        for wrong, says in (
            (lambda: client.infer(MODEL, inputs(over_http, values)), "show a token"),
            (lambda: client.infer("other", inputs(over_http, values), headers=dict(headers)), "there are: toy"),
            (lambda: client.infer(MODEL, inputs(over_http, values[:, :2]), headers=dict(headers)), "the model takes"),
        ):
            refused(wrong, says)


def session_over_grpc(address, headers, values):
    with over_grpc.InferenceServerClient(address) as client:
        check_health(client, headers)
        assert client.get_server_metadata(headers=dict(headers)).name == "hinterland"
        assert list(client.get_model_metadata(MODEL, headers=dict(headers)).inputs[0].shape) == [-1, 3, 10]
        assert client.get_model_repository_index(headers=dict(headers)).models[0].name == MODEL
        check_logits(client.infer(MODEL, inputs(over_grpc, values), headers=dict(headers)), values)
        best = [over_grpc.InferRequestedOutput("logits", class_count=1)]
        answer = client.infer(MODEL, inputs(over_grpc, values), outputs=best, headers=dict(headers))
        assert answer.as_numpy("logits")[0][0].decode().endswith(":0:low")
        refused(lambda: client.infer(MODEL, inputs(over_grpc, values)), "show a token")
        refused(lambda: client.infer("other", inputs(over_grpc, values), headers=dict(headers)), "there are: toy")


def refused(ask, says):
    try:
        ask()
    except InferenceServerException as error:
        assert says in str(error), error
    else:
        raise AssertionError(f"not refused: {says}")


if __name__ == "__main__":
    http, grpc, token = sys.argv[1:]
    said = {"Authorization": f"Bearer {token}"}
    windows = np.linspace(0.1, 1, 3 * 30, dtype=np.float32).reshape(3, 3, 10)
    session_over_http(http, said, windows)
    session_over_grpc(grpc, {"authorization": said["Authorization"]}, windows)
    print("ok")
