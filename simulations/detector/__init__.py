"""The demonstration's detector: SSDLite-MobileNetV2 for COCO, from TensorFlow.js weights to ONNX and int8."""
