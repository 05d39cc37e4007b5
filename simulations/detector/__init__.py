"""The demonstration's detector: SSDLite on MobileNetV2, trained on COCO, from TensorFlow.js weights to ONNX and int8."""
