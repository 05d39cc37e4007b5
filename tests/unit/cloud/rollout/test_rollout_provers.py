from cloud.rollout.plan import plan
from cloud.rollout.provers import Ability, provers, with_provers
from cloud.rollout.spec import Spec, WaveSize
from shared.bundle import UNEXECUTED, Release, Runtime, Schema, Variant

RTX, ORT = Runtime.TENSORRT_RTX, Runtime.ONNXRUNTIME


def file(name: str, hardware: str, runtime: Runtime = RTX, label: str = UNEXECUTED) -> Variant:
    return Variant(
        name=name,
        runtime=runtime,
        precision="fp16",
        hardware=[hardware],
        digest="0" * 64,
        size=1,
        chunks=[],
        label=label,
    )


def release(*variants: Variant) -> Release:
    schema = Schema(kind="classification", labels=["a"], input_shape=[1])
    return Release(id="m-1", model="m", counter=1, schema=schema, variants=list(variants), created=0.0)


def gpu(sm: str, *runtimes: Runtime) -> Ability:
    return Ability(hardware=["cpu", sm], runtimes=list(runtimes or (RTX, ORT)))


CPU = Ability(hardware=["cpu"], runtimes=[ORT])
FLEET = {"a": CPU, "b": gpu("sm86"), "c": gpu("sm86"), "d": gpu("sm89"), "e": gpu("sm120", ORT)}
ONNX = file("cpu-fp32.onnx", "cpu", ORT, "")


def test_each_kind_of_hardware_has_one() -> None:
    offered = release(ONNX, file("1", "sm86"), file("2", "sm86"), file("3", "sm89"), file("4", "sm120"))
    assert provers(offered, FLEET) == ("b", "d")  # nobody with SM120 could execute an engine


def test_a_release_whose_files_were_run_needs_nobody() -> None:
    spec = Spec(release="m-1", fleet="f", canaries=("c",))
    assert with_provers(spec, release(ONNX, file("1", "sm86", label="")), FLEET) is spec


def test_they_come_with_the_canaries_and_before_every_wave() -> None:
    offered = release(ONNX, file("1", "sm86"), file("3", "sm89"))
    named = with_provers(Spec(release="m-1", fleet="f", canaries=("a", "b")), offered, FLEET)
    assert named.canaries == ("a", "b", "d")
    waves = with_provers(Spec(release="m-1", fleet="f", waves=(WaveSize(percent=100),)), offered, FLEET)
    assert [wave.devices for wave in plan(sorted(FLEET), waves)] == [("b", "d"), ("a", "c", "e")]


def test_without_any_word_the_first_device_still_goes_first() -> None:
    plain = with_provers(Spec(release="m-1", fleet="f"), release(ONNX, file("3", "sm89")), FLEET)
    assert [wave.devices for wave in plan(sorted(FLEET), plain)] == [("d",), ("a", "b", "c", "e")]
