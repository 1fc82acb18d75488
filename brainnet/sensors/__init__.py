"""Recordings of sensors as timed blocks, and encoders that make spikes of them; no runtime is needed.

Guarantee: the spikes of an encoder depend on what it was given, its parameters and its seed alone, bit by bit, and not
on how the input is cut into blocks or the steps into windows.

- A *source* yields `Block`s in order of time: `event_files.EventFile`, `image_files.ImageSequence`,
  `wav_files.WavFile`, `table_files.SampleFile`, `table_files.PointFile`, and the generators of `synthetic`.
- An *encoder* takes the blocks of a window of steps and returns the spikes of its neurons: `encoders`.
- `blocks.in_windows` brings the two together.

Import the module that is needed; this package itself imports nothing, so it stays cheap.
"""
