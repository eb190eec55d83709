"""Weights of OpenCLIP on the Hugging Face hub: whether they are here, whether they can be had, and getting them.

Every look-up over the network is bounded: the hub's own client retries an unreachable host for most of a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aivj_assets.errors import UserError

if TYPE_CHECKING:
    import httpx

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_TIMEOUT_S = 5.0
_WEIGHT_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# Without it the hub's own client refuses an answer.
_COMMIT_HEADER = "X-Repo-Commit"
_MOST_REDIRECTS = 5
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class HubWeights:
    """A repository of the hub and the file names under which its weights may lie, the preferred one first."""

    repository: str
    file_names: tuple[str, ...]
    companions: tuple[str, ...] = ()
    """Further files that the weights need beside them."""


def weights_of_tag(hub_path: str) -> HubWeights:
    """Return the weights behind OpenCLIP's `hf_hub` entry, `owner/name/` or `owner/name/file`."""
    repository, _, file_name = hub_path.rpartition("/")
    if not file_name:
        return HubWeights(repository, _WEIGHT_NAMES)
    stem, _, suffix = file_name.rpartition(".")
    # As OpenCLIP does: the safetensors twin of a pickle first.
    names = (f"{stem}.safetensors", file_name) if suffix in {"bin", "pth"} else (file_name,)
    return HubWeights(repository, names)


def hub_endpoint(environ: Mapping[str, str]) -> str:
    """Return the hub's address: `HF_ENDPOINT`, by default the public one."""
    return (environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def hub_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return the hub's cache folder, by the variables that its client reads."""
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser() / "hub"
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "huggingface" / "hub"


def cached_weights(weights: HubWeights, environ: Mapping[str, str]) -> Path | None:
    """Return the weights' file in the hub's cache, its companions beside it, or None. No network."""
    from huggingface_hub import try_to_load_from_cache

    for file_name in weights.file_names:
        found = try_to_load_from_cache(weights.repository, file_name, cache_dir=hub_cache_dir(environ))
        if isinstance(found, str) and all(Path(found).with_name(name).exists() for name in weights.companions):
            return Path(found)
    return None


def hub_cache_is_empty(environ: Mapping[str, str]) -> bool:
    """Return whether the hub's cache holds no model at all: then no weights are here, whatever their name."""
    try:
        return next(hub_cache_dir(environ).glob("models--*"), None) is None
    except OSError:
        return False


class Question:
    """A question to the hub that is under way: what is wrong, in a few words, or None; bounded in time from its start.

    It runs in a thread, because no timeout of an HTTP client bounds the name look-up.
    """

    def __init__(
        self, ask: Callable[[httpx.Client, str], str | None], environ: Mapping[str, str], timeout_s: float
    ) -> None:
        self._endpoint = hub_endpoint(environ)
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s
        self._answers: list[str | None] = []
        if any(environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
            self._answers.append("HF_HUB_OFFLINE is set")
        self._thread = threading.Thread(target=lambda: self._answers.append(self._ask(ask)), daemon=True)
        if not self._answers:
            self._thread.start()

    def answered(self, within_s: float) -> bool:
        """Wait for the answer, at most so long; returns whether it is there."""
        if not self._answers:
            self._thread.join(max(0.0, min(within_s, self._until - time.monotonic())))
        return bool(self._answers)

    def problem(self) -> str | None:
        """Return the answer; one that is not there in time is a problem too."""
        if self.answered(self._timeout_s):
            return self._answers[0]
        return f"{self._endpoint} did not answer within {self._timeout_s:g} s"

    def _ask(self, ask: Callable[[httpx.Client, str], str | None]) -> str | None:
        import httpx

        try:
            with httpx.Client(timeout=self._timeout_s, follow_redirects=False) as client:
                return ask(client, self._endpoint)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            return f"{self._endpoint} cannot be reached: {str(error) or type(error).__name__}"


def ask_whether_reachable(environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S) -> Question:
    """Ask whether anything answers at the hub's address, whatever it says."""

    def ask(client: httpx.Client, endpoint: str) -> None:
        client.head(endpoint)

    return Question(ask, environ, timeout_s)


def hub_problem(weights: HubWeights, environ: Mapping[str, str], timeout_s: float = DEFAULT_TIMEOUT_S) -> str | None:
    """Return None when the hub offers the weights within `timeout_s`, else what was wrong, in a few words."""

    def ask(client: httpx.Client, endpoint: str) -> str | None:
        problem = "no file name to ask for"
        for file_name in weights.file_names:
            answer = _head(client, f"{endpoint}/{weights.repository}/resolve/main/{file_name}")
            if answer.status_code < 400 and _COMMIT_HEADER in answer.headers:
                return None
            problem = f"{endpoint} answered HTTP {answer.status_code} for {weights.repository}"
            if answer.status_code < 400:
                return f"{problem}, but not as a model hub does: a login page, or an address mistyped"
        return problem

    return Question(ask, environ, timeout_s).problem()


def _head(client: httpx.Client, url: str) -> httpx.Response:
    """Ask for a file's head; a redirect within the hub is followed (a repository was renamed), one elsewhere is not."""
    answer = client.head(url)
    for _ in range(_MOST_REDIRECTS):
        target = answer.headers.get("location", "")
        if not answer.is_redirect or not target.startswith("/") or target.startswith("//"):
            break
        answer = client.head(answer.url.join(target))
    return answer


def download_weights(weights: HubWeights, environ: Mapping[str, str]) -> Path:
    """Download the weights into the hub's cache; raises `UserError` when that fails. Ask `hub_problem` first."""
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    def download(file_name: str) -> str:
        return hf_hub_download(
            weights.repository, file_name, cache_dir=hub_cache_dir(environ), endpoint=hub_endpoint(environ)
        )

    problem: Exception | None = None
    for file_name in weights.file_names:
        try:
            path = download(file_name)
            for companion in weights.companions:
                download(companion)
        except LocalEntryNotFoundError as error:
            problem = error
        except EntryNotFoundError as error:
            problem = error
            continue
        except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
            problem = error
        else:
            return Path(path)
        break
    reason = str(problem).strip().partition("\n")[0]
    raise UserError(
        f"The weights of {weights.repository} could not be downloaded from {hub_endpoint(environ)}: {reason}. "
        f"Repeat to continue; {unreachable_advice()}"
    )


def unreachable_advice() -> str:
    """Return the ways out when the hub cannot be reached."""
    return (
        "or set HF_ENDPOINT to a mirror, name a local checkpoint file as 'pretrained', "
        "or use the offline model: embedder efficientnet-lite0."
    )
