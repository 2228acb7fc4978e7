"""One model behind the protocol: kserve's `Model`, answered by a `Classifier` through a `Batcher`.

Flow: takes kserve's `InferRequest`; gives its `InferResponse`: probabilities, label, confidence,
verdict and foreign score of every image.
"""

import uuid
from pathlib import Path

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model
from prometheus_client import Counter, Histogram

from bloodkeras.contract import FOREIGN_NAME, OUTPUT_NAME
from bloodkeras.runtime.classifier import Answers, Classifier, model_file, sha256_of
from bloodkeras.serving.audit_log import AuditLog
from bloodkeras.serving.batcher import Batcher
from bloodkeras.serving.options import Options, Served
from bloodkeras.serving.tensors import (
    CONFIDENCE_NAME,
    INPUTS,
    LABEL_NAME,
    VERDICT_NAME,
    outputs_of,
)

ANSWERS = Counter(
    "bloodkeras_answers_total",
    "Images that were answered",
    ["model", "version", "label", "verdict"],
)
REQUEST_IMAGES = Histogram(
    "bloodkeras_request_images", "Images a request", ["model", "version"],
    buckets=(1, 4, 16, 64, 256, 1024),
)  # fmt: skip


class AuditFailed(Exception):
    """What was answered cannot be written down, so it is not answered."""


class ServedModel(Model):
    """An export under a name and a version."""

    def __init__(self, served: Served, options: Options, audit: AuditLog | None, threads: int):
        """Load an export.

        Args:
            served: Which, and what it is called.
            options: Of the server.
            audit: Where answers are written down; None for nowhere.
            threads: Processor threads of its session.

        Raises:
            BloodkerasError: It is no complete export, or a file of it was changed.
        """
        super().__init__(served.name)
        self.version = served.version
        self._classifier = Classifier.load(served.folder, threads, options.precision)
        self._batcher = Batcher(self._classifier, options.batch, options.wait_ms)
        self._audit = audit
        file = model_file(Path(served.folder), options.precision)
        self._identity = {
            "model": served.name, "version": served.version, "model_sha256": sha256_of(file)
        }  # fmt: skip
        self.outputs = outputs_of(self._classifier.labels)
        self.ready = True

    def get_input_types(self) -> list[dict]:
        """Return the inputs as the protocol's metadata name them."""
        return INPUTS

    def get_output_types(self) -> list[dict]:
        """Return the outputs as the protocol's metadata name them."""
        return self.outputs

    async def predict(self, payload: InferRequest, headers=None) -> InferResponse:
        """Answer the images of a request."""
        images = payload.inputs[0].data
        answers = await self._batcher.answer(images)
        labels = [self._classifier.labels[index] for index in answers.probs.argmax(1)]
        confidence = answers.probs.max(1)
        request_id = payload.id or str(uuid.uuid4())
        if self._audit:
            rows = list(zip(labels, confidence, answers.verdicts, strict=True))
            try:
                self._audit.note(request_id, self._identity, images, rows)
            except OSError as error:
                raise AuditFailed(error) from error
        self._count(labels, answers)
        datatypes = {out["name"]: out["datatype"] for out in self.outputs}
        values = {
            OUTPUT_NAME: answers.probs,
            LABEL_NAME: np.array(labels, object),
            CONFIDENCE_NAME: confidence,
            VERDICT_NAME: answers.verdicts.astype(object),
            FOREIGN_NAME: answers.foreign,
        }
        outputs = [
            InferOutput(name, list(value.shape), datatypes[name], value)
            for name, value in values.items()
        ]
        return InferResponse(
            request_id,
            self.name,
            outputs,
            self.version,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )

    def _count(self, labels: list[str], answers: Answers) -> None:
        """Count for /metrics."""
        place = self.name, self.version
        REQUEST_IMAGES.labels(*place).observe(len(labels))
        for label, verdict in zip(labels, answers.verdicts, strict=True):
            ANSWERS.labels(*place, label, verdict).inc()
