"""Label video for multi-object tracking in FiftyOne: detection boxes in, tracks with calibrated uncertainty out.

This folder is two things at once: the package ``spam_plugin``, and a FiftyOne plugin whose entry is this very file.
FiftyOne executes it again, under a name of its own, for every request; so it holds nothing heavy.

    import spam_plugin

    spam_plugin.label(dataset, candidates="candidates", out="spam_tracks")
    print(spam_plugin.evaluate(dataset, pred="spam_tracks", gt="ground_truth"))
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .integrations.cvat.api import register_backend, sync
    from .integrations.fiftyone_.adapting import adapt
    from .integrations.fiftyone_.api import answer, detect, evaluate, label, queries, simulate
    from .integrations.fiftyone_.learning import retrain
    from .integrations.fiftyone_.propagating import propagate
    from .integrations.looping import run

__version__ = "0.1.0"
__all__ = [
    "__version__", "adapt", "answer", "detect", "evaluate", "label", "propagate", "queries", "register_backend",
    "retrain", "run", "simulate", "sync",
]  # fmt: skip

_PACKAGE = "spam_plugin"
_DATASETS, _CVAT = "integrations.fiftyone_.api", "integrations.cvat.api"
_LAZY = {
    "adapt": "integrations.fiftyone_.adapting", "answer": _DATASETS, "detect": _DATASETS, "evaluate": _DATASETS,
    "label": _DATASETS,
    "propagate": "integrations.fiftyone_.propagating", "queries": _DATASETS, "register_backend": _CVAT,
    "retrain": "integrations.fiftyone_.learning", "run": "integrations.looping", "simulate": _DATASETS, "sync": _CVAT,
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs FiftyOne and torch only when somebody asks for it."""
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def register(p: Any) -> None:
    """Register operators, the panel and the annotation backend with FiftyOne.

    Args:
        p: FiftyOne's plugin context.
    """
    if __name__ != _PACKAGE:
        _the_one_package().register(p)
        return
    from .integrations.cvat.api import register_backend
    from .plugin import operators, panels

    register_backend()
    operators.register(p)
    panels.register(p)


def _the_one_package() -> ModuleType:
    """The package under its real name: the loaded one, the installed one, or this folder.

    FiftyOne has loaded this file under a synthetic name. A relative import from here would make a second copy of every
    module, and with it second copies of every class, so everything goes through the real name. A folder that was only
    downloaded or linked is not importable by that name, and is made so here.
    """
    if _PACKAGE in sys.modules:
        return sys.modules[_PACKAGE]
    try:
        return importlib.import_module(_PACKAGE)
    except ModuleNotFoundError as error:
        if error.name != _PACKAGE:
            raise
    root = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{root} cannot be loaded as the package {_PACKAGE}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[_PACKAGE]
        raise
    return package
