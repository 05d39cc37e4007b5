"""From a sensor's settings to its source."""

from __future__ import annotations

from random import Random

from edge.pipelines.sources.sensors.feeds.lines import LineFeed
from edge.pipelines.sources.sensors.feeds.nodes import NodeFeed
from edge.pipelines.sources.sensors.feeds.registers import RegisterFeed
from edge.pipelines.sources.sensors.feeds.table import TableFeed
from edge.pipelines.sources.sensors.feeds.topics import TopicFeed
from edge.pipelines.sources.sensors.port import Feed
from edge.pipelines.sources.sensors.source import SensorParts, SensorSource
from edge.settings import sensors as conf
from shared.clock import Clock


def make_sensor(settings: conf.Sensor, *, stream: str, clock: Clock, random: Random) -> SensorSource:
    """The source that `settings` name; it opens with the first `take`.

    Raises:
        RefusedError: a setting is none that could be followed.
    """
    return SensorSource(
        SensorParts(
            feed=_feed(settings, stream=stream, clock=clock, random=random),
            channels=settings.channels,
            window=settings.window,
            stream=stream,
            clock=clock,
            random=random,
        )
    )


def _feed(settings: conf.Sensor, *, stream: str, clock: Clock, random: Random) -> Feed:
    match settings:
        case conf.CsvSource():
            return TableFeed(settings, clock=clock)
        case conf.SerialSource():
            return LineFeed(settings, clock=clock)
        case conf.MqttSource():
            return TopicFeed(settings, stream=stream, clock=clock, random=random)
        case conf.ModbusSource():
            return RegisterFeed(settings, clock=clock)
        case conf.OpcuaSource():
            return NodeFeed(settings, clock=clock)
