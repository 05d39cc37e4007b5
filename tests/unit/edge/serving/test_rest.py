"""The protocol over HTTP, with models that are Python functions."""

import asyncio
import gzip
import json
import secrets
import threading
import time

import httpx
import numpy as np
import pytest

from edge.serving.http import HttpError
from edge.serving.rest import unpack
from edge.serving.tokens import Tokens
from shared.bundle import Schema
from shared.messages import DriftReport, Telemetry
from shared.sketch import Sketch
from tests.models import LABELS, SHAPE
from tests.served_models import DETECTION, Site, request, windows


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def test_health_and_what_is_there(site):
    async with site.open() as client:
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.get("/v2/health/ready")).status_code == 503
        assert (await client.get("/v2/models/toy/ready")).status_code == 404
        await site.serve(3)
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert (await client.get("/v2/models/toy/ready")).status_code == 200
        assert "binary_tensor_data" in (await client.get("/v2")).json()["extensions"]
        said = (await client.get("/v2/models/toy")).json()
        assert said["versions"] == ["3"]
        assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, *SHAPE]}]
        assert said["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}]
        assert said["parameters"]["labels"] == LABELS
        assert (await client.get("/v2/models/toy/versions/3")).json() == said
        (index,) = (await client.post("/v2/repository/index")).json()
        assert (index["name"], index["version"], index["state"]) == ("toy", "3", "READY")


async def test_a_request_is_answered_by_the_release_that_serves(site):
    await site.serve(3)
    async with site.open() as client:
        answer = await client.post("/v2/models/toy/infer", json=request(windows(2), id="q"))
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert (said["model_name"], said["model_version"], said["id"]) == ("toy", "3", "q")
        (output,) = said["outputs"]
        assert (output["name"], output["shape"], output["data"]) == ("logits", [2, 2], [1, -1, 1, -1])


async def test_inputs_are_normalised_as_the_schema_says_unless_they_are_raw(site):
    schema = Schema(kind="classification", labels=LABELS, input_shape=SHAPE, mean=[1.0] * 3, std=[2.0] * 3)
    await site.serve(1, schema=schema)
    async with site.open() as client:
        for beside, first in (({}, 2.0), ({"parameters": {"raw": True}}, 5.0)):
            answer = (await client.post("/v2/models/toy/infer", json=request(windows(1, 5.0), **beside))).json()
            assert answer["outputs"][0]["data"][0] == first


async def test_binary_tensors_both_ways_and_packed(site):
    await site.serve(1)
    values = windows(2)
    tensor = {"name": "x", "shape": list(values.shape), "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": values.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    async with site.open() as client:
        for body, more in (
            (head + values.tobytes(), {}),
            (gzip.compress(head + values.tobytes()), {"Content-Encoding": "gzip"}),
        ):
            answer = await client.post("/v2/models/toy/infer", content=body, headers=headers | more)
            assert answer.status_code == 200, answer.text
            length = int(answer.headers["inference-header-content-length"])
            assert np.frombuffer(answer.content[length:], "<f4").tolist() == [1, -1, 1, -1]
        bad = await client.post("/v2/models/toy/infer", content=b"x", headers={"Content-Encoding": "br"})
        assert bad.status_code == 415


async def test_detectors_get_one_picture_at_a_time(site):
    await site.serve(1, data=b"d", schema=DETECTION)
    async with site.open() as client:
        answer = (await client.post("/v2/models/toy/infer", json=request(np.zeros((3, 3, 8, 8))))).json()
    assert site.models.batches[-3:] == [1, 1, 1]
    assert [each["name"] for each in answer["outputs"]] == ["boxes", "scores"]
    assert [each["shape"] for each in answer["outputs"]] == [[3, 4, 4], [3, 4, 2]]


async def test_long_requests_are_run_in_batches_of_a_pipelines_size(site):
    await site.serve(1)
    async with site.open() as client:
        await client.post("/v2/models/toy/infer", json=request(windows(40)))
    assert site.models.batches[-3:] == [16, 16, 8]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v2/models/other/infer", request(windows(1)), 404, "there are: toy"),
        ("/v2/models/toy/versions/9/infer", request(windows(1)), 404, "1 does"),
        ("/v2/models/toy/infer", {"inputs": []}, 400, "1 to 8 inputs"),
        ("/v2/models/toy/infer", request(np.zeros((1, 2, 2))), 400, "the model takes"),
        ("/v2/models/toy/infer", request(windows(65)), 400, "1 to 64 inputs"),
        ("/v2/models/toy/infer", request(windows(1), outputs=[{"name": "boxes"}]), 400, "there are logits"),
        ("/v2/models/toy/nothing", {}, 404, "nothing at"),
        ("/v2/models/toy", {}, 405, "GET"),
    ],
)
async def test_what_is_wrong_is_said_with_its_status(site, path, body, status, says):
    await site.serve(1)
    async with site.open() as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == status
        assert says in answer.json()["error"]
        again = await client.post("/v2/models/toy/infer", json=request(windows(1)))
        assert again.status_code == 200


