"""What goes to CVAT and comes back untouched, changes nothing; what a person did there, is there afterwards."""

from __future__ import annotations

from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.cvat.sync import sync

EVERYTHING = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)


def test_what_nobody_touched_comes_back_as_it_was(server, make_dataset, make_link):
    dataset = make_dataset("untouched", [*straight(1, 0, 80), *straight(2, 20, 40, 120.3, "person")])
    sample = dataset.first().id
    before = read_tracks(dataset, sample)
    report = sync(make_link(dataset), EVERYTHING)
    assert report.counts["jobs opened"] == 3
    api = Api(server.url, server.username, server.password)
    for job in api.jobs():
        api.job(job["id"], state="completed")
    report = sync(make_link(dataset), EVERYTHING)
    assert report.counts == {"jobs pulled": 3}
    assert read_tracks(dataset, sample) == before
