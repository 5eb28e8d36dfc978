"""Checks of what is FiftyOne's: database, plugin, jobs, and whether a browser plays a dataset's videos.

FiftyOne connects to its database as it is imported, so it is imported inside of the checks.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checking import BROKEN, OK, WARNING, Finding, check
from .settings import SETTINGS, configured, variable

if TYPE_CHECKING:
    from .linking import Linked

PATIENCE_MS = 5000  # for the database's answer
MOST_VIDEOS = 500  # that are looked into
PLAYED = {"h264": "H.264", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}

_NAMES = {"hevc": "H.265", "mpeg4": "MPEG-4 part 2", "msmpeg4v3": "MPEG-4 part 2", "mjpeg": "Motion JPEG"}
_UNREADABLE = "unreadable"
_LINK = "spam-plugin app"


@check("database")
def check_database() -> Finding:
    """Whether FiftyOne's database answers; which it is, and where."""
    import pymongo
    from pymongo.errors import PyMongoError

    uri = configured("database_uri")
    if uri is not None:  # asked first, since FiftyOne would wait long for it
        try:
            with pymongo.MongoClient(uri, serverSelectionTimeoutMS=PATIENCE_MS) as client:
                client.server_info()
        except PyMongoError as error:
            why = re.split(r" \(configured timeouts|, Timeout:", str(error))[0]
            return Finding(
                BROKEN, f"MongoDB at {_place(uri)} does not answer: {why}",
                f"start it, or mend or unset {variable('database_uri')}",
            )  # fmt: skip
    try:
        import fiftyone.constants as constants
        from fiftyone.core.odm import get_db_client
    except Exception as error:
        return Finding(
            BROKEN, f"FiftyOne does not start its MongoDB: {error}",
            "on Debian 12 and others: pip install 'spam-plugin[db]'; or name a server of yours in "
            f"{variable('database_uri')}",
        )  # fmt: skip
    client = get_db_client()
    version = client.server_info()["version"]
    where = _place(uri) if uri is not None else _folder(client)
    if _numbers(version) < constants.MONGODB_MIN_VERSION.release:
        least = constants.MONGODB_MIN_VERSION
        return Finding(BROKEN, f"MongoDB {version} ({where})", f"FiftyOne needs MongoDB {least}: update the server")
    return Finding(OK, f"MongoDB {version} ({where})")


@check("plugin")
def check_plugin() -> Finding:
    """Whether FiftyOne finds the plugin and registers every operator and panel of its."""
    import yaml
    from fiftyone.operators.registry import OperatorRegistry

    from . import linking

    found = linking.find()
    if found is None:
        return Finding(WARNING, f"not among FiftyOne's plugins in {linking.plugins_folder()}", f"{_LINK} puts it there")
    if not found.enabled:
        return Finding(BROKEN, "disabled in FiftyOne's settings", f'fiftyone plugins enable "{linking.NAME}"')
    told = yaml.safe_load((linking.PACKAGE / "fiftyone.yml").read_text())
    wanted = {*told.get("operators", ()), *told.get("panels", ())}
    contexts = [one for one in OperatorRegistry().plugin_contexts if one.name == linking.NAME]
    names = {operator.name for one in contexts for operator in one.instances}
    errors = sorted({error.strip().splitlines()[-1] for one in contexts for error in one.errors})
    if errors:
        return Finding(BROKEN, f"{found.path}: {'; '.join(errors)}", _mend(found))
    missing, old = sorted(wanted - names), " is of another version," if found.ours and not found.current else ""
    if missing:
        return Finding(BROKEN, f"{found.path}{old} does not register {', '.join(missing)}", _mend(found))
    if old:
        return Finding(WARNING, f"{found.path}{old} but registers all", _mend(found))
    return Finding(OK, f"{len(names)} operators and panels of {len(wanted)}, from {found.path}")


@check("served files")
def check_served() -> Finding:
    """Whether the App's server gives away more than it needs: it serves all that lies among the plugins."""
    from . import linking

    found, folder = linking.find(), linking.plugins_folder()
    exposed = dict(found.exposed) if found is not None else {}
    for path in (folder, *(folder.iterdir() if folder.is_dir() else ())):
        names = tuple(name for name in (".env", ".git") if (path / name).exists())
        if names:
            exposed.setdefault(path, names)
    if not exposed:
        return Finding(OK, "nothing but what the App needs lies among FiftyOne's plugins")
    said = "; ".join(f"{path}: {', '.join(names[:4])}" for path, names in exposed.items())
    mend = "move it out of FiftyOne's folder of plugins"
    if found is not None and found.exposed:
        mend = f"take the checkout, or the link to it, away from there; {_LINK} puts a small folder there instead"
    return Finding(WARNING, f"whoever reaches the App can read {said}", mend)


