"""What the libraries say that nobody in front of this log can act upon: deprecations among themselves, kernels that would be fetched."""

import logging
import warnings


def silence_libraries() -> None:
    """To be called before they are imported."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\.")
