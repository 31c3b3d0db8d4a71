"""Reads the text files of wheels and source distributions without running anything of theirs."""
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """(path within the archive, content) of its files."""
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir():
                    yield info.filename, opened.read(info)
    elif archive.name.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        with tarfile.open(archive) as opened:
            for info in opened:
                if info.isfile():
                    yield info.name, opened.extractfile(info).read()
    else:
        raise ValueError(f"{archive}: must be a wheel or a source distribution")


def read_package(archive: Path, suffixes: tuple[str, ...]) -> tuple[str, list[tuple[str, str]]]:
    """Its metadata, and (path, text) of files with one of these suffixes; what is no UTF-8 is left out."""
    metadata, files = "", []
    for path, content in members(archive):
        if path.endswith((".dist-info/METADATA", "/PKG-INFO")) and not metadata:
            metadata = content.decode(errors="replace")
        elif path.endswith(suffixes):
            try:
                files.append((path, content.decode()))
            except UnicodeDecodeError:
                continue
    return metadata, files


def find_archive(folder: Path, name: str, version: str | None) -> Path | None:
    """The package's archive in a folder, of that version or of any, a wheel before a source distribution."""
    spelled = "[-_.]+".join(map(re.escape, re.split("[-_.]+", name)))
    wanted = re.compile(rf"{spelled}-{re.escape(version) if version else '[0-9]'}.*\.(whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$", re.I)
    found = [path for path in folder.iterdir() if wanted.match(path.name)]
    return min(found, key=lambda path: (path.suffix != ".whl", path.name), default=None)
