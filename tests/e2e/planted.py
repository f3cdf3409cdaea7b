"""Words that stand for what nobody may read, and the search for them in all that a testbed has stored."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROWS = {
    "name in a prompt": "Zebulon Quackenbush",
    "name in an answer": "Philomena Thistlewood",
    "card in a prompt": "4539 7214 8803 6467",
    "secret in an answer": "ghp_q7Zk2Vw9Xc4Rt6Yb8Nm1Lp3Ks5Jd0FhGaTe",
    "name as a role": "wolfgang-amadeus-ixtapaluca",
    "name as a key": "Ottoline Vanderquist",
    "name in a torn row": "Bartholomew Snodgrassington",
    "name in what is not a row": "Cornelius Featherstonehaugh",
}
ASKED = {
    "name in a question": "Peregrine Whittlesworth",
    "card in a question": "5425 2334 3010 9903",
    "secret in a question": "ghp_m3Hs8Bn5Tz1Wq6Jx0Rv7Dk4Gy2Lc9PfUeAi",
    "name in a system message": "Clementine Ravensbourne",
    "name in a stream": "Thaddeus Bickerstaffe",
    "name in a completion": "Rosalind Hollingberry",
    "name in a question that is too long": "Montgomery Fotheringay",
    "name in a body that breaks off": "Leopoldine Starkweather",
    "name in a body that is not JSON": "Ignatius Cholmondeley",
    "name as a role of a message": "evangeline-throckmorton",
    "name as a key of a message": "Barnabas Wigglesworth",
    "name where messages belong": "Gwendolyn Pettigrew-Ashdown",
    "name where a number belongs": "Horatio Dinglewood",
    "name in a key of the request": "Seraphina Oglethorpe",
    "name of a model that nobody has": "archibald-mountstephen",
}
ELSEWHERE = re.compile(r"/volume-subpaths/|/volumes/kubernetes\.io~(?!empty-dir)|/rootfs/")
"""Claims that are mounted for a pod that runs still, and root filesystems, of which `written` knows what is not the image's."""
MOST_BYTES = 64 * 2**20
"""Files are searched in pieces of this size, which overlap."""


def found_below(places: list[Path], words: Mapping[str, str]) -> dict[str, str]:
    """What of the words lies in which file, by what they are."""
    wanted = {what: word.encode() for what, word in words.items()}
    found: dict[str, str] = {}
    for path in files(places):
        for piece in pieces(path):
            found |= {what: path.as_posix() for what, word in wanted.items() if word in piece}
    return found


def files(places: list[Path]) -> Iterator[Path]:
    for folder, folders, names in (each for place in places for each in os.walk(place)):
        folders[:] = [name for name in folders if not ELSEWHERE.search(f"{folder}/{name}/")]
        for path in (Path(folder) / name for name in names):
            if path.is_file() and not path.is_symlink():
                yield path


def written(state: Path) -> list[Path]:
    """Where lies what running containers have written into their root filesystems, by the state folder of their runtime."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines() if f" {state.as_posix()}/" in line]
    options = [option for mount in mounts if mount[2] == "overlay" for option in mount[3].split(",")]
    return [Path(option.removeprefix("upperdir=")) for option in options if option.startswith("upperdir=")]


def pieces(path: Path) -> Iterator[bytes]:
    """A file that goes away while it is read held nothing for long."""
    try:
        with path.open("rb") as file:
            overlap = b""
            while block := file.read(MOST_BYTES):
                yield overlap + block
                overlap = block[-256:]
    except OSError:
        return


def is_core(path: Path) -> bool:
    return next(pieces(path), b"")[:4] == b"\x7fELF"
