"""Names under which a router counts, and by which labels: the operator reads them from its ``/metrics``.

Every combination of labels is there, at zero, as soon as a version is routed; otherwise the first increments of a new series would be lost.
"""

from enum import StrEnum
from typing import Final


class RouterMetric(StrEnum):
    """All carry ``namespace``, ``deployment``, ``version`` and ``track``.

    ``requests``: also ``outcome`` (`Outcome`). ``checks``: also ``check`` (`Check`) and ``outcome`` (`CheckOutcome`). The others are
    histograms in seconds: time to the first token, and the gap between two chunks of a stream.
    """

    REQUESTS = "adapter_router_requests_total"
    CHECKS = "adapter_router_checks_total"
    TTFT = "adapter_router_ttft_seconds"
    ITL = "adapter_router_itl_seconds"


JUDGED_SERIES: Final = (
    RouterMetric.REQUESTS.value,
    RouterMetric.CHECKS.value,
    f"{RouterMetric.TTFT.value}_bucket",
    f"{RouterMetric.ITL.value}_bucket",
)
"""Names of the series by which a canary is judged, wherever they are read from."""
PROCESS_INFO: Final = "adapter_router_process_info"
"""Always 1, with ``namespace`` and ``process``, as in `Acknowledgement`: whose counters a scrape holds, for who did not scrape himself."""
