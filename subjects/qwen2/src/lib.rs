//! Qwen2 inference: config, weights, rotary positions, attention, MLP, layer, model, KV cache, probe
