import pytest

from edge import settings as conf
from edge.pipelines.making import make_thinning
from edge.settings.sensors import MqttChannel, MqttSource


def _pipeline(source: conf.Source, *, latency_ms: float | None = None) -> conf.Pipeline:
    return conf.Pipeline(name="p", model="m", source=source, latency_ms=latency_ms)


@pytest.mark.parametrize("source", [conf.VideoSource(path="f"), conf.RtspSource(url="rtsp://10.0.0.9/x")])
def test_frames_are_left_out_to_keep_a_promised_latency(source: conf.Source) -> None:
    promised, free = make_thinning(_pipeline(source, latency_ms=50.0)), make_thinning(_pipeline(source))
    assert promised is not None
    assert free is not None
    for second in range(10):
        promised.answered(80.0, at=float(second))
        free.answered(80.0, at=float(second))
    assert promised.share < 1.0
    assert free.share == 1.0
    free.limit = 0.5
    assert free.share == 0.5


def test_a_sensors_windows_are_never_left_out() -> None:
    assert make_thinning(_pipeline(conf.ReplaySource(path="f"), latency_ms=50.0)) is None
    channels = [MqttChannel(name="x", topic="a/b")]
    assert make_thinning(_pipeline(MqttSource(host="10.0.0.9", channels=channels))) is None
