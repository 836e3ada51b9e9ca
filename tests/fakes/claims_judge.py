"""A judge that believes what samples claim, and finds a share of them bad: for sets without a truth."""

import hashlib
from pathlib import Path

from filters.judge import make_requests
from filters.raw import RawReferences, ancestors
from filters.rubrics import load_questions
from shards.index import Directory
from shards.manifest import ManifestError, read_manifest
from shards.storage import Storage

WRONG = ("copy_paste",)  # questions whose yes speaks of a fault
OF_ONE = ("phrase_describes", "target_shows")  # yes of the chosen candidate alone
BAD_OF_256 = 20


class ClaimsJudge:
    """Answers about the samples of every finished directory of an output, found as they come.

    A sample is bad by a hash of its key, so that selections have something to refuse.
    """

    def __init__(self, out: Path):
        self._out = Storage(str(out))
        self._seen = set()
        self._known = {}

    def __call__(self, prompt, digests):
        asked = (prompt, *digests)
        if asked not in self._known:
            self._look()
        return self._known.get(asked, {"0": 0.9, "no": 0.9})

    def _look(self):
        for name in self._out.folders():
            storage = self._out.child(name)
            try:
                manifest = read_manifest(storage)
            except ManifestError:
                continue
            if manifest and manifest.kind == "samples" and name not in self._seen:
                self._seen.add(name)
                self._learn(storage)

    def _learn(self, storage):
        opened, raw = Directory(storage), RawReferences(ancestors([storage]))
        questions = load_questions()
        for key in opened.places:
            sample = raw.beside(opened[key])
            for request in make_requests(sample, list(questions.values()), {}):
                value = is_well(sample, request)
                labels = list(questions[request.question].labels)
                wanted = labels[-1] if value else labels[0]  # from 0 to 4, from no to yes
                self._known[request.text, *request.digests] = {
                    wanted: 0.95,
                    labels[len(labels) // 2 - 1]: 0.01,
                }


def is_well(sample, request):
    """Whether the best label is the right one, of a sample that is what it claims."""
    name = request.question
    if name in OF_ONE:
        return sample.subjects[request.reference][request.candidate].is_target
    is_bad = hashlib.sha256(sample.key.encode()).digest()[0] < BAD_OF_256
    return is_bad if name in WRONG else not (is_bad and name in ("consistency", "candidate_present"))
