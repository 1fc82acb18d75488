"""Vision: classifies the picture of a prompt with a spiking convolutional network.

The network runs time step by time step and stops as soon as its calibrated confidence reaches a threshold (early exit).
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from brainnet import Candidate, Partial, Query, Region, main
from brainnet.errors import ModelError
from brainnet.snn.models.picture_classifier import Classification, ClassifierConfig, load_classifier
from brainnet.snn.models.picture_inference import PictureInference
from brainnet.snn.models.pictures import read_picture

TOP_CLASSES = 5
"""Number of classes whose probabilities are in the content of an answer; the candidates are all classes."""


class Vision(Region):
    """Names the digit, the piece of clothing or the object that a picture shows."""

    default_checkpoint = "vision.safetensors"
    modality = "vision"

    config: ClassifierConfig
    run_network: Callable[[NDArray[np.float32]], list[Classification]]
    """Classifies pictures [B, 3, 32, 32]."""

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

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """Classify all waiting pictures in one run; a query without a usable picture gets the reason instead."""
        inputs = [self.read_image(query.prompt.image) for query in queries]
        pictures = [picture for picture in inputs if not isinstance(picture, str)]
        answers = iter(self.classify(pictures) if pictures else [])
        return [Partial(error=picture) if isinstance(picture, str) else next(answers) for picture in inputs]

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
        trains = classification.spikes.T.to("cpu", torch.uint8).numpy()
        # Sums of float32 probabilities may exceed 1 by rounding; a partial must not.
        return Partial(
            candidates=[Candidate(text=name, probability=min(1.0, probabilities[name])) for name in ranked],
            confidence=min(1.0, probabilities[ranked[0]]),
            spikes=trains,
            content={
                "kind": max(kinds, key=lambda kind: kinds[kind]),
                "kinds": kinds,
                "probabilities": {name: probabilities[name] for name in ranked[:TOP_CLASSES]},
                "steps": trains.shape[1],
                "most_steps": config.steps,
                "spikes": int(trains.sum()),
            },
        )


if __name__ == "__main__":
    main(Vision)
