"""Vision: names what a picture shows, with a spiking convolutional network that answers as soon as it is sure."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from brainnet import Candidate, Partial, Query, Region, main
from brainnet.errors import ModelError
from brainnet.snn.models.picture_classifier import Classification, load_classifier
from brainnet.snn.models.pictures import SIDE, read_picture

SHOWN = 5


class Vision(Region):
    """Names the digit, the piece of clothing or the thing that a picture shows."""

    default_checkpoint = "vision.safetensors"
    modality = "vision"

    def load(self) -> None:
        assert self.checkpoint is not None
        self.network = load_classifier(self.checkpoint).to(self.device)
        self.classify([np.zeros((3, SIDE, SIDE), np.float32)])  # the first run loads the kernels

    def answer_batch(self, queries: list[Query]) -> list[Partial]:
        """All waiting pictures in one run of the network; a query without a usable picture gets the reason instead."""
        read = [self.picture(query.prompt.image) for query in queries]
        pictures = [picture for picture in read if not isinstance(picture, str)]
        answers = iter(self.classify(pictures) if pictures else [])
        return [Partial(error=picture) if isinstance(picture, str) else next(answers) for picture in read]

    def picture(self, image: bytes | None) -> NDArray[np.float32] | str:
        """The picture as the network wants it, or why there is none."""
        if image is None:
            return f"{self.id} needs a picture: send one with the prompt"
        try:
            return read_picture(image)
        except ModelError as error:
            return str(error)

    def classify(self, pictures: list[NDArray[np.float32]]) -> list[Partial]:
        """One partial per picture: every class with its probability, and the spikes of the last stage."""
        found = self.network.classify(torch.from_numpy(np.stack(pictures)).to(self.device))
        return [self.partial(each) for each in found]

    def partial(self, found: Classification) -> Partial:
        """What the region says about one picture, and what that rests on."""
        config = self.network.config
        probabilities = dict(zip(config.classes, found.probabilities.tolist(), strict=True))
        ranked = sorted(probabilities, key=lambda name: -probabilities[name])
        kinds = {kind: sum(probabilities[name] for name in names) for kind, names in config.kinds.items()}
        trains = found.spikes.T.to("cpu", torch.uint8).numpy()
        return Partial(
            candidates=[Candidate(text=name, probability=min(1.0, probabilities[name])) for name in ranked],
            confidence=min(1.0, probabilities[ranked[0]]),
            spikes=trains,
            content={
                "kind": max(kinds, key=lambda kind: kinds[kind]),
                "kinds": kinds,
                "probabilities": {name: probabilities[name] for name in ranked[:SHOWN]},
                "steps": trains.shape[1],
                "most_steps": config.steps,
                "spikes": int(trains.sum()),
            },
        )


if __name__ == "__main__":
    main(Vision)
