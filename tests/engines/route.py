"""``finetune-inference route`` as a module, for machines where the console script is another checkout's."""

import sys

from finetune_inference.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["route", *sys.argv[1:]]))
