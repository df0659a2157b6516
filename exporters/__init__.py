"""What makes files: TFLite to ONNX, the baked body, avatars as glTF. Nothing here runs live."""
