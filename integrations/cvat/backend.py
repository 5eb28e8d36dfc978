"""FiftyOne's annotation backend ``spam_cvat``: ``annotate`` and ``load_annotations`` reach the same synchronisation.

``dataset.annotate(key, backend="spam_cvat", label_field="frames.spam_tracks")`` sends the videos, and
``dataset.load_annotations(key)`` brings back what people did. Both may be called as often as one likes, and mixed with
``spam-plugin sync``: there is one project for a dataset and a field, however it is reached.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import fiftyone as fo
import fiftyone.utils.annotations as foua
from fiftyone.core.collections import SampleCollection

from ...engine.desk.context import SyncReport, SyncSettings
from ...models.errors import InputError
from .api import BACKEND as NAME
from .client import Access
from .sync import Link, sync, sync_status

_SETTINGS = ("windows", "assignees", "states", "stages", "confirm", "job_seconds", "overlap_seconds")

logger = logging.getLogger(__name__)


class SpamCvatBackendConfig(foua.AnnotationBackendConfig):
    """Configuration of a run.

    Args:
        name: of the backend.
        label_schema: FiftyOne's; one field of boxes with tracks.
        media_field: of the samples; only "filepath".
        windows: "all" to open every job, "queries" for those that hold open questions.
        assignees: names of users who get jobs in turn.
        states: jobs in one of these states are loaded.
        stages: only those in one of these stages; none for any.
        confirm: whether what people left alone in a finished job counts as confirmed.
        job_seconds: wished length of a job.
        overlap_seconds: what it shares with the next.
        url: of the server, instead of CVAT_URL.
        username: instead of CVAT_USERNAME; not kept with the run, as all that follows.
        password: instead of CVAT_PASSWORD.
        token: instead of CVAT_TOKEN.
        organization: instead of CVAT_ORG.
        kwargs: none; FiftyOne would keep what it does not know with the run, be it a secret.

    Raises:
        InputError: for values that cannot be, and arguments that there are not.
    """

    def __init__(
        self,
        name: str,
        label_schema: Mapping[str, Any] | None,
        media_field: str = "filepath",
        windows: str = "all",
        assignees: Sequence[str] = (),
        states: Sequence[str] = ("completed",),
        stages: Sequence[str] = (),
        confirm: bool = False,
        job_seconds: float = 10.0,
        overlap_seconds: float = 2.0,
        url: str | None = None,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        organization: str | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse(kwargs)
        super().__init__(name, label_schema, media_field=media_field)
        if media_field != "filepath":
            raise InputError(f"backend {NAME!r} sends the files of 'filepath', not of {media_field!r}")
        self.windows, self.confirm = windows, confirm
        self.assignees, self.states, self.stages = list(assignees), list(states), list(stages)
        self.job_seconds, self.overlap_seconds = job_seconds, overlap_seconds
        self.url, self.organization = url, organization
        self._username, self._password, self._token = username, password, token
        self.settings()  # what cannot be is refused here and not after an upload

    @property
    def method(self) -> str:
        """Name of the backend."""
        return NAME

    def load_credentials(
        self, url: str | None = None, username: str | None = None, password: str | None = None,
        token: str | None = None, organization: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Takes over what ``load_annotations`` is given, else what ``annotation_config.json`` says.

        See the arguments of the configuration.
        """
        _refuse(set(kwargs).difference(_SETTINGS))
        known = fo.annotation_config.backends.get(NAME, {})
        self.url = url or known.get("url") or self.url
        self.organization = organization or known.get("organization") or self.organization
        self._username = username or known.get("username") or self._username
        self._password = password or known.get("password") or self._password
        self._token = token or known.get("token") or self._token
        self._load_parameters(**kwargs)

    def settings(self) -> SyncSettings:
        """Of the synchronisation."""
        return SyncSettings(
            windows=self.windows, assignees=tuple(self.assignees), states=tuple(self.states),
            stages=tuple(self.stages), confirm=self.confirm, job_seconds=self.job_seconds,
            overlap_seconds=self.overlap_seconds,
        )  # fmt: skip

    def access(self) -> Access:
        """To the server: what was given here, the rest from the environment."""
        given = {
            "CVAT_URL": self.url, "CVAT_USERNAME": self._username, "CVAT_PASSWORD": self._password,
            "CVAT_TOKEN": self._token, "CVAT_ORG": self.organization,
        }  # fmt: skip
        return Access.from_environment({name: value for name, value in given.items() if value})


