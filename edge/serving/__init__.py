"""The device's models for others nearby: the Open Inference Protocol, version 2.

`requests` and `answers` are the protocol's documents, `desk` is where a request meets a model, `http` and `rest` carry
them over HTTP, `grpc_service` over gRPC. Pipelines come first: see `desk`.
"""
