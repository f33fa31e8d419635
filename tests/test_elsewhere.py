"""The second device of conftest.py refuses what a GPU refuses, and nothing else."""

import pytest
import torch


@pytest.fixture
def there(elsewhere):
    from sim.engine import CpuEngine

    return elsewhere(CpuEngine(2, threads=1)).device


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(2),
        lambda x: torch.where(torch.ones(2, dtype=torch.bool), x, 0.0),
        lambda x: x[torch.arange(2)],
        lambda x: torch.ones(2)[x.long()],
        lambda x: x.__setitem__(0, torch.ones(1)),
        lambda x: torch.stack((x[0], torch.zeros(()))),
        lambda x: x.add_(torch.ones(2)),
        lambda x: torch.linalg.cross(x.new_ones(3), torch.ones(3)),
        lambda x: torch.rand(2, device=x.device, generator=torch.Generator()),
        lambda x: x.normal_(generator=torch.Generator()),
        lambda x: x.numpy(),
    ],
)
def test_mixing_is_refused(there, mix):
    with pytest.raises((RuntimeError, TypeError)):
        mix(torch.zeros(2, device=there))


@pytest.mark.parametrize(
    "stay",
    [
        lambda x: x + 1.0,
        lambda x: torch.where(x > 0, x, torch.zeros(())),
        lambda x: x[x.long()],
        lambda x: x.new_zeros(3),
        lambda x: torch.zeros_like(x[None], dtype=torch.float64).T,
        lambda x: torch.ones(2).to(x),
        lambda x: torch.rand(2, generator=torch.Generator()).to(x.device),
        lambda x: torch.as_tensor([1.0], device=x.device),
        lambda x: torch.empty(2, device=x.device).copy_(torch.ones(2)),
        lambda x: x.view(1, 2).min(dim=1).values,
        lambda x: next(iter(x)),
        lambda x: x.unbind()[0],
    ],
)
def test_what_comes_of_tensors_there_is_there(there, stay):
    assert stay(torch.zeros(2, device=there)).device == there


def test_copies_to_the_cpu_are_there_no_more(there):
    x = torch.arange(2.0, device=there)
    for copy in (x.cpu(), x.to("cpu"), torch.ones(3).to(torch.ones(2)), torch.tensor([x.tolist()])):
        assert copy.device.type == "cpu"
    assert x.cpu().numpy().tolist() == [0.0, 1.0]


def test_an_engine_elsewhere_is_live(elsewhere):
    from sim.engine import CpuEngine

    engine = elsewhere(CpuEngine(2, threads=1))
    engine.ctrl[0, 0] += 0.5
    before = engine.qpos.clone()
    engine.step(torch.tensor([0], device=engine.device))
    assert not torch.equal(engine.qpos[0], before[0])
    assert torch.equal(engine.qpos[1], before[1])
    with pytest.raises(AssertionError, match="step"):
        engine.step(torch.tensor([0]))