def _refuse(strange: Iterable[str]) -> None:
    """Arguments that there are not."""
    for name in sorted(strange):
        known = (*_SETTINGS, "url", "username", "password", "token", "organization")
        raise InputError(f"backend {NAME!r} knows no {name!r}; there are: {', '.join(known)}")


class SpamCvatBackend(foua.AnnotationBackend):
    """The backend."""

    @property
    def supported_media_types(self) -> list[str]:
        """Videos, and images that are the frames of sequences."""
        return [fo.core.media.VIDEO, fo.core.media.IMAGE]

    @property
    def supported_label_types(self) -> list[str]:
        """Boxes."""
        return ["detections"]

    @property
    def supported_scalar_types(self) -> list[type]:
        """None."""
        return []

    @property
    def supported_attr_types(self) -> list[str]:
        """As CVAT has them; the synchronisation chooses by the type of the field."""
        return ["text", "select", "checkbox"]

    @property
    def supports_keyframes(self) -> bool:
        """It always sends keyframes only."""
        return True

    @property
    def supports_video_sample_fields(self) -> bool:
        """Tracks are fields of frames."""
        return False

    @property
    def requires_label_schema(self) -> bool:
        """A field must be named."""
        return True

    def recommend_attr_tool(self, name: str, value: Any) -> dict[str, Any]:
        """Text; see ``supported_attr_types``."""
        return {"type": "checkbox"} if isinstance(value, bool) else {"type": "text"}

    def requires_attr_values(self, attr_type: str) -> bool:
        """They are found in the field."""
        return False

    def upload_annotations(
        self, samples: SampleCollection, anno_key: str, launch_editor: bool = False
    ) -> SpamCvatResults:
        """Sends the videos.

        Args:
            samples: a dataset or view; its videos are sent as a whole.
            anno_key: name of the run.
            launch_editor: open the first job in a browser.
        """
        try:
            report = self._sync(samples, push=True)
        except Exception:
            # FiftyOne has registered the run already, and would refuse to begin it again.
            type(self).delete_run(samples, anno_key, cleanup=False)
            raise
        # What comes back is written by the synchronisation itself, so FiftyOne has nothing to compare ids with.
        results = SpamCvatResults(samples, self.config, anno_key, {}, backend=self)
        results.project = report.project
        if launch_editor:
            results.launch_editor()
        return results

    def download_annotations(self, results: SpamCvatResults) -> dict[str, Any]:
        """Brings back what people did, into the very field that was sent.

        Returns:
            nothing more for FiftyOne to merge.
        """
        results.report = self._sync(results.samples, push=False).as_dict()
        return {}

    def link(self, samples: SampleCollection) -> Link:
        """Which field goes where.

        Raises:
            InputError: for a run with several fields.
        """
        fields = list(self.config.label_schema)
        if len(fields) != 1:
            raise InputError(f"backend {NAME!r} keeps one field of tracks, not {fields}; name one as label_field")
        return Link(samples, fields[0].removeprefix("frames."), access=self.config.access())

    def _sync(self, samples: SampleCollection, push: bool) -> SyncReport:
        settings = replace(self.config.settings(), push=push, pull=not push)
        report = sync(self.link(samples), settings)
        for sentence in (*report.problems, *(conflict.text for conflict in report.conflicts)):
            logger.warning("%s", sentence)
        return report


class SpamCvatResults(foua.AnnotationResults):
    """A run: which project holds it, and what its last loading did.

    Attributes:
        project: number of the project in CVAT.
        report: of the last loading.
    """

    project: int | None = None
    report: Mapping[str, Any] | None = None

    def get_status(self) -> list[dict[str, Any]]:
        """Where every job stands."""
        return [one.as_dict() for one in sync_status(self.backend.link(self.samples))]

    def print_status(self) -> None:
        """Prints where every job stands."""
        for one in self.get_status():
            print(f"{one['video']}: job {one['job']} {one['state']}, {one['stage']}, {one['assignee'] or 'nobody'}")

    def launch_editor(self) -> None:
        """Opens the first job in a browser."""
        import webbrowser

        jobs = self.get_status()
        if jobs:
            webbrowser.open(jobs[0]["link"])

    def cleanup(self) -> None:
        """Leaves the project: it belongs to the dataset and not to one run."""
        logger.info("project %s stays in CVAT; delete it there when it is not needed any more", self.project)

    @classmethod
    def _from_dict(cls, d: dict[str, Any], samples: Any, config: Any, anno_key: str) -> SpamCvatResults:
        results = cls(samples, config, anno_key, {})
        results.project, results.report = d.get("project"), d.get("report")
        return results

    def serialize(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Plain values."""
        return {**super().serialize(*args, **kwargs), "project": self.project, "report": self.report}
