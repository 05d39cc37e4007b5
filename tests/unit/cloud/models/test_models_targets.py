import pytest

from cloud.models.targets import ALL, parse_target, parse_targets
from shared.bundle import Runtime
from shared.errors import RefusedError


@pytest.mark.parametrize("name", ALL)
def test_a_target_is_what_its_name_says(name: str) -> None:
    target = parse_target(name)
    assert target.name == name
    assert target.file == f"{name}.{'engine' if name.startswith('sm') else 'onnx'}"
    assert target.hardware == (name.partition("-")[0] if target.engine else "cpu")


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("cpu-int8", Runtime.ONNXRUNTIME),
        ("openvino-int8", Runtime.OPENVINO),
        ("sm75-fp16", Runtime.TENSORRT_RTX),
        ("sm121-int8", Runtime.TENSORRT_RTX),
        ("sm87-fp16", Runtime.TENSORRT),  # Jetson Orin
        ("sm90-fp16", Runtime.TENSORRT),  # Hopper
    ],
)
def test_each_generation_has_the_runtime_that_knows_it(name: str, runtime: Runtime) -> None:
    assert parse_target(name).runtime is runtime


@pytest.mark.parametrize(
    "name", ["", "cpu", "cpu-fp16", "sm70-fp16", "sm86-fp8", "SM86-fp16", "sm86-fp16.engine", "gpu-int8"]
)
def test_what_is_no_target_is_refused_with_all_that_are(name: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_target(name)
    assert "sm86-fp16" in refused.value.hint


def test_targets_come_once_in_their_order() -> None:
    assert [t.name for t in parse_targets(["sm86-fp16", "cpu-fp32", "sm86-fp16"])] == ["sm86-fp16", "cpu-fp32"]
    with pytest.raises(RefusedError):
        parse_targets([])
