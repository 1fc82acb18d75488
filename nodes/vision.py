"""Vision: says which digit a picture shows, with a spiking convolutional network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from brainnet import Candidate, Partial, Query, Region, main
from brainnet.errors import ModelError
from brainnet.snn.conv_classifier import load_classifier
from brainnet.snn.digits import read_digit


class Vision(Region):
    """Says which digit a picture shows."""

    default_checkpoint = "weights/vision.safetensors"
    modality = "vision"

    def load(self) -> None:
        assert self.checkpoint is not None
        self.network = load_classifier(self.checkpoint).to(self.device)
        side = self.network.config.side
        self.classify([np.zeros((side, side), np.float32)])  # the first run loads the kernels

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
            return read_digit(image)
        except ModelError as error:
            return str(error)

    @torch.inference_mode()
    def classify(self, pictures: list[NDArray[np.float32]]) -> list[Partial]:
        """One partial per picture: every class with its probability, and the spikes of the head."""
        logits, spikes = self.network(torch.from_numpy(np.stack(pictures)).to(self.device))
        classes = self.network.config.classes
        partials = []
        for index, probabilities in enumerate(logits.softmax(-1).tolist()):
            candidates = [Candidate(text=c, probability=p) for c, p in zip(classes, probabilities, strict=True)]
            trains = spikes[:, index].T.to("cpu", torch.uint8).numpy()
            partials.append(
                Partial(
                    candidates=sorted(candidates, key=lambda c: -c.probability),
                    confidence=max(probabilities),
                    spikes=trains,
                    content={"steps": trains.shape[1], "spikes": int(trains.sum())},
                )
            )
        return partials


if __name__ == "__main__":
    main(Vision)
