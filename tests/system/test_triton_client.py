"""Triton's client, as it is on PyPI, against a real agent's process.

It pins greenlet and ml-dtypes below what the lock file has, so it gets an environment of its own.
"""

import asyncio
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from edge.serving.tokens import Tokens
from simulations.world.ports import free_ports
from tests.committed import Device

CLIENT = "tritonclient[http,grpc]==2.73.0"


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but Triton's client."""
    home = tmp_path_factory.mktemp("triton") / "venv"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, home], check=True)
    python = home / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, CLIENT], check=True)
    return python


@pytest.mark.system
@pytest.mark.slow
async def test_tritons_client_works_unmodified(client_python, tmp_path, until, running):
    device = Device(tmp_path, until)
    await device.commit(running)
    http, grpc = free_ports(2)
    device.add(f'[serving]\nlisten = "127.0.0.1:{http}"\ngrpc = "127.0.0.1:{grpc}"\n')
    token = Tokens(Tokens.place(device.state)).create("test", at=0.0, draw=secrets.token_urlsafe)
    with device.process() as agent:
        await ready(f"http://127.0.0.1:{http}/v2/health/ready")
        argv = [client_python, Path(__file__).parents[1] / "triton_session.py"]
        argv += [f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", token]
        said = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False, timeout=300)
        assert said.returncode == 0, said.stderr + device.said()
        assert agent.poll() is None
    assert "Traceback" not in device.said()


async def ready(url):
    """Wait until the agent serves."""
    async with asyncio.timeout(120), httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