@check("settings")
def check_settings() -> Finding:
    """Whether the user has switched off what the App needs."""
    off = [
        name for name in ("allow_legacy_orchestrators", "plugins_cache_enabled")
        if (configured(name) or SETTINGS[name]).lower() in ("false", "0")
    ]  # fmt: skip
    if not off:
        return Finding(OK, "nothing that the App needs is switched off")
    why = {
        "allow_legacy_orchestrators": 'the App\'s button "Schedule" is dead',
        "plugins_cache_enabled": "the App loads all plugins again at every click",
    }
    mend = "set to true, or unset, " + " and ".join(map(variable, off)) + " (and the same in FiftyOne's config.json)"
    return Finding(WARNING, "; ".join(why[name] for name in off), mend)


@check("jobs")
def check_jobs() -> Finding:
    """Whether somebody does what the App schedules, and whether jobs have lost their worker."""
    from . import jobs

    alive, lost = jobs.workers(), jobs.find_lost()
    queued = [job for job in jobs.list_jobs(limit=1000) if job.state == "queued"]
    said = f"workers that are alive: {len(alive)}; jobs that wait: {len(queued)}"
    if lost:
        names = ", ".join(f"{job.label} ({job.id})" for job in lost[:3])
        return Finding(
            WARNING, f"{said}; jobs whose worker is gone: {names}",
            "start spam-plugin worker, which marks them as failed; then run them again from the panel",
        )  # fmt: skip
    if queued and not alive:
        return Finding(WARNING, said, "start spam-plugin worker (spam-plugin app starts one, too)")
    return Finding(OK, said)


@check("videos")
def check_videos(dataset: str) -> Finding:
    """Whether the media of a dataset are there, and a browser plays its videos.

    Args:
        dataset: its name.
    """
    from ...models.errors import MissingError
    from .dataset import open_dataset

    try:
        opened = open_dataset(dataset)
    except MissingError as error:
        return Finding(BROKEN, str(error), "name one of these")
    paths = [Path(path) for path in opened.values("filepath")] if opened.media_type != "group" else []
    missing = [path for path in paths if not path.is_file()]
    if missing:
        return Finding(
            BROKEN, f"{len(missing)} of {len(paths)} files are not there, e.g. {missing[0]}",
            "put them back, or correct the samples' filepath",
        )  # fmt: skip
    if opened.media_type != "video":
        return Finding(OK, f"dataset {dataset!r}: {len(paths)} files of type {opened.media_type}, no videos")
    some = paths[:MOST_VIDEOS]
    codecs = _codecs(some)
    looked = f"{len(some)}" if len(some) == len(paths) else f"the first {len(some)} of {len(paths)}"
    bad = {path: codec for path, codec in zip(some, codecs, strict=True) if codec not in PLAYED}
    if not bad:
        played = sorted({PLAYED[codec] for codec in codecs})
        return Finding(OK, f"dataset {dataset!r}: {looked} videos are there, {', '.join(played) or 'none to play'}")
    names = ", ".join(f"{path} ({_NAMES.get(codec, codec)})" for path, codec in list(bad.items())[:5])
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    said = f"browsers do not play {len(bad)} of {looked} videos: {names}{more}"
    return Finding(WARNING, said, _encode(next(iter(bad))))


def _encode(path: Path) -> str:
    """How to make a video that a browser plays, frame by frame the same."""
    command = [
        *("ffmpeg", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"), str(path.with_suffix(".h264.mp4")),
    ]  # fmt: skip
    return f"{shlex.join(command)}, then name the new file in the sample's filepath"


def _codecs(paths: Sequence[Path]) -> list[str]:
    """What ffprobe calls the codecs of videos."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(_codec, paths))


def _codec(path: Path) -> str:
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=codec_name", "-of", "json"]
    answer = subprocess.run([*command, f"file:{path}"], capture_output=True, check=False)
    streams = json.loads(answer.stdout or b"{}").get("streams") or [{}]
    return streams[0].get("codec_name", _UNREADABLE)


def _mend(found: Linked) -> str:
    return f"{_LINK} brings it up to date" if found.ours else f"take {found.path} away, then {_LINK} puts ours there"


def _place(uri: str) -> str:
    """Which server an address of MongoDB's means, without the user's password and whatever else it tells."""
    return re.sub(r"^.*?//([^/?]*@)?([^/?]*).*$", r"\2", uri)


def _folder(client: Any) -> str:
    """The folder of a database that FiftyOne has started; it may be one that was running already."""
    told = client.admin.command("getCmdLineOpts")["parsed"].get("storage", {})
    return f"started by FiftyOne, in {told.get('dbPath', 'an unknown folder')}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