async def test_a_model_that_fails_is_told_and_counted(site):
    await site.serve(1)
    async with site.open() as client:
        site.models.before = site.models.fail
        answer = await client.post("/v2/models/toy/infer", json=request(windows(2)))
        assert (answer.status_code, answer.json()["error"]) == (500, "the model's process ended")
        site.models.before = int
        bad = await client.post("/v2/models/toy/infer", json=request(windows(1, 3e38), parameters={"raw": True}))
        assert bad.status_code == 500
        assert "not finite" in bad.json()["error"]
    assert site.desk.accounts["toy"].errors == 3


async def test_bodies_are_bounded_packed_or_not(site):
    await site.serve(1)
    async with site.open(body_bytes=4096) as client:
        large = await client.post("/v2/models/toy/infer", content=b" " * 5000)
        assert large.status_code == 413
        bomb = gzip.compress(b" " * 10_000_000)
        assert len(bomb) > 4096
    assert unpack(gzip.compress(b" " * 4096), most=4096) == b" " * 4096
    for packed, status in (
        (gzip.compress(b" " * 4097), 413),
        (gzip.compress(b"x")[:-3], 400),
        (gzip.compress(b"x") + b"more", 400),
        (b"nothing", 400),
    ):
        with pytest.raises(HttpError) as error:
            unpack(packed, most=4096)
        assert error.value.status == status


