"""The JSON of each kind of object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]


def project_json(app: App, project: Record) -> Record:
    """A project; its dimension is known once it has a task."""
    tasks = [task for task in app.store["tasks"].values() if task["project_id"] == project["id"]]
    number = project["id"]
    return {
        "url": f"{app.url}/api/projects/{number}",
        "id": number,
        "name": project["name"],
        "owner": app.brief(project["owner_id"]),
        "assignee": app.brief(project["assignee_id"]),
        "guide_id": project["guide_id"],
        "bug_tracker": project["bug_tracker"],
        "created_date": project["created_date"],
        "updated_date": project["updated_date"],
        "status": "annotation",
        "dimension": "2d" if tasks else None,
        "organization": project["organization_id"],
        "organization_id": project["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "tasks": {"count": len(tasks), "url": f"{app.url}/api/tasks?project_id={number}"},
        "labels": {"url": f"{app.url}/api/labels?project_id={number}"},
        "assignee_updated_date": project["assignee_updated_date"],
        "task_subsets": sorted({task["subset"] for task in tasks} - {""}),
    }


def label_json(app: App, label: Record) -> Record:
    """A label with its attributes; it names either its project or its task."""
    parent = "project_id" if label["project_id"] else "task_id"
    return {
        **{name: label[name] for name in ("id", "name", "color", "attributes", "type")},
        "sublabels": [],
        parent: label[parent],
        "parent_id": None,
        "has_parent": False,
    }


def task_json(app: App, task: Record, *, counted: bool = True) -> Record:
    """A task; what concerns its media is there once data were sent.

    Args:
        app: the server.
        task: the record.
        counted: whether the jobs are counted; CVAT leaves that out of some events.
    """
    jobs = app.store.jobs_of(task)
    number = task["id"]
    media = app.store["media"].get(task["media_id"])
    about_media = media and {
        "data_chunk_size": media["chunk_size"],
        "data_original_chunk_type": media["original_chunk_type"],
        "data_compressed_chunk_type": media["compressed_chunk_type"],
        "data_cloud_storage_id": media["cloud_storage_id"],
    }
    return {
        "url": f"{app.url}/api/tasks/{number}",
        "id": number,
        "name": task["name"],
        "project_id": task["project_id"],
        "mode": task["mode"],
        "owner": app.brief(task["owner_id"]),
        "assignee": app.brief(task["assignee_id"]),
        "bug_tracker": task["bug_tracker"],
        "created_date": task["created_date"],
        "updated_date": task["updated_date"],
        "overlap": task["overlap"],
        "segment_size": task["segment_size"],
        "status": task["status"],
        **(about_media or {}),
        "guide_id": task["guide_id"],
        **({"size": media["size"], "image_quality": media["image_quality"], "data": media["id"]} if media else {}),
        "dimension": "2d",
        "subset": task["subset"],
        "organization_id": task["organization_id"],
        "organization": task["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "jobs": {
            "count": len(jobs) if counted else 0,
            "completed": sum(is_completed(job) for job in jobs) if counted else None,
            "validation": sum(job["stage"] == "validation" for job in jobs) if counted else None,
            "url": f"{app.url}/api/jobs?task_id={number}",
        },
        "labels": {"url": f"{app.url}/api/labels?task_id={number}"},
        "assignee_updated_date": task["assignee_updated_date"],
        "validation_mode": None,
        "consensus_enabled": False,
    }


def is_completed(job: Record) -> bool:
    """Whether a job counts as done in its task."""
    return job["stage"] == "acceptance" and job["state"] == "completed"


def job_json(app: App, job: Record, *, counted: bool = True) -> Record:
    """A job; ``counted`` as for tasks, here of the issues."""
    task = app.store.task_of(job)
    project = app.store.project_of(task)
    media = app.store["media"][task["media_id"]]
    number = job["id"]
    issues = sum(issue["job_id"] == number for issue in app.store["issues"].values())
    return {
        "url": f"{app.url}/api/jobs/{number}",
        "id": number,
        "task_id": task["id"],
        "project_id": task["project_id"],
        "assignee": app.brief(job["assignee_id"]),
        "guide_id": project["guide_id"] if project else task["guide_id"],
        "dimension": "2d",
        # The bug tracker is the project's.
        "bug_tracker": project["bug_tracker"] if project else None,
        "status": job["status"],
        "stage": job["stage"],
        "state": job["state"],
        "mode": task["mode"],
        "frame_count": job["stop_frame"] - job["start_frame"] + 1,
        "start_frame": job["start_frame"],
        "stop_frame": job["stop_frame"],
        "data_chunk_size": media["chunk_size"],
        "data_compressed_chunk_type": media["compressed_chunk_type"],
        "data_original_chunk_type": media["original_chunk_type"],
        "created_date": job["created_date"],
        "updated_date": job["updated_date"],
        "issues": {"url": f"{app.url}/api/issues?job_id={number}", "count": issues if counted else 0},
        "labels": {"url": f"{app.url}/api/labels?job_id={number}"},
        "type": "annotation",
        "organization": task["organization_id"],
        "target_storage": None,
        "source_storage": None,
        "assignee_updated_date": job["assignee_updated_date"],
        "parent_job_id": None,
        "consensus_replicas": 0,
    }


def issue_json(app: App, issue: Record, *, counted: bool = True) -> Record:
    """An issue; ``counted`` as for tasks, here of the comments."""
    number = issue["id"]
    comments = sum(comment["issue_id"] == number for comment in app.store["comments"].values())
    return {
        "id": number,
        "frame": issue["frame"],
        "position": issue["position"],
        "job": issue["job_id"],
        "owner": app.brief(issue["owner_id"]),
        "assignee": app.brief(issue["assignee_id"]),
        "created_date": issue["created_date"],
        "updated_date": issue["updated_date"],
        "resolved": issue["resolved"],
        "comments": {
            "count": comments if counted else 0,
            "url": f"{app.url}/api/comments?issue_id={number}",
        },
    }


def comment_json(app: App, comment: Record, *, counted: bool = True) -> Record:
    """A comment of an issue."""
    return {
        "id": comment["id"],
        "issue": comment["issue_id"],
        "owner": app.brief(comment["owner_id"]),
        "message": comment["message"],
        "created_date": comment["created_date"],
        "updated_date": comment["updated_date"],
    }


def webhook_json(app: App, webhook: Record) -> Record:
    """A webhook, without its secret; how its last delivery went is told once there was one."""
    shown = (
        *("target_url", "description", "type", "content_type", "is_active", "enable_ssl"),
        *("created_date", "updated_date"),
    )
    deliveries = [one for one in app.store["deliveries"].values() if one["webhook_id"] == webhook["id"]]
    last = deliveries and {
        "last_status": deliveries[-1]["status_code"],
        "last_delivery_date": deliveries[-1]["updated_date"],
    }
    return {
        "id": webhook["id"],
        "url": f"{app.url}/api/webhooks/{webhook['id']}",
        **{name: webhook[name] for name in shown},
        "owner": app.brief(webhook["owner_id"]),
        "project_id": webhook["project_id"],
        "organization": webhook["organization_id"],
        "events": webhook["events"],
        **(last or {}),
    }
