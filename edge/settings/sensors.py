"""Sensors that give samples, of which windows are made: what each kind must know, channel by channel."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.settings.kinds import Positive, Rate

Column = str | Annotated[int, msgspec.Meta(ge=0)]
"""A column by its name in the head, or by its number from 0."""

Register = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Channel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel of a sensor, in the unit in which it is given."""

    name: str
    """The model's own name of the channel where its schema names them; else the order counts."""

    unit: str = ""
    """Converted to the model's, e.g. `g`, `mm/s`, `degF`; empty where it is the model's already."""

    scale: float = 1.0
    """Raw value · scale + offset is in `unit`."""

    offset: float = 0.0
    low: float | None = None
    """Least value in `unit` that the sensor can mean; what is under it is dropped and counted."""

    high: float | None = None


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How samples become windows; their length is the model's."""

    rate: Rate | None = None
    """Points a second; the model's own where its schema says one."""

    stride: Positive | None = None
    """Points between the beginnings of two windows; the window's length when left out."""

    gap_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    """Seconds without a sample that are bridged; a longer time ends the window. Three points when left out."""

    resample: Literal["linear", "previous", "mean"] = "linear"
    """What stands on a point between samples."""

    late_s: float = 1.0
    """Seconds that one channel may be behind the others, beyond `gap_s`."""

    silent_s: Rate = 10.0
    """Seconds without a sample after which a channel is reported as silent."""

    frozen_s: Rate | None = None
    """Seconds with one and the same value after which a channel is reported as frozen; never when left out."""

    queue: Positive = 256
    """Windows that may wait for the model; over it the oldest are dropped and counted."""


class _Sensor(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    window: Window = Window()


class CsvChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of a table."""

    column: Column | None = None
    """The channel's name when left out."""


class CsvSource(_Sensor, frozen=True, kw_only=True, tag="csv"):
    """A recording in a CSV file, replayed."""

    path: str
    channels: Annotated[list[CsvChannel], msgspec.Meta(min_length=1)]
    time: Column = "time"
    """Column with the time: seconds, or a date and time as ISO 8601 has it."""

    time_scale: Rate = 1.0
    """Seconds in one unit of the time column: 0.001 for milliseconds."""

    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    head: bool = True
    """Whether the first line names the columns."""

    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Times as fast as recorded; 0 for as fast as windows are taken."""

    loop: bool = False


class SerialChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number in a line of text."""

    column: Annotated[int, msgspec.Meta(ge=0)]


class SerialSource(_Sensor, frozen=True, kw_only=True, tag="serial"):
    """Lines of numbers from a serial port, only read; needs the extra `edge-serial`."""

    port: str
    """Device, e.g. `/dev/ttyUSB0`."""

    channels: Annotated[list[SerialChannel], msgspec.Meta(min_length=1)]
    baud: Positive = 115200
    separator: str = ","
    time: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Column with the time; the moment at which a line comes when left out."""

    time_scale: Rate = 1.0


class MqttChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number in the messages of a topic."""

    topic: Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^#+]+$")]
    path: str = ""
    """Way to the number in a JSON document, as `imu.acc[0]`; empty where the payload is the number."""


class MqttSource(_Sensor, frozen=True, kw_only=True, tag="mqtt"):
    """Topics of the site's own broker, which is not the coordinator's."""

    host: str
    channels: Annotated[list[MqttChannel], msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """1883, or with `ca` 8883, when left out."""

    ca: str = ""
    """File with the authority that the broker is proven by; empty for no TLS."""

    username: str = ""
    password_file: str = ""
    time: str = ""
    """Way to the time in the same document; the moment of arrival when empty."""

    time_scale: Rate = 1.0
    every_s: Rate | None = None
    """Seconds between the values of a list; needed where a path leads to lists. The time is that of the last."""


class ModbusChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value in one, two or four registers."""

    register: Register
    """Address as it goes over the wire, from 0: 40001 of a manual is holding register 0."""

    table: Literal["holding", "input"] = "holding"
    type: Literal["int16", "uint16", "int32", "uint32", "float32", "float64"] = "int16"
    words: Literal["big", "little"] = "big"
    """Which word of several comes first."""


class ModbusSource(_Sensor, frozen=True, kw_only=True, tag="modbus"):
    """Registers of a Modbus device, only read; needs the extra `edge-modbus`."""

    address: Annotated[str, msgspec.Meta(pattern=r"^(tcp://[^/:]+(:\d{1,5})?|rtu:///.+)$")]
    """`tcp://10.0.0.5:502`, or `rtu:///dev/ttyUSB0`."""

    channels: Annotated[list[ModbusChannel], msgspec.Meta(min_length=1)]
    device: Annotated[int, msgspec.Meta(ge=0, le=255)] = 1
    every_s: Rate = 1.0
    """Seconds between two readings."""

    timeout_s: Rate = 3.0
    baud: Positive = 19200
    parity: Literal["N", "E", "O"] = "N"


class OpcuaChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The value of a node."""

    node: str
    """As `ns=2;s=Press.Temperature`."""


class OpcuaSource(_Sensor, frozen=True, kw_only=True, tag="opcua"):
    """Nodes of an OPC UA server, subscribed to and only read; needs the extra `edge-opcua`."""

    url: Annotated[str, msgspec.Meta(pattern=r"^opc\.tcp://.+")]
    channels: Annotated[list[OpcuaChannel], msgspec.Meta(min_length=1)]
    sampling_s: Rate = 0.1
    """Seconds between the server's own looks at a value."""

    publishing_s: Rate = 0.5
    """Seconds between what it sends."""

    refresh_s: Rate = 5.0
    """Seconds after which unchanged values are read, so that a steady sensor is not taken for a silent one."""

    security: str = ""
    """`Basic256Sha256,SignAndEncrypt,CERTIFICATE,KEY[,SERVER CERTIFICATE]`; empty for none."""

    username: str = ""
    password_file: str = ""


Sensor = CsvSource | SerialSource | MqttSource | ModbusSource | OpcuaSource
"""Every kind of sensor."""