async def test_tokens(site, tmp_path):
    site.tokens = Tokens(tmp_path / "serving" / "tokens.json")
    token = site.tokens.create("plc", at=0.0, draw=secrets.token_urlsafe)
    await site.serve(1)
    async with site.open() as client:
        assert (await client.get("/v2/health/ready")).status_code == 200
        for headers in ({}, {"Authorization": "Bearer hls_wrong"}, {"Authorization": f"Basic {token}"}):
            answer = await client.post("/v2/models/toy/infer", json=request(windows(1)), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert (await client.get("/v2/models/toy", headers=headers)).status_code == 401
        good = {"Authorization": f"Bearer {token}"}
        assert (await client.post("/v2/models/toy/infer", json=request(windows(1)), headers=good)).status_code == 200
        site.tokens.revoke("plc")
        assert (await client.get("/v2", headers=good)).status_code == 401


async def test_pages_of_browsers_may_not_ask(site):
    await site.serve(1)
    async with site.open() as client:
        answer = await client.post(
            "/v2/models/toy/infer", json=request(windows(1)), headers={"Origin": "https://example.org"}
        )
        assert answer.status_code == 403


class Held:
    """Models that wait until they are let go."""

    def __init__(self, site):
        self.go = threading.Event()
        site.models.before = lambda: self.go.wait(60)


async def test_who_comes_beyond_the_bound_is_told_to_come_again(site):
    await site.serve(1)
    held = Held(site)
    async with site.open(most=2) as client:
        first = [asyncio.create_task(client.post("/v2/models/toy/infer", json=request(windows(1)))) for _ in range(2)]
        while site.serving.gate.inside < 2:
            await asyncio.sleep(0.005)
        beyond = await client.post("/v2/models/toy/infer", json=request(windows(1)))
        assert beyond.status_code == 503
        assert beyond.headers["retry-after"] == "1"
        assert (await client.get("/v2/models/toy")).status_code == 200
        held.go.set()
        assert [each.status_code for each in await asyncio.gather(*first)] == [200, 200]


async def test_one_token_does_not_take_all_seats(site, tmp_path):
    site.tokens = Tokens(tmp_path / "serving" / "tokens.json")
    a, b = (
        {"Authorization": f"Bearer {site.tokens.create(name, at=0.0, draw=secrets.token_urlsafe)}"} for name in "ab"
    )
    await site.serve(1)
    held = Held(site)
    async with site.open(most=4) as client:

        def ask(headers):
            return client.post("/v2/models/toy/infer", json=request(windows(1)), headers=headers)

        first = [asyncio.create_task(ask(a)) for _ in range(3)]
        while site.serving.gate.inside < 3:
            await asyncio.sleep(0.005)
        assert (await ask(a)).status_code == 429
        other = asyncio.create_task(ask(b))
        while site.serving.gate.inside < 4:
            await asyncio.sleep(0.005)
        held.go.set()
        assert {each.status_code for each in await asyncio.gather(*first, other)} == {200}


async def test_a_defect_of_ours_is_an_answer_too(site):
    await site.serve(1)
    async with site.open() as client:
        site.models.before = lambda: 1 / 0
        answer = await client.post("/v2/models/toy/infer", json=request(windows(1)))
        assert answer.status_code == 500
        site.models.before = int
        assert (await client.post("/v2/models/toy/infer", json=request(windows(1)))).status_code == 200


async def test_an_answer_that_comes_too_late_is_none(tmp_path):
    site = Site(tmp_path, answer_s=0.05)
    await site.serve(1)
    held = Held(site)
    async with site.open() as client:
        asking = asyncio.create_task(client.post("/v2/models/toy/infer", json=request(windows(3))))
        await asyncio.sleep(0.2)
        held.go.set()
        answer = await asking
        assert answer.status_code == 503
        assert "no answer within 0.05 s" in answer.json()["error"]
        again = await client.post("/v2/models/toy/infer", json=request(windows(1)))
        assert again.status_code == 200
    assert sum(each.dropped_by.get("late", 0) for each in site.said if isinstance(each, Telemetry)) == 3


async def test_no_request_fails_while_releases_are_swapped(site):
    await site.serve(1, data=bytes([1]))
    stop = asyncio.Event()
    answers: list[httpx.Response] = []

    async def ask(client):
        while not stop.is_set():
            answers.append(await client.post("/v2/models/toy/infer", json=request(windows(20))))

    async with site.open() as client:
        callers = [asyncio.create_task(ask(client)) for _ in range(3)]
        for counter in range(2, 42):
            await site.serve(counter, data=bytes([counter]))
            await asyncio.sleep(0.005)
        stop.set()
        await asyncio.gather(*callers)
    assert {each.status_code for each in answers} == {200}
    versions = set()
    for each in answers:
        said = each.json()
        versions.add(said["model_version"])
        firsts = set(said["outputs"][0]["data"][::2])
        assert firsts == {1.0 + int(said["model_version"])}  # twenty inputs are two runs, of one release
    assert len(versions) > 5


async def test_it_is_counted_as_a_pipeline_of_its_own(site):
    await site.serve(1)
    async with site.open() as client:
        await client.post("/v2/models/toy/infer", json=request(windows(3)))
        await client.post("/v2/models/toy/infer", json=request(windows(2), parameters={"raw": True}))
    telemetry = [each for each in site.said if isinstance(each, Telemetry)]
    assert {each.pipeline for each in telemetry} == {"serving"}
    assert sum(each.processed for each in telemetry) == sum(each.received for each in telemetry) == 5
    assert all(Sketch.from_bytes(each.latency_ms).quantile(0.5) > 0 for each in telemetry if each.processed)
    drift = [each for each in site.said if isinstance(each, DriftReport)]
    assert sum(each.count for each in drift) == 3  # what is raw is on a scale of its own
    assert "ch0.mean" in drift[0].features


async def test_pipelines_come_first(tmp_path):
    """With a share of a tenth, and runs of 10 ms, a second's worth of requests takes about ten seconds."""
    site = Site(tmp_path, share=0.1, answer_s=60.0)
    await site.serve(1)
    site.models.before = lambda: time.sleep(0.01)
    site.pipelines_run = True
    async with site.open() as client:

        async def spent(count):
            began = time.monotonic()
            for _ in range(count):
                assert (await client.post("/v2/models/toy/infer", json=request(windows(1)))).status_code == 200
            return time.monotonic() - began

        await spent(25)  # what was saved up
        assert await spent(10) > 0.5


async def test_requests_at_work_are_answered_when_the_agent_stops(site):
    await site.serve(1)
    held = Held(site)
    async with site.open() as client:
        asking = asyncio.create_task(client.post("/v2/models/toy/infer", json=request(windows(1))))
        while not site.serving.gate.inside:
            await asyncio.sleep(0.005)
        site.serving.gate.close()
        assert (await client.post("/v2/models/toy/infer", json=request(windows(1)))).status_code == 503
        held.go.set()
        assert (await asking).status_code == 200


async def test_only_lines_that_the_owner_names(tmp_path):
    site = Site(tmp_path, models=["other"])
    await site.serve(1)
    async with site.open() as client:
        assert (await client.get("/v2/models/toy")).status_code == 404
        assert (await client.get("/v2/health/ready")).status_code == 503
