//! import from GGUF, safetensors and the hub
