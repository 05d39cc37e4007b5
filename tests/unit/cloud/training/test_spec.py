import msgspec
import pytest

from cloud.training.optimisers import Adagrad, Adam, FedAvg, Momentum, Yogi
from cloud.training.rules import Krum, Mean, Median, TrimmedMean
from cloud.training.spec import Member, RunSpec, check, read_spec, write_spec
from shared.errors import ContractError

MEMBERS = [Member(device=f"watch-{number}", node=100 + number) for number in range(3)]
SPEC = RunSpec(run="run-1", task="activity", members=MEMBERS, seed=7)


def test_a_spec_comes_back_as_it_was_written(tmp_path):
    write_spec(tmp_path / "run-1", SPEC)
    assert read_spec(tmp_path / "run-1") == SPEC


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "Run 1"},
        {"members": [*MEMBERS, MEMBERS[0]]},
        {"members": [*MEMBERS, Member(device="watch-9", node=100)]},
        {"min_devices": 4},
        {"min_devices": 0},
        {"fraction": 0.0},
        {"fraction": 1.5},
        {"rounds": 0},
        {"strategy": Momentum(momentum=1.0)},
        {"strategy": Adam(beta2=1.0)},
        {"strategy": Yogi(tau=0.0)},
        {"strategy": Adagrad(rate=-1.0)},
        {"rule": TrimmedMean(share=0.5)},
        {"rule": Krum(attackers=1)},
        {"rule": Krum(keep=0)},
        {"round_timeout_s": 0.0},
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ContractError):
        check(msgspec.structs.replace(SPEC, **changes))


@pytest.mark.parametrize("rule", [Mean(), TrimmedMean(share=0.1), Median(), Krum(attackers=0, keep=2)])
@pytest.mark.parametrize("strategy", [FedAvg(), Momentum(momentum=0.9), Adam(), Yogi(), Adagrad(rate=0.2)])
def test_every_rule_and_strategy_comes_back(tmp_path, rule, strategy):
    spec = msgspec.structs.replace(SPEC, rule=rule, strategy=strategy)
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


def test_a_directory_without_a_spec_is_no_run(tmp_path):
    with pytest.raises(ContractError):
        read_spec(tmp_path)
