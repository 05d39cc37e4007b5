"""From settings to a camera."""

import tomllib
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import settings as conf
from edge.pipelines.sources.frames import FrameSource
from edge.pipelines.sources.making import credentials_of, make_source
from edge.pipelines.sources.rtsp import Credentials
from shared.clock import SystemClock
from shared.errors import RefusedError

RTSP = 'kind = "rtsp", url = "rtsp://10.0.0.9:554/stream1"'


def pipeline(source: str, more: str = "") -> conf.Pipeline:
    text = f'name = "gate"\nmodel = "detector"\nsource = {{ {source} }}\n{more}'
    return msgspec.convert(tomllib.loads(text), conf.Pipeline)


def made(wanted: conf.Pipeline, **environment: str) -> Any:
    return make_source(wanted, SystemClock(), random=Random(1), environment=environment)


@pytest.mark.parametrize(
    "source", [RTSP, f'{RTSP}, transport = "udp", frozen_s = 0', 'kind = "v4l2", size = "640x480", device_fps = 15']
)
@pytest.mark.parametrize("more", ["", "motion = { every_s = 5.0 }"])
def test_a_camera_is_made_without_being_opened(source: str, more: str) -> None:
    assert isinstance(made(pipeline(source, more)), FrameSource)


def test_a_pipeline_without_pictures_has_no_motion(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2, 3), np.float32))
    with pytest.raises(RefusedError, match="no pictures"):
        made(pipeline(f'kind = "replay", path = "{tmp_path / "x.npz"}"', "motion = {}"))


def test_credentials_come_from_one_place(tmp_path: Path) -> None:
    path = tmp_path / "gate"
    path.write_text("file:one")
    path.chmod(0o600)

    def found(more: str) -> Credentials | None:
        source = pipeline(RTSP + more).source
        assert isinstance(source, conf.RtspSource)
        return credentials_of(source, {"GATE": "variable:two"})

    assert found("") is None
    assert found(f', credentials_file = "{path}"') == Credentials(user="file", password="one")
    assert found(', credentials_env = "GATE"') == Credentials(user="variable", password="two")
    with pytest.raises(RefusedError, match="no YARD"):
        found(', credentials_env = "YARD"')
    with pytest.raises(RefusedError, match="two places"):
        found(f', credentials_file = "{path}", credentials_env = "GATE"')


@pytest.mark.parametrize(
    "source",
    [
        'kind = "rtsp", url = "rtsp://owner:secret@10.0.0.9/x"',
        'kind = "rtsp", url = "http://10.0.0.9/x"',
        f"{RTSP}, silent_s = 0",
        f"{RTSP}, frozen_s = -1",
        f'{RTSP}, transport = "http"',
        'kind = "v4l2", size = "640"',
        'kind = "v4l2", pixels = "../x"',
    ],
)
def test_settings_that_no_camera_can_have_are_refused(source: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        pipeline(source)
    assert "secret" not in str(refused.value)
