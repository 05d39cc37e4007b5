"""A network camera on loopback: an RTSP server (RFC 2326) that can do what cameras do when they fail."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import random
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Literal, NamedTuple

import av
import numpy as np

Mode = Literal["live", "silent", "frozen", "broken"]
"""`silent` sends nothing, `frozen` the last key frame again and again, `broken` slices of noise."""

Codec = Literal["h264", "h265"]

PAYLOAD = 1400
"""Bytes of an RTP packet beyond its header."""


class Unit(NamedTuple):
    """The NAL units of one frame."""

    nals: tuple[bytes, ...]
    key: bool


def make_clip(
    *, frames: int = 50, size: tuple[int, int] = (160, 120), gop: int = 10, seed: int = 0, codec: Codec = "h264"
) -> list[Unit]:
    """A bright square that moves over noise, a key frame every `gop` frames."""
    width, height = size
    context = av.CodecContext.create({"h264": "libx264", "h265": "libx265"}[codec], "w")
    context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", Fraction(1, 25)
    own = {"h264": {"x264-params": "scenecut=0"}, "h265": {"x265-params": f"keyint={gop}:scenecut=0:log-level=none"}}
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(gop)} | own[codec]
    noise = np.random.default_rng(seed)
    packets = []
    for index in range(frames):
        image = noise.integers(60, 90, (height, width, 3), dtype=np.uint8)
        left = index * 3 % (width - 20)
        image[40:60, left : left + 20] = 230
        packets += context.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
    packets += context.encode(None)
    return [Unit(tuple(split(bytes(packet))), packet.is_keyframe) for packet in packets]


def split(annexb: bytes) -> Iterator[bytes]:
    """NAL units between start codes (H.264, annex B)."""
    for part in annexb.split(b"\x00\x00\x01")[1:]:
        yield part.rstrip(b"\x00")


@dataclass
class Camera:
    """Serves `clip` for ever at `fps` to all who ask, in a thread of its own; attributes may be set any time."""

    clip: Sequence[Unit]
    fps: float = 25.0
    codec: Codec = "h264"
    user: str = ""
    password: str = ""
    scheme: Literal["basic", "digest"] = "digest"
    mode: Mode = "live"
    port: int = 0
    sent: int = 0
    """Frames."""

    asked: list[str] = field(default_factory=list)
    """First lines of requests."""

    shown: Unit | None = None
    """The last key frame."""

    _thread: threading.Thread | None = None
    _stop: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/street?channel=1"

    def start(self) -> Camera:
        """Listen; again on the same port after `stop`."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(30)
        return self

    def stop(self) -> None:
        """Vanish: all connections break off."""
        self._stop()
        if self._thread is not None:
            self._thread.join(30)

    def __enter__(self) -> Camera:
        return self.start()

    def __exit__(self, *args: object) -> None:
        self.stop()

    async def _serve(self, ready: threading.Event) -> None:
        stop, sessions = asyncio.Event(), set[asyncio.Task[None]]()
        self._stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            sessions.add(task)
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await Session(self, reader, writer).run()
            sessions.discard(task)
            writer.transport.abort()

        server = await asyncio.start_server(talk, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for task in list(sessions):
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


class Session:
    """One client."""

    def __init__(self, camera: Camera, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.camera, self.reader, self.writer = camera, reader, writer
        self.nonce = f"{random.getrandbits(64):016x}"
        self.send: Callable[[bytes], object] = lambda packet: None
        self.socket: asyncio.DatagramTransport | None = None

    async def run(self) -> None:
        streaming: asyncio.Task[None] | None = None
        try:
            async for method, headers in self.requests():
                if (
                    self.camera.user
                    and method != "OPTIONS"
                    and not self.known(method, headers.get("authorization", ""))
                ):
                    self.answer(headers, 401, {"WWW-Authenticate": self.challenge()})
                elif method == "DESCRIBE":
                    self.answer(headers, 200, {"Content-Type": "application/sdp"}, self.sdp())
                elif method == "SETUP":
                    await self.set_up(headers)
                elif method == "PLAY":
                    self.answer(headers, 200, {"Session": "1", "Range": "npt=0.000-"})
                    streaming = streaming or asyncio.create_task(self.stream())
                else:
                    self.answer(headers, 200, {"Session": "1", "Public": "DESCRIBE, SETUP, PLAY, TEARDOWN"})
                if method == "TEARDOWN":
                    return
        finally:
            if streaming is not None:
                streaming.cancel()
            if self.socket is not None:
                self.socket.close()

    async def requests(self) -> AsyncIterator[tuple[str, dict[str, str]]]:
        while True:
            first = await self.reader.readexactly(1)
            if first == b"$":  # what the client reports of what it received
                _, length = struct.unpack("!BH", await self.reader.readexactly(3))
                await self.reader.readexactly(length)
                continue
            lines = (first + await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            self.camera.asked.append(lines[0])
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            yield lines[0].split(" ")[0], headers

    def answer(self, headers: dict[str, str], code: int, more: dict[str, str], body: bytes = b"") -> None:
        said = {"CSeq": headers.get("cseq", "0"), **more, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        self.writer.write(f"RTSP/1.0 {code} {'OK' if code == 200 else 'No'}\r\n{head}\r\n".encode() + body)

    def challenge(self) -> str:
        return 'Basic realm="cam"' if self.camera.scheme == "basic" else f'Digest realm="cam", nonce="{self.nonce}"'

    def known(self, method: str, said: str) -> bool:
        user, password = self.camera.user, self.camera.password
        if self.camera.scheme == "basic":
            return said == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        fields = dict(part.strip().split("=", 1) for part in said.removeprefix("Digest ").split(",") if "=" in part)
        uri = fields.get("uri", "").strip('"')
        ha1, ha2 = _md5(f"{user}:cam:{password}"), _md5(f"{method}:{uri}")
        return fields.get("response", "").strip('"') == _md5(f"{ha1}:{self.nonce}:{ha2}")

    def sdp(self) -> bytes:
        sets = {kind(nal, self.camera.codec): base64.b64encode(nal).decode() for nal in self.camera.clip[0].nals}
        if self.camera.codec == "h264":
            form = f"packetization-mode=1;profile-level-id=42c01e;sprop-parameter-sets={sets[7]},{sets[8]}"
        else:
            form = f"sprop-vps={sets[32]};sprop-sps={sets[33]};sprop-pps={sets[34]}"
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=street\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
            f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {self.camera.codec.upper()}/90000\r\na=control:trackID=0\r\n"
            f"a=fmtp:96 {form}\r\n"
        ).encode()

    async def set_up(self, headers: dict[str, str]) -> None:
        asked = headers["transport"]
        if "interleaved" in asked:
            self.send = lambda packet: self.writer.write(struct.pack("!BBH", 0x24, 0, len(packet)) + packet)
            self.answer(headers, 200, {"Session": "1;timeout=60", "Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"})
            return
        port = int(asked.split("client_port=")[1].split("-")[0].split(";")[0])
        loop = asyncio.get_running_loop()
        self.socket, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port))
        self.send = self.socket.sendto
        mine = self.socket.get_extra_info("sockname")[1]
        transport = f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={mine}-{mine + 1}"
        self.answer(headers, 200, {"Session": "1;timeout=60", "Transport": transport})

    async def stream(self) -> None:
        camera, loop = self.camera, asyncio.get_running_loop()
        began, number, index = loop.time(), 0, 0
        for count in range(1 << 30):
            await asyncio.sleep(max(0.0, began + count / camera.fps - loop.time()))
            if camera.mode == "silent":
                continue
            unit = camera.clip[index % len(camera.clip)]
            if camera.mode == "frozen":
                unit = camera.shown or camera.clip[0]
            else:
                index += 1
                camera.shown = unit if unit.key else camera.shown
            nals = [noise(nal) for nal in unit.nals] if camera.mode == "broken" else unit.nals
            for payload, last in packets(nals, camera.codec):
                head = struct.pack(
                    "!BBHII", 0x80, 96 | 0x80 * last, number & 0xFFFF, int(count / camera.fps * 90_000), 7
                )
                self.send(head + payload)
                number += 1
            camera.sent += 1
            await self.writer.drain()


def kind(nal: bytes, codec: Codec) -> int:
    """The type of a NAL unit."""
    return nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63


def noise(nal: bytes) -> bytes:
    """An H.264 slice of the same length and type, and of no sense."""
    return nal if kind(nal, "h264") in {7, 8} else nal[:1] + random.Random(0).randbytes(len(nal) - 1)


def packets(nals: Sequence[bytes], codec: Codec) -> Iterator[tuple[bytes, bool]]:
    """RTP payloads (RFC 6184, RFC 7798: single NAL units and fragments), and whether each is a frame's last."""
    for index, nal in enumerate(nals):
        final = index == len(nals) - 1
        if len(nal) <= PAYLOAD:
            yield nal, final
            continue
        head = bytes([nal[0] & 0xE0 | 28]) if codec == "h264" else bytes([nal[0] & 0x81 | 49 << 1, nal[1]])
        pieces = [nal[at : at + PAYLOAD] for at in range(len(head), len(nal), PAYLOAD)]
        for number, piece in enumerate(pieces):
            first, last = number == 0, number == len(pieces) - 1
            yield head + bytes([0x80 * first | 0x40 * last | kind(nal, codec)]) + piece, final and last


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
