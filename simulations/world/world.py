"""One world: a coordinator's directory, three servers, and as many agents as the story asks for."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from cloud.layout import Layout
from fleet.client import Client
from fleet.profile import Choice, choose
from shared.errors import FaultError, HinterlandError
from simulations.broker import Broker, find_mosquitto
from simulations.interruption import heed
from simulations.world import leftovers
from simulations.world.agents import AgentSpec, agent_process, write_settings
from simulations.world.ports import LOOPBACK, answers, free_ports, require_free
from simulations.world.process import Process, console_script

READY_S = 180.0


class World:
    """Real processes on loopback; `stop` ends every one of them."""

    def __init__(
        self, directory: Path, *, port_base: int = 0, env: Mapping[str, str] | None = None, crowded: bool = False
    ) -> None:
        """Take where it lives and what it is.

        Args:
            directory: emptied by `build`.
            port_base: first of three ports; 0 chooses free ones.
            env: what the coordinator is told by its environment.
            crowded: one session speaks for thousands of devices, none of which trains: no SuperLink, no access list.
        """
        self.directory = directory
        self.logs = directory / "logs"
        self.layout = Layout((directory / "coordinator").absolute())
        self.ports = list(range(port_base, port_base + 3)) if port_base else free_ports(3)
        self.agents: dict[str, Process] = {}
        self.specs: dict[str, AgentSpec] = {}
        self._crowded = crowded
        self._env = {"HINTERLAND_LOOP_EVERY_S": "0.5", **(env or {})}
        if crowded:
            self._env["HINTERLAND_SUPERLINK_ENABLED"] = "false"
        self._servers: list[Process] = []
        self._broker: Broker | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """An operator's client; the API answers after `start`."""
        if self._client is None:
            profile = choose(Choice(profile=self.layout.profile), environ={}, home=self.directory)
            self._client = Client(profile.url, key=profile.key, ca=Path(profile.ca))
        return self._client

    def build(self, *, tenant: str, fleets: Sequence[str]) -> None:
        """End what an earlier world left running, empty the directory, and initialise a coordinator.

        Raises:
            RefusedError: a port is in use.
            FaultError: the coordinator's set-up failed.
        """
        leftovers.clean(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.logs.mkdir(parents=True)
        require_free(self.ports)
        api, broker, superlink = map(str, self.ports)
        argv = [*console_script("hinterland-coordinator"), "init", "--dir", str(self.layout.directory)]
        argv += ["--tenant", tenant, "--host", LOOPBACK, "--api-port", api, "--broker-port", broker]
        argv += ["--superlink-port", superlink, *(part for fleet in fleets for part in ("--fleet", fleet))]
        made = subprocess.run(argv, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
        if made.returncode:
            raise FaultError(f"the coordinator's set-up failed: {made.stderr.strip() or made.stdout.strip()}")

    def start(self) -> None:
        """Start broker, SuperLink and coordinator, and wait until each answers.

        Raises:
            HinterlandError: one does not start; the message carries the end of its log.
        """
        layout, (api, broker, superlink) = self.layout, self.ports
        self._broker = Broker(
            layout.broker_config.parent,
            layout.broker,
            port=broker,
            executable=find_mosquitto(Path(".venv")),
            guarded=not self._crowded,
        )
        self._broker.start()
        coordinator = console_script("hinterland-coordinator")
        place = ["--dir", str(layout.directory)]
        ports = {"serve": api} if self._crowded else {"superlink": superlink, "serve": api}
        for name in ports:
            server = Process(name, [*coordinator, name, *place], logs=self.logs, env=self._env)
            server.start()
            self._servers.append(server)
            self._record()
        for server, port in zip(self._servers, ports.values(), strict=True):
            server.wait_until(partial(answers, port), within_s=READY_S)
        self._servers[-1].wait_until(self._healthy, within_s=READY_S)

    def start_agent(self, spec: AgentSpec, *, fleet: str) -> None:
        """Have a token made for one device, and start its agent."""
        heed()
        token = self.client.create_token(device=spec.device, fleet=fleet).token
        agent = agent_process(spec, write_settings(spec, token=token), logs=self.logs)
        agent.start()
        self.agents[spec.device], self.specs[spec.device] = agent, spec
        self._record()

    def start_host(self, process: Process) -> None:
        """Start a process that holds several agents; it is watched and ended like one of them."""
        process.start()
        self.agents[process.name] = process
        self._record()

    @property
    def coordinator_pid(self) -> int | None:
        """Process id of the coordinator while it runs."""
        return self._servers[-1].pid if self._servers else None

    @property
    def servers(self) -> dict[str, Process]:
        """Name → process of SuperLink and coordinator."""
        return {server.name: server for server in self._servers}

    @property
    def broker(self) -> Broker:
        """The broker; there is one after `start`."""
        if self._broker is None:
            raise FaultError("the world has not started")
        return self._broker

    def note_processes(self) -> None:
        """Write down what runs, after something was started again."""
        self._record()

    def check(self) -> None:
        """Notice a process that ended by itself, and a person who wants to stop.

        Raises:
            FaultError: a process did.
            KeyboardInterrupt: a person does.
        """
        heed()
        for process in [*self._servers, *self.agents.values()]:
            if process.exit_code is not None:
                raise FaultError(f"{process.name} ended with status {process.exit_code}:\n{process.tail()}")
        if self._broker is not None and self._broker.pid is None:
            raise FaultError("the broker ended", hint=f"Its log is in {self.layout.broker_config.parent}.")

    def stop_agents(self) -> None:
        """Stop all agents together; each drains its outbox first."""
        for agent in self.agents.values():
            agent.ask_to_stop()
        for agent in self.agents.values():
            agent.stop()

    def stop(self) -> None:
        """Stop everything, devices first."""
        self.stop_agents()
        for server in self._servers:
            server.ask_to_stop()
        for server in self._servers:
            server.stop()
        if self._broker is not None:
            self._broker.stop()
        if self._client is not None:
            self._client.close()
        leftovers.record(self.directory, [])

    def _healthy(self) -> bool:
        try:
            return self.client.health().status == "ok"
        except HinterlandError:
            return False

    def _record(self) -> None:
        pids = [process.pid for process in [*self._servers, *self.agents.values()]]
        broker = [self._broker.pid] if self._broker else []
        leftovers.record(self.directory, [pid for pid in [*pids, *broker] if pid is not None])
