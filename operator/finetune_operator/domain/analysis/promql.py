"""The one query that brings all counters of a deployment as Prometheus last scraped them from its routers.

Raw samples, and not ``increase()`` or ``rate()``: these extrapolate to the ends of their window and guess at restarts, while what decides
here subtracts whole counts of known processes. One query, so that counters and process are those of one instant. A range, because it
returns the time of each scrape, and nothing where the last one is too old by Prometheus' own clock.
"""

import re

from finetune_inference.contract import JUDGED_SERIES, PROCESS_INFO


def counters_query(namespace: str, deployment: str, freshness_seconds: int) -> str:
    """For ``/api/v1/query``; a series without a sample in the last ``freshness_seconds`` is not in its answer.

    A router's process is in a series without a deployment, which an empty alternative matches.
    """
    names = "|".join((*JUDGED_SERIES, PROCESS_INFO))
    owner = f"{re.escape(deployment)}|"
    return f"{{__name__=~{_quoted(names)},namespace={_quoted(namespace)},deployment=~{_quoted(owner)}}}[{freshness_seconds}s]"


def _quoted(text: str) -> str:
    """A string literal of PromQL; what it is made from are names of Kubernetes, and nothing else gets out of the quotes either."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
