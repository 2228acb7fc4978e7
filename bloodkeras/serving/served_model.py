"""One model behind the protocol, answered by a `Classifier` through a `Batcher`.

Flow: takes an `Asked`; gives the body of the reply: probabilities, label, confidence, verdict and
foreign score of every image.
"""

import uuid
from dataclasses import replace
from typing import Any

from fastapi import HTTPException
from prometheus_client import Counter, Histogram

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import FOREIGN
from bloodkeras.images.framing import Framing
from bloodkeras.named_types import Json, Pixels
from bloodkeras.serving.audit_log import AuditLog
from bloodkeras.serving.batcher import Batcher
from bloodkeras.serving.guard import RETRY_AFTER
from bloodkeras.serving.options import Options, Served
from bloodkeras.serving.photographs import PhotographReader
from bloodkeras.serving.reply import outputs_of, values_of, write_reply
from bloodkeras.serving.tensors import Asked, inputs_of

PLATFORM = "onnxruntime_onnx"
MODEL = ["model", "version"]  # what tells one model's numbers from another's
ANSWERS = Counter(
    "bloodkeras_answers_total", "Images that were answered", [*MODEL, "label", "verdict"]
)
SIZES = (1, 4, 16, 64, 256, 1024)
REQUEST_IMAGES = Histogram("bloodkeras_request_images", "Images a request", MODEL, buckets=SIZES)
SECONDS = Histogram(
    "bloodkeras_request_seconds", "Seconds from a request's last byte to its answer", MODEL
)


class ServedModel:
    """An export under a name and a version."""

    def __init__(
        self,
        served: Served,
        options: Options,
        audit: AuditLog | None,
        reader: PhotographReader,
        threads: int,
    ) -> None:
        """Load an export.

        Args:
            served: Which, and what it is called.
            options: Of the server.
            audit: Where answers are written down; None for nowhere.
            reader: Who decodes photographs.
            threads: Processor threads of its session.

        Raises:
            BloodkerasError: It is not a complete export, or a file of it was changed.
        """
        self.name, self.version = served.name, served.version
        self._classifier = Classifier.load(served.folder, threads, options.precision)
        self.dataset = self._classifier.dataset
        prior = self._classifier.read_prior(options.classes, options.prior)
        how = {"prior": prior, "views": options.views}
        self._batcher = Batcher(self._classifier, options.batch, options.wait_ms, **how)
        self._framing = Framing(options.microns_per_pixel, image_side=self.dataset.image_side)
        self._audit, self._reader = audit, reader
        self._identity = {
            "model": served.name,
            "version": served.version,
            "model_sha256": self._classifier.sha256,
        }
        outputs = outputs_of(self._classifier.labels)
        self.metadata: Json = {
            "name": self.name,
            "platform": PLATFORM,
            "inputs": inputs_of(self.dataset),
            "outputs": outputs,
        }
        self.output_names = [output["name"] for output in outputs]

    async def reply(self, asked: Asked) -> tuple[bytes, int | None]:
        """Answer a request.

        Returns:
            As `write_reply`.

        Raises:
            HTTPException: 400: a photograph cannot be read. 503: the audit log cannot be written,
                so it is not answered.
        """
        with SECONDS.labels(self.name, self.version).time():
            if not asked.framing.microns_per_pixel:  # the request does not say
                asked = replace(asked, framing=self._framing)
            images, doubts = await self._reader.pixels(asked)
            answers = (await self._batcher.answer(images)).doubted(doubts)
        labels = [self._classifier.labels[index] for index in answers.probs.argmax(1)]
        values = values_of(answers, labels)
        request_id = asked.request_id or str(uuid.uuid4())
        rows = list(zip(labels, answers.probs.max(1), answers.verdicts, strict=True))
        self._note(request_id, images, rows)
        REQUEST_IMAGES.labels(self.name, self.version).observe(len(labels))
        for label, _, verdict in rows:
            counted = FOREIGN if verdict == FOREIGN else label  # what is foreign is not a class's
            ANSWERS.labels(self.name, self.version, counted, verdict).inc()
        head = {"model_name": self.name, "model_version": self.version, "id": request_id}
        return write_reply(head, values, asked.outputs)

    def _note(self, request_id: str, images: Pixels, rows: list[tuple[Any, ...]]) -> None:
        """Write it down, or refuse to answer."""
        if self._audit is None:
            return
        try:
            self._audit.note(request_id, self._identity, images, rows)
        except OSError as error:
            raise HTTPException(
                503, f"the audit log cannot be written: {error}", {"retry-after": RETRY_AFTER}
            ) from error
