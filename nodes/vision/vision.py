"""Vision: classifies the picture of a prompt with a spiking convolutional network.

The network runs time step by time step and stops as soon as its calibrated confidence reaches a threshold (early exit).

With the parameter `watch` it also looks at the frames of sensors, which nobody asks about: it publishes what it sees in
each on `percept/{id}`, and a prompt without a picture is answered from the newest of these percepts.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from brainnet import Bid, Candidate, NodeParameters, Partial, Prompt, Query, Region, main
from brainnet.bus import Bus
from brainnet.errors import ModelError
from brainnet.node import NodeSpec
from brainnet.snn.models.picture_classifier import Classification, ClassifierConfig, load_classifier
from brainnet.snn.models.picture_inference import PictureInference
from brainnet.snn.models.pictures import read_picture, read_pixels
from brainnet.wire.keys import chunk, key
from brainnet.wire.messages import Percept, SensorSample

TOP_CLASSES = 5
"""Number of classes whose probabilities are in the content of an answer; the candidates are all classes."""
PERCEPT_BID = 0.3
"""Bid where something is seen, and the text has to say whether that is what was asked."""
_FRAMES = 32
"""Frames that one call looks at; of each source the newest."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The newest percept of one source.

    Attributes:
        partial: The classification.
        at: When the frame arrived, on the clock of `time.monotonic`.
    """

    partial: Partial
    at: float


class Vision(Region):
    """Names the digit, the piece of clothing or the object that a picture shows."""

    default_checkpoint = "vision.safetensors"
    modality = "vision"
    examples = ("What is this? (with a picture)", "Which digit is in this picture?", "Name the animal in the photo.")

    class Parameters(NodeParameters):
        """Which sensors it watches."""

        watch: str = Field(
            "", pattern=r"^([A-Za-z0-9_-]+|\*)?$", description="source on input/vision/{source} to watch; * for all"
        )
        watch_s: float = Field(
            2.0, gt=0.0, description="after how long without a frame nothing is seen any more, and the node is degraded"
        )

    params: Parameters
    config: ClassifierConfig
    run_network: Callable[[NDArray[np.float32]], list[Classification]]
    """Classifies pictures [B, 3, 32, 32]."""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        self._seen: dict[str, _Seen] = {}
        self._blind: dict[str, str] = {}
        """Why nothing is seen in the frames of a source, or that there are none, by the source's key."""
        self._percept_key = key("percept", region=self.id)

    def load(self) -> None:
        assert self.checkpoint is not None
        network = load_classifier(self.checkpoint)
        self.config = network.config
        if self.device == "cpu":
            self.run_network = PictureInference(network).classify
        else:
            on_device = network.to(self.device)
            self.run_network = lambda pictures: on_device.classify(torch.from_numpy(pictures).to(self.device))
        self._warm_up()

    def _warm_up(self) -> None:
        """Read and classify pictures of the usual forms: the first prompt then finds decoders and kernels loaded."""
        shades = np.tile(np.arange(48, dtype=np.uint8) * 5, (64, 1))
        drawing = np.where((shades > 100) & (shades < 130), 0, 255).astype(np.uint8)
        coloured = np.stack([shades, shades[::-1], 255 - shades], axis=-1)
        for pixels in (drawing, coloured):
            for form in ("PNG", "JPEG"):
                encoded = io.BytesIO()
                Image.fromarray(pixels).save(encoded, form)
                self.classify([read_picture(encoded.getvalue())])

    async def setup(self) -> None:
        if self.params.watch:
            self.bus.declare(self._percept_key)
            named = {} if self.params.watch == "*" else {"source": self.params.watch}
            await self.add_subscription(key("input", modality="vision", **named), self.on_frames, batch=_FRAMES)
            self.add_timer(1.0, self.check_sources)

    async def on_frames(self, samples: list[SensorSample], keys: list[str]) -> None:
        """Publish what the newest frame of each source shows."""
        arrived = time.monotonic()
        newest = dict(zip(keys, samples, strict=True))
        if len(newest) < len(samples):
            self.count("frames_skipped", len(samples) - len(newest))
        # To decode and scale a frame takes longer than to name it: in another thread, so that no prompt waits for it.
        inputs = await asyncio.to_thread(lambda: [self.read_frame(sample) for sample in newest.values()])
        partials = await self.in_model_thread(self._classified, inputs)
        for (source, sample), partial in zip(newest.items(), partials, strict=True):
            if partial.error is None:
                self._seen = {**self._seen, source: _Seen(partial, arrived)}  # a new one: the model thread reads it
                self._blind.pop(source, None)
                self.count("frames")
            else:
                self.count("bad_frames")
                self._blind[source] = f"{source}: {partial.error}"
            percept = Percept(
                region=self.id,
                source=source,
                sequence=sample.sequence,
                timestamp_ns=sample.timestamp_ns,
                candidates=partial.candidates[:TOP_CLASSES],
                confidence=partial.confidence,
                error=partial.error,
                latency_ms=1000.0 * (time.monotonic() - arrived),
            )
            self.publish(self._percept_key, percept)
        self._report_blindness()

    @staticmethod
    def read_frame(sample: SensorSample) -> NDArray[np.float32] | str:
        """Convert a frame to the input of the network, float32 [3, 32, 32], or return why it is no picture."""
        try:
            return read_pixels(sample.array()) if sample.format == "raw" else read_picture(sample.data)
        except ModelError as error:
            return str(error)

    async def check_sources(self) -> None:
        """Notice a source that has sent frames, and sends none any more."""
        now = time.monotonic()
        for source, seen in self._seen.items():
            if now - seen.at > self.params.watch_s and source not in self._blind:
                self._blind[source] = f"{source}: no frame for more than {self.params.watch_s:g} s"
        self._report_blindness()

    def _report_blindness(self) -> None:
        if self._blind and self.state == "ready":
            self.degrade("; ".join(self._blind.values()))
        elif not self._blind and self.state == "degraded":
            self.recover()

    async def bid(self, prompt: Prompt) -> Bid:
        """Bid on what there is to see: a picture with the prompt, or a frame that has just come from a sensor."""
        if prompt.image is not None:
            return Bid(0.95, "a picture came with the prompt")
        now = time.monotonic()
        ages = [now - seen.at for seen in self._seen.values() if now - seen.at <= self.params.watch_s]
        if ages:
            return Bid(PERCEPT_BID, f"a frame came {min(ages):.2f} s ago")
        return Bid(0.0, "there is no picture")

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """Classify all waiting pictures in one run; a query without a usable picture gets the reason instead."""
        images = [query.prompt.image for query in queries]
        if self.params.watch:
            asked = iter(self._classified([self.read_image(image) for image in images if image is not None]))
            return [self.perceived() if image is None else next(asked) for image in images]
        return self._classified([self.read_image(image) for image in images])

    def _classified(self, inputs: list[NDArray[np.float32] | str]) -> list[Partial]:
        pictures = [picture for picture in inputs if not isinstance(picture, str)]
        answers = iter(self.classify(pictures) if pictures else [])
        return [Partial(error=picture) if isinstance(picture, str) else next(answers) for picture in inputs]

    def perceived(self) -> Partial:
        """Answer from the newest percept, with its age; of several sources, from that whose frame came last."""
        now, everything = time.monotonic(), self._seen
        if not everything:
            return Partial(error=f"no frame has come on input/vision/{self.params.watch} yet")
        source, seen = max(everything.items(), key=lambda item: item[1].at)
        age, name = now - seen.at, chunk("input", source, "source")
        if age > self.params.watch_s:
            return Partial(error=f"nothing is seen now: the last frame on {source} came {age:.1f} s ago")
        content = seen.partial.content | {
            "source": name,
            "age_s": age,
            "percepts": {
                chunk("input", other, "source"): past.partial.candidates[0].text
                for other, past in everything.items()
                if now - past.at <= self.params.watch_s
            },
        }
        candidates = [
            Candidate(text=f"{c.text}, seen on {name} {age:.2f} s ago", probability=c.probability)
            for c in seen.partial.candidates
        ]
        return seen.partial.model_copy(update={"candidates": candidates, "content": content})

    def read_image(self, image: bytes | None) -> NDArray[np.float32] | str:
        """Convert the image of a prompt to the input of the network.

        Returns:
            The picture, float32 [3, 32, 32]; or, as text, the reason why there is none.
        """
        if image is None:
            return f"{self.id} needs a picture: send one with the prompt"
        try:
            return read_picture(image)
        except ModelError as error:
            return str(error)

    def classify(self, pictures: list[NDArray[np.float32]]) -> list[Partial]:
        """Return one partial per picture: every class with its probability, and the spikes of the last stage."""
        return [self.partial(classification) for classification in self.run_network(np.stack(pictures))]

    def partial(self, classification: Classification) -> Partial:
        """Make the answer for one picture."""
        config = self.config
        probabilities = dict(zip(config.classes, classification.probabilities.tolist(), strict=True))
        ranked = sorted(probabilities, key=lambda name: -probabilities[name])
        kinds = {kind: sum(probabilities[name] for name in names) for kind, names in config.kinds.items()}
        kind = max(kinds, key=lambda kind: kinds[kind])
        trains = classification.spikes.T.to("cpu", torch.uint8).numpy()
        # Sums of float32 probabilities may exceed 1 by rounding; a partial must not.
        return Partial(
            candidates=[Candidate(text=name, probability=min(1.0, probabilities[name])) for name in ranked],
            confidence=min(1.0, probabilities[ranked[0]]),
            threshold=config.asserted_from.get(kind, 0.0),
            spikes=trains,
            content={
                "kind": kind,
                "kinds": kinds,
                "probabilities": {name: probabilities[name] for name in ranked[:TOP_CLASSES]},
                "steps": trains.shape[1],
                "most_steps": config.steps,
                "spikes": int(trains.sum()),
            },
        )


if __name__ == "__main__":
    main(Vision)
