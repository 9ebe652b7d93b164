"""Record a training run of Lightning, Hugging Face's Trainer or Keras by adding one callback.

`tdds.callbacks.lightning`, `tdds.callbacks.transformers` and `tdds.callbacks.keras` each hold a `RecordTrajectory`.
"""
